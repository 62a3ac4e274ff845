//! Sort: the tree in natural order, or a flat list of layers (or tensors) by a key.
//!
//! Sorting siblings would leave the largest layer of the file hidden in some fold; a flat list shows it
//! first. Rows of the flat list carry the full name, which a view cuts in the middle.

use rustc_hash::FxHashMap;

use super::matches::Matches;
use super::{Mode, Row, RowKind};
use crate::checkpoint::Checkpoint;

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
}

impl Sort {
    /// All orders, as a menu lists them.
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
        }
    }
}

/// Distinct keys up to which rows are counted into place instead of compared.
const COUNTED_KEYS_MAX: usize = 1 << 16;

/// Appends the flat list of what `matches` leaves; equal keys stay in natural order.
pub(super) fn flat(
    checkpoint: &Checkpoint,
    mode: Mode,
    sort: Sort,
    matches: Option<&Matches>,
    rows: &mut Vec<Row>,
) {
    let count = match mode {
        Mode::Layers => checkpoint.layers.len(),
        Mode::Tensors => checkpoint.files.tensors.len(),
    } as u32;
    let keys = Keys::new(checkpoint, mode, sort);
    let wanted = (0..count).filter(|&item| matches.is_none_or(|matches| matches.hit(item)));
    let keyed: Vec<(u64, u32)> = wanted.map(|item| (keys.of(item), item)).collect();
    rows.reserve_exact(keyed.len());
    let row = |item: u32| match mode {
        Mode::Layers => {
            let node = checkpoint.layers.list()[item as usize].node;
            Row { node, kind: RowKind::Layer(item), depth: 0, joined: 0 }
        }
        Mode::Tensors => {
            let node = checkpoint.files.tensors[item as usize].node;
            Row { node, kind: RowKind::Tensor(item), depth: 0, joined: 0 }
        }
    };
    rows.extend(in_order(keyed).into_iter().map(row));
}

/// Sorts by key, then by item.
fn in_order(mut keyed: Vec<(u64, u32)>) -> Vec<u32> {
    let mut counts: FxHashMap<u64, u32> = FxHashMap::default();
    for run in keyed.chunk_by(|a, b| a.0 == b.0) {
        *counts.entry(run[0].0).or_default() += run.len() as u32;
        if counts.len() > COUNTED_KEYS_MAX {
            keyed.sort_unstable();
            return keyed.into_iter().map(|(_, item)| item).collect();
        }
    }
    let mut starts: Vec<(u64, u32)> = counts.into_iter().collect();
    starts.sort_unstable();
    let mut next: FxHashMap<u64, u32> = FxHashMap::default();
    let mut sum = 0;
    for (key, count) in starts {
        next.insert(key, sum);
        sum += count;
    }
    let mut items = vec![0; keyed.len()];
    for run in keyed.chunk_by(|a, b| a.0 == b.0) {
        let Some(at) = next.get_mut(&run[0].0) else { continue };
        for &(_, item) in run {
            items[*at as usize] = item;
            *at += 1;
        }
    }
    items
}

/// The sort key of each item: smaller comes first.
struct Keys<'a> {
    checkpoint: &'a Checkpoint,
    mode: Mode,
    sort: Sort,
    /// By spec or dtype: ranks of the formats' words.
    ranks: Vec<u64>,
}

impl<'a> Keys<'a> {
    fn new(checkpoint: &'a Checkpoint, mode: Mode, sort: Sort) -> Self {
        let mut ranks = Vec::new();
        if (mode, sort) == (Mode::Layers, Sort::Format) {
            let words: Vec<String> = checkpoint.layers.specs().iter().map(|spec| spec.label()).collect();
            let mut distinct: Vec<&str> = words.iter().map(String::as_str).collect();
            distinct.sort_unstable();
            distinct.dedup();
            ranks =
                words.iter().map(|word| distinct.partition_point(|&w| w < word.as_str()) as u64).collect();
        }
        Self { checkpoint, mode, sort, ranks }
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
        }
    }
}
