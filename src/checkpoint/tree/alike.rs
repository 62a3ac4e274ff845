//! Alike: hashes of what a node is, for telling alike subtrees from others.
//!
//! A node is its layers' specs, its tensors' dtypes, and damage that its container reported. Not its
//! bytes or offsets: quant states are text, and of different lengths in layers that are alike.

use std::hash::BuildHasher as _;

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::NodeId;
use crate::problem::Problem;

/// What a node is by itself: its layers' specs, its tensors' dtypes, damage of its bytes.
pub(super) struct Own<'a> {
    checkpoint: &'a Checkpoint,
    /// Tensors with a fault of their container: never alike to others.
    damaged: FxHashMap<NodeId, u64>,
}

impl<'a> Own<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint) -> Self {
        let names = &checkpoint.files.names;
        // The formats' own faults are in the specs, and their problems name one layer of many alike.
        let of_container = |problem: &&Problem| problem.is_error() && problem.kind.code.starts_with('K');
        let damaged = checkpoint.problems.iter().filter(of_container).filter_map(|problem| {
            let node = names.find(problem.tensor.as_deref()?)?;
            Some((node, FxBuildHasher.hash_one(problem.kind.code)))
        });
        Self { checkpoint, damaged: damaged.collect() }
    }

    pub(super) fn hash(&self, node: NodeId) -> u64 {
        let tensors = self.checkpoint.files.within(node, node + 1);
        let layers = self.checkpoint.layers.within(node, node + 1);
        self.hash_of(node, tensors, layers)
    }

    fn hash_of(&self, node: NodeId, tensors: std::ops::Range<u32>, layers: std::ops::Range<u32>) -> u64 {
        let mut hash = 0;
        for tensor in tensors {
            let dtype = self.checkpoint.files.tensors[tensor as usize].dtype;
            hash = mix(hash, FxBuildHasher.hash_one(dtype));
        }
        for layer in layers {
            let layer = &self.checkpoint.layers.list()[layer as usize];
            hash = mix(hash, u64::from(layer.spec) << 1 | u64::from(layer.tied) | 1 << 40);
        }
        match self.damaged.get(&node) {
            Some(&damage) => mix(hash, damage),
            None => hash,
        }
    }

    pub(super) fn backward(&self) -> Backward<'_> {
        let tensors = self.checkpoint.files.tensors.len() as u32;
        Backward { own: self, tensors, layers: self.checkpoint.layers.len() as u32 }
    }
}

/// Hashes nodes from the last to the first without searching.
pub(super) struct Backward<'a> {
    own: &'a Own<'a>,
    tensors: u32,
    layers: u32,
}

impl Backward<'_> {
    pub(super) fn hash(&mut self, node: NodeId) -> u64 {
        let checkpoint = self.own.checkpoint;
        let (tensors_end, layers_end) = (self.tensors, self.layers);
        while self.tensors > 0 && checkpoint.files.tensors[self.tensors as usize - 1].node >= node {
            self.tensors -= 1;
        }
        while self.layers > 0 && checkpoint.layers.list()[self.layers as usize - 1].node >= node {
            self.layers -= 1;
        }
        self.own.hash_of(node, self.tensors..tensors_end, self.layers..layers_end)
    }
}

/// Mixes two words; order matters.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(u128::from(b ^ 0xd1b5_4a32_d192_ed03));
    (product as u64 ^ (product >> 64) as u64).wrapping_add(a.rotate_left(23))
}
