//! Index files: `model.safetensors.index.json`, which says in which shard each tensor lies.
//!
//! ```json
//! {"metadata": {"total_size": 123}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
//! ```
//! An index comes from a stranger: its file names are never joined to a path before they are known to be
//! plain names in the folder.

use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::files::Files;
use crate::container::bytes::SourceFile;
use crate::name::escape;
use crate::problem::{Problem, kind};
use crate::units;

/// An index is not read beyond this: a million tensors take some 150 MB.
const INDEX_BYTES_MAX: u64 = 512 << 20;
/// How many tensors or files a message names.
const NAMED_MAX: usize = 3;

/// An index, with the file names as numbers.
#[derive(Debug, Default)]
pub struct Index {
    /// The file names it uses, each once.
    pub files: Vec<String>,
    text: String,
    entries: Vec<IndexEntry>,
    /// `metadata.total_size`.
    pub total_size: Option<u64>,
}

/// One tensor of an index: its name in the index's text, and which file.
#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    start: usize,
    len: u32,
    file: u32,
}

impl Index {
    /// Returns tensor names and their file, in the index's order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        self.entries.iter().map(|e| (&self.text[e.start..e.start + e.len as usize], e.file))
    }

    /// Reads an index file.
    ///
    /// # Errors
    /// It is not readable as an index; the problem says why.
    pub fn read(path: &Path) -> Result<Self, Box<Problem>> {
        let name = path.file_name().map_or_else(|| "index".into(), |n| n.to_string_lossy().into_owned());
        let problem =
            |message: String| Box::new(Problem::new(&kind::INDEX_DAMAGED, message).file(name.clone()));
        let file = SourceFile::open(path, name.clone()).map_err(|e| problem(e.message))?;
        if file.len() > INDEX_BYTES_MAX {
            return Err(problem(format!(
                "{name}: {} bytes, over the {INDEX_BYTES_MAX} that are read",
                file.len()
            )));
        }
        let bytes = file.head(INDEX_BYTES_MAX as usize).map_err(|e| problem(e.message))?;
        let raw: RawIndex =
            serde_json::from_slice(&bytes).map_err(|e| problem(format!("{name}: not an index: {e}")))?;
        let mut index = raw.weight_map;
        index.total_size = raw.metadata.and_then(|m| m.total_size).and_then(|n| {
            n.as_u64().or_else(|| n.as_f64().filter(|f| *f >= 0.0 && f.fract() == 0.0).map(|f| f as u64))
        });
        Ok(index)
    }

    /// Returns the problems of the file names it uses: paths that leave the folder, files that are not
    /// there. `present` are the files of the folder.
    #[must_use]
    pub fn check_files(&self, name: &str, present: &FxHashSet<&str>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            if is_plain_name(file) && present.contains(file.as_str()) {
                continue;
            }
            let of_file = || self.entries().filter(|(_, f)| *f as usize == number);
            let (count, first) = (of_file().count(), of_file().next().map(|(tensor, _)| tensor.to_owned()));
            let shown = escape(file);
            let tensors = units::plural(count, "tensor");
            let mut problem = if is_plain_name(file) {
                let message = format!("{name}: {shown} is not here; {tensors} of it cannot be loaded");
                Problem::new(&kind::MISSING_SHARD, message).file(file.clone())
            } else {
                let message = format!(
                    "{name}: names {shown}, a path outside the folder, for {tensors}; it is not opened"
                );
                Problem::new(&kind::INDEX_ESCAPES, message).file(name)
            };
            problem.tensor = first;
            problems.push(problem);
        }
        problems
    }

    /// Returns the problems of its entries against the headers: tensors that are nowhere, in another
    /// shard, or that it leaves out, and a wrong total.
    #[must_use]
    pub fn check_entries(&self, name: &str, files: &Files) -> Vec<Problem> {
        let shard_of: FxHashMap<&str, u16> =
            files.shards.iter().enumerate().map(|(i, s)| (s.name.as_str(), i as u16)).collect();
        let readable = |file: &str| shard_of.get(file).is_some_and(|&s| !files.shards[s as usize].unreadable);
        let by_name = files.names_index();
        let mut seen = vec![false; files.tensors.len()];
        let (mut absent, mut elsewhere, mut omitted) =
            (Sample::default(), Sample::default(), Sample::default());
        for (tensor, file) in self.entries() {
            let file = &self.files[file as usize];
            match by_name.find(files, tensor) {
                None if readable(file) => absent.add(tensor, file),
                None => {}
                Some(first) => {
                    let node = files.tensors[first as usize].node;
                    let twins = (first..)
                        .take_while(|&t| files.tensors.get(t as usize).is_some_and(|r| r.node == node));
                    let mut right = false;
                    for t in twins {
                        seen[t as usize] = true;
                        right |= Some(&files.tensors[t as usize].shard) == shard_of.get(file.as_str());
                    }
                    if !right && readable(file) {
                        elsewhere.add(tensor, file);
                    }
                }
            }
        }
        for (tensor, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
            let record = &files.tensors[tensor];
            omitted.add(&files.tensor_name(tensor as u32), &files.shards[usize::from(record.shard)].name);
        }
        let mut problems: Vec<Problem> = [
            absent.problem(&kind::INDEX_ABSENT_TENSOR, name, "that no shard holds"),
            elsewhere.problem(&kind::INDEX_WRONG_SHARD, name, "in a shard that does not hold them"),
            omitted.problem(
                &kind::INDEX_OMITS_TENSOR,
                name,
                "in the shards that it does not name; loaders skip them",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        problems.extend(self.check_total(name, files));
        problems
    }

    fn check_total(&self, name: &str, files: &Files) -> Option<Problem> {
        let said = self.total_size?;
        // With shards missing the sum is not known.
        let complete = self.files.iter().all(|f| files.shards.iter().any(|s| s.name == *f && !s.unreadable));
        (complete && said != files.total_bytes()).then(|| {
            Problem::new(
                &kind::TOTAL_SIZE,
                format!("{name}: total_size {said}, the tensors have {}", files.total_bytes()),
            )
            .file(name)
        })
    }
}

/// Returns true if `file` is a name in the folder and no path.
fn is_plain_name(file: &str) -> bool {
    !file.is_empty() && file != "." && file != ".." && !file.contains(['/', '\\', '\0'])
}

/// A count and the first few.
#[derive(Default)]
struct Sample {
    count: usize,
    first: Vec<(String, String)>,
}

impl Sample {
    fn add(&mut self, tensor: &str, file: &str) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push((tensor.to_owned(), file.to_owned()));
        }
    }

    fn problem(
        &self,
        kind: &'static crate::problem::ProblemKind,
        index: &str,
        what: &str,
    ) -> Option<Problem> {
        let (tensor, file) = self.first.first()?;
        let named: Vec<String> =
            self.first.iter().map(|(t, f)| format!("{} ({})", escape(t), escape(f))).collect();
        let more = if self.count > self.first.len() { ", …" } else { "" };
        let count = units::plural(self.count, "tensor");
        let message = format!("{index}: {count} {what}: {}{more}", named.join(", "));
        Some(Problem::new(kind, message).file(file.clone()).tensor(tensor.clone()))
    }
}

#[derive(Deserialize)]
struct RawIndex {
    #[serde(default)]
    metadata: Option<RawMetadata>,
    #[serde(deserialize_with = "weight_map")]
    weight_map: Index,
}

#[derive(Deserialize)]
struct RawMetadata {
    #[serde(default)]
    total_size: Option<serde_json::Number>,
}

/// Reads the map in file order, file names as numbers.
fn weight_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Index, D::Error> {
    struct Map;
    impl<'de> Visitor<'de> for Map {
        type Value = Index;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map from tensor names to file names")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
            let mut index = Index::default();
            let mut known = FxHashMap::default();
            while let Some(len) = map.next_key_seed(Append(&mut index.text))? {
                let start = index.text.len() - len;
                let file = map.next_value_seed(Number { known: &mut known, files: &mut index.files })?;
                index.entries.push(IndexEntry { start, len: len as u32, file });
            }
            Ok(index)
        }
    }
    deserializer.deserialize_map(Map)
}

/// Reads a text into a longer one, and returns its length: a million names are one allocation.
struct Append<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Append<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a tensor name")
    }

    fn visit_str<E>(self, name: &str) -> Result<usize, E> {
        self.0.push_str(name);
        Ok(name.len())
    }
}

/// Reads a file name as its number.
struct Number<'a> {
    known: &'a mut FxHashMap<String, u32>,
    files: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Number<'_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Number<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a file name")
    }

    fn visit_str<E>(self, file: &str) -> Result<u32, E> {
        if let Some(&number) = self.known.get(file) {
            return Ok(number);
        }
        let number = self.files.len() as u32;
        self.files.push(file.to_owned());
        self.known.insert(file.to_owned(), number);
        Ok(number)
    }
}
