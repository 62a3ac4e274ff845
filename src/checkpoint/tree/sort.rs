//! Sort: the tree in natural order, or a flat list of layers (or tensors) by a key.
//!
//! Sorting siblings would leave the largest layer of the file hidden in some fold; a flat list shows it
//! first. Rows of the flat list carry the full name, which a view cuts in the middle.

use rustc_hash::FxHashMap;

use super::matches::Matches;
use super::{Mode, Row, RowKind};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::NONE;
use crate::quant::LayerSpec;

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sort {
    /// The tree, names in natural order.
    #[default]
    Natural,
    /// Most bytes first.
    Bytes,
    /// Most parameters (elements, for tensors) first.
    Parameters,
    /// Most bits first.
    Bits,
    /// By the format's word (the dtype's, for tensors).
    Format,
    /// By the first shard.
    Shard,
    /// By how much the layer differs from another checkpoint's, most first. Only while two are compared.
    Difference,
}

impl Sort {
    /// The orders of a checkpoint by itself, as a menu lists them.
    pub const ALL: [Self; 6] =
        [Self::Natural, Self::Bytes, Self::Parameters, Self::Bits, Self::Format, Self::Shard];

    /// Returns the word of a menu.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Natural => "name",
            Self::Bytes => "bytes",
            Self::Parameters => "parameters",
            Self::Bits => "bits",
            Self::Format => "format",
            Self::Shard => "shard",
            Self::Difference => "difference",
        }
    }
}

/// Appends the flat list of what `matches` leaves; equal keys stay in natural order.
///
/// A million layers have few distinct keys: those are sorted, and the rows are counted into place.
pub(super) fn flat(
    checkpoint: &Checkpoint,
    mode: Mode,
    (sort, differences): (Sort, &[f64]),
    matches: Option<&Matches>,
    rows: &mut Vec<Row>,
) {
    let count = match mode {
        Mode::Layers => checkpoint.layers.len(),
        Mode::Tensors => checkpoint.files.tensors.len(),
    } as u32;
    let keys = Keys::new(checkpoint, mode, (sort, differences));
    let wanted = || (0..count).filter(|&item| matches.is_none_or(|matches| matches.hit(item)));
    let mut kinds = KeyKinds::default();
    let kind_of: Vec<u32> = wanted().map(|item| kinds.count(keys.of(item))).collect();
    let mut next = kinds.starts();
    let nowhere = Row { node: NONE, kind: RowKind::Group, depth: 0, joined: 0 };
    rows.resize(kind_of.len(), nowhere);
    for (item, kind) in wanted().zip(kind_of) {
        let at = &mut next[kind as usize];
        let (node, kind) = match mode {
            Mode::Layers => (checkpoint.layers.list()[item as usize].node, RowKind::Layer(item)),
            Mode::Tensors => (checkpoint.files.tensors[item as usize].node, RowKind::Tensor(item)),
        };
        rows[*at as usize] = Row { node, kind, ..nowhere };
        *at += 1;
    }
}

/// The distinct keys, numbered as they come, with how often each was seen.
#[derive(Default)]
struct KeyKinds {
    ids: FxHashMap<u64, u32>,
    counts: Vec<(u64, u32)>,
    last: Option<(u64, u32)>,
}

impl KeyKinds {
    fn count(&mut self, key: u64) -> u32 {
        // Neighbors are often alike.
        let known = self.last.filter(|last| last.0 == key).map(|last| last.1);
        let id = known.unwrap_or_else(|| {
            let next = self.counts.len() as u32;
            let id = *self.ids.entry(key).or_insert(next);
            if id == next {
                self.counts.push((key, 0));
            }
            self.last = Some((key, id));
            id
        });
        self.counts[id as usize].1 += 1;
        id
    }

    /// Returns where the first row of each key goes.
    fn starts(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.counts.len() as u32).collect();
        order.sort_unstable_by_key(|&id| self.counts[id as usize].0);
        let mut starts = vec![0; order.len()];
        let mut sum = 0;
        for id in order {
            starts[id as usize] = sum;
            sum += self.counts[id as usize].1;
        }
        starts
    }
}

/// The sort key of each item: smaller comes first.
struct Keys<'a> {
    checkpoint: &'a Checkpoint,
    mode: Mode,
    sort: Sort,
    /// By spec or dtype: ranks of the formats' words.
    ranks: Vec<u64>,
    /// By layer.
    differences: &'a [f64],
}

impl<'a> Keys<'a> {
    fn new(checkpoint: &'a Checkpoint, mode: Mode, (sort, differences): (Sort, &'a [f64])) -> Self {
        let mut ranks = Vec::new();
        if (mode, sort) == (Mode::Layers, Sort::Format) {
            let words: Vec<String> = checkpoint.layers.specs().iter().map(LayerSpec::label).collect();
            let mut distinct: Vec<&str> = words.iter().map(String::as_str).collect();
            distinct.sort_unstable();
            distinct.dedup();
            ranks =
                words.iter().map(|word| distinct.partition_point(|&w| w < word.as_str()) as u64).collect();
        }
        Self { checkpoint, mode, sort, ranks, differences }
    }

    fn of(&self, item: u32) -> u64 {
        match self.mode {
            Mode::Layers => self.of_layer(item),
            Mode::Tensors => self.of_tensor(item),
        }
    }

    fn of_layer(&self, layer: u32) -> u64 {
        let (files, layers) = (&self.checkpoint.files, &self.checkpoint.layers);
        let spec = layers.spec(layer);
        match self.sort {
            Sort::Natural => 0,
            Sort::Bytes => !layers.bytes(files, layer),
            Sort::Parameters => !spec.parameters,
            Sort::Bits => u64::from(!spec.millibits),
            Sort::Format => self.ranks[layers.list()[layer as usize].spec as usize],
            Sort::Shard => {
                let first = layers.tensors(layer).iter().map(|&t| files.tensors[t as usize].shard).min();
                first.map_or(u64::MAX, u64::from)
            }
            // Bits of floats that are not negative are in their order.
            Sort::Difference => !self.differences.get(layer as usize).map_or(0, |far| far.max(0.0).to_bits()),
        }
    }

    fn of_tensor(&self, tensor: u32) -> u64 {
        let files = &self.checkpoint.files;
        let record = &files.tensors[tensor as usize];
        match self.sort {
            Sort::Natural => 0,
            Sort::Bytes => !record.bytes,
            Sort::Parameters => !crate::tensor::elements(files.shape(record)).unwrap_or(u64::MAX),
            Sort::Bits => !((record.dtype.bits().unwrap_or(0.0) * 1000.0) as u64),
            Sort::Format => {
                let name = record.dtype.name().as_bytes();
                // The first letters as a number order as the words do.
                let mut head = [0; 8];
                let length = name.len().min(8);
                head[..length].copy_from_slice(&name[..length]);
                u64::from_be_bytes(head)
            }
            Sort::Shard => u64::from(record.shard),
            Sort::Difference => match self.checkpoint.layers.of_tensor(files, tensor) {
                Some(layer) => self.of_layer(layer),
                None => u64::MAX,
            },
        }
    }
}
