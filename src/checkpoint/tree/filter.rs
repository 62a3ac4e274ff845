//! Filter: which layers or tensors a text leaves.

use std::ops::Range;

use super::Mode;
use super::bits::Bits;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::{NONE, NodeId};

/// What a person typed, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    words: Vec<String>,
}

impl Filter {
    /// Returns the filter of a text.
    ///
    /// # Errors
    /// A predicate that does not exist or a value it cannot take, as a line to show.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), words: text.split_whitespace().map(str::to_owned).collect() })
    }

    /// Returns the filter of a text whose plain words match fuzzily, as `~word` does.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_fuzzy(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    /// Returns the text as typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns true if it leaves everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Returns the bytes of a label that the filter's words hit.
    #[must_use]
    pub fn highlight(&self, label: &str) -> Vec<Range<usize>> {
        self.words.iter().filter_map(|w| label.find(w.as_str()).map(|at| at..at + w.len())).collect()
    }
}

/// What a filter leaves of a checkpoint.
#[derive(Debug)]
pub(super) struct Matches {
    hits: Bits,
    here: Bits,
    below: Bits,
    count: usize,
}

impl Matches {
    pub(super) fn of(checkpoint: &Checkpoint, filter: &Filter, mode: Mode) -> Self {
        let names = &checkpoint.files.names;
        let count = match mode {
            Mode::Layers => checkpoint.layers.len(),
            Mode::Tensors => checkpoint.files.tensors.len(),
        };
        let mut matches = Self {
            hits: Bits::new(count),
            here: Bits::new(names.len()),
            below: Bits::new(names.len()),
            count: 0,
        };
        for item in 0..count as u32 {
            let node = match mode {
                Mode::Layers => checkpoint.layers.list()[item as usize].node,
                Mode::Tensors => checkpoint.files.tensors[item as usize].node,
            };
            let name = names.name(node);
            if filter.words.iter().all(|word| name.contains(word.as_str())) {
                matches.hits.set(item);
                matches.here.set(node);
                let mut at = names.parent(node);
                while at != NONE && !matches.below.get(at) {
                    matches.below.set(at);
                    at = names.parent(at);
                }
            }
        }
        matches.count = matches.hits.count();
        matches
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
        self.here.alike(a, b, nodes) && self.below.alike(a, b, nodes)
    }
}
