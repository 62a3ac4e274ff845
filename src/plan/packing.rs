//! Packing: which of the tensors that are written are packed, and what they become.
//!
//! It comes after decoding, merging and naming, and takes what those would write: so a result that is packed in one
//! pass equals the plain result, packed in a second one. What stays plain stays so for a reason, which the plan shows.

mod chooser;
mod stray;

use std::collections::BTreeSet;

use self::chooser::{Chooser, Plain};

use super::merge::landing::Landings;
use super::planner::list;
use super::select::Selection;
use super::{Action, At, Base, Merge, Order, OutTensor, Source, Step, conv1d};
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::quant::change::Change;
use crate::quant::encode;
use crate::quant::target::{Candidate, Target};
use crate::tensor::{Dtype, GgmlType};
use crate::units;

/// What is decoded as one, and where its values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Values {
    /// A layer, with what becomes of its values.
    Layer(u32, Change),
    /// A plain tensor, with what becomes of its values.
    Tensor(At, Change),
    /// A weight with adapters merged into it: number of the plan's merge.
    Merged(u32),
}

impl Values {
    /// Returns the values of a weight of the checkpoint, as they are.
    #[must_use]
    pub fn of(base: Base) -> Self {
        match base {
            Base::Layer(layer) => Self::Layer(layer, Change::None),
            Base::Tensor(at) => Self::Tensor(at, Change::None),
        }
    }
}

/// A layer that is packed.
#[derive(Clone, Debug)]
pub struct Pack {
    /// The layer of the checkpoint.
    pub layer: u32,
    /// The layer's name in the result.
    pub name: String,
    /// Its values.
    pub values: Values,
    /// The dtype to which they are rounded first, that of their own format.
    pub native: Dtype,
    /// The dtype to which they are rounded before they are packed: that of the plain result.
    pub dtype: Dtype,
    /// What becomes of them before: rows as columns.
    pub change: Change,
    /// As what they are packed.
    pub how: How,
    /// Packs that share the largest magnitude with it, itself among them; empty if it is its own.
    pub shares: Vec<u32>,
    /// How its tensors are made.
    pub making: Making,
}

/// How the tensors of a pack are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Making {
    /// Bytes of the first tensor that are made on their own, so that it is never held; `None` if all are made
    /// together.
    pub piece_bytes: Option<u64>,
    /// The tensors, by their number, whose planned bytes are the most that they may have.
    pub at_most: Vec<u32>,
}

impl Making {
    pub(super) fn of(encoding: &encode::Encoding) -> Self {
        let is_at_most = |&number: &u32| !encoding.encoder.is_exact(number as usize);
        Self {
            piece_bytes: encoding.encoder.piece_bytes().filter(|&bytes| bytes > 0),
            at_most: (0..encoding.tensors.len() as u32).filter(is_at_most).collect(),
        }
    }
}

/// As what a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As what it is stored as, on its own grid.
    AsStored,
    /// As the plan's target.
    Target,
    /// In blocks of this type of ggml.
    Blocks(GgmlType),
}

impl How {
    /// Returns what helps where the format cannot hold values, for the end of a sentence.
    #[must_use]
    pub fn instead(self) -> &'static str {
        match self {
            Self::AsStored => "--to dense holds them",
            Self::Target => "--keep leaves it plain",
            Self::Blocks(_) => "--keep leaves it as it is",
        }
    }
}

impl Pack {
    /// Returns a layer that is packed in blocks of ggml: it goes through F32, nothing is rounded on the way.
    pub(super) fn in_blocks(
        (layer, name): (u32, &str),
        values: Values,
        (kind, making): (GgmlType, Making),
    ) -> Self {
        Self {
            layer,
            name: name.to_owned(),
            values,
            native: Dtype::F32,
            dtype: Dtype::F32,
            change: Change::None,
            how: How::Blocks(kind),
            shares: Vec::new(),
            making,
        }
    }
}

/// What packing makes of the tensors.
pub(super) struct Packing {
    pub(super) tensors: Vec<OutTensor>,
    pub(super) packs: Vec<Pack>,
    pub(super) named: Names,
}

/// Names of layers, for the config.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Packed now.
    pub(super) packed: Vec<String>,
    /// Linear layers that stay plain.
    pub(super) plain: Vec<String>,
    /// Those that do so against the default of the format's loaders.
    pub(super) kept: Vec<String>,
    /// Those that are packed against it.
    pub(super) also: Vec<String>,
}

/// Takes layers that are already what is asked for out of those that are decoded, unless they become something else.
pub(super) fn leave_made(
    (checkpoint, order): (&Checkpoint, &Order),
    target: &dyn Target,
    landings: Option<&Landings>,
    chosen: &mut [bool],
) -> Result<()> {
    let keep = Selection::only(&order.keep)?;
    let merged: BTreeSet<u32> =
        landings.iter().flat_map(|landings| &landings.list).map(|(target, _)| target.layer).collect();
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    for (layer, chosen) in (0u32..).zip(chosen).filter(|(_, chosen)| **chosen) {
        if target.is_made(layers.spec(layer)) && !merged.contains(&layer) {
            *chosen = keep.takes(&layers.name(&files.names, layer));
        }
    }
    Ok(())
}

/// Returns the name of the layer that a tensor is the weight of.
pub(super) fn layer_of(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
}

/// Packs layers of what would be written plain.
///
/// # Errors
/// Nothing would be packed, or layers stay in another format beside what is packed; named.
pub(super) fn apply(
    (checkpoint, order): (&Checkpoint, &Order),
    target: &dyn Target,
    merges: &[Merge],
    steps: &mut [Step],
    tensors: Vec<OutTensor>,
) -> Result<Packing> {
    if checkpoint.kind == CheckpointKind::Adapter {
        let message = format!(
            "it is an adapter, and nothing loads one that is packed as {}; merge --to packs it with its base",
            target.label()
        );
        return Err(Error::new(ErrorKind::Unsupported, message).at(&checkpoint.files.path));
    }
    let (keep, also) = (Selection::only(&order.keep)?, Selection::only(&order.also)?);
    let mut packing =
        Packing { tensors: Vec::with_capacity(tensors.len()), packs: Vec::new(), named: Names::default() };
    let chooser = Chooser::new(checkpoint, target, &tensors);
    for tensor in tensors {
        let found = weight_of(checkpoint, merges, &tensor);
        let Some((layer, values, native)) = found else {
            packing.tensors.push(tensor);
            continue;
        };
        let name = layer_of(&tensor.name).to_owned();
        let change = turned(checkpoint, &name, target, &tensor.shape);
        let shape = change.shape(&tensor.shape);
        let candidate = Candidate { shape: &shape, dtype: tensor.dtype };
        let made = if keep.takes(&name) {
            Err(Plain::Kept("--keep".into()))
        } else {
            let standing = chooser.standing(&tensor, &name, layer);
            let is_asked = also.takes(&name);
            if is_asked && matches!(standing, Err(Plain::Default(_) | Plain::Kept(_) | Plain::Never)) {
                packing.named.also.push(name.clone());
            }
            // What loaders cannot have packed is not to be asked for.
            let standing = match standing {
                Err(Plain::Cannot(why)) => Err(Plain::Default(why)),
                _ if is_asked => Ok(()),
                standing => standing,
            };
            standing.and_then(|()| target.encoding(&candidate).map_err(Plain::Kept))
        };
        let step = &mut steps[layer as usize];
        match made {
            Ok(encoding) => {
                let pack = packing.packs.len() as u32;
                step.bytes_out = step.bytes_out.saturating_sub(tensor.bytes);
                for (part, encoded) in (0u32..).zip(&encoding.tensors) {
                    step.bytes_out = step.bytes_out.saturating_add(encoded.bytes);
                    packing.tensors.push(written(&name, encoded, (pack, part)));
                }
                if step.action != Action::Merge {
                    step.action = Action::Quantize;
                }
                target.format().clone_into(&mut step.to);
                packing.named.packed.push(name.clone());
                packing.packs.push(Pack {
                    layer,
                    name,
                    values,
                    native,
                    dtype: tensor.dtype,
                    change,
                    how: How::Target,
                    shares: Vec::new(),
                    making: Making::of(&encoding),
                });
                continue;
            }
            Err(Plain::Never) => {}
            Err(Plain::Default(why) | Plain::Cannot(why)) => {
                step.note = Some(why);
                packing.named.plain.push(name);
            }
            Err(Plain::Kept(why)) => {
                step.note = Some(why);
                packing.named.plain.push(name.clone());
                packing.named.kept.push(name);
            }
        }
        packing.tensors.push(tensor);
    }
    check(checkpoint, target, steps, &packing)?;
    check_alike(checkpoint, target, steps)?;
    stray::check(checkpoint, target, (&packing.named.packed, &packing.tensors))?;
    if target.shares_largest() {
        share(&mut packing.packs);
    }
    Ok(packing)
}

/// Refuses a result of two formats, or of nothing that is packed.
fn check(checkpoint: &Checkpoint, target: &dyn Target, steps: &[Step], packing: &Packing) -> Result<()> {
    let is_other = |step: &&Step| step.to != "dense" && step.to != target.format();
    let others: Vec<String> =
        steps.iter().filter(is_other).map(|step| format!("{} ({})", escape(&step.layer), step.to)).collect();
    let at = |error: Error| Error { file: Some(checkpoint.files.path.clone()), ..error };
    if !others.is_empty() {
        return Err(at(Error::input(format!(
            "{} would stay in another format, and no loader takes two: --keep leaves layers plain: {}",
            units::plural(others.len(), "layer"),
            list(&others)
        ))));
    }
    if !packing.packs.is_empty() {
        return Ok(());
    }
    let is_there = steps.iter().filter(|step| step.to == target.format()).count();
    if is_there > 0 {
        let layers = units::plural(is_there, "layer");
        return Err(at(Error::input(format!(
            "{layers} are {} already; nothing is left to pack",
            target.label()
        ))));
    }
    let mut reasons: Vec<(&str, &str, usize)> = Vec::new();
    for (layer, note) in steps.iter().filter_map(|step| Some((step.layer.as_str(), step.note.as_deref()?))) {
        match reasons.iter_mut().find(|(known, ..)| *known == note) {
            Some((.., count)) => *count += 1,
            None => reasons.push((note, layer, 1)),
        }
    }
    let words = |(note, layer, count): &(&str, &str, usize)| {
        let more = if *count > 1 { format!(" and {} alike", count - 1) } else { String::new() };
        format!("{}{more}: {note}", escape(layer))
    };
    let why: Vec<String> = reasons.iter().map(words).collect();
    let why = if why.is_empty() { "it has no layers that are packed".to_owned() } else { list(&why) };
    let message = format!("nothing of it would become {}: {why}", target.label());
    Err(at(Error::new(ErrorKind::Unsupported, message)))
}

/// Refuses layers that stay as they are and are of the target's format, but not what the target makes: the config says
/// one thing of both.
fn check_alike(checkpoint: &Checkpoint, target: &dyn Target, steps: &[Step]) -> Result<()> {
    let is_other = |(layer, step): &(u32, &Step)| {
        step.action == Action::Copy
            && step.to == target.format()
            && !target.is_made(checkpoint.layers.spec(*layer))
    };
    let others: Vec<String> =
        (0u32..).zip(steps).filter(is_other).map(|(_, step)| escape(&step.layer).into_owned()).collect();
    if others.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} of {} would stay as they are, beside {} of which the config would speak alone: {}",
        units::plural(others.len(), "layer"),
        target.format(),
        target.label(),
        list(&others)
    );
    Err(Error::input(message).at(&checkpoint.files.path))
}

/// Returns a tensor of a layer that is packed.
fn written(name: &str, encoded: &encode::Encoded, (pack, part): (u32, u32)) -> OutTensor {
    let suffix = match encoded.place {
        encode::Place::New(suffix) => suffix,
        encode::Place::Of(_) => "weight",
    };
    let name = match suffix.strip_prefix('*') {
        Some(rest) => format!("{name}{rest}"),
        None => format!("{name}.{suffix}"),
    };
    OutTensor {
        name,
        dtype: encoded.dtype,
        shape: encoded.shape.clone(),
        bytes: encoded.bytes,
        source: Source::Encoded { pack, part },
    }
}

/// Returns the layer whose weight a tensor is, where its values come from, and the dtype of their own format.
fn weight_of(checkpoint: &Checkpoint, merges: &[Merge], tensor: &OutTensor) -> Option<(u32, Values, Dtype)> {
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let is_packable = matches!(tensor.shape.len(), 2 | 3)
        && matches!(tensor.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32)
        && tensor.name.rsplit('.').next() != Some("bias");
    let of_stored = |at: At| {
        let dtype = if at.input == 0 { files.tensors[at.tensor as usize].dtype } else { tensor.dtype };
        let is_float = dtype.is_float() && crate::tensor::values::is_readable(dtype);
        let layer = if at.input == 0 {
            layers.of_tensor(files, at.tensor)
        } else {
            layers.find_name(&files.names, layer_of(&tensor.name))
        };
        layer.filter(|_| is_float)
    };
    if !is_packable {
        return None;
    }
    match tensor.source {
        Source::Decode { layer, native, change } => Some((layer, Values::Layer(layer, change), native)),
        Source::Copy(at) | Source::Cast(at) => {
            Some((of_stored(at)?, Values::Tensor(at, Change::None), tensor.dtype))
        }
        Source::Changed { tensor: stored, change } => {
            let at = At::base(stored);
            Some((of_stored(at)?, Values::Tensor(at, change), tensor.dtype))
        }
        Source::Merged(number) => {
            let merge = merges.get(number as usize)?;
            let layer = match merge.base {
                Base::Layer(layer) => layer,
                Base::Tensor(at) => of_stored(at)?,
            };
            (!merge.is_flat).then_some((layer, Values::Merged(number), tensor.dtype))
        }
        Source::Encoded { .. } => None,
    }
}

/// Returns what becomes of the values of a layer that the model keeps as `[in, out]`.
fn turned(checkpoint: &Checkpoint, name: &str, target: &dyn Target, shape: &[u64]) -> Change {
    if conv1d::is_model(checkpoint) { conv1d::change(name, target.format(), shape) } else { Change::None }
}

/// Groups the layers that loaders fuse: they are packed by one largest magnitude.
fn share(packs: &mut [Pack]) {
    const FUSED: [&[&str]; 2] = [&["q_proj", "k_proj", "v_proj"], &["gate_proj", "up_proj"]];
    let mut groups: std::collections::BTreeMap<(String, usize), BTreeSet<u32>> =
        std::collections::BTreeMap::new();
    for (number, pack) in (0u32..).zip(packs.iter()) {
        let Some((path, label)) = pack.name.rsplit_once('.') else { continue };
        if let Some(group) = FUSED.iter().position(|labels| labels.contains(&label)) {
            groups.entry((path.to_owned(), group)).or_default().insert(number);
        }
    }
    for group in groups.into_values().filter(|group| group.len() > 1) {
        let group: Vec<u32> = group.into_iter().collect();
        for &number in &group {
            packs[number as usize].shares.clone_from(&group);
        }
    }
}
