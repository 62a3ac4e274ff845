//! An order: what the user asked, before anything is known of the files.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::adapter::delta::{Combine, Recipe};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::quant::target::{Aim, Target};
use crate::tensor::Dtype;

/// Bytes of tensors that a file holds if nothing else is asked for: what `save_pretrained` writes.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// What the user asked.
#[derive(Clone, Debug)]
pub struct Order {
    /// The checkpoint, as given.
    pub input: String,
    /// The folder that is made.
    pub output: PathBuf,
    /// Dtype of floating tensors; `None`: that of each format's own result, others as stored.
    pub dtype: Option<Dtype>,
    /// Layers that are converted; none means all. Names with `*` and `?`.
    pub only: Vec<String>,
    /// Layers that are left as they are.
    pub skip: Vec<String>,
    /// Copy the tensors of broken layers instead of refusing.
    pub skip_broken: bool,
    /// Bytes of tensors a file holds at most; a larger tensor has a file of its own.
    pub shard_bytes: u64,
    /// Whose names the tensors get.
    pub names: Names,
    /// The adapters that are merged, if any.
    pub merging: Option<Merging>,
    /// What layers become.
    pub to: To,
    /// Layers that stay plain beside those that always do, where layers are packed. Names with `*` and `?`.
    pub keep: Vec<String>,
    /// Layers that are packed although loaders of the format leave them plain.
    pub also: Vec<String>,
    /// The codes whose fixes are carried out, if that is what is asked.
    pub fixes: Vec<String>,
}

impl Order {
    /// Returns the order to decode all of `input`, with nothing else asked for.
    #[must_use]
    pub fn new(input: &str, output: &Path) -> Self {
        Self {
            input: input.to_owned(),
            output: output.to_path_buf(),
            dtype: None,
            only: Vec::new(),
            skip: Vec::new(),
            skip_broken: false,
            shard_bytes: SHARD_BYTES,
            names: Names::Own,
            merging: None,
            to: To::Dense,
            keep: Vec::new(),
            also: Vec::new(),
            fixes: Vec::new(),
        }
    }

    /// Returns what layers are packed as, with the dtype that plain tensors must have beside it.
    pub(super) fn target(&mut self, checkpoint: &Checkpoint) -> Result<Option<Box<dyn Target>>> {
        let To::Packed(aim) = &self.to else { return Ok(None) };
        let is_gguf = checkpoint.files.container.name() == "gguf";
        let target = aim.target(is_gguf).map_err(Error::input)?;
        if let Some(dtype) = target.plain_dtype() {
            if self.dtype.is_some_and(|asked| asked != dtype) {
                let message = format!(
                    "{}: its loaders take {dtype} beside it, --dtype asks for another",
                    target.label()
                );
                return Err(Error::input(message));
            }
            self.dtype = Some(dtype);
        }
        Ok(Some(target))
    }

    /// Refuses what contradicts what layers become.
    pub(super) fn check(&self) -> Result<()> {
        let recipe = self.merging.as_ref().map(|merging| merging.recipe);
        let is_packed = matches!(self.to, To::Packed(_));
        let why = if !(is_packed || self.keep.is_empty() && self.also.is_empty()) {
            return Err(Error::input(
                "--keep and --also choose the layers that are packed, and --to does not pack any anew",
            ));
        } else if self.to != To::Same {
            return Ok(());
        } else if self.dtype.is_some() {
            "--dtype: packed layers keep the dtype that they were made of"
        } else if !self.only.is_empty() || !self.skip.is_empty() {
            "--only and --skip choose the layers that are decoded, and here none is"
        } else if self.names != Names::Own {
            "--names hf: tensors of another format's names are plain"
        } else if recipe.is_some_and(|recipe| recipe != Recipe::Peft) {
            "--rounding: what is packed again is rounded to codes alone"
        } else {
            return Ok(());
        };
        Err(Error::input(format!("--to same does not go with {why}")))
    }
}

/// What layers become.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum To {
    /// Plain values.
    #[default]
    Dense,
    /// What they are: those that are merged into are packed again, in their format and with their block sizes.
    Same,
    /// Layers of a format, packed anew.
    Packed(Aim),
}

/// Adapters that are merged, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merging {
    /// The adapters as given, in their order, and what their deltas are multiplied by.
    pub adapters: Vec<(String, f64)>,
    /// Where values are rounded.
    pub recipe: Recipe,
    /// How several become what is merged.
    pub combine: Combine,
    /// Merge what fits and leave the other modules out, instead of refusing.
    pub allow_partial: bool,
    /// The base is what PEFT left of it when training began, for adapters that changed it.
    pub base_is_residual: bool,
}

/// Modules of adapters, and how many of them a plan merges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Modules that are merged.
    pub merged: usize,
    /// Modules in all.
    pub total: usize,
    /// Those that are not, and why.
    pub left: Vec<String>,
}

/// Whose names tensors get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// Their own.
    #[default]
    Own,
    /// Hugging Face's, for GGUF files: with the values that belong to them, and config and tokenizer.
    Hf,
}
