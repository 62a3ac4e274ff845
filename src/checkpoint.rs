//! Checkpoint: what one folder, file or Hub name holds: tensors, layers, configs, problems.
//!
//! Opening reads headers only and takes as long as they do; `examine` then reads the few side bytes that
//! shapes do not tell (quant states, zero points, group indices, scales) and completes the layers. A
//! damaged checkpoint opens like any other, with its problems listed.
//!
//! The files' part is immutable and shared; the layers are replaced as a whole when `examine` is done.

pub mod checks;
pub mod config;
pub mod deep;
pub mod expected;
pub mod files;
pub mod folder;
pub(crate) mod gguf_meta;
pub(crate) mod gguf_names;
mod headers;
pub mod hub_cache;
pub mod index;
pub mod layers;
#[cfg(test)]
pub mod made;
pub mod names;
pub mod side;
pub(crate) mod stacks;
pub mod summary;
pub mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::container::bytes::SourceFile;
use crate::container::{CONTAINERS, SNIFF_BYTES, Value, explain_foreign};
use crate::error::{Error, Result};
use crate::problem::{Problem, kind};
use crate::quant::QuantBlock;
use config::Configs;
use files::{Files, Place};
use headers::{Read, read_headers};
use index::Index;
use layers::Layers;

/// An opened checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What the headers say.
    pub files: Arc<Files>,
    /// The layers; provisional where `LayerSpec::pending` until examined.
    pub layers: Layers,
    /// Everything that is wrong, errors first.
    pub problems: Vec<Problem>,
    /// What it is.
    pub kind: CheckpointKind,
    /// True once `examine` has run.
    pub examined: bool,
    /// True if the index has not been held against the headers: `examine` does.
    pub index_unchecked: bool,
}

/// What a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// Weights of a model.
    Model,
    /// An adapter on a base.
    Adapter,
    /// No tensor could be read.
    Unknown,
}

impl CheckpointKind {
    /// Returns the word that `--json` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Adapter => "adapter",
            Self::Unknown => "unknown",
        }
    }
}

/// How far opening is, sampled by the screen.
#[derive(Debug, Default)]
pub struct Progress {
    /// Headers read.
    pub done: AtomicUsize,
    /// Headers in all.
    pub total: AtomicUsize,
}

/// Resolves a path, or a Hub name in the local cache, to where the checkpoint is, and its title.
///
/// # Errors
/// Neither a path nor a cached Hub name.
pub fn locate(path: &str) -> Result<(PathBuf, String)> {
    let as_path = Path::new(path);
    if as_path.exists() {
        let full = as_path.canonicalize().unwrap_or_else(|_| as_path.to_path_buf());
        return Ok((as_path.to_path_buf(), title_of(&full)));
    }
    // A Hub name is `org/model` or `model`; anything else was meant as a path.
    let looks_like_path = path.starts_with(['/', '.', '~'])
        || path.split('@').next().unwrap_or(path).matches('/').count() > 1
        || path.is_empty();
    if looks_like_path {
        return Err(Error::input(format!("{path}: no such file or folder")).at(as_path));
    }
    let snapshot = hub_cache::resolve(path, None)?;
    Ok((snapshot.path, path.to_owned()))
}

/// Folder names that say nothing without the one above.
const PLAIN_NAMES: [&str; 6] = ["model", "adapter", "checkpoint", "output", "merged", "final"];

/// Returns the name to show for a path: its last part, with the one before where that alone says nothing.
fn title_of(path: &Path) -> String {
    let last =
        path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    let above = path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    match above {
        Some(above) if PLAIN_NAMES.contains(&last.as_str()) => format!("{above}/{last}"),
        _ => last,
    }
}

impl Checkpoint {
    /// Opens a folder, a file, or a Hub name in the local cache: headers only.
    ///
    /// # Errors
    /// There is nothing there, or nothing that is a weight file by its name.
    pub fn open(path: &str) -> Result<Self> {
        Self::open_with(path, &Progress::default())
    }

    /// Opens as `open` does, and counts headers in `progress` for who waits.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(path: &str, progress: &Progress) -> Result<Self> {
        let (location, title) = locate(path)?;
        let folder = chosen_folder(&location)?;
        let chosen = match &folder {
            Some(folder) => folder::select(folder)?,
            None => single_file(&location)?,
        };
        let home = folder.unwrap_or_else(|| parent_of(&location));
        let mut problems = chosen.problems;
        // A set that is complete by its names needs no index to be found: it is checked on examination.
        let is_deferred = folder::is_complete_set(&chosen.weights);
        let index = chosen.index.clone().filter(|_| !is_deferred);
        let (mut read, index) = std::thread::scope(|scope| {
            // The index of a large checkpoint takes as long as all headers: beside them, not after.
            let index = scope.spawn(|| index.as_deref().map(Index::read));
            let read = read_headers(&home, &chosen.weights, chosen.container, progress);
            (read, joined(index))
        });
        let mut others = chosen.others;
        let mut usable = None;
        if let Some(path) = chosen.index.as_ref().filter(|_| !is_deferred) {
            usable = apply_index(path, index, &mut read, &mut others, &mut problems);
        }
        let configs = Configs::read(&home, &mut problems);
        let container = read.container(chosen.container);
        let place = Place { path: location, folder: home, title, container, index: chosen.index, others };
        problems.append(&mut read.problems);
        one_line_for_pickles(&mut problems);
        let mut files = Files::assemble(place, read.shards, read.headers, configs);
        blocks_of_metadata(&mut files, &mut problems);
        let (layers, found) = Layers::find(&files);
        problems.extend(found);
        if let Some((name, index)) = usable {
            problems.extend(index.check_entries(&name, &files));
        }
        let index_unchecked = is_deferred && files.index.is_some();
        let mut checkpoint = Self {
            files: Arc::new(files),
            layers,
            problems,
            kind: CheckpointKind::Unknown,
            examined: false,
            index_unchecked,
        };
        checks::on_open(&mut checkpoint);
        checkpoint.sort_problems();
        Ok(checkpoint)
    }

    /// Opens and examines at once: what headless commands want.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_examined(path: &str) -> Result<Self> {
        let checkpoint = Self::open(path)?;
        Ok(checkpoint.examine())
    }

    /// Returns the checkpoint completed by the side bytes that layers wanted: quant states, zero points,
    /// group indices, scales. Nothing of the weights themselves is read.
    #[must_use]
    pub fn examine(&self) -> Self {
        let (mut examined, of_index) = std::thread::scope(|scope| {
            let check = scope.spawn(|| self.index_problems());
            let examined = self.examine_layers();
            (examined, joined(check))
        });
        examined.index_unchecked = false;
        examined.problems.extend(of_index);
        examined.sort_problems();
        examined
    }

    /// Returns what the index gets wrong, if that has not been looked at yet.
    #[must_use]
    pub fn index_problems(&self) -> Vec<Problem> {
        if self.index_unchecked { check_index(&self.files) } else { Vec::new() }
    }

    /// Examines as `examine` does, but for the index, which may take as long again for a large checkpoint.
    #[must_use]
    pub fn examine_layers(&self) -> Self {
        self.examine_by(&side::FileSide::new(&self.files))
    }

    /// Examines without a bound on what is read: all scales, zero points and group indices of a checkpoint of any size,
    /// where `examine` stops at a share that a disk gives at once.
    #[must_use]
    pub fn examine_deep(&self) -> Self {
        let mut examined = self.examine_by(&side::FileSide::whole(&self.files));
        examined.index_unchecked = false;
        examined.problems.extend(self.index_problems());
        examined.sort_problems();
        examined
    }

    fn examine_by(&self, data: &side::FileSide<'_>) -> Self {
        let (layers, found) = self.layers.examine(&self.files, data);
        let mut examined = Self {
            files: Arc::clone(&self.files),
            layers,
            problems: self.problems.clone(),
            kind: self.kind,
            examined: true,
            index_unchecked: self.index_unchecked,
        };
        examined.problems.extend(found);
        checks::on_examine(&mut examined);
        examined.sort_problems();
        examined
    }

    /// Returns the architecture: the config's, or GGUF's `general.architecture`.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        let gguf = || self.files.metadata("general.architecture").and_then(|v| v.as_str());
        self.files.configs.architecture().or_else(gguf)
    }

    fn sort_problems(&mut self) {
        self.problems.sort_by(|a, b| {
            (a.kind.severity, a.kind.code, &a.file, &a.message).cmp(&(
                b.kind.severity,
                b.kind.code,
                &b.file,
                &b.message,
            ))
        });
        self.problems.dedup();
    }
}

/// Returns the folder to open: the path itself, or that of an index or config file that was named.
fn chosen_folder(location: &Path) -> Result<Option<PathBuf>> {
    if location.is_dir() {
        return Ok(Some(location.to_path_buf()));
    }
    if !location.is_file() {
        return Err(
            Error::input(format!("open {}: not a file and not a folder", location.display())).at(location)
        );
    }
    let is_json = location.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    Ok(is_json.then(|| parent_of(location)))
}

fn parent_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => PathBuf::from("/"),
    }
}

/// Opens one weight file by itself; its folder's configs still count.
fn single_file(location: &Path) -> Result<folder::Folder> {
    let name = location.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let home = parent_of(location);
    let others = folder::list(&home)?.into_iter().filter(|(n, _)| *n != name).collect();
    // Any name will do if the content is known: blobs of the Hub cache have hashes for names.
    let by_content = || {
        let file = SourceFile::open(location, name.clone())?;
        let head = file.head(SNIFF_BYTES)?;
        let container = CONTAINERS.iter().find(|c| c.sniff(&head)).copied();
        container.ok_or_else(|| Error::input(explain_foreign(&file, &head).message).at(location))
    };
    let container = folder::container_of(&name).map_or_else(by_content, Ok)?;
    // A GGUF model that was split is opened by naming any part of it, as llama.cpp does.
    if let (Some((stem, _, total)), "gguf") = (folder::shard_number(&name), container.name()) {
        return folder::split_set(&home, (stem, total), container);
    }
    Ok(folder::Folder { weights: vec![name], container, index: None, others, problems: Vec::new() })
}

/// Returns what a scoped thread found. A panic there goes on here: a share that is silently missing would make
/// a checkpoint look smaller, or cleaner, than it is.
pub(crate) fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Joins the warnings that each shard is a pickle: one fact of the checkpoint, not of each file.
fn one_line_for_pickles(problems: &mut Vec<Problem>) {
    let count = problems.iter().filter(|p| p.kind == &kind::PICKLE_WEIGHTS).count();
    let Some(first) = problems.iter().position(|p| p.kind == &kind::PICKLE_WEIGHTS).filter(|_| count > 1)
    else {
        return;
    };
    let mut kept = problems[first].clone();
    problems.retain(|p| p.kind != &kind::PICKLE_WEIGHTS);
    kept.message = format!("{}; {count} files in all", kept.message);
    problems.push(kept);
}

/// Holds the index against the shards that were read.
fn check_index(files: &Files) -> Vec<Problem> {
    let Some(path) = &files.index else { return Vec::new() };
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match Index::read(path) {
        Err(problem) => vec![*problem],
        Ok(index) => {
            let present: FxHashSet<&str> = files.shards.iter().map(|s| s.name.as_str()).collect();
            let mut problems = index.check_files(&name, &present);
            problems.extend(index.check_entries(&name, files));
            problems
        }
    }
}

/// Checks the index's files against those that are here, and leaves out those that it does not name.
/// Returns the index with its name if it is a guide to what is here.
fn apply_index(
    path: &Path,
    index: Option<std::result::Result<Index, Box<Problem>>>,
    read: &mut Read,
    others: &mut Vec<(String, u64)>,
    problems: &mut Vec<Problem>,
) -> Option<(String, Index)> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let index = match index {
        Some(Ok(index)) => index,
        Some(Err(problem)) => {
            problems.push(*problem);
            return None;
        }
        None => return None,
    };
    {
        let present: FxHashSet<&str> = read.shards.iter().map(|s| s.name.as_str()).collect();
        problems.extend(index.check_files(&name, &present));
    }
    let named: FxHashSet<&str> = index.files.iter().map(String::as_str).collect();
    // An index that names none of the files here is no guide to them.
    if !read.shards.iter().any(|s| named.contains(s.name.as_str())) {
        return None;
    }
    let left_out: Vec<(String, u64)> = read
        .shards
        .iter()
        .filter(|s| !named.contains(s.name.as_str()))
        .map(|s| (s.name.clone(), s.bytes))
        .collect();
    if left_out.is_empty() {
        return Some((name, index));
    }
    let stray: Vec<&str> =
        left_out.iter().map(|(n, _)| n.as_str()).filter(|n| !n.starts_with("consolidated")).collect();
    if let Some(first) = stray.first() {
        let more = if stray.len() > 1 { format!(" and {} more", stray.len() - 1) } else { String::new() };
        let message =
            format!("{name}: does not name {}{more}; loaders ignore it", crate::name::escape(first));
        problems.push(Problem::new(&kind::STRAY_WEIGHTS, message).file(*first));
    }
    read.problems.retain(|p| p.file.as_deref().is_none_or(|f| !left_out.iter().any(|(n, _)| n == f)));
    others.extend(left_out);
    read.retain(|shard| named.contains(shard.name.as_str()));
    Some((name, index))
}

/// The safetensors metadata key that lists the tensors of torchao's subclasses, as JSON.
const TORCHAO_NAMES: &str = "tensor_names";

/// Adds the quantization that safetensors metadata describe: torchao's JSON of each name in `tensor_names`.
/// Entries that are absent or no JSON are reported, with their count.
fn blocks_of_metadata(files: &mut Files, problems: &mut Vec<Problem>) {
    let mut object = serde_json::Map::new();
    let mut is_torchao = false;
    for shard in &files.shards {
        let entries: FxHashMap<&str, &Value> = shard.metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let Some(list) = entries.get(TORCHAO_NAMES) else { continue };
        is_torchao = true;
        let bad = |message: String| Problem::new(&kind::BAD_METADATA, message).file(&shard.name);
        let list = list.as_str().and_then(|text| serde_json::from_str::<Vec<String>>(text).ok());
        let Some(list) = list else {
            problems.push(bad(format!("{}: {TORCHAO_NAMES} is not a JSON list of names", shard.name)));
            continue;
        };
        let mut unread = Vec::new();
        for name in list {
            let text = entries.get(name.as_str()).and_then(|v| v.as_str());
            match text.and_then(|text| serde_json::from_str(text).ok()) {
                Some(described) => {
                    object.insert(name, described);
                }
                None => unread.push(name),
            }
        }
        if let Some(first) = unread.first() {
            let message = format!(
                "{}: {} of the names in {TORCHAO_NAMES} have no JSON that describes them, such as {}",
                shard.name,
                unread.len(),
                crate::name::escape(first),
            );
            problems.push(bad(message));
        }
    }
    if is_torchao {
        files.configs.quant.blocks.push(QuantBlock {
            file: "safetensors __metadata__".into(),
            key: String::new(),
            method: Some("torchao".into()),
            value: serde_json::Value::Object(object),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn a_panic_on_a_scoped_thread_is_not_lost() {
        let caught = std::panic::catch_unwind(|| {
            std::thread::scope(|scope| {
                joined(scope.spawn(|| assert!(std::hint::black_box(false), "planned")));
            });
        });
        assert!(caught.is_err());
    }
}
