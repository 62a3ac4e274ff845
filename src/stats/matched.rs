//! Matched: which layer of a checkpoint A is which layer of another, B.
//!
//! By names: those of a GGUF file become Hugging Face's where the other side has those, prefixes are stripped as asked,
//! and names of A become others as asked. What llama.cpp did to the values of a GGUF file is undone with its names. A
//! head that one side stores and the other ties to its embeddings is held against the embeddings.
//!
//! Nothing but headers is looked at.

mod guests;
mod names;

use rustc_hash::FxHashMap;

use super::source::{Of, Part, Source};
use crate::checkpoint::tree::Guest;
use crate::checkpoint::{Checkpoint, checks};
use crate::error::Result;
use crate::name::escape;
use crate::plan::conv1d;
use crate::quant::change::Change;
use crate::tensor::Dtype;
use crate::units;
pub use names::NameMap;
use names::{Called, Caller};

/// Names of a side whose endings are looked for on the other where none is in both.
const HINTED_MAX: usize = 32;

/// One of the two checkpoints that are held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first.
    A,
    /// The one that it is compared with.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Returns `A` or `B`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

/// A layer of A and the layer of B that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What both are called; of their biases, the name of the tensor.
    pub name: String,
    /// The layer of A.
    pub a: u32,
    /// The layer of B.
    pub b: u32,
    /// The tensors of the layers' biases, if this is the pair of those; else it is that of their weights.
    pub bias: Option<[u32; 2]>,
    /// The side that does not store the layer: its layer here is the one that it is tied to.
    pub tied: Option<Side>,
    /// What becomes of the values of either side.
    changes: [Change; 2],
}

/// What the headers say that differs between the two of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differs {
    /// Their shapes.
    pub shape: Option<(Vec<u64>, Vec<u64>)>,
    /// The dtypes of their values, if both are known.
    pub dtype: Option<(Dtype, Dtype)>,
    /// Their formats in a word (`GPTQ4`, `BF16`), unless both are plain values.
    pub format: Option<(String, String)>,
}

impl Differs {
    /// Returns true if nothing differs.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The layers of two checkpoints, matched.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    /// Those that both have, in the order of A: of a layer first the weights, then the bias if both have one.
    pub pairs: Vec<Pair>,
    /// Layers that only A stores.
    pub only_a: Vec<u32>,
    /// Layers that only B stores.
    pub only_b: Vec<u32>,
    /// Where those would stand among the names of A, in their order.
    pub guests: Vec<Guest>,
    /// Biases of layers in `pairs` that only one side has: the side and the tensor.
    pub lone_biases: Vec<(Side, u32)>,
    /// What a person should know of how they were matched, one sentence each.
    pub notes: Vec<String>,
    /// If no name is in both: the side and the prefix of its names that makes some the same.
    pub strip: Option<(Side, String)>,
}

impl Matched {
    /// Matches the layers of two checkpoints that have been examined.
    #[must_use]
    pub fn of(a: &Checkpoint, b: &Checkpoint, names: &NameMap) -> Self {
        let mut notes = Vec::new();
        let caller = Caller::new([a, b], names, &mut notes);
        let (of_a, of_b) = (caller.called(Side::A, &mut notes), caller.called(Side::B, &mut notes));
        let mut matched = Self { notes, ..Self::default() };
        matched.pair([a, b], [&of_a, &of_b]);
        matched.ties([a, b], [&of_a, &of_b]);
        matched.hint([&of_a, &of_b]);
        matched.guests = guests::guests(a, [&of_a, &of_b], &matched.only_b);
        matched
    }

    /// Pairs the layers of equal names; alike ones of a side in their order.
    fn pair(&mut self, of: [&Checkpoint; 2], names: [&[Called]; 2]) {
        for (side, names) in Side::BOTH.into_iter().zip(names) {
            self.again(side, names);
        }
        let mut free: FxHashMap<&str, Vec<u32>> = FxHashMap::default();
        for (layer, called) in names[1].iter().enumerate().rev() {
            if !called.is_dropped {
                free.entry(&called.name).or_default().push(layer as u32);
            }
        }
        let mut is_paired = vec![false; names[1].len()];
        for (a, called) in (0..).zip(names[0]) {
            if called.is_dropped {
                continue;
            }
            let Some(b) = free.get_mut(called.name.as_str()).and_then(Vec::pop) else {
                self.only_a.push(a);
                continue;
            };
            is_paired[b as usize] = true;
            self.push(of, names, (a, b), called.name.clone());
        }
        let left = (0..).zip(names[1]).zip(is_paired);
        let left = left.filter(|((_, called), is_paired)| !is_paired && !called.is_dropped);
        self.only_b = left.map(|((layer, _), _)| layer).collect();
        for (side, names) in Side::BOTH.into_iter().zip(names) {
            let dropped: Vec<&str> = names.iter().filter(|c| c.is_dropped).map(|c| &*c.name).collect();
            if !dropped.is_empty() {
                let listed = escape(&dropped.join(", ")).into_owned();
                self.notes
                    .push(format!("{listed} in {}: no model has it, its config says as much", side.name()));
            }
        }
    }

    /// Says which name several layers of a side have.
    fn again(&mut self, side: Side, names: &[Called]) {
        let mut counts: FxHashMap<&str, usize> = FxHashMap::default();
        for called in names.iter().filter(|called| !called.is_dropped) {
            *counts.entry(&called.name).or_default() += 1;
        }
        let mut again =
            names.iter().filter(|called| counts.get(called.name.as_str()).is_some_and(|&n| n > 1));
        let Some(first) = again.next() else { return };
        let count = counts.get(first.name.as_str()).copied().unwrap_or(0);
        let more = counts.values().filter(|&&count| count > 1).count() - 1;
        let more =
            if more == 0 { String::new() } else { format!(", and {} so", units::plural(more, "more name")) };
        let (side, name) = (side.name(), escape(&first.name));
        self.notes.push(format!(
            "{count} layers of {side} are called {name}{more}: each is matched once, in their order"
        ));
    }

    /// Adds the pair of two layers, and that of their biases.
    fn push(&mut self, of: [&Checkpoint; 2], names: [&[Called]; 2], (a, b): (u32, u32), name: String) {
        let called = [&names[0][a as usize], &names[1][b as usize]];
        let changes = changes_of(of, [a, b], called.map(|called| called.change));
        let biases = [bias_of(of[0], a), bias_of(of[1], b)];
        if let [Some(of_a), Some(of_b)] = biases {
            let of_bias = changes.map(|change| if change == Change::Turned { Change::None } else { change });
            let bias = Some([of_a, of_b]);
            let bias = Pair { name: format!("{name}.bias"), a, b, bias, tied: None, changes: of_bias };
            self.pairs.extend([Pair { name, a, b, bias: None, tied: None, changes }, bias]);
        } else {
            self.pairs.push(Pair { name, a, b, bias: None, tied: None, changes });
            let lone = Side::BOTH.into_iter().zip(biases);
            self.lone_biases.extend(lone.filter_map(|(side, bias)| Some((side, bias?))));
        }
    }

    /// Pairs a head that one side stores with the embeddings that the other ties its head to.
    fn ties(&mut self, of: [&Checkpoint; 2], names: [&[Called]; 2]) {
        for (tied, stored, side) in [(0, 1, Side::A), (1, 0, Side::B)] {
            let Some(embeddings) = checks::head_by_tie(of[tied]) else { continue };
            let only = if stored == 0 { &self.only_a } else { &self.only_b };
            let name = |layer: u32| &names[stored][layer as usize].name;
            let is_head = |layer: &&u32| names::is_head(name(**layer));
            let Some(&head) = only.iter().find(is_head) else { continue };
            let name = name(head).clone();
            let (a, b) = if tied == 0 { (embeddings, head) } else { (head, embeddings) };
            self.notes.push(format!(
                "{} is tied in {}: there it is {}",
                escape(&name),
                side.name(),
                escape(&of[tied].layers.name(&of[tied].files.names, embeddings))
            ));
            let changes = [Change::None; 2];
            self.pairs.push(Pair { name, a, b, bias: None, tied: Some(side), changes });
        }
    }

    /// Says what to strip, if no name is in both but some are for a prefix.
    fn hint(&mut self, names: [&[Called]; 2]) {
        if !self.pairs.is_empty() {
            return;
        }
        let ways = [(0, 1, Side::A, "--strip-prefix-a"), (1, 0, Side::B, "--strip-prefix-b")];
        for (long, short, side, flag) in ways {
            let prefix = names[short].iter().take(HINTED_MAX).find_map(|wanted| {
                let prefix =
                    |of: &Called| of.name.strip_suffix(&wanted.name)?.strip_suffix('.').map(str::to_owned);
                names[long].iter().find_map(prefix).filter(|prefix| !prefix.is_empty())
            });
            if let Some(prefix) = prefix {
                self.strip.get_or_insert_with(|| (side, prefix.clone()));
                let prefix = escape(&prefix).into_owned();
                self.notes.push(format!("no name is in both; {flag} {prefix} would make some the same"));
            }
        }
    }
}

/// Returns what becomes of the values of two layers, from what llama.cpp did to them.
fn changes_of(of: [&Checkpoint; 2], layers: [u32; 2], changes: [Change; 2]) -> [Change; 2] {
    if !of.into_iter().any(conv1d::is_model) {
        return changes;
    }
    let turned = [0, 1].map(|side| {
        let (layers, layer) = (&of[side].layers, layers[side]);
        let spec = layers.spec(layer);
        conv1d::change(layers.label(&of[side].files.names, layer), spec.format.get().name(), &spec.shape)
    });
    // Two that are both turned stand as they are.
    if turned[0] == turned[1] { changes } else { turned }
}

/// Returns the bias of a layer, if it has one beside other tensors.
fn bias_of(checkpoint: &Checkpoint, layer: u32) -> Option<u32> {
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    if layers.tensors(layer).len() < 2 {
        return None;
    }
    let name = layers.name(&files.names, layer);
    let is_bias = |tensor: &u32| {
        let full = files.tensor_name(*tensor);
        full.strip_prefix(name.as_str()).is_some_and(|rest| matches!(rest, ".bias" | "_bias"))
    };
    layers.tensors(layer).iter().copied().find(is_bias)
}

impl Pair {
    /// Returns what the headers say that differs.
    #[must_use]
    pub fn differs(&self, a: &Checkpoint, b: &Checkpoint) -> Differs {
        if let Some([of_a, of_b]) = self.bias {
            let at = |of: &Checkpoint, tensor: u32| {
                let record = &of.files.tensors[tensor as usize];
                (of.files.shape(record).to_vec(), record.dtype)
            };
            let ((shape_a, dtype_a), (shape_b, dtype_b)) = (at(a, of_a), at(b, of_b));
            return Differs {
                shape: (shape_a != shape_b).then_some((shape_a, shape_b)),
                dtype: (dtype_a != dtype_b).then_some((dtype_a, dtype_b)),
                format: None,
            };
        }
        let (of_a, of_b) = (a.layers.spec(self.a), b.layers.spec(self.b));
        let shapes = (self.changes[0].shape(&of_a.shape), self.changes[1].shape(&of_b.shape));
        let is_known = of_a.shape_known && of_b.shape_known;
        let labels = (of_a.label(), of_b.label());
        let is_packed = of_a.is_quantized() || of_b.is_quantized();
        Differs {
            shape: (is_known && shapes.0 != shapes.1).then_some(shapes),
            dtype: of_a.dtype.zip(of_b.dtype).filter(|(a, b)| a != b),
            format: (is_packed && labels.0 != labels.1).then_some(labels),
        }
    }

    /// Returns the shape of the values as they are compared, by the headers of A; `None` if they do not say it.
    #[must_use]
    pub fn shape(&self, a: &Checkpoint) -> Option<Vec<u64>> {
        if let Some([tensor, _]) = self.bias {
            return Some(a.files.shape(&a.files.tensors[tensor as usize]).to_vec());
        }
        let spec = a.layers.spec(self.a);
        spec.shape_known.then(|| self.changes[0].shape(&spec.shape))
    }

    /// Returns the values of both sides, as they are compared.
    ///
    /// # Errors
    /// Those of a side cannot be decoded or have no plain values; in words.
    pub fn open<'a>(&self, a: &'a Checkpoint, b: &'a Checkpoint) -> Result<[Source<'a>; 2]> {
        let of = self.bias.map_or([Of::Layer(self.a), Of::Layer(self.b)], |tensors| tensors.map(Of::Tensor));
        let open = |checkpoint: &'a Checkpoint, side: usize| {
            let source = Source::open(checkpoint, of[side], Part::Weights)?;
            source.changed(checkpoint, self.changes[side])
        };
        Ok([open(a, 0)?, open(b, 1)?])
    }

    /// Returns the formats of both sides in a word: `GPTQ4`, `BF16`.
    #[must_use]
    pub fn labels(&self, a: &Checkpoint, b: &Checkpoint) -> [String; 2] {
        let one = |of: &Checkpoint, layer: u32, side: usize| match self.bias {
            Some(tensors) => of.files.tensors[tensors[side] as usize].dtype.to_string(),
            None => of.layers.spec(layer).label(),
        };
        [one(a, self.a, 0), one(b, self.b, 1)]
    }
}

#[cfg(test)]
mod tests;
