//! Containers: the files that tensors live in. Headers here, tensor data only on demand.
//!
//! A container reads one file's header into a `Header`: the tensors it names with dtype, shape and byte
//! range, its metadata, and every fault as a `Problem`. Reading is lenient: a damaged file gives what can
//! be read of it. Knows no quantization arithmetic and no other file: index files and folders are
//! `checkpoint`'s.
//!
//! Headers are read with positioned reads (`bytes.rs`), never through a memory map: a page fault drags
//! in the disk's whole read-ahead window, for each shard.

pub mod bytes;
pub mod gguf;
pub mod safetensors;
pub mod torch;

use std::collections::HashMap;

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::problem::{Problem, kind};
use crate::tensor::Dtype;
use bytes::SourceFile;

/// How many bytes of a file `sniff` sees.
pub const SNIFF_BYTES: usize = 512;

/// A kind of file that tensors live in: one row of `CONTAINERS`.
pub trait Container: Sync {
    /// Returns the word that `--json` uses: `safetensors`, `gguf`, `pytorch`.
    fn name(&self) -> &'static str;

    /// Returns true if a file that starts with `head` (at most `SNIFF_BYTES`) is of this kind.
    fn sniff(&self, head: &[u8]) -> bool;

    /// Returns the file name extensions by which a folder's files are taken for this kind.
    fn extensions(&self) -> &'static [&'static str];

    /// Reads the header of `file`. Faults, also an unreadable file, are in the header's problems.
    fn read_header(&self, file: &SourceFile) -> Header;
}

/// The kinds, in the order in which a file's head is tried. A safetensors file has no magic number: it
/// is last.
pub static CONTAINERS: &[&dyn Container] = &[&gguf::Gguf, &torch::Torch, &safetensors::Safetensors];

/// How the elements of a tensor lie in its file, where they are not simply one contiguous run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Elements between neighbors along each dimension.
    pub strides: Vec<u64>,
    /// First and end byte of the whole storage in the file; `range` of the entry is what the view spans.
    pub storage: (u64, u64),
    /// Name of the compressed zip entry that holds the storage; byte ranges then count in its
    /// uncompressed data.
    pub compressed_entry: Option<String>,
}

/// One tensor of a header.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    name_start: u32,
    name_len: u32,
    shape: u32,
    /// Element type as stored.
    pub dtype: Dtype,
    /// First byte in the file (absolute). Ranges may be out of the file or reversed: that is a problem,
    /// not a reason to hide the tensor.
    pub begin: u64,
    /// Byte after the last in the file (absolute).
    pub end: u64,
}

impl Entry {
    /// Returns the index of the shape among those of the header.
    #[must_use]
    pub fn shape_id(&self) -> u32 {
        self.shape
    }
}

/// What one file's header says.
#[derive(Debug, Default)]
pub struct Header {
    text: String,
    entries: Vec<Entry>,
    shapes: Vec<Box<[u64]>>,
    shape_ids: FxHashMap<Box<[u64]>, u32>,
    /// Tensors that are views of a storage, by their index in `entries` (pickles only).
    pub views: HashMap<u32, View, FxBuildHasher>,
    /// The file's own metadata, in file order: safetensors `__metadata__`, GGUF key-values. Long values
    /// (vocabularies) stand here as a summary.
    pub metadata: Vec<(String, Value)>,
    /// Every fault seen.
    pub problems: Vec<Problem>,
    /// Bytes that the header itself takes.
    pub header_bytes: u64,
    /// True if nothing of the file could be read as this container.
    pub unreadable: bool,
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, cut at a bound by the reader.
    Text(String),
    /// A whole number.
    Int(i64),
    /// An unsigned number beyond `i64`.
    Unsigned(u64),
    /// A floating number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// An array: its element type, its length, and its first elements.
    Array {
        /// Element type as the container names it.
        element: &'static str,
        /// How many elements the file holds.
        len: u64,
        /// The first few.
        first: Vec<Value>,
    },
}

impl Value {
    /// Returns the text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number, if it is a whole one that is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Int(i) => u64::try_from(i).ok(),
            Self::Unsigned(u) => Some(u),
            _ => None,
        }
    }
}

impl Header {
    /// Returns the header of a file of which nothing can be read, with the reason.
    #[must_use]
    pub fn unreadable(problem: Problem) -> Self {
        Self { problems: vec![problem], unreadable: true, ..Self::default() }
    }

    /// Adds a tensor. Names over 4 GiB in sum are refused (returns false), which no real header reaches.
    pub fn push(&mut self, name: &str, dtype: Dtype, shape: &[u64], begin: u64, end: u64) -> bool {
        let (Ok(name_start), Ok(name_len)) = (u32::try_from(self.text.len()), u32::try_from(name.len()))
        else {
            return false;
        };
        let shape = if let Some(&id) = self.shape_ids.get(shape) {
            id
        } else {
            let id = self.shapes.len() as u32;
            self.shapes.push(shape.into());
            self.shape_ids.insert(shape.into(), id);
            id
        };
        self.text.push_str(name);
        self.entries.push(Entry { name_start, name_len, shape, dtype, begin, end });
        true
    }

    /// Returns the tensors in file order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the name of an entry of this header.
    #[must_use]
    pub fn name(&self, entry: &Entry) -> &str {
        &self.text[entry.name_start as usize..(entry.name_start + entry.name_len) as usize]
    }

    /// Returns the shape of an entry of this header, as stored.
    #[must_use]
    pub fn shape(&self, entry: &Entry) -> &[u64] {
        &self.shapes[entry.shape as usize]
    }

    /// Returns the distinct shapes; entries refer to them by index.
    #[must_use]
    pub fn shapes(&self) -> &[Box<[u64]>] {
        &self.shapes
    }

    /// Returns a metadata value by its key.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

/// Returns what a file that no container takes really is, as a problem: empty, an LFS pointer, a web
/// page, or something else. `head` is its first bytes.
#[must_use]
pub fn explain_foreign(file: &SourceFile, head: &[u8]) -> Problem {
    let size = file.len();
    let name = file.name();
    let text = String::from_utf8_lossy(head);
    let start = text.trim_start().to_ascii_lowercase();
    let problem = if size == 0 {
        Problem::new(&kind::EMPTY_FILE, format!("{name}: 0 byte, the file is empty"))
    } else if head.starts_with(b"version https://git-lfs") {
        let field = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map_or_else(|| "?".into(), |v| v.trim().to_owned())
        };
        let oid: String = field("oid sha256:").chars().take(12).collect();
        let real = field("size ").parse::<u64>().map_or_else(|_| "unknown size".into(), crate::units::bytes);
        Problem::new(
            &kind::LFS_POINTER,
            format!(
                "{name}: {size} byte, a Git LFS pointer (sha256 {oid}…, {real}); the weights were never downloaded"
            ),
        )
    } else if start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<?xml") {
        Problem::new(
            &kind::HTML_PAGE,
            format!("{name}: {size} byte, a web page and not tensors; the download saved an error page"),
        )
    } else {
        Problem::new(
            &kind::NOT_A_CONTAINER,
            format!("{name}: {size} byte, no safetensors, GGUF or PyTorch file"),
        )
    };
    problem.file(name)
}
