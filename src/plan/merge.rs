//! Merging: which of the tensors that are written adapters change or replace.

pub(super) mod combine;
mod gguf;
pub mod landing;
mod method;
mod packed;
pub mod refused;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use self::gguf::GgufLayers;
use self::landing::Attached;
use super::planner::list;
use super::{Action, At, Base, Merge, Names, Order, OutTensor, Pack, Source, Step, Values};
use crate::adapter::align::EMBEDDINGS;
use crate::adapter::delta::{Combine, EditSpec, Method};
use crate::adapter::dims::{self, Shapes};
use crate::adapter::gguf_base::GgufBase;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::quant::HeadersOnly;
use crate::quant::change::Change;
use crate::tensor::{Dtype, elements, values};
use crate::units;

/// A tensor of a layer of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The layer.
    pub layer: u32,
    /// True for its bias.
    pub is_bias: bool,
}

/// What an adapter does to a tensor of the base.
#[derive(Clone, Debug)]
pub enum Landing {
    /// It changes the values.
    Edit(Box<EditSpec>),
    /// It brings the whole tensor.
    Saved(At),
}

impl Landing {
    /// Returns true if factors are drawn by a generator, not read.
    fn is_drawn(&self) -> bool {
        matches!(self, Self::Edit(edit) if matches!(edit.method, Method::VeraDrawn(_)))
    }
}

/// What merging makes of the tensors.
pub(super) struct Merged {
    /// The merges, which the tensors name.
    pub(super) merges: Vec<Merge>,
    /// Those of them that are packed again.
    pub(super) packs: Vec<Pack>,
    /// Rows of the embeddings, if adapters bring other ones with more or fewer.
    pub(super) vocabulary: Option<u64>,
}

/// What is planned so far, into which adapters are put.
pub(super) struct Planned<'p> {
    /// One step a layer.
    pub(super) steps: &'p mut [Step],
    /// The tensors that are written.
    pub(super) tensors: &'p mut [OutTensor],
    /// The layers that are packed.
    pub(super) packs: Vec<Pack>,
    /// True if a GGUF is written: what is quantized and not packed anew stays what it is.
    pub(super) is_gguf: bool,
}

/// Puts what adapters do into the tensors that are written.
///
/// # Errors
/// A target is no tensor of floats, is not written, or a saved tensor has a shape that the base has not; all named.
/// Or embeddings and head would differ in their rows.
pub(super) fn apply(
    (checkpoint, order): (&Checkpoint, &Order),
    attached: &[Attached<'_>],
    landings: &[(Target, Landing)],
    planned: Planned<'_>,
) -> Result<Merged> {
    let combine = order.merging.as_ref().map_or(Combine::Sequential, |merging| merging.combine);
    // Of one adapter alone PEFT takes the linear combination, whatever is asked.
    let is_single = attached.len() == 1 && combine != Combine::Sequential;
    let combine = if is_single { Combine::Linear } else { combine };
    let of_gguf = GgufLayers {
        checkpoint,
        names: GgufBase::known(checkpoint),
        is_named: order.names == Names::Hf,
        is_gguf: planned.is_gguf,
    };
    let mut by_target: BTreeMap<Target, Vec<&Landing>> = BTreeMap::new();
    for (target, landing) in landings {
        by_target.entry(*target).or_default().push(landing);
    }
    let written = Written::of(planned.tensors, &planned.packs);
    let (merges, resized) = (Vec::new(), Vec::new());
    let mut applying =
        Applying { checkpoint, order, attached, combine, of_gguf, written, planned, merges, resized };
    let mut refused = Vec::new();
    for (target, landings) in by_target {
        if let Err(why) = applying.one(target, &landings) {
            let layer = &applying.planned.steps[target.layer as usize].layer;
            refused.push(format!("{}: {why}", escape(layer)));
        }
    }
    let Applying { planned, merges, resized, .. } = applying;
    if refused.is_empty() {
        let vocabulary = vocabulary(checkpoint, &resized, planned.tensors)?;
        return Ok(Merged { merges, packs: planned.packs, vocabulary });
    }
    let message = format!("{} cannot be merged: {}", units::plural(refused.len(), "module"), list(&refused));
    Err(Error { file: Some(checkpoint.files.path.clone()), ..Error::input(message) })
}

/// Which of the tensors that are written holds what.
struct Written {
    /// By the layers that are decoded for them.
    of_layer: FxHashMap<u32, usize>,
    /// By the tensors that they are of.
    of_tensor: FxHashMap<u32, usize>,
}

impl Written {
    fn of(tensors: &[OutTensor], packs: &[Pack]) -> Self {
        let (mut of_layer, mut of_tensor) = (FxHashMap::default(), FxHashMap::default());
        for (index, tensor) in tensors.iter().enumerate() {
            match tensor.source {
                Source::Decode { layer, .. } => of_layer.insert(layer, index),
                Source::Copy(at) | Source::Cast(at) => of_tensor.insert(at.tensor, index),
                Source::Changed { tensor, .. } => of_tensor.insert(tensor, index),
                Source::Encoded { pack, .. } => match packs.get(pack as usize).map(|pack| pack.values) {
                    Some(Values::Layer(layer, _)) => of_layer.insert(layer, index),
                    Some(Values::Tensor(at, _)) => of_tensor.insert(at.tensor, index),
                    Some(Values::Merged(_)) | None => None,
                },
                Source::Merged(_) => None,
            };
        }
        Self { of_layer, of_tensor }
    }
}

/// Adapters on their way into what is planned.
struct Applying<'a, 'p> {
    checkpoint: &'a Checkpoint,
    order: &'a Order,
    attached: &'a [Attached<'a>],
    combine: Combine,
    of_gguf: GgufLayers<'a>,
    written: Written,
    planned: Planned<'p>,
    merges: Vec<Merge>,
    /// Rows before and after, where they are not the same.
    resized: Vec<(u64, u64)>,
}

impl Applying<'_, '_> {
    /// Puts all landings of a tensor on it.
    fn one(&mut self, target: Target, landings: &[&Landing]) -> std::result::Result<(), String> {
        if let Some(why) = self.of_gguf.refused(target.layer, self.attached, landings) {
            return Err(why);
        }
        let spec = self.checkpoint.layers.spec(target.layer);
        let stored = stored(self.checkpoint, target);
        let of_stored = stored.and_then(|tensor| self.written.of_tensor.get(&tensor)).copied();
        let stays = |index: usize| matches!(self.planned.tensors[index].source, Source::Copy(_));
        let is_gguf = self.planned.is_gguf;
        let is_kept = self.order.to == super::To::Same || is_gguf && of_stored.is_some_and(stays);
        if spec.is_quantized() && !target.is_bias && is_kept {
            let is_brought = landings.iter().any(|landing| matches!(landing, Landing::Saved(_)));
            match of_stored.filter(|_| is_gguf && is_brought) {
                // It is written in its own type all the same.
                Some(index) => self.blocks(target.layer, index)?,
                None => return self.again(target.layer, landings),
            }
        }
        let of_layer = self.written.of_layer.get(&target.layer).filter(|_| !target.is_bias).copied();
        let index = of_layer.or(of_stored).ok_or_else(|| format!("its {} is not written", target.word()))?;
        let step = &self.planned.steps[target.layer as usize];
        if !is_gguf && step.from != "dense" && step.action == Action::Copy && !target.is_bias {
            let is_broken = !spec.broken.is_empty();
            let why =
                if is_broken { "it is broken and goes over as it is" } else { "left out by only or skip" };
            return Err(format!("it stays quantized, {why}"));
        }
        let rows = |tensor: &OutTensor| tensor.shape.first().copied().unwrap_or(0);
        let (out, packs) = (&mut self.planned.tensors[index], &mut self.planned.packs);
        let before = rows(out);
        let number = self.merges.len() as u32;
        let merge = put(self.checkpoint, (self.attached, self.combine), landings, (out, packs), number)?;
        self.merges.extend(merge);
        let after = rows(out);
        self.resized.extend((after != before).then_some((before, after)));
        let step = &mut self.planned.steps[target.layer as usize];
        step.action = Action::Merge;
        if !is_gguf {
            step.to = "dense".into();
        }
        Ok(())
    }

    /// Makes a tensor of a GGUF one that is packed again, of whatever values.
    fn blocks(&mut self, layer: u32, index: usize) -> std::result::Result<(), String> {
        let name = &self.planned.steps[layer as usize].layer;
        let number = self.planned.packs.len() as u32;
        let pack = packed::blocks((layer, name), &mut self.planned.tensors[index], number)?;
        self.planned.packs.push(pack);
        Ok(())
    }

    /// Puts the landings on a packed layer that is packed again as it was.
    fn again(&mut self, layer: u32, landings: &[&Landing]) -> std::result::Result<(), String> {
        let number = (self.merges.len() as u32, self.planned.packs.len() as u32);
        let (merge, pack) = packed::pack(
            (self.checkpoint, layer),
            (landings, self.combine),
            &mut self.planned.steps[layer as usize],
            (&mut *self.planned.tensors, &self.written.of_tensor),
            number,
        )?;
        self.merges.push(merge);
        self.planned.packs.push(pack);
        Ok(())
    }
}

/// Returns the rows of resized embeddings, which those of the head must be too.
fn vocabulary(checkpoint: &Checkpoint, resized: &[(u64, u64)], tensors: &[OutTensor]) -> Result<Option<u64>> {
    let Some(&(before, after)) = resized.first() else { return Ok(None) };
    let is_vocabulary = |tensor: &&OutTensor| {
        let name = super::packing::layer_of(&tensor.name);
        tensor.shape.len() == 2 && EMBEDDINGS.contains(&name.rsplit('.').next().unwrap_or(name))
    };
    let other = tensors.iter().filter(is_vocabulary).find(|tensor| tensor.shape[0] != after);
    if let Some(other) = other.filter(|other| other.shape[0] == before || resized.len() > 1) {
        let message = format!(
            "the adapter brings {after} rows where the base has {before}, and {} would keep {}: no model loads that",
            escape(&other.name),
            other.shape[0]
        );
        return Err(Error { file: Some(checkpoint.files.path.clone()), ..Error::input(message) });
    }
    Ok(Some(after))
}

/// Puts the landings on one tensor; returns the merge, which gets the number `number`, unless it is replaced.
fn put(
    checkpoint: &Checkpoint,
    (attached, combine): (&[Attached<'_>], Combine),
    landings: &[&Landing],
    (out, packs): (&mut OutTensor, &mut [Pack]),
    number: u32,
) -> std::result::Result<Option<Merge>, String> {
    let mut edits = Vec::new();
    let mut saved = None;
    for landing in landings {
        match landing {
            Landing::Saved(_) if saved.is_some() => return Err("two adapters bring it".into()),
            // What comes before would be lost; what an adapter brings and changes itself is changed after.
            Landing::Saved(at) if edits.iter().any(|edit: &EditSpec| edit.adapter + 1 != at.input) => {
                return Err("an adapter brings what another changes".into());
            }
            Landing::Edit(edit) => edits.push(EditSpec::clone(edit)),
            Landing::Saved(at) => saved = Some(*at),
        }
    }
    let mut packed = match out.source {
        Source::Encoded { pack, .. } => packs.get_mut(pack as usize),
        _ => None,
    };
    if let Some(at) = saved {
        bring(attached, at, (out, packed.as_deref_mut()))?;
        if edits.is_empty() {
            return Ok(None);
        }
        for edit in &edits {
            fits(attached, edit, &out.shape)?;
        }
    }
    let edits = combine::combined(edits, combine)?;
    let stored = |tensor: u32| checkpoint.files.tensors[tensor as usize].dtype;
    let (base, change, native) = match out.source {
        Source::Decode { layer, native, change } => (Base::Layer(layer), change, native),
        Source::Changed { tensor, change } => (Base::Tensor(At::base(tensor)), change, stored(tensor)),
        // What an adapter brings is loaded into the base, in its dtype.
        Source::Copy(at) | Source::Cast(at) if at.input > 0 => (Base::Tensor(at), Change::None, out.dtype),
        Source::Copy(at) | Source::Cast(at) => (Base::Tensor(at), Change::None, stored(at.tensor)),
        Source::Encoded { .. } => match packed.as_deref().map(|pack| pack.values) {
            Some(Values::Layer(layer, change)) => (Base::Layer(layer), change, Dtype::F32),
            Some(Values::Tensor(at, change)) if at.input > 0 => (Base::Tensor(at), change, Dtype::F32),
            Some(Values::Tensor(at, change)) => (Base::Tensor(at), change, stored(at.tensor)),
            Some(Values::Merged(_)) | None => return Err("it is merged twice".into()),
        },
        Source::Merged(_) => return Err("it is merged twice".into()),
    };
    let edits = if change == Change::Turned { turned(edits)? } else { edits };
    // What is packed is packed of the sum as it is.
    let dtype = if packed.is_some() { Dtype::F32 } else { out.dtype };
    let is_float = |dtype| matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32);
    if !is_float(native) || !is_float(dtype) {
        return Err(format!("it is {native}, and only F16, BF16 and F32 are merged into"));
    }
    let is_flat = edits.iter().any(|edit| edit.is_flat);
    let is_apart = packed.is_some() || matches!(base, Base::Layer(_));
    if is_flat && (edits.iter().any(|edit| !edit.is_flat) || is_apart) {
        return Err("it is a convolution that is packed, or changed in ways that do not go together".into());
    }
    let is_packed = packed.is_some();
    match packed {
        Some(pack) => pack.values = Values::Merged(number),
        None => out.source = Source::Merged(number),
    }
    Ok(Some(Merge { base, change, native, dtype, is_packed, edits, is_flat }))
}

/// Returns what is done to a weight that was held against the adapters as it is packed, and is turned back before.
fn turned(edits: Vec<EditSpec>) -> std::result::Result<Vec<EditSpec>, String> {
    let turn = |edit: EditSpec| match edit.method {
        Method::Oft(_) => Err("it was turned when it was packed, and OFT turns [out, in]".into()),
        _ if edit.rows.is_some() || edit.order.is_some() => {
            Err("it was turned when it was packed, and a part of its outputs changes".into())
        }
        _ => Ok(EditSpec { transposed: !edit.transposed, ..edit }),
    };
    edits.into_iter().map(turn).collect()
}

/// Says whether a delta has the rows of what an adapter brings in the base's place, which can be more.
fn fits(attached: &[Attached<'_>], edit: &EditSpec, shape: &[u64]) -> std::result::Result<(), String> {
    let kind = match edit.method {
        Method::Lora | Method::Embedding => "LORA",
        Method::AdaLora => "ADALORA",
        Method::LoHa => "LOHA",
        Method::LoKr => "LOKR",
        _ => return Ok(()),
    };
    let files = &attached.get(edit.adapter).ok_or("no such adapter")?.checkpoint.files;
    let of_part =
        |&(part, tensor): &(&'static str, u32)| (part, files.shape(&files.tensors[tensor as usize]));
    let dims = dims::of(kind, &Shapes(edit.parts.iter().map(of_part).collect()))?;
    let (Some(out), Some(inputs)) = (dims.out, dims.inputs) else { return Ok(()) };
    let delta = if edit.transposed { [inputs, out] } else { [out, inputs] };
    if edit.rows.is_some() || edit.outputs.is_some() || delta == *shape {
        return Ok(());
    }
    Err(format!(
        "the delta of {} is {}, and the weight that is brought for it is {}",
        escape(&edit.module),
        units::shape(&delta),
        units::shape(shape)
    ))
}

/// Puts a tensor that an adapter brings in the place of the base's.
fn bring(
    attached: &[Attached<'_>],
    at: At,
    (out, pack): (&mut OutTensor, Option<&mut Pack>),
) -> std::result::Result<(), String> {
    let files = &attached.get(at.input - 1).ok_or("no such adapter")?.checkpoint.files;
    let record = &files.tensors[at.tensor as usize];
    let shape = files.shape(record).to_vec();
    if shape.get(1..) != out.shape.get(1..) {
        let (has, base) = (units::shape(&shape), units::shape(&out.shape));
        return Err(format!("the adapter brings {has}, the base has {base}"));
    }
    if !record.dtype.is_float() || !values::is_readable(record.dtype) {
        return Err(format!("the adapter brings {}", record.dtype));
    }
    if let Some(pack) = pack {
        pack.values = Values::Tensor(at, Change::None);
        return Ok(());
    }
    out.source = if record.dtype == out.dtype { Source::Copy(at) } else { Source::Cast(at) };
    out.bytes = elements(&shape).and_then(|n| out.dtype.bytes_of(n)).ok_or("its shape overflows")?;
    out.shape = shape;
    Ok(())
}

/// Returns the tensors of adapters that more than one edit reads, in order, and the bytes of their values in f32.
pub(super) fn shared(merges: &[Merge], attached: &[Attached<'_>]) -> (Vec<At>, u64) {
    let mut all: Vec<At> = merges
        .iter()
        .flat_map(|merge| &merge.edits)
        .flat_map(EditSpec::tensors)
        .map(At::of_adapter)
        .collect();
    all.sort_unstable();
    let mut shared: Vec<At> = all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    shared.dedup();
    let bytes = |at: &At| {
        let files = &attached.get(at.input - 1)?.checkpoint.files;
        Some(elements(files.shape(&files.tensors[at.tensor as usize]))?.saturating_mul(4))
    };
    let total = shared.iter().filter_map(bytes).fold(0, u64::saturating_add);
    (shared, total)
}

impl Target {
    fn word(self) -> &'static str {
        if self.is_bias { "bias" } else { "weight" }
    }
}

/// Returns the tensor that holds a target as it is; the codes of a packed one are not it.
fn stored(checkpoint: &Checkpoint, target: Target) -> Option<u32> {
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    layers.with_parts(files, target.layer, &HeadersOnly, |parts| {
        let part = if target.is_bias {
            parts.get("bias").or_else(|| parts.get("*_bias"))
        } else {
            parts.get("weight").or_else(|| parts.get("*"))
        };
        part.map(|part| part.tensor)
    })
}
