//! Plan: what becomes of each layer and file, as data. Nothing is opened for writing here.
//!
//! A plan is made from an opened, examined checkpoint and an order (what the user asked). It names every
//! tensor and file of the result with its size, so that the engine writes headers first and refuses early.
//! What cannot be done is refused here, with all layers that stand in the way.

mod config;
pub mod folder;
mod gguf;
mod groups;
mod planner;
mod select;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::groups::Group;
use self::planner::{Planner, list};
use self::select::Selection;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::quant::change::Change;
use crate::tensor::Dtype;
use crate::units;

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

/// What becomes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Its tensors go over as they are.
    Copy,
    /// Its tensors are rounded to another dtype.
    Cast,
    /// It is decoded to plain values.
    Dequantize,
}

/// One layer of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The layer's name.
    pub layer: String,
    /// What becomes of it.
    pub action: Action,
    /// Its format.
    pub from: String,
    /// What it becomes: `dense`, or its own format.
    pub to: String,
    /// Bytes of its tensors.
    pub bytes_in: u64,
    /// Bytes of what is written of it.
    pub bytes_out: u64,
}

/// Where the bytes of a tensor come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A tensor as stored.
    Copy(u32),
    /// A tensor, rounded to another dtype.
    Cast(u32),
    /// The values of a layer, from `native` rounded to the tensor's dtype.
    Decode {
        /// The layer.
        layer: u32,
        /// The dtype of the format's own result.
        native: Dtype,
        /// What becomes of its values.
        change: Change,
    },
    /// The values of a plain tensor, changed, in f32, and rounded once to the tensor's dtype.
    Changed {
        /// The tensor.
        tensor: u32,
        /// What becomes of its values.
        change: Change,
    },
}

/// A tensor that is written.
#[derive(Clone, Debug)]
pub struct OutTensor {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its bytes.
    pub bytes: u64,
    /// Where they come from.
    pub source: Source,
}

/// A file of tensors that is written.
#[derive(Clone, Debug)]
pub struct OutShard {
    /// Its name in the folder.
    pub file: String,
    /// Its tensors, in the order of their data.
    pub tensors: Vec<OutTensor>,
}

/// A plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What was asked.
    pub order: Order,
    /// One step a layer, in natural order.
    pub steps: Vec<Step>,
    /// The files of tensors.
    pub shards: Vec<OutShard>,
    /// The files that are written whole: configs, the index.
    pub texts: Vec<folder::Text>,
    /// The files that go over as they are.
    pub copies: Vec<folder::Copied>,
    /// What the user should know before it starts.
    pub warnings: Vec<String>,
    /// Layers that are broken and copied as they are.
    pub broken: Vec<String>,
}

impl Plan {
    /// Plans to decode a checkpoint to plain tensors.
    ///
    /// # Errors
    /// A layer is broken, or its format cannot be decoded: all are named.
    pub fn dense(checkpoint: &Checkpoint, order: Order) -> Result<Self> {
        config::check_basis(checkpoint)?;
        let selection = Selection::new(&order.only, &order.skip)?;
        let naming = match order.names {
            Names::Own => None,
            Names::Hf => Some(gguf::Naming::of(checkpoint)?),
        };
        let mut planner = Planner::new(checkpoint, &order);
        planner.check_data()?;
        let chosen = planner.choose(&selection)?;
        let (mut steps, mut tensors) = planner.layers(&chosen)?;
        let quantized_left = steps.iter().filter(|s| s.action == Action::Copy && s.from != "dense").count();
        let mut warnings = std::mem::take(&mut planner.warnings);
        let broken = std::mem::take(&mut planner.broken);
        // What is wrong and does not stand in the way: scales that are not finite, configs that contradict the
        // tensors, shards that are missing.
        warnings.extend(planner.problems(|problem| problem.kind.code.starts_with(['K', 'S', 'Q', 'V', 'C'])));
        if quantized_left > 0 {
            warnings.push(format!(
                "{} {} quantized; the config keeps its quantization block, with the others left out of it",
                units::plural(quantized_left, "layer"),
                if quantized_left == 1 { "stays" } else { "stay" }
            ));
        }
        let mut made = Vec::new();
        if let Some(naming) = naming {
            tensors = naming.apply(tensors, &mut steps, &mut warnings)?;
            made = naming.texts(&mut warnings)?;
        }
        config::hazards(checkpoint, &steps, &mut warnings);
        let shards = folder::shards(tensors, order.shard_bytes);
        let folder =
            folder::Folder::plan(checkpoint, &steps, &shards, (quantized_left > 0, made), &mut warnings)?;
        Ok(Self { order, steps, shards, texts: folder.texts, copies: folder.copies, warnings, broken })
    }

    /// Returns the bytes that are read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        let copies: u64 = self.copies.iter().map(|copied| copied.bytes).sum();
        self.steps.iter().map(|step| step.bytes_in).sum::<u64>() + copies
    }

    /// Returns the bytes that are written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        let tensors = self.shards.iter().flat_map(|shard| &shard.tensors).map(|tensor| tensor.bytes);
        let texts = self.texts.iter().map(|text| text.content.len() as u64);
        let copies = self.copies.iter().map(|copied| copied.bytes);
        tensors.chain(texts).chain(copies).sum()
    }

    /// Returns how many layers have this action.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }
}
