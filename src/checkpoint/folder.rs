//! Folders: which files of a folder are the checkpoint's weights.
//!
//! An index file decides where there is one. Without one, the usual names come first (`model.safetensors`),
//! then any single kind of weight file. Training leftovers (`optimizer.pt`, `training_args.bin`) are never
//! weights. What is left out is kept in `others`, so that nothing is hidden.

use std::path::{Path, PathBuf};

use crate::container::{CONTAINERS, Container};
use crate::error::{Error, Result};
use crate::name::{escape, natural_cmp};
use crate::problem::{Problem, kind};
use crate::units;

/// Entries of a folder that are looked at. The largest checkpoints have some hundreds of files.
const ENTRIES_MAX: usize = 100_000;

/// What a folder holds.
pub struct Folder {
    /// Weight files, in natural order: names in the folder.
    pub weights: Vec<String>,
    /// The kind of the weight files.
    pub container: &'static dyn Container,
    /// The index that joins them.
    pub index: Option<PathBuf>,
    /// All other files, with their sizes.
    pub others: Vec<(String, u64)>,
    /// What is odd about the set.
    pub problems: Vec<Problem>,
}

/// Lists the files of a folder with their sizes, in natural order. Links are followed.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<(String, u64)>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?;
    let mut files = Vec::new();
    for entry in entries.take(ENTRIES_MAX) {
        let entry = entry.map_err(|e| Error::io("read", folder, &e))?;
        // A name that is not UTF-8 cannot be in an index and is no weight file of any writer.
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A dangling link has no metadata: it is listed with no bytes, so that it can be named.
        let size = match std::fs::metadata(entry.path()) {
            Ok(meta) if meta.is_file() => meta.len(),
            Ok(_) => continue,
            Err(_) => 0,
        };
        files.push((name, size));
    }
    files.sort_by(|a, b| natural_cmp(&a.0, &b.0));
    Ok(files)
}

/// How deep folders below a checkpoint are looked into.
const DEPTH_MAX: usize = 6;

/// Lists the files in the folders below a folder, as paths relative to it, with their sizes. Hidden folders and
/// links to folders are passed over.
///
/// # Errors
/// A folder cannot be read.
pub fn list_below(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let mut left = vec![(folder.to_path_buf(), String::new(), 0)];
    while let Some((at, prefix, depth)) = left.pop() {
        let entries = std::fs::read_dir(&at).map_err(|e| Error::io("read", &at, &e))?;
        for entry in entries.take(ENTRIES_MAX) {
            let entry = entry.map_err(|e| Error::io("read", &at, &e))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < DEPTH_MAX && !name.starts_with('.') {
                left.push((entry.path(), format!("{prefix}{name}/"), depth + 1));
            }
        }
        if depth > 0 {
            found.extend(list(&at)?.into_iter().map(|(name, bytes)| (format!("{prefix}{name}"), bytes)));
        }
        if found.len() > ENTRIES_MAX {
            return Err(Error::input(format!("more than {ENTRIES_MAX} files in its folders")).at(folder));
        }
    }
    found.sort_by(|a, b| natural_cmp(&a.0, &b.0));
    Ok(found)
}

/// Returns the container of a file by its name, if it is a weight file by its name.
#[must_use]
pub fn container_of(name: &str) -> Option<&'static dyn Container> {
    let lower = name.to_ascii_lowercase();
    let (stem, extension) = lower.rsplit_once('.')?;
    let container = CONTAINERS.iter().find(|c| c.extensions().contains(&extension)).copied()?;
    (container.name() != "pytorch" || !is_training_state(stem)).then_some(container)
}

/// Pickles that a trainer leaves beside the weights.
fn is_training_state(stem: &str) -> bool {
    const NAMES: [&str; 8] = [
        "training_args",
        "optimizer",
        "scheduler",
        "scaler",
        "rng_state",
        "trainer_state",
        "random_states",
        "tokenizer",
    ];
    NAMES
        .iter()
        .any(|name| stem == *name || stem.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')))
}

/// Chooses the weight files of a folder.
///
/// # Errors
/// The folder cannot be read, holds no weight file, or holds several checkpoints.
pub fn select(folder: &Path) -> Result<Folder> {
    let files = list(folder)?;
    let is_adapter = files.iter().any(|(name, _)| name == "adapter_config.json");
    if let Some(found) = by_index(folder, &files, is_adapter) {
        return Ok(found);
    }
    let mut problems = Vec::new();
    for container in ["safetensors", "gguf", "pytorch"] {
        let names: Vec<&str> = files
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| container_of(name).is_some_and(|c| c.name() == container))
            .collect();
        if names.is_empty() {
            continue;
        }
        let chosen = choose(folder, &names, is_adapter, &mut problems)?;
        if let Some(kind_of) = container_of(&chosen[0]) {
            return Ok(Folder::new(chosen, kind_of, None, &files, problems));
        }
    }
    Err(nothing_here(folder, &files))
}

impl Folder {
    fn new(
        weights: Vec<String>,
        container: &'static dyn Container,
        index: Option<PathBuf>,
        files: &[(String, u64)],
        problems: Vec<Problem>,
    ) -> Self {
        let others = files.iter().filter(|(name, _)| !weights.contains(name)).cloned().collect();
        Self { weights, container, index, others, problems }
    }
}

/// Takes the set that an index file joins: all weight files of the index's kind that follow its stem.
/// What the index says of them is checked when it has been read (`index.rs`).
fn by_index(folder: &Path, files: &[(String, u64)], is_adapter: bool) -> Option<Folder> {
    const SUFFIX: &str = ".index.json";
    let mut indexes: Vec<&str> =
        files.iter().map(|(n, _)| n.as_str()).filter(|n| n.ends_with(SUFFIX)).collect();
    // An adapter's own index first in an adapter folder, then the usual name, safetensors before pickles.
    indexes.sort_by_key(|name| {
        (
            is_adapter != name.starts_with("adapter"),
            !name.contains("safetensors"),
            !name.starts_with("model."),
        )
    });
    indexes.iter().find_map(|index| {
        let joined = index.strip_suffix(SUFFIX)?;
        let container = container_of(joined)?;
        let weights: Vec<String> = files
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| container_of(name).is_some_and(|c| c.name() == container.name()))
            .collect();
        Some(Folder::new(weights, container, Some(folder.join(index)), files, Vec::new()))
    })
}

/// Chooses among weight files of one kind without an index.
fn choose(
    folder: &Path,
    names: &[&str],
    is_adapter: bool,
    problems: &mut Vec<Problem>,
) -> Result<Vec<String>> {
    let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let usual = if is_adapter {
        ["adapter_model.safetensors", "adapter_model.bin", "model.safetensors", "pytorch_model.bin"]
    } else {
        ["model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin"]
    };
    if let Some(name) = usual.iter().find(|usual| names.contains(usual)) {
        return Ok(vec![(*name).to_owned()]);
    }
    let sets = sets_of(names);
    let Some((_, first)) = sets.first() else { return Ok(owned(names.to_vec())) };
    if let Some((stem, set)) = sets.iter().find(|(_, set)| set.total.is_some()) {
        report_set(stem, set, names, problems);
        return Ok(owned(set.names.clone()));
    }
    let is_gguf = names[0].to_ascii_lowercase().ends_with(".gguf");
    if is_gguf && names.len() > 1 {
        // Each GGUF file is a whole model (or a projector): they are not one checkpoint.
        return Err(Error::input(format!(
            "{}: {} GGUF files, each a checkpoint of its own: name one of {}",
            folder.display(),
            names.len(),
            names.iter().take(8).map(|n| escape(n).into_owned()).collect::<Vec<_>>().join(", ")
        ))
        .at(folder));
    }
    if sets.len() == 1 {
        return Ok(owned(first.names.clone()));
    }
    Ok(owned(names.to_vec()))
}

/// Files named `stem-00001-of-00004.ext`, or a single file.
struct ShardSet<'a> {
    names: Vec<&'a str>,
    total: Option<usize>,
}

fn sets_of<'a>(names: &[&'a str]) -> Vec<(String, ShardSet<'a>)> {
    let mut sets: Vec<(String, ShardSet<'a>)> = Vec::new();
    for &name in names {
        let (stem, total) = match shard_number(name) {
            Some((stem, _, total)) => (stem.to_owned(), Some(total)),
            None => (name.to_owned(), None),
        };
        match sets.iter_mut().find(|(known, set)| *known == stem && set.total == total) {
            Some((_, set)) => set.names.push(name),
            None => sets.push((stem, ShardSet { names: vec![name], total })),
        }
    }
    sets
}

/// Takes `model-00002-of-00004.safetensors` apart: stem, number, total.
#[must_use]
pub fn shard_number(name: &str) -> Option<(&str, usize, usize)> {
    let (stem, _) = name.rsplit_once('.')?;
    let (rest, total) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    Some((stem, number.parse().ok()?, total.parse().ok()?))
}

/// Returns true if these are all files of one numbered set, each once.
#[must_use]
pub fn is_complete_set(names: &[String]) -> bool {
    let numbers: Option<Vec<(&str, usize, usize)>> = names.iter().map(|name| shard_number(name)).collect();
    let Some(mut numbers) = numbers.filter(|n| !n.is_empty()) else { return false };
    numbers.sort_unstable();
    let (stem, first, total) = numbers[0];
    let follows = |(at, entry): (usize, &(&str, usize, usize))| *entry == (stem, first + at, total);
    first <= 1 && numbers.len() == total && numbers.iter().enumerate().all(follows)
}

/// Returns the set of files named `stem-0000N-of-TOTAL` in a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn split_set(home: &Path, set: (&str, usize), container: &'static dyn Container) -> Result<Folder> {
    let files = list(home)?;
    let (stem, total) = set;
    let belongs = |name: &&str| {
        let is_kind = container_of(name).is_some_and(|c| c.name() == container.name());
        is_kind && shard_number(name).is_some_and(|(s, _, t)| s == stem && t == total)
    };
    let names: Vec<&str> = files.iter().map(|(n, _)| n.as_str()).filter(belongs).collect();
    let mut problems = Vec::new();
    report_set(stem, &ShardSet { names: names.clone(), total: Some(total) }, &names, &mut problems);
    let weights = names.into_iter().map(str::to_owned).collect();
    Ok(Folder::new(weights, container, None, &files, problems))
}

fn report_set(stem: &str, set: &ShardSet<'_>, all: &[&str], problems: &mut Vec<Problem>) {
    let total = set.total.unwrap_or(0);
    let is_gguf = set.names[0].to_ascii_lowercase().ends_with(".gguf");
    let stem = escape(stem);
    if set.names.len() != total {
        problems.push(Problem::new(
            &kind::INCOMPLETE_SET,
            format!("{stem}: {} of {total} shards are here, by their names", set.names.len()),
        ));
    }
    if !is_gguf {
        problems.push(Problem::new(
            &kind::MISSING_INDEX,
            format!(
                "{stem}: {} shards and no index file that joins them; loaders do not find them",
                set.names.len()
            ),
        ));
    }
    let stray = all.len() - set.names.len();
    if stray > 0 {
        problems.push(Problem::new(
            &kind::STRAY_WEIGHTS,
            format!("{} beside the set {stem} not opened", units::plural(stray, "weight file")),
        ));
    }
}

/// How many folders below one are looked into.
const BELOW_MAX: usize = 1000;

/// Returns the folders in one whose files, each with its bytes, are such as are looked for; in natural order. Of a
/// folder of very many only some are looked into, and those that cannot be listed have no files.
pub(crate) fn folders_below(folder: &Path, is_wanted: impl Fn(&[(String, u64)]) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(BELOW_MAX);
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_wanted = |name: &String| list(&folder.join(name)).is_ok_and(|files| is_wanted(&files));
    let mut below: Vec<String> = names.filter(is_wanted).collect();
    below.sort_by(|a, b| natural_cmp(a, b));
    below
}

/// Returns true if one of the files holds weights.
pub(crate) fn has_weights(files: &[(String, u64)]) -> bool {
    files.iter().any(|(name, _)| container_of(name).is_some())
}

fn nothing_here(folder: &Path, files: &[(String, u64)]) -> Error {
    let below = folders_below(folder, has_weights);
    let below: Vec<_> = below.iter().map(|name| escape(name)).collect();
    let seen: Vec<String> = files
        .iter()
        .take(6)
        .map(|(name, size)| format!("{} {}", escape(name), units::bytes(*size)))
        .collect();
    let hint = if below.is_empty() {
        if seen.is_empty() { "the folder is empty".into() } else { format!("it holds {}", seen.join(", ")) }
    } else {
        format!("below it: {}", below.join(", "))
    };
    Error::input(format!("{}: no weight file here; {hint}", folder.display())).at(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_are_taken_apart() {
        assert_eq!(shard_number("model-00002-of-00004.safetensors"), Some(("model", 2, 4)));
        assert_eq!(shard_number("gptq_model-4bit-128g.safetensors"), None);
    }

    #[test]
    fn a_set_is_complete_with_every_number_once() {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let (one, two) = ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors");
        assert!(is_complete_set(&names(&[one, two])));
        for odd in [&[one][..], &[one, one], &[one, two, "consolidated.safetensors"], &[]] {
            assert!(!is_complete_set(&names(odd)), "{odd:?}");
        }
    }

    #[test]
    fn training_state_is_no_weight_file() {
        for name in ["optimizer.pt", "training_args.bin", "rng_state_0.pth", "scheduler.pt", "config.json"] {
            assert!(container_of(name).is_none(), "{name}");
        }
        assert!(container_of("optimizer_free_model.gguf").is_some());
    }
}
