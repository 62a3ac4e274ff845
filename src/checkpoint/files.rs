//! Files: what the headers of a checkpoint say, put together: shards, tensors, names, configs.
//!
//! Immutable once read, and shared between the screen and jobs. A tensor keeps 32 bytes here; its name is
//! a node of the tree of names, its shape is interned.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::config::Configs;
use super::names::{NONE, NameWriter, Names, NodeId};
use crate::container::{Container, Entry, Header, Value, View};
use crate::tensor::Dtype;

/// One file of a checkpoint.
#[derive(Debug)]
pub struct Shard {
    /// Its name in the folder.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// Tensors its header names.
    pub tensors: u32,
    /// Its own metadata.
    pub metadata: Vec<(String, Value)>,
    /// True if nothing of it could be read.
    pub unreadable: bool,
}

/// One tensor.
#[derive(Clone, Copy, Debug)]
pub struct TensorRecord {
    /// First byte in its shard's file.
    pub begin: u64,
    /// Bytes in the file; 0 if its offsets are reversed.
    pub bytes: u64,
    /// Its name.
    pub node: NodeId,
    /// Its shape, interned: see `Files::shape`.
    pub shape: u32,
    /// Index of its shard.
    pub shard: u16,
    /// Element type as stored.
    pub dtype: Dtype,
}

/// Shards beyond this are not opened. The largest checkpoints have some hundreds.
pub const SHARDS_MAX: usize = u16::MAX as usize;

/// What the headers say.
pub struct Files {
    /// What was asked for, absolute where it exists.
    pub path: PathBuf,
    /// The folder of the config files.
    pub folder: PathBuf,
    /// The name to show: the folder's or the Hub's.
    pub title: String,
    /// The kind of the weight files.
    pub container: &'static dyn Container,
    /// The weight files, in natural order.
    pub shards: Vec<Shard>,
    /// The names.
    pub names: Names,
    /// The tensors, in natural order of their names.
    pub tensors: Vec<TensorRecord>,
    shapes: Vec<Box<[u64]>>,
    /// Tensors that are views of a storage (pickles).
    pub views: FxHashMap<u32, View>,
    /// The config files.
    pub configs: Configs,
    /// The index file that joins the shards.
    pub index: Option<PathBuf>,
    /// All other files of the folder, with their sizes.
    pub others: Vec<(String, u64)>,
    byte_sums: Vec<u64>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files")
            .field("path", &self.path)
            .field("shards", &self.shards.len())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

/// What `Files::assemble` is given beside the headers.
pub struct Place {
    /// What was asked for.
    pub path: PathBuf,
    /// The folder of the config files.
    pub folder: PathBuf,
    /// The name to show.
    pub title: String,
    /// The kind of the weight files.
    pub container: &'static dyn Container,
    /// The index file.
    pub index: Option<PathBuf>,
    /// All other files of the folder.
    pub others: Vec<(String, u64)>,
}

impl Files {
    /// Puts headers together. `shards` and `headers` are of one length and order; the headers' metadata
    /// moves into the shards.
    #[must_use]
    pub fn assemble(
        place: Place,
        mut shards: Vec<Shard>,
        mut headers: Vec<Header>,
        configs: Configs,
    ) -> Self {
        let (names, origins) = Names::build(&headers);
        let mut shapes = ShapeTable::new(&headers);
        let mut views = FxHashMap::default();
        let mut tensors = Vec::with_capacity(origins.len());
        for (index, origin) in origins.iter().enumerate() {
            let header = &headers[origin.shard as usize];
            let entry = &header.entries()[origin.entry as usize];
            if let Some(view) = header.views.get(&origin.entry) {
                views.insert(index as u32, view.clone());
            }
            tensors.push(TensorRecord {
                begin: entry.begin,
                bytes: entry.end.saturating_sub(entry.begin),
                node: origin.node,
                shape: shapes.id(origin.shard, header, entry),
                shard: origin.shard as u16,
                dtype: entry.dtype,
            });
        }
        for (shard, header) in shards.iter_mut().zip(&mut headers) {
            shard.metadata = std::mem::take(&mut header.metadata);
            shard.tensors = header.entries().len() as u32;
            shard.unreadable = header.unreadable;
        }
        let Place { path, folder, title, container, index, others } = place;
        let mut byte_sums = Vec::with_capacity(tensors.len() + 1);
        let mut sum = 0u64;
        byte_sums.push(0);
        for tensor in &tensors {
            sum = sum.saturating_add(tensor.bytes);
            byte_sums.push(sum);
        }
        Self {
            path,
            folder,
            title,
            container,
            shards,
            names,
            tensors,
            shapes: shapes.list,
            views,
            configs,
            index,
            others,
            byte_sums,
        }
    }

    /// Returns a tensor's shape as stored.
    #[must_use]
    pub fn shape(&self, tensor: &TensorRecord) -> &[u64] {
        &self.shapes[tensor.shape as usize]
    }

    /// Returns the distinct shapes; tensors refer to them by index.
    #[must_use]
    pub fn shapes(&self) -> &[Box<[u64]>] {
        &self.shapes
    }

    /// Returns a tensor's full name (unescaped).
    #[must_use]
    pub fn tensor_name(&self, tensor: u32) -> String {
        self.names.name(self.tensors[tensor as usize].node)
    }

    /// Returns the tensor with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<u32> {
        let first = self.names.first_tensor(self.names.find(name)?);
        (first != super::names::NONE).then_some(first)
    }

    /// Returns the tensors of nodes `first..end`: of a subtree, with `end(node)`.
    #[must_use]
    pub fn within(&self, first: NodeId, end: NodeId) -> std::ops::Range<u32> {
        let at = |node| self.tensors.partition_point(|tensor| tensor.node < node) as u32;
        at(first)..at(end)
    }

    /// Returns the bytes of a range of tensors.
    #[must_use]
    pub fn bytes(&self, range: std::ops::Range<u32>) -> u64 {
        self.byte_sums[range.end as usize] - self.byte_sums[range.start as usize]
    }

    /// Returns the bytes of all tensors.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.byte_sums.last().copied().unwrap_or(0)
    }

    /// Returns the metadata value of the first shard that has this key.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.shards.iter().find_map(|s| s.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v))
    }

    /// Returns an index of all names, for looking up many.
    #[must_use]
    pub fn names_index(&self) -> NamesIndex {
        let mut names = NameWriter::new(&self.names);
        let entry = |(tensor, record): (usize, &TensorRecord)| (hash(names.name(record.node)), tensor as u32);
        // Equal names come first to last: the first one stays.
        NamesIndex(self.tensors.iter().enumerate().rev().map(entry).collect())
    }

    /// Returns the path of the checkpoint as given, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Tensors by a hash of their name, for looking up many names at once.
pub struct NamesIndex(FxHashMap<u64, u32>);

impl NamesIndex {
    /// Returns the first tensor with this name.
    #[must_use]
    pub fn find(&self, files: &Files, name: &str) -> Option<u32> {
        let &tensor = self.0.get(&hash(name))?;
        let found = if files.names.is_named(files.tensors[tensor as usize].node, name) {
            Some(tensor)
        } else {
            // Two names with one hash: the slow way is right.
            files.find(name)
        };
        found.map(|tensor| files.names.first_tensor(files.tensors[tensor as usize].node))
    }
}

fn hash(name: &str) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = rustc_hash::FxBuildHasher.build_hasher();
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// Shapes of all headers, each distinct one once.
struct ShapeTable {
    list: Vec<Box<[u64]>>,
    ids: FxHashMap<Box<[u64]>, u32>,
    /// Ids by those of each header, which interns its own; `NONE` where not yet translated.
    local: Vec<Vec<u32>>,
}

impl ShapeTable {
    fn new(headers: &[Header]) -> Self {
        let local = headers.iter().map(|header| vec![NONE; header.shapes().len()]).collect();
        Self { list: Vec::new(), ids: FxHashMap::default(), local }
    }

    fn id(&mut self, shard: u32, header: &Header, entry: &Entry) -> u32 {
        let known = &mut self.local[shard as usize][entry.shape_id() as usize];
        if *known == NONE {
            let shape = header.shape(entry);
            *known = self.ids.get(shape).copied().unwrap_or_else(|| {
                let id = self.list.len() as u32;
                self.list.push(shape.into());
                self.ids.insert(shape.into(), id);
                id
            });
        }
        *known
    }
}
