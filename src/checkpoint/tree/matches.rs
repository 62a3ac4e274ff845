//! Matches: which layers or tensors a filter leaves, and which nodes lead to them.
//!
//! A checkpoint of a million tensors has some thousand distinct components, so words are matched against
//! those, and one forward pass over the nodes ORs their bits from parent to child. Each part of the filter
//! is one bit. A word with dots, `experts.17.down`, also has a bit for each dot: "up to here it has
//! matched, and this node ends there"; the child goes on from its parent's bits. Bits of dtype, shape
//! and shard come from the tensors, those of format, bits and `is:` from the layers.

use super::Mode;
use super::bits::Bits;
use super::filter::{Filter, Is, Term, TermKind};
use super::structure::Structure;
use super::words::{Fuzzy, Text};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::{DEPTH_MAX, NONE, Names, NodeId};
use crate::quant::LayerSpec;
use crate::tensor::Dtype;

/// How far a format's mean bits may be from those asked for, in thousandths.
const MILLIBITS_NEAR: u32 = 50;

/// What a filter leaves of a checkpoint.
#[derive(Debug)]
pub(super) struct Matches {
    hits: Bits,
    /// Nodes of hits.
    here: Bits,
    /// Nodes above hits.
    below: Bits,
    count: usize,
}

impl Matches {
    pub(super) fn of(checkpoint: &Checkpoint, structure: &Structure, filter: &Filter, mode: Mode) -> Self {
        let plan = Plan::new(filter);
        // What people type has few parts: a byte a tensor is an eighth of the memory to go through.
        if plan.bits <= u8::BITS {
            Self::by::<u8>(checkpoint, structure, &plan, mode)
        } else {
            Self::by::<u64>(checkpoint, structure, &plan, mode)
        }
    }

    fn by<M: Mask>(checkpoint: &Checkpoint, structure: &Structure, plan: &Plan<'_>, mode: Mode) -> Self {
        let mut masks: Vec<M> = tensor_masks(checkpoint, plan, mode);
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let by_spec: Vec<u64> = layers.specs().iter().map(|spec| plan.spec_mask(spec, mode)).collect();
        let nodes = files.names.len();
        let count = if mode == Mode::Layers { layers.len() } else { files.tensors.len() };
        let mut matches =
            Self { hits: Bits::new(count), here: Bits::new(nodes), below: Bits::new(nodes), count: 0 };
        for (index, layer) in layers.list().iter().enumerate() {
            let mut mask = by_spec[layer.spec as usize];
            if plan.asks_of_layers {
                let is = |is: Is| match is {
                    Is::Tied => layer.tied,
                    Is::Broken => structure.is_broken(layer.node),
                    Is::Odd => structure.is_odd(layer.node),
                    Is::Quantized | Is::Dense => false,
                };
                mask |= plan.mask(|kind| matches!(kind, TermKind::Is(wanted) if is(*wanted)));
            }
            let tensors = layers.tensors(index as u32);
            if mode == Mode::Tensors {
                for &tensor in tensors {
                    masks[tensor as usize].add(mask);
                }
                continue;
            }
            mask = tensors.iter().fold(mask, |mask, &tensor| mask | masks[tensor as usize].bits());
            if plan.leaves(mask) {
                matches.add(checkpoint, index as u32, layer.node);
            }
        }
        if mode == Mode::Tensors {
            for (tensor, &mask) in masks.iter().enumerate() {
                if plan.leaves(mask.bits()) {
                    matches.add(checkpoint, tensor as u32, files.tensors[tensor].node);
                }
            }
        }
        matches
    }

    fn add(&mut self, checkpoint: &Checkpoint, item: u32, node: NodeId) {
        self.count += 1;
        self.hits.set(item);
        self.here.set(node);
        let mut at = checkpoint.files.names.parent(node);
        while at != NONE && !self.below.get(at) {
            self.below.set(at);
            at = checkpoint.files.names.parent(at);
        }
    }

    /// Returns what is left of it with some layers only; a tensor is its layer's.
    pub(super) fn within(&self, checkpoint: &Checkpoint, mode: Mode, layers: &[bool]) -> Self {
        let (files, list) = (&checkpoint.files, checkpoint.layers.list());
        let count = if mode == Mode::Layers { list.len() } else { files.tensors.len() };
        let nodes = files.names.len();
        let mut left =
            Self { hits: Bits::new(count), here: Bits::new(nodes), below: Bits::new(nodes), count: 0 };
        for item in (0..count as u32).filter(|&item| self.hit(item)) {
            let (layer, node) = match mode {
                Mode::Layers => (Some(item), list[item as usize].node),
                Mode::Tensors => {
                    (checkpoint.layers.of_tensor(files, item), files.tensors[item as usize].node)
                }
            };
            if layer.is_some_and(|layer| layers.get(layer as usize).is_some_and(|shows| *shows)) {
                left.add(checkpoint, item, node);
            }
        }
        left
    }

    /// Counts a hit that is no layer of its own, and leads to what it belongs to, if anything.
    pub(super) fn lead_to(&mut self, checkpoint: &Checkpoint, above: NodeId) {
        self.count += 1;
        let mut at = above;
        while at != NONE && !self.below.get(at) {
            self.below.set(at);
            at = checkpoint.files.names.parent(at);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn hit(&self, item: u32) -> bool {
        self.hits.get(item)
    }

    pub(super) fn keeps(&self, node: NodeId) -> bool {
        self.here.get(node) || self.below.get(node)
    }

    pub(super) fn keeps_below(&self, node: NodeId) -> bool {
        self.below.get(node)
    }

    pub(super) fn below(&self) -> &Bits {
        &self.below
    }

    /// Returns true if two alike subtrees of `nodes` nodes match alike.
    pub(super) fn alike(&self, a: NodeId, b: NodeId, nodes: u32) -> bool {
        if nodes == 1 {
            return self.here.get(a) == self.here.get(b);
        }
        self.here.alike(a, b, nodes) && self.below.alike(a, b, nodes)
    }
}

/// Where the bits of one tensor or label are kept.
trait Mask: Copy + Default {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
    fn add(&mut self, bits: u64) {
        *self = Self::of(self.bits() | bits);
    }
}

impl Mask for u8 {
    fn of(bits: u64) -> Self {
        bits as Self
    }

    fn bits(self) -> u64 {
        u64::from(self)
    }
}

impl Mask for u64 {
    fn of(bits: u64) -> Self {
        bits
    }

    fn bits(self) -> u64 {
        self
    }
}

/// The filter with its bits dealt out.
struct Plan<'a> {
    terms: Vec<(&'a Term, u32)>,
    /// How many bits there are.
    bits: u32,
    /// Bits that must be set.
    wanted: u64,
    /// Bits that must not.
    unwanted: u64,
    /// Bits that go from parent to child.
    results: u64,
    /// Words with dots: result bit, state bits.
    paths: Vec<(u64, u64)>,
    asks_of_names: bool,
    asks_of_layers: bool,
}

impl<'a> Plan<'a> {
    fn new(filter: &'a Filter) -> Self {
        let mut plan = Self {
            terms: Vec::new(),
            bits: 0,
            wanted: 0,
            unwanted: 0,
            results: 0,
            paths: Vec::new(),
            asks_of_names: false,
            asks_of_layers: false,
        };
        let mut next = 0u32;
        for term in filter.terms() {
            let result = 1u64 << next;
            plan.results |= result;
            if term.is_negated {
                plan.unwanted |= result;
            } else {
                plan.wanted |= result;
            }
            let bits = term.kind.bits() as u32;
            if bits > 1 {
                plan.paths.push((result, ((1u64 << (bits - 1)) - 1) << (next + 1)));
            }
            plan.asks_of_names |=
                matches!(term.kind, TermKind::Word(_) | TermKind::Path(_) | TermKind::Fuzzy(_));
            plan.asks_of_layers |= matches!(term.kind, TermKind::Is(Is::Tied | Is::Broken | Is::Odd));
            plan.terms.push((term, next));
            next += bits;
        }
        plan.bits = next;
        plan
    }

    fn leaves(&self, mask: u64) -> bool {
        mask & self.wanted == self.wanted && mask & self.unwanted == 0
    }

    /// Returns the bits of the parts for which `holds` is true.
    fn mask(&self, holds: impl Fn(&TermKind) -> bool) -> u64 {
        self.terms.iter().filter(|(term, _)| holds(&term.kind)).fold(0, |mask, (_, bit)| mask | 1 << bit)
    }

    fn spec_mask(&self, spec: &LayerSpec, mode: Mode) -> u64 {
        self.mask(|kind| of_spec(kind, spec, mode))
    }
}

/// Returns true if a part of a filter holds for all layers of a kind.
pub(super) fn of_spec(kind: &TermKind, spec: &LayerSpec, mode: Mode) -> bool {
    match kind {
        TermKind::Format(text) => {
            let word = spec.label().to_ascii_lowercase();
            spec.format.get().name().contains(text.as_str()) || word.contains(text.as_str())
        }
        TermKind::Millibits(bits) => spec.millibits > 0 && spec.millibits.abs_diff(*bits) < MILLIBITS_NEAR,
        TermKind::Shape(shape) => mode == Mode::Layers && spec.shape_known && shape.matches(&spec.shape),
        TermKind::Is(Is::Quantized) => spec.is_quantized(),
        TermKind::Is(Is::Dense) => !spec.is_quantized(),
        _ => false,
    }
}

/// What labels give to their nodes.
struct LabelMasks<M> {
    /// Bits that a label sets by itself.
    set: Vec<M>,
    /// What it does to words with dots; empty without any.
    steps: Vec<Steps<M>>,
}

/// What a label does to the states of words with dots.
#[derive(Clone, Copy, Default)]
struct Steps<M> {
    /// States that it lets through from its parent.
    step: M,
    /// States of its parent with which it completes a word.
    last: M,
}

fn label_masks<M: Mask>(names: &Names, plan: &Plan<'_>) -> LabelMasks<M> {
    let count = names.label_count();
    let steps = if plan.paths.is_empty() { 0 } else { count };
    let mut masks = LabelMasks { set: vec![M::default(); count], steps: vec![Steps::default(); steps] };
    for &(term, bit) in &plan.terms {
        let result = 1u64 << bit;
        match &term.kind {
            TermKind::Word(word) => word.each_label(names, |label| masks.set[label as usize].add(result)),
            TermKind::Fuzzy(word) => {
                let mut fuzzy = Fuzzy::new(word);
                for (label, set) in masks.set.iter_mut().enumerate() {
                    if fuzzy.matches(names.label_text(label as u32)) {
                        set.add(result);
                    }
                }
            }
            TermKind::Path(pieces) => {
                let path = PathWord::new(pieces, bit, names.has_joined());
                for (label, (set, steps)) in masks.set.iter_mut().zip(&mut masks.steps).enumerate() {
                    path.add(names.label_text(label as u32), set, steps);
                }
            }
            _ => {}
        }
    }
    masks
}

/// A word with dots. State `j` (from 1): pieces before `j` have matched and end with this node.
struct PathWord<'a> {
    pieces: &'a [Text],
    result: u64,
    first_state: u64,
    whole: Text,
    /// Pieces `j..` joined: only the last component of a very deep name has dots itself.
    rests: Vec<Text>,
    may_have_dots: bool,
}

impl<'a> PathWord<'a> {
    fn new(pieces: &'a [Text], bit: u32, may_have_dots: bool) -> Self {
        let rests = (1..pieces.len()).map(|from| Text::join(&pieces[from..])).collect();
        let whole = Text::join(pieces);
        Self { pieces, result: 1 << bit, first_state: 1 << (bit + 1), whole, rests, may_have_dots }
    }

    fn add<M: Mask>(&self, label: &str, set: &mut M, steps: &mut Steps<M>) {
        let has_dots = self.may_have_dots && label.contains('.');
        if has_dots && self.whole.is_in(label) {
            set.add(self.result);
        }
        if self.pieces[0].ends(label) {
            set.add(self.first_state);
        }
        for (index, piece) in self.pieces.iter().enumerate().skip(1) {
            let before = self.first_state << (index - 1);
            if index + 1 < self.pieces.len() && piece.is_all_of(label) {
                steps.step.add(before << 1);
            }
            if (has_dots || index + 1 == self.pieces.len()) && self.rests[index - 1].begins(label) {
                steps.last.add(before);
            }
        }
    }
}

/// Returns the bits of each tensor by itself: its names', dtype's, shape's and shard's.
fn tensor_masks<M: Mask>(checkpoint: &Checkpoint, plan: &Plan<'_>, mode: Mode) -> Vec<M> {
    let files = &checkpoint.files;
    let mut masks = vec![M::default(); files.tensors.len()];
    if plan.asks_of_names {
        name_masks(&files.names, plan, &mut masks);
    }
    let has = |wanted: fn(&TermKind) -> bool| plan.terms.iter().any(|(term, _)| wanted(&term.kind));
    if has(|kind| matches!(kind, TermKind::Dtype(_))) {
        let mut known: Vec<(Dtype, u64)> = Vec::new();
        for (record, mask) in files.tensors.iter().zip(&mut masks) {
            let found = known.iter().find(|(dtype, _)| *dtype == record.dtype).map(|&(_, mask)| mask);
            mask.add(found.unwrap_or_else(|| {
                let name = record.dtype.name().to_ascii_lowercase();
                let mask = plan
                    .mask(|kind| matches!(kind, TermKind::Dtype(text) if name.starts_with(text.as_str())));
                known.push((record.dtype, mask));
                mask
            }));
        }
    }
    if mode == Mode::Tensors && has(|kind| matches!(kind, TermKind::Shape(_))) {
        let of =
            |shape: &[u64]| plan.mask(|kind| matches!(kind, TermKind::Shape(want) if want.matches(shape)));
        let by_shape: Vec<u64> = files.shapes().iter().map(|shape| of(shape)).collect();
        for (record, mask) in files.tensors.iter().zip(&mut masks) {
            mask.add(by_shape[record.shape as usize]);
        }
    }
    if has(|kind| matches!(kind, TermKind::Shard(_))) {
        let of = |(index, shard): (usize, &crate::checkpoint::files::Shard)| {
            plan.mask(|kind| matches!(kind, TermKind::Shard(want) if want.matches(index, &shard.name)))
        };
        let by_shard: Vec<u64> = files.shards.iter().enumerate().map(of).collect();
        for (record, mask) in files.tensors.iter().zip(&mut masks) {
            mask.add(by_shard[usize::from(record.shard)]);
        }
    }
    masks
}

/// One forward pass: the bits of a node are its parent's results and its label's own.
fn name_masks<M: Mask>(names: &Names, plan: &Plan<'_>, masks: &mut [M]) {
    let labels: LabelMasks<M> = label_masks(names, plan);
    let mut path = [0u64; DEPTH_MAX + 1];
    // Tensors of one name stand together: each name's bits go up to the next name's first.
    let (mut start, mut last) = (0, M::default());
    for node in 0..names.len() as u32 {
        let label = names.label_id(node) as usize;
        let depth = names.depth(node);
        let above = path[depth];
        let mut mask = above & plan.results | labels.set[label].bits();
        if let Some(steps) = labels.steps.get(label) {
            mask |= (above & !plan.results) << 1 & steps.step.bits();
            for &(result, states) in &plan.paths {
                if above & steps.last.bits() & states != 0 {
                    mask |= result;
                }
            }
        }
        if let Some(below) = path.get_mut(depth + 1) {
            *below = mask;
        }
        let first = names.first_tensor(node);
        if first != NONE {
            masks[start..first as usize].fill(last);
            (start, last) = (first as usize, M::of(mask));
        }
    }
    masks[start..].fill(last);
}
