//! Plan: what becomes of each layer and file, as data. Nothing is opened for writing here.
//!
//! A plan is made from an opened, examined checkpoint and an order (what the user asked). It names every
//! tensor and file of the result with its size, so that the engine writes headers first and refuses early.
//! What cannot be done is refused here, with all layers that stand in the way.

mod config;
pub(crate) mod conv1d;
pub mod edit;
pub mod fixed;
pub mod folder;
pub mod gguf;
mod groups;
pub mod merge;
mod order;
pub mod packing;
mod planner;
pub mod repaired;
pub(crate) mod select;
mod settled;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

pub use self::groups::Group;
pub use self::merge::landing::Attached;
use self::merge::landing::Landings;
pub use self::order::{Coverage, Merging, Names, Order, SHARD_BYTES, To};
pub use self::packing::{How, Pack, Values};
use self::planner::{Planner, list};
use self::select::{Selection, warn_of_idle};
use crate::adapter::delta::EditSpec;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::quant::change::Change;
use crate::quant::target::Target;
use crate::tensor::Dtype;
use crate::units;

/// The model card: of what is packed it says how.
pub const CARD: &str = "README.md";

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
    /// Its values are packed, after it was decoded if it was packed otherwise.
    Quantize,
    /// Adapters are merged into it, after it was decoded if it is packed.
    Merge,
    /// Its tensors go over under other names.
    Rename,
    /// It is left out.
    Drop,
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
    /// Why it stays plain, where layers are packed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Step {
    /// Returns true if the layer is packed and becomes plain.
    #[must_use]
    pub fn is_decoded(&self) -> bool {
        self.from != "dense" && self.to == "dense"
    }
}

/// A tensor of one of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// 0 for the checkpoint, then the adapters in their order.
    pub input: usize,
    /// The tensor.
    pub tensor: u32,
}

impl At {
    /// Returns a tensor of the checkpoint itself.
    #[must_use]
    pub fn base(tensor: u32) -> Self {
        Self { input: 0, tensor }
    }

    /// Returns a tensor of an adapter, by the adapter's number.
    #[must_use]
    pub fn of_adapter((adapter, tensor): (usize, u32)) -> Self {
        Self { input: adapter + 1, tensor }
    }
}

/// Where the bytes of a tensor come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A tensor as stored.
    Copy(At),
    /// A tensor, rounded to another dtype.
    Cast(At),
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
    /// A weight with adapters merged into it: number of the plan's merge.
    Merged(u32),
    /// A tensor of a layer that is packed.
    Encoded {
        /// Number of the plan's pack.
        pack: u32,
        /// Which tensor of the layer's encoding.
        part: u32,
    },
}

/// A weight and what adapters do to it.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The weight.
    pub base: Base,
    /// What becomes of its values before anything is added.
    pub change: Change,
    /// The dtype of the weight's values before anything is added.
    pub native: Dtype,
    /// The dtype of the result, to which each edit's is rounded.
    pub dtype: Dtype,
    /// True if the result is packed again: from the values before their last rounding.
    pub is_packed: bool,
    /// What is done to it, in this order.
    pub edits: Vec<EditSpec>,
    /// True for the weight of a convolution `[out, in, …]`, which is edited as `[out, in · …]`.
    pub is_flat: bool,
}

/// A weight of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A packed layer, decoded.
    Layer(u32),
    /// A plain tensor, of the checkpoint or one that an adapter brings in its place.
    Tensor(At),
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
    /// Its metadata; `None`: `{"format":"pt"}`.
    pub metadata: Option<Vec<(String, String)>>,
    /// Where the data of all its tensors lie as they are written, if they do.
    pub run: Option<DataRun>,
    /// The header, if it is a GGUF; its tensors are aligned as that says.
    pub gguf: Option<Arc<gguf::written::Gguf>>,
}

/// Data of neighboring tensors of the checkpoint: bytes of one of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRun {
    /// The file.
    pub shard: u16,
    /// The first byte.
    pub begin: u64,
    /// How many.
    pub bytes: u64,
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
    /// The weights into which adapters are merged.
    pub merges: Vec<Merge>,
    /// The layers that are packed.
    pub packs: Vec<Pack>,
    /// What they are packed as, if it is not what they are.
    pub target: Option<Arc<dyn Target>>,
    /// Tensors of adapters that more than one weight needs, in order.
    pub shared: Vec<At>,
    /// Bytes of their values in f32.
    pub shared_bytes: u64,
    /// How many modules of the adapters are merged; `None` if there are no adapters.
    pub coverage: Option<Coverage>,
    /// The files that are written whole: configs, the index.
    pub texts: Vec<folder::Text>,
    /// The files beside the tensors that go over as they are.
    pub copies: Vec<folder::Copied>,
    /// The files of tensors that go over as they are.
    pub whole: Vec<folder::Copied>,
    /// What the user should know before it starts.
    pub warnings: Vec<String>,
    /// Layers that are broken and copied as they are.
    pub broken: Vec<String>,
}

impl Plan {
    /// Plans to make of a checkpoint what is asked: plain tensors, or layers of another format.
    ///
    /// # Errors
    /// A layer is broken, or its format cannot be decoded, or nothing would be packed: all are named.
    pub fn convert(checkpoint: &Checkpoint, order: Order) -> Result<Self> {
        Self::make(checkpoint, order, &[])
    }

    /// Plans to merge adapters into a checkpoint.
    ///
    /// # Errors
    /// As `convert`; or a module does not fit and that is not allowed, or none does: all are named.
    pub fn merge(checkpoint: &Checkpoint, order: Order, attached: &[Attached<'_>]) -> Result<Self> {
        Self::make(checkpoint, order, attached)
    }

    fn make(checkpoint: &Checkpoint, mut order: Order, attached: &[Attached<'_>]) -> Result<Self> {
        config::check_basis(checkpoint)?;
        order.check()?;
        let target = order.target(checkpoint)?;
        let target = match (target.as_ref().and_then(|target| target.gguf()), target) {
            (Some(mixture), Some(target)) => {
                return gguf::written::plan(checkpoint, order, Some((target, mixture)), attached);
            }
            (_, target) => target,
        };
        if order.to == To::Same && checkpoint.files.container.name() == "gguf" {
            return gguf::written::plan(checkpoint, order, None, attached);
        }
        let selection = Selection::new(&order.only, &order.skip)?;
        let naming = match order.names {
            Names::Own => None,
            Names::Hf => Some(gguf::Naming::of(checkpoint)?),
        };
        let landings =
            order.merging.as_ref().map(|merging| landings(checkpoint, merging, attached)).transpose()?;
        let mut planner = Planner::new(checkpoint, &order);
        planner.check_data()?;
        let mut chosen = planner.choose(&selection)?;
        if let Some(target) = &target {
            packing::leave_made((checkpoint, &order), &**target, landings.as_ref(), &mut chosen)?;
        }
        if order.to == To::Same {
            chosen.fill(false);
        }
        let (mut steps, mut tensors) = planner.layers(&chosen)?;
        let quantized_left = steps.iter().filter(|s| s.action == Action::Copy && s.from != "dense").count();
        let mut warnings = std::mem::take(&mut planner.warnings);
        let broken = std::mem::take(&mut planner.broken);
        // What is wrong and does not stand in the way: scales that are not finite, configs that contradict the
        // tensors, shards that are missing.
        warnings.extend(planner.problems(|problem| problem.kind.code.starts_with(['K', 'S', 'Q', 'V', 'C'])));
        let (mut merges, mut merged_packs, mut vocabulary) = (Vec::new(), Vec::new(), None);
        if let Some(landings) = &landings {
            warnings.extend(landings.warnings.iter().cloned());
            let planned = merge::Planned {
                steps: &mut steps,
                tensors: &mut tensors,
                packs: Vec::new(),
                is_gguf: false,
            };
            let merged = merge::apply((checkpoint, &order), attached, &landings.list, planned)?;
            (merges, merged_packs, vocabulary) = (merged.merges, merged.packs, merged.vocabulary);
        }
        if quantized_left > 0 && order.to == To::Dense {
            warnings.push(format!(
                "{} {} quantized; the config keeps its quantization block, with the others left out of it",
                units::plural(quantized_left, "layer"),
                if quantized_left == 1 { "stays" } else { "stay" }
            ));
        }
        let mut made = Vec::new();
        if let Some(naming) = naming {
            tensors = naming.apply(tensors, &mut merges, &mut steps, &mut warnings)?;
            made = naming.texts(&mut warnings)?;
        }
        config::hazards(checkpoint, &steps, &mut warnings);
        let mut packs = merged_packs;
        let mut named = None;
        if let Some(target) = &target {
            for flag in [("--keep", order.keep.as_slice()), ("--also", &order.also)] {
                let names = tensors.iter().map(|tensor| packing::layer_of(&tensor.name).to_owned());
                warn_of_idle(flag, names, &mut warnings)?;
            }
            let packing = packing::apply((checkpoint, &order), &**target, &merges, &mut steps, tensors)?;
            (tensors, packs) = (packing.tensors, packing.packs);
            named = Some(packing.named);
        }
        folder::check_names(checkpoint, &tensors)?;
        let mut shards = folder::shards(tensors, order.shard_bytes);
        settled::at_most_last(&mut shards, &packs);
        let stays_quantized = steps.iter().any(|step| step.to != "dense");
        let becomes =
            folder::Becomes { stays_quantized, made, target: target.as_deref().zip(named.as_ref()) };
        let folder = folder::Folder::plan(checkpoint, &steps, &shards, becomes, &mut warnings)?;
        let (mut texts, mut copies) = (folder.texts, folder.copies);
        if let Some(rows) = vocabulary {
            config::resize_vocabulary(&mut texts, rows, &mut warnings);
            folder::take_tokenizer(attached, &texts, &mut copies, &mut warnings);
        }
        let coverage = landings.map(|landings| landings.coverage);
        let (shared, shared_bytes) = merge::shared(&merges, attached);
        Ok(Self {
            order,
            steps,
            shards,
            merges,
            packs,
            target: target.map(Arc::from),
            shared,
            shared_bytes,
            coverage,
            texts,
            copies,
            whole: Vec::new(),
            warnings,
            broken,
        })
    }

    /// Returns the bytes that are read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        let copies = self.copies.iter().map(|copied| copied.bytes);
        self.steps.iter().map(|step| step.bytes_in).chain(copies).fold(0, u64::saturating_add)
    }

    /// Returns the bytes that are written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        let tensors = self.shards.iter().map(OutShard::bytes);
        let texts = self.texts.iter().map(|text| text.content.len() as u64);
        let copies = self.whole.iter().chain(&self.copies).map(|copied| copied.bytes);
        tensors.chain(texts).chain(copies).fold(0, u64::saturating_add)
    }

    /// Returns true if the result gets a model card that says how it was packed.
    #[must_use]
    pub fn makes_card(&self) -> bool {
        !self.packs.is_empty() && self.single_file().is_none()
    }

    /// Returns the names of the files that are written anew beside those of tensors.
    #[must_use]
    pub fn written(&self) -> Vec<&str> {
        let card = self.makes_card().then_some(CARD);
        self.texts.iter().map(|text| text.file.as_str()).chain(card).collect()
    }

    /// Returns the files beside those of tensors that go over as they are.
    pub fn copied(&self) -> impl Iterator<Item = &folder::Copied> {
        self.copies.iter().filter(|copied| !(self.makes_card() && copied.file == CARD))
    }

    /// Returns the steps of layers that are packed, anew or again.
    #[must_use]
    pub fn packed(&self) -> Vec<&Step> {
        let layers: BTreeSet<u32> = self.packs.iter().map(|pack| pack.layer).collect();
        layers.into_iter().filter_map(|layer| self.steps.get(layer as usize)).collect()
    }

    /// Returns how many layers have this action.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }
}

/// Returns where the modules of adapters go, if enough of them do.
fn landings(base: &Checkpoint, merging: &Merging, attached: &[Attached<'_>]) -> Result<Landings> {
    let mut landings = Landings::default();
    let unsupported = |why: String| Error::new(ErrorKind::Unsupported, why);
    let named = || attached.iter().zip(&merging.adapters);
    for (adapter, (name, _)) in named() {
        let told = merge::refused::check(adapter, merging.base_is_residual);
        landings.warnings.extend(told.map_err(|why| unsupported(format!("{}: {why}", escape(name))))?);
    }
    landings.warnings.extend(merge::combine::check(merging, attached).map_err(unsupported)?);
    for (number, (adapter, (name, _))) in named().enumerate() {
        let before = landings.coverage.merged;
        landings.add(base, number, adapter, merging.recipe);
        let Coverage { merged, total, left } = &landings.coverage;
        if *merged == before {
            let why = if left.is_empty() { "it has no modules".to_owned() } else { list(left) };
            return Err(Error::input(format!("{}: nothing of it would be merged: {why}", escape(name))));
        }
        if merged < total && !merging.allow_partial {
            return Err(Error::input(format!(
                "{merged} of {total} modules can be merged; --allow-partial leaves the others out, align --repair \
                 mends what can be mended: {}",
                list(left)
            )));
        }
    }
    Ok(landings)
}
