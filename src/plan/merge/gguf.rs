//! Layers of a GGUF base: what of adapters cannot be put on them, because llama.cpp keeps them in another form.

use super::Landing;
use super::landing::Attached;
use crate::adapter::gguf_base::GgufBase;
use crate::checkpoint::Checkpoint;
use crate::quant::change::Change;
use crate::units;

/// What a GGUF's layers are in the model, and what becomes of them.
pub(super) struct GgufLayers<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) names: Option<GgufBase>,
    /// True if the result has transformers' names and values.
    pub(super) is_named: bool,
    /// True if a GGUF is written.
    pub(super) is_gguf: bool,
}

impl GgufLayers<'_> {
    /// Says why landings cannot be put on a layer.
    pub(super) fn refused(
        &self,
        layer: u32,
        attached: &[Attached<'_>],
        landings: &[&Landing],
    ) -> Option<String> {
        const INSTEAD: &str = "--to dense --names hf has it as transformers does";
        let change = self.names.as_ref().map_or(Change::None, |names| names.change(layer));
        let brought = landings.iter().find_map(|landing| match landing {
            Landing::Saved(at) => Some(*at),
            Landing::Edit(_) => None,
        });
        match (change, brought) {
            (Change::MinusOne, None) => {
                return Some(
                    "a GGUF of this model has one added to its values, which no delta is for".into(),
                );
            }
            (Change::MinusOne, Some(_)) if !self.is_named => {
                let why = "the adapter brings it whole, and a GGUF of this model has one added to its values";
                return Some(format!("{why}: {INSTEAD}"));
            }
            (Change::RopeRows { .. }, Some(_)) if !self.is_named => {
                let why = "the adapter brings it whole, and a GGUF has its rows in llama.cpp's order";
                return Some(format!("{why}: {INSTEAD}"));
            }
            _ => {}
        }
        let at = brought.filter(|_| self.is_gguf)?;
        let files = &attached.get(at.input.checked_sub(1)?)?.checkpoint.files;
        let brought = files.shape(&files.tensors[at.tensor as usize]);
        let shape = &self.checkpoint.layers.spec(layer).shape;
        (brought.len() == 2 && brought != shape.as_slice()).then(|| {
            format!(
                "the adapter brings {}, the base has {}: the vocabulary in the metadata of a GGUF does not grow with it",
                units::shape(brought),
                units::shape(shape)
            )
        })
    }
}
