//! Checkpoints that tests make: one shard, whose header is all there is.

use std::path::PathBuf;
use std::sync::Arc;

use super::config::{ConfigFile, Configs};
use super::files::{Files, Place, Shard};
use super::layers::Layers;
use super::{Checkpoint, CheckpointKind};
use crate::container::Header;
use crate::container::safetensors::Safetensors;
use crate::tensor::{Dtype, elements};

/// A header that grows tensor by tensor.
#[derive(Default)]
pub struct Made(Header);

impl Made {
    /// Adds a tensor behind the ones before.
    #[must_use]
    pub fn add(mut self, name: &str, dtype: Dtype, shape: &[u64]) -> Self {
        self.push(name, dtype, shape);
        self
    }

    /// Adds a tensor behind the ones before.
    pub fn push(&mut self, name: &str, dtype: Dtype, shape: &[u64]) {
        let begin = self.0.entries().last().map_or(0, |entry| entry.end);
        let bytes = elements(shape).and_then(|n| dtype.bytes_of(n)).unwrap_or(0);
        self.0.push(name, dtype, shape, begin, begin + bytes);
    }

    /// Returns the model that these tensors are, as it opens: not examined.
    #[must_use]
    pub fn checkpoint(self) -> Checkpoint {
        self.with(Configs::default())
    }

    /// Returns the same with a `config.json` beside it.
    #[must_use]
    pub fn checkpoint_with(self, config: serde_json::Value) -> Checkpoint {
        let file = ConfigFile { name: "config.json".into(), value: Some(config) };
        self.with(Configs { files: vec![file], ..Configs::default() })
    }

    fn with(self, configs: Configs) -> Checkpoint {
        let shard = Shard {
            name: "model-00001-of-00001.safetensors".into(),
            path: PathBuf::new(),
            bytes: self.0.entries().last().map_or(0, |entry| entry.end),
            tensors: 0,
            metadata: Vec::new(),
            unreadable: false,
        };
        let place = Place {
            path: PathBuf::new(),
            folder: PathBuf::new(),
            title: "made".into(),
            container: &Safetensors,
            index: None,
            others: Vec::new(),
        };
        let files = Arc::new(Files::assemble(place, vec![shard], vec![self.0], configs));
        let (layers, problems) = Layers::find(&files);
        Checkpoint {
            files,
            layers,
            problems,
            kind: CheckpointKind::Model,
            examined: false,
            index_unchecked: false,
        }
    }
}
