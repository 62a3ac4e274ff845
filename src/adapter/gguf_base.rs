//! GGUF bases: the layers of a GGUF file by the names that transformers gives them, which are those that adapters of PEFT
//! are trained with; and in which order their rows lie.

use rustc_hash::FxHashMap;

use super::delta::RowOrder;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf_names::{Fate, GgufNames};
use crate::quant::change::Change;

/// The layers of a GGUF file by transformers' names.
pub struct GgufBase {
    names: GgufNames,
    /// Layers by their names.
    layers: FxHashMap<String, u32>,
    /// Name of each layer that has one, and what its values become in the model.
    fates: FxHashMap<u32, (String, Change)>,
}

impl GgufBase {
    /// Returns the names of a GGUF file's layers; `None` for another checkpoint.
    ///
    /// # Errors
    /// Its architecture is not known, or its metadata lack what is needed; in words.
    #[must_use]
    pub fn of(base: &Checkpoint) -> Option<Result<Self, String>> {
        (base.files.container.name() == "gguf").then(|| {
            let names = GgufNames::of(&base.files).map_err(|(_, why)| why)?;
            let (mut layers, mut fates) = (FxHashMap::default(), FxHashMap::default());
            for layer in 0..base.layers.len() as u32 {
                let own = base.layers.name(&base.files.names, layer);
                if let Some(Fate::Named(name, change)) = names.fate(&format!("{own}.weight")) {
                    let name = name.strip_suffix(".weight").unwrap_or(&name).to_owned();
                    layers.entry(name.clone()).or_insert(layer);
                    fates.insert(layer, (name, change));
                }
            }
            Ok(Self { names, layers, fates })
        })
    }

    /// Returns the names of a GGUF file's layers, if they are known.
    #[must_use]
    pub fn known(base: &Checkpoint) -> Option<Self> {
        Self::of(base)?.ok()
    }

    /// Returns the layer of a name.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<u32> {
        self.layers.get(name).copied()
    }

    /// Returns the name of a layer, if the model has it.
    #[must_use]
    pub fn name(&self, layer: u32) -> Option<&str> {
        self.fates.get(&layer).map(|(name, _)| name.as_str())
    }

    /// Returns what the values of a layer become in the model.
    #[must_use]
    pub fn change(&self, layer: u32) -> Change {
        self.fates.get(&layer).map_or(Change::None, |(_, change)| *change)
    }

    /// Returns in which order the rows of a layer lie, where it is not transformers'.
    #[must_use]
    pub fn order(&self, layer: u32) -> Option<RowOrder> {
        match self.change(layer) {
            Change::RopeRows { heads } => Some(RowOrder::Interleaved { heads }),
            _ => None,
        }
    }

    /// Returns the heads of queries, and those of keys and values.
    #[must_use]
    pub fn heads(&self) -> [u64; 2] {
        [self.names.heads, self.names.kv_heads]
    }
}
