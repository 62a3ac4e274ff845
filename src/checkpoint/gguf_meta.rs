//! What the key-values of a GGUF file say of its architecture: `llama.block_count` and its like.
//!
//! A key of a model whose layers differ is an array, one number a layer. Where all are one number, that is
//! the answer; else it is refused, because the configs here have one.
//! Source: ggml's docs/gguf.md and gguf-py's `constants.py`.

use super::files::Files;
use crate::container::Value;
use crate::container::bytes::SourceFile;
use crate::container::gguf::{Whole, read_whole};
use crate::name::escape;

/// The key-values of one architecture.
pub(crate) struct Meta<'a> {
    files: &'a Files,
    arch: &'static str,
}

impl<'a> Meta<'a> {
    pub(crate) fn new(files: &'a Files, arch: &'static str) -> Self {
        Self { files, arch }
    }

    /// Returns a value by its full key.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.files.metadata(key)
    }

    /// Returns a text by its full key.
    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    /// Returns a whole number of the architecture, also where it stands once for each layer.
    pub(crate) fn int(&self, key: &str) -> Result<Option<u64>, String> {
        let key = self.key(key);
        match self.get(&key) {
            None => Ok(None),
            Some(Value::Array { .. }) => self.same_int(&key).map(Some),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| format!("{key} is no count")),
        }
    }

    /// Returns a whole number that every model has.
    pub(crate) fn need_int(&self, key: &str) -> Result<u64, String> {
        let found = self.int(key)?.filter(|&n| n > 0);
        found.ok_or_else(|| format!("the file does not say its {}", self.key(key)))
    }

    fn same_int(&self, key: &str) -> Result<u64, String> {
        let whole = self.whole(&[key])?;
        let Some((_, Whole::Ints(list))) = whole.into_iter().next() else {
            return Err(format!("{key} is no count"));
        };
        let first = list.first().copied().and_then(|n| u64::try_from(n).ok());
        match first {
            Some(first) if list.iter().all(|&n| n == list[0]) => Ok(first),
            _ => Err(format!("{key} differs from layer to layer, which no config of this class can say")),
        }
    }

    /// Returns a number of the architecture.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        match *self.get(&self.key(key))? {
            Value::Float(number) => Some(number),
            Value::Int(number) => Some(number as f64),
            _ => None,
        }
    }

    /// Returns a text of the architecture.
    pub(crate) fn word(&self, key: &str) -> Option<&'a str> {
        self.text(&self.key(key))
    }

    /// Reads whole values by their full keys, from the first file that has key-values: of a model in parts
    /// that is the first part.
    pub(crate) fn whole(&self, keys: &[&str]) -> Result<Vec<(String, Whole)>, String> {
        let shard = self
            .files
            .shards
            .iter()
            .find(|shard| shard.metadata.iter().any(|(k, _)| keys.contains(&k.as_str())));
        let Some(shard) = shard else { return Ok(Vec::new()) };
        let file = SourceFile::open(&shard.path, shard.name.clone()).map_err(|e| e.message)?;
        read_whole(&file, keys).map_err(|why| format!("{}: {why}", escape(&shard.name)))
    }
}
