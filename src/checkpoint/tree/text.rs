//! Text: what one row says, for a view to lay out. Nothing here is escaped or cut.

use std::ops::Range;

use super::{Row, RowKind, Sort, Tree};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::{NONE, NodeId};
use crate::quant::LayerSpec;

/// What one row says.
#[derive(Clone, Debug, PartialEq)]
pub struct RowText {
    /// The last components of its name, as in the file (unescaped): one, or more for a joined row
    /// (`base_model.model.model`), or the full name in a flat list. For a fold, what stands before the
    /// numbers (`layers`); empty where that has a row of its own.
    pub label: String,
    /// Bytes of `label` that the filter hit, in order.
    pub hits: Vec<Range<usize>>,
    /// The alike members, for a fold.
    pub fold: Option<FoldText>,
    /// What it is at a glance: `◆`, `·`, or a group.
    pub state: State,
    /// Whether it has rows below.
    pub expand: Expand,
    /// The worst problem of it, or of what is below it.
    pub mark: Mark,
    /// True if it is not as most of its siblings, or makes the difference.
    pub is_odd: bool,
    /// Short word of the format or dtype: `GPTQ4`, `F16`, `tied`. Empty for groups.
    pub format: String,
    /// True if a bias belongs to the layer.
    pub bias: bool,
    /// True if its weights are another layer's.
    pub tied: bool,
    /// True shape of a layer, stored shape of a tensor. `None` for groups and where it is not known.
    pub shape: Option<Vec<u64>>,
    /// Bytes: of the subtree for a group, of all members for a fold.
    pub bytes: u64,
    /// Parameters, likewise. `None` for tensors.
    pub parameters: Option<u64>,
    /// Bits of a code. `None` for groups and where it is not known.
    pub bits: Option<f64>,
    /// Group or block size.
    pub group_size: Option<u64>,
    /// First and last shard, by index.
    pub shards: Option<(u16, u16)>,
    /// How many alike ones this row stands for, itself included: the product of the folds it is in.
    pub alike: u64,
}

/// The members of a fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldText {
    /// Their numbers: `0-27`, `0-4 6-27`.
    pub members: String,
    /// How many.
    pub count: u32,
}

impl RowText {
    /// Returns the whole label with the fold: `layers 0-27 ×28 alike`.
    #[must_use]
    pub fn full(&self) -> String {
        let Some(fold) = &self.fold else { return self.label.clone() };
        let blank = if self.label.is_empty() { "" } else { " " };
        format!("{}{blank}{} ×{} alike", self.label, fold.members, fold.count)
    }
}

/// What a row is at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Neither a layer nor a tensor.
    Group,
    /// A dense layer, or a tensor of one.
    Dense,
    /// A quantized layer, or a tensor of one.
    Quantized,
    /// A layer that only another checkpoint has.
    Guest,
}

/// Whether a row has rows below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expand {
    /// None.
    Leaf,
    /// Hidden ones.
    Closed,
    /// Visible ones.
    Open,
}

/// The worst that is known of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Nothing.
    #[default]
    None,
    /// A warning.
    Warning,
    /// An error.
    Error,
}

/// How many runs of numbers a fold spells out; of more the middle ones become `…`.
const RUNS_MAX: usize = 6;
/// How many members are looked at for runs: enough for any model, and a fraction of a frame.
const RUN_MEMBERS_MAX: usize = 4096;
/// Tensors of a group looked at for the shards they are in; more give `None`.
const SHARD_TENSORS_MAX: u32 = 1024;

impl Tree {
    /// Returns what a row says. An index beyond the rows gives an empty group.
    #[must_use]
    pub fn describe(&self, checkpoint: &Checkpoint, row: usize) -> RowText {
        let Some(&at) = self.rows.get(row) else { return RowText::empty() };
        if let RowKind::Guest(guest) = at.kind {
            let mut text = RowText::empty();
            self.describe_guest(checkpoint, at, guest, &mut text);
            text.hits = self.filter().map_or_else(Vec::new, |filter| filter.highlight(&text.label));
            return text;
        }
        let label = self.label(checkpoint, at);
        let mut text = RowText {
            hits: self.filter().map_or_else(Vec::new, |filter| filter.highlight(&label)),
            label,
            expand: self.expand(checkpoint, row),
            mark: self.structure.mark(at.node),
            is_odd: self.structure.is_odd(at.node),
            alike: self.alike(checkpoint, at.node),
            ..RowText::empty()
        };
        match at.kind {
            RowKind::Group => group(checkpoint, at.node, &mut text),
            RowKind::Layer(layer) => describe_layer(checkpoint, layer, &mut text),
            RowKind::Tensor(tensor) => describe_tensor(checkpoint, tensor, &mut text),
            RowKind::Guest(_) => {}
        }
        if let Some(index) = self.fold_at(at.node) {
            let fold = self.structure.folds()[index];
            text.fold = Some(FoldText { members: self.members_text(checkpoint, index), count: fold.count });
            text.bytes = fold.bytes;
            text.parameters = text.parameters.map(|_| fold.parameters);
            text.mark = fold.mark;
            text.shards = None;
        }
        text
    }

    /// Returns how many alike nodes a node stands for, itself included.
    #[must_use]
    pub fn alike(&self, checkpoint: &Checkpoint, node: NodeId) -> u64 {
        let mut count = 1u64;
        let mut at = node;
        while at != NONE {
            if let Some(fold) = self.fold_at(at) {
                count = count.saturating_mul(u64::from(self.structure.folds()[fold].count));
            }
            at = checkpoint.files.names.parent(at);
        }
        count
    }

    /// Returns a node's place among the alike ones of the innermost fold that it is in, from 1, and how
    /// many those are: `(1, 28)` for `1 of 28 alike`. `None` if it is in no fold.
    #[must_use]
    pub fn place_among_alike(&self, checkpoint: &Checkpoint, node: NodeId) -> Option<(u32, u32)> {
        let mut at = node;
        while at != NONE {
            if let Some(fold) = self.structure.owner(at) {
                let members = self.structure.members(fold);
                let place = members.partition_point(|&member| member <= at) as u32;
                return Some((place, members.len() as u32));
            }
            at = checkpoint.files.names.parent(at);
        }
        None
    }

    fn label(&self, checkpoint: &Checkpoint, row: Row) -> String {
        let names = &checkpoint.files.names;
        if self.sort != Sort::Natural {
            return match row.kind {
                RowKind::Layer(layer) => checkpoint.layers.name(names, layer),
                _ => names.name(row.node),
            };
        }
        let mut parts: Vec<&str> = Vec::new();
        let mut at = row.node;
        for step in 0..=row.joined {
            let own = match row.kind {
                // The numbers of a fold stand behind the label.
                _ if step == 0 && self.fold_at(at).is_some() => None,
                RowKind::Layer(layer) if step == 0 => Some(checkpoint.layers.label(names, layer)),
                _ => Some(names.label(at)),
            };
            parts.extend(own);
            at = names.parent(at);
            if at == NONE {
                break;
            }
        }
        parts.reverse();
        parts.join(".")
    }

    /// Returns the numbers of a fold's members in runs: `0-4 6-27`.
    fn members_text(&self, checkpoint: &Checkpoint, fold: usize) -> String {
        let names = &checkpoint.files.names;
        let number = |node: &NodeId| names.label(*node).parse::<u64>().unwrap_or(0);
        let members = self.structure.members(fold);
        let ends = members.first().map(number).zip(members.last().map(number));
        let Some((first, last)) = ends else { return String::new() };
        // Members are in natural order: as many as there are numbers means all of them.
        if last.saturating_sub(first) == members.len() as u64 - 1 {
            return spell_run((first, last));
        }
        let mut runs = vec![(first, first)];
        let mut is_cut = members.len() > RUN_MEMBERS_MAX;
        for number in members.iter().take(RUN_MEMBERS_MAX).map(number) {
            if let Some((_, last)) = runs.last_mut().filter(|run| number <= run.1.saturating_add(1)) {
                *last = number;
            } else if runs.len() == RUNS_MAX {
                is_cut = true;
                break;
            } else {
                runs.push((number, number));
            }
        }
        if !is_cut {
            return runs.into_iter().map(spell_run).collect::<Vec<_>>().join(" ");
        }
        runs.truncate(RUNS_MAX - 2);
        let head: Vec<String> = runs.into_iter().map(spell_run).collect();
        format!("{} … {last}", head.join(" "))
    }
}

fn spell_run((first, last): (u64, u64)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

impl RowText {
    fn empty() -> Self {
        Self {
            label: String::new(),
            hits: Vec::new(),
            fold: None,
            state: State::Group,
            expand: Expand::Leaf,
            mark: Mark::None,
            is_odd: false,
            format: String::new(),
            bias: false,
            tied: false,
            shape: None,
            bytes: 0,
            parameters: None,
            bits: None,
            group_size: None,
            shards: None,
            alike: 1,
        }
    }
}

fn group(checkpoint: &Checkpoint, node: NodeId, text: &mut RowText) {
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let end = files.names.end(node);
    let tensors = files.within(node, end);
    text.bytes = files.bytes(tensors.clone());
    text.parameters = Some(layers.parameters(layers.within(node, end)));
    if tensors.len() <= SHARD_TENSORS_MAX as usize {
        text.shards = shards(checkpoint, tensors);
    }
}

pub(super) fn describe_layer(checkpoint: &Checkpoint, layer: u32, text: &mut RowText) {
    let spec = checkpoint.layers.spec(layer);
    text.state = state(spec.is_quantized());
    text.tied = checkpoint.layers.list()[layer as usize].tied;
    text.format = if text.tied { "tied".into() } else { spec.label() };
    text.bias = spec.bias;
    text.shape = spec.shape_known.then(|| spec.shape.clone());
    text.bytes = checkpoint.layers.bytes(&checkpoint.files, layer);
    text.parameters = Some(spec.parameters);
    text.bits = (spec.millibits > 0).then(|| spec.bits());
    text.group_size = spec.group_size;
    text.shards = shards(checkpoint, checkpoint.layers.tensors(layer).iter().copied());
}

fn describe_tensor(checkpoint: &Checkpoint, tensor: u32, text: &mut RowText) {
    let record = &checkpoint.files.tensors[tensor as usize];
    let spec =
        checkpoint.layers.of_tensor(&checkpoint.files, tensor).map(|layer| checkpoint.layers.spec(layer));
    text.state = state(spec.is_some_and(LayerSpec::is_quantized));
    record.dtype.name().clone_into(&mut text.format);
    text.shape = Some(checkpoint.files.shape(record).to_vec());
    text.bytes = record.bytes;
    text.bits = record.dtype.bits();
    text.shards = Some((record.shard, record.shard));
}

fn state(is_quantized: bool) -> State {
    if is_quantized { State::Quantized } else { State::Dense }
}

fn shards(checkpoint: &Checkpoint, tensors: impl Iterator<Item = u32>) -> Option<(u16, u16)> {
    let shards = tensors.map(|tensor| checkpoint.files.tensors[tensor as usize].shard);
    shards.fold(None, |range, shard| match range {
        None => Some((shard, shard)),
        Some((first, last)) => Some((shard.min(first), shard.max(last))),
    })
}
