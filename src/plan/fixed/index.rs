//! The index of the result: made from the headers where names or files change, or where it is asked for.

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};

use super::weights::Made;
use super::{Change, Code};
use crate::checkpoint::folder::{container_of, shard_number};
use crate::checkpoint::index::Index as Read;
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::container::bytes::SourceFile;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::folder::{Text, pretty};
use crate::plan::planner::list;
use crate::problem::kind;
use crate::units;

/// What becomes of the index.
#[derive(Default)]
pub(super) struct Index {
    /// The new one.
    pub(super) text: Option<Text>,
    /// Files that go: the one that was there.
    pub(super) gone: Vec<String>,
    pub(super) changes: Vec<Change>,
    pub(super) warnings: Vec<String>,
}

/// Files that loaders open without an index.
const ALONE: [&str; 4] =
    ["model.safetensors", "adapter_model.safetensors", "pytorch_model.bin", "adapter_model.bin"];
/// Entries that are listed of those that change.
const LISTED_MAX: usize = 3;
/// What a change is called whose cause is another edit.
const FOLLOWS: &str = "follows the files";

impl Index {
    /// Plans the index of the files that are made. `asked` is the code of an edit that wants it anew.
    pub(super) fn plan(
        checkpoint: &Checkpoint,
        made: &Made,
        (asked, cause): (Option<Code>, Code),
        left_out: &FxHashSet<&str>,
    ) -> Result<Self> {
        let files = &checkpoint.files;
        let old = files
            .index
            .as_ref()
            .and_then(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned());
        let named: FxHashSet<&str> = made.entries.iter().map(|(_, file, _)| file.as_str()).collect();
        let is_due = made.is_other && (old.is_some() || named.len() > 1);
        if asked.is_none() && !is_due {
            return Ok(Self::default());
        }
        if let Some(old) = old.as_deref().filter(|old| left_out.contains(old)) {
            return match asked {
                Some(code) => Err(Error::input(format!(
                    "{code}: {} is to be made anew, and another code leaves it out",
                    escape(old)
                ))),
                None => Ok(Self::default()),
            };
        }
        let mut entries: Vec<(String, String, u64)> = made.entries.clone();
        let mut index = Self::default();
        if asked.is_some() {
            entries.extend(index.strays(checkpoint, &named, left_out)?);
        }
        entries.sort();
        let twins: Vec<String> = entries
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0)
            .map(|pair| {
                format!("{} (in {} and {})", escape(&pair[0].0), escape(&pair[0].1), escape(&pair[1].1))
            })
            .collect();
        if !twins.is_empty() {
            let count = units::plural(twins.len(), "name");
            let message = format!(
                "an index has one file for a name, and {count} {} in two: {}; leave one of each out first",
                if twins.len() == 1 { "is" } else { "are" },
                list(&twins)
            );
            return Err(Error::input(message).at(&files.path));
        }
        let name = index_name(checkpoint, old.as_deref(), &entries);
        let is_alone = entries.iter().all(|(_, file, _)| *file == entries[0].1)
            && entries.first().is_some_and(|(_, file, _)| ALONE.contains(&file.as_str()));
        let read = files.index.as_ref().and_then(|path| Read::read(path).ok());
        index.gone.extend(old.clone());
        if !is_alone {
            let metadata = metadata(checkpoint, &entries, made.is_other);
            index.text = Some(Text { file: name, content: text(&entries, metadata) });
        }
        index.say((old.as_deref(), read.as_ref()), &entries, (asked, cause));
        index.warn(checkpoint, &entries);
        Ok(index)
    }

    /// Reads the files that belong to the same numbered set and that the index does not name.
    fn strays(
        &mut self,
        checkpoint: &Checkpoint,
        named: &FxHashSet<&str>,
        left_out: &FxHashSet<&str>,
    ) -> Result<Vec<(String, String, u64)>> {
        let files = &checkpoint.files;
        let sets: FxHashSet<(&str, usize)> = named
            .iter()
            .filter_map(|name| shard_number(name))
            .map(|(stem, _, total)| (stem, total))
            .collect();
        let mut entries = Vec::new();
        for (name, _) in &files.others {
            let is_of_set = shard_number(name).is_some_and(|(stem, _, total)| sets.contains(&(stem, total)));
            let is_kind = container_of(name).is_some_and(|c| c.name() == files.container.name());
            if !is_of_set || !is_kind || left_out.contains(name.as_str()) {
                continue;
            }
            let source = SourceFile::open(&files.folder.join(name), name.clone())?;
            let header = files.container.read_header(&source);
            if let Some(problem) = header.problems.iter().find(|problem| problem.is_error()) {
                let message = format!("cannot be put into the index: {}", escape(&problem.message));
                return Err(Error::input(message).at(&files.folder.join(name)));
            }
            let count = units::plural(header.entries().len(), "tensor");
            self.warnings.push(format!("{}: {count} that no index named, now in it", escape(name)));
            entries.extend(header.entries().iter().map(|entry| {
                (header.name(entry).to_owned(), name.clone(), entry.end.saturating_sub(entry.begin))
            }));
        }
        Ok(entries)
    }

    /// Says what is other than in the index that was there.
    fn say(
        &mut self,
        (old, read): (Option<&str>, Option<&Read>),
        entries: &[(String, String, u64)],
        (asked, cause): (Option<Code>, Code),
    ) {
        let total = bytes_of(entries);
        let counted = |count: usize, total: Option<u64>| match total {
            Some(total) => format!("{}, total_size {total}", units::plural(count, "tensor")),
            None => format!("{}, no total_size", units::plural(count, "tensor")),
        };
        let before: FxHashMap<&str, &str> = read
            .map(|read| {
                read.entries().map(|(name, file)| (name, read.files[file as usize].as_str())).collect()
            })
            .unwrap_or_default();
        let code = asked.unwrap_or(cause);
        let change = |what: &str, before: String, after: String, file: &str| Change {
            code,
            file: escape(file).into_owned(),
            what: what.to_owned(),
            before,
            after,
        };
        let was = match (old, read) {
            (Some(_), Some(read)) => counted(before.len(), read.total_size),
            (Some(_), None) => "not readable".into(),
            (None, _) => "not there".into(),
        };
        let mut made = Vec::new();
        match &self.text {
            None => {
                let after = "left out: one file holds everything".to_owned();
                made.extend(old.map(|old| change("", was, after, old)));
            }
            Some(text) => {
                let is = counted(entries.len(), Some(total));
                if was != is || old != Some(text.file.as_str()) {
                    made.push(change("", was, is, &text.file));
                }
                if !before.is_empty() {
                    let rows = differing(&before, entries);
                    let more = rows.len().saturating_sub(LISTED_MAX);
                    for (at, (name, was, is)) in rows.into_iter().take(LISTED_MAX).enumerate() {
                        let is_last = more > 0 && at + 1 == LISTED_MAX;
                        let what = if is_last {
                            format!("{} (and {} more)", escape(name), units::exact(more as u64))
                        } else {
                            escape(name).into_owned()
                        };
                        let shown = |file: Option<&str>, none: &str| {
                            file.map_or_else(|| none.to_owned(), |file| escape(file).into_owned())
                        };
                        made.push(change(&what, shown(was, "not there"), shown(is, "taken out"), &text.file));
                    }
                }
            }
        }
        if asked.is_none() {
            // What was not asked for is no edit of its own.
            made.truncate(1);
            for change in &mut made {
                FOLLOWS.clone_into(&mut change.what);
            }
        }
        self.changes = made;
    }

    /// Says what an index that is made from what is here cannot know.
    fn warn(&mut self, checkpoint: &Checkpoint, entries: &[(String, String, u64)]) {
        let missing = checkpoint
            .problems
            .iter()
            .filter(|problem| [&kind::MISSING_SHARD, &kind::INCOMPLETE_SET].contains(&problem.kind));
        self.warnings.extend(missing.map(|problem| {
            format!("{}: the index that is made names only what is here", escape(&problem.message))
        }));
        let mut sets: Vec<(&str, usize, usize)> = Vec::new();
        let mut names: Vec<&str> = entries.iter().map(|(_, file, _)| file.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for (stem, _, total) in names.into_iter().filter_map(shard_number) {
            match sets.iter_mut().find(|(known, _, of)| *known == stem && *of == total) {
                Some((_, count, _)) => *count += 1,
                None => sets.push((stem, 1, total)),
            }
        }
        for (stem, count, total) in sets.into_iter().filter(|(_, count, total)| count < total) {
            let stem = escape(stem);
            self.warnings.push(format!("{stem}: {count} of {total} files are in the index, by their names"));
        }
    }
}

/// A name of an index, and the file that it is in, before and after.
type Row<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// Returns the names that an index puts into other files than the one before it, and those that only one of them has.
fn differing<'a>(before: &FxHashMap<&'a str, &'a str>, entries: &'a [(String, String, u64)]) -> Vec<Row<'a>> {
    let moved = entries.iter().filter_map(|(name, file, _)| {
        let was = before.get(name.as_str()).copied();
        (was != Some(file.as_str())).then_some((name.as_str(), was, Some(file.as_str())))
    });
    let names: FxHashSet<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
    let mut lost: Vec<Row<'a>> = before
        .iter()
        .filter(|(name, _)| !names.contains(*name))
        .map(|(name, file)| (*name, Some(*file), None))
        .collect();
    lost.sort_unstable();
    moved.chain(lost).collect()
}

/// Returns the name of the index: that of the one that is there, if it goes with the files.
fn index_name(checkpoint: &Checkpoint, old: Option<&str>, entries: &[(String, String, u64)]) -> String {
    let is_pickle = entries.iter().any(|(_, file, _)| !file.ends_with(".safetensors"));
    if let Some(old) = old.filter(|old| old.contains(".safetensors.") != is_pickle) {
        return old.to_owned();
    }
    match (checkpoint.kind == CheckpointKind::Adapter, is_pickle) {
        (true, false) => "adapter_model.safetensors.index.json".into(),
        (true, true) => "adapter_model.bin.index.json".into(),
        (false, false) => "model.safetensors.index.json".into(),
        (false, true) => "pytorch_model.bin.index.json".into(),
    }
}

/// Returns the metadata of the index: what the one that is there says, with the bytes of the tensors.
fn metadata(
    checkpoint: &Checkpoint,
    entries: &[(String, String, u64)],
    is_other: bool,
) -> Map<String, Value> {
    let old = checkpoint.files.index.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    let old = old.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let mut metadata = old.and_then(|old| old.get("metadata")?.as_object().cloned()).unwrap_or_default();
    if is_other {
        // It counts what is no longer there.
        metadata.shift_remove("total_parameters");
    }
    metadata.insert("total_size".into(), bytes_of(entries).into());
    metadata
}

/// Returns the bytes of all entries; headers of files that go over as they are may claim any.
fn bytes_of(entries: &[(String, String, u64)]) -> u64 {
    entries.iter().map(|(.., bytes)| *bytes).fold(0, u64::saturating_add)
}

fn text(entries: &[(String, String, u64)], metadata: Map<String, Value>) -> String {
    let map = entries.iter().map(|(name, file, _)| (name.clone(), Value::from(file.clone()))).collect();
    let mut top = Map::new();
    top.insert("metadata".into(), Value::Object(metadata));
    top.insert("weight_map".into(), Value::Object(map));
    pretty(&Value::Object(top))
}
