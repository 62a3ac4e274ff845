//! Structure: what of the tree follows from the files and layers alone: which nodes show, which siblings
//! are alike and fold, which layers stand out.
//!
//! One word of flags a node, computed in a few passes over the nodes. A backward pass gives each subtree
//! a hash of its relative labels, layer specs and dtypes; siblings with numbers for labels and equal
//! hashes are one fold. If most of the numbered siblings are in one fold, those in no fold stand out, and
//! are compared with the fold's first member to find the layers that make the difference.

use rustc_hash::FxHashMap;

use super::Mode;
use super::alike::{Own, mix};
use super::bits::Bits;
use super::text::Mark;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::{NONE, Names, NodeId};
use crate::problem::Problem;

/// A layer is here or below.
const SHOWN: u16 = 1;
/// A layer is here.
const LAYER: u16 = 1 << 1;
/// A layer is below.
const LAYERS_BELOW: u16 = 1 << 2;
/// In a fold.
const MEMBER: u16 = 1 << 3;
/// The first of a fold.
const HEAD: u16 = 1 << 4;
const ERROR: u16 = 1 << 5;
const WARNING: u16 = 1 << 6;
const ERROR_BELOW: u16 = 1 << 7;
const WARNING_BELOW: u16 = 1 << 8;
/// In no fold, while most of its siblings are in one.
const ODD: u16 = 1 << 9;
/// What makes an odd one odd.
const DIFFERS: u16 = 1 << 10;
/// One row with its only child, in layer mode.
const CHAIN_LAYERS: u16 = 1 << 11;
/// The same in tensor mode.
const CHAIN_TENSORS: u16 = 1 << 12;
/// All its shown children are one fold, in layer mode.
const ONE_FOLD_LAYERS: u16 = 1 << 13;
/// The same in tensor mode.
const ONE_FOLD_TENSORS: u16 = 1 << 14;
/// A numbered node: never joined with what is below it.
const NUMBERED: u16 = 1 << 15;

/// The flags of all nodes, and the folds.
#[derive(Debug, Default)]
pub(super) struct Structure {
    flags: Vec<u16>,
    folds: Vec<Fold>,
    members: Vec<NodeId>,
    /// Each member with its fold, by node.
    owners: Vec<(NodeId, u32)>,
}

/// Alike siblings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    pub(super) head: NodeId,
    start: u32,
    pub(super) count: u32,
    /// Bytes of all members.
    pub(super) bytes: u64,
    /// Parameters of all members.
    pub(super) parameters: u64,
    /// The worst mark of all members.
    pub(super) mark: Mark,
}

impl Structure {
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let names = &checkpoint.files.names;
        let mut flags = own_flags(checkpoint);
        mark_problems(checkpoint, &mut flags);
        let hashes = hash_and_sum_up(checkpoint, &mut flags);
        let mut structure = Self { flags, ..Self::default() };
        let odd = structure.find_folds(names, &hashes);
        for (member, head) in odd {
            structure.compare(checkpoint, &hashes, member, head);
        }
        structure.find_chains(names);
        structure.sum_folds(checkpoint);
        structure
    }

    pub(super) fn folds(&self) -> &[Fold] {
        &self.folds
    }

    /// Returns the first node with a number for a label that shows.
    pub(super) fn first_numbered(&self) -> Option<NodeId> {
        let is_wanted = |flags: &u16| flags & (NUMBERED | SHOWN) == NUMBERED | SHOWN;
        self.flags.iter().position(is_wanted).map(|node| node as NodeId)
    }

    pub(super) fn members(&self, fold: usize) -> &[NodeId] {
        let fold = &self.folds[fold];
        &self.members[fold.start as usize..][..fold.count as usize]
    }

    /// Returns the fold with this head.
    pub(super) fn fold_of(&self, head: NodeId) -> Option<usize> {
        self.folds.binary_search_by_key(&head, |fold| fold.head).ok()
    }

    /// Returns the fold that a node is a member of.
    pub(super) fn owner(&self, member: NodeId) -> Option<usize> {
        if !self.is_member(member) {
            return None;
        }
        let at = self.owners.binary_search_by_key(&member, |owner| owner.0).ok()?;
        Some(self.owners[at].1 as usize)
    }

    pub(super) fn all_folded(&self, nodes: usize) -> Bits {
        let mut folded = Bits::new(nodes);
        for &member in &self.members {
            folded.set(member);
        }
        folded
    }

    /// Folds or unfolds one fold in `folded`.
    pub(super) fn put(&self, folded: &mut Bits, fold: usize, value: bool) {
        for &member in self.members(fold) {
            folded.put(member, value);
        }
    }

    fn has(&self, node: NodeId, flag: u16) -> bool {
        self.flags.get(node as usize).is_some_and(|flags| flags & flag != 0)
    }

    pub(super) fn is_shown(&self, mode: Mode, node: NodeId) -> bool {
        mode == Mode::Tensors || self.has(node, SHOWN)
    }

    pub(super) fn is_layer(&self, node: NodeId) -> bool {
        self.has(node, LAYER)
    }

    pub(super) fn has_layers_below(&self, node: NodeId) -> bool {
        self.has(node, LAYERS_BELOW)
    }

    pub(super) fn is_member(&self, node: NodeId) -> bool {
        self.has(node, MEMBER)
    }

    pub(super) fn is_head(&self, node: NodeId) -> bool {
        self.has(node, HEAD)
    }

    pub(super) fn is_odd(&self, node: NodeId) -> bool {
        self.has(node, ODD | DIFFERS)
    }

    /// Returns true for a broken layer and one that an error names.
    pub(super) fn is_broken(&self, node: NodeId) -> bool {
        self.has(node, ERROR)
    }

    /// Returns true for what `next_marked` stops at.
    pub(super) fn stands_out(&self, node: NodeId) -> bool {
        self.has(node, ERROR | WARNING | DIFFERS)
    }

    pub(super) fn mark(&self, node: NodeId) -> Mark {
        if self.has(node, ERROR | ERROR_BELOW) {
            Mark::Error
        } else if self.has(node, WARNING | WARNING_BELOW) {
            Mark::Warning
        } else {
            Mark::None
        }
    }

    /// Returns true if the node is one row with its only child group.
    pub(super) fn is_chain(&self, mode: Mode, node: NodeId) -> bool {
        self.has(node, if mode == Mode::Layers { CHAIN_LAYERS } else { CHAIN_TENSORS })
    }

    /// Returns true if all children of the node are one fold, and it can be one row with it.
    pub(super) fn is_one_fold(&self, mode: Mode, node: NodeId) -> bool {
        self.has(node, if mode == Mode::Layers { ONE_FOLD_LAYERS } else { ONE_FOLD_TENSORS })
    }

    /// Groups alike numbered siblings. Returns the odd ones, each with the head to compare it with.
    fn find_folds(&mut self, names: &Names, hashes: &[u64]) -> Vec<(NodeId, NodeId)> {
        let mut odd = Vec::new();
        let mut numbered: Vec<(u64, u32, NodeId)> = Vec::new();
        let mut parent = NONE;
        loop {
            numbered.clear();
            for child in names.children(parent) {
                if self.has(child, NUMBERED) {
                    numbered.push((hashes[child as usize], names.end(child) - child, child));
                }
            }
            if numbered.len() > 1 {
                self.fold_siblings(&mut numbered, &mut odd);
            }
            parent = parent.wrapping_add(1);
            if parent as usize >= names.len() {
                break;
            }
        }
        self.folds.sort_unstable_by_key(|fold| fold.head);
        for (index, fold) in self.folds.iter().enumerate() {
            let members = &self.members[fold.start as usize..][..fold.count as usize];
            self.owners.extend(members.iter().map(|&member| (member, index as u32)));
        }
        self.owners.sort_unstable();
        self.folds.shrink_to_fit();
        self.members.shrink_to_fit();
        self.owners.shrink_to_fit();
        odd
    }

    fn fold_siblings(&mut self, numbered: &mut [(u64, u32, NodeId)], odd: &mut Vec<(NodeId, NodeId)>) {
        let all = numbered.len();
        numbered.sort_unstable();
        let mut largest: Option<Fold> = None;
        let mut alone = Vec::new();
        for alike in numbered.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let head = alike[0].2;
            if alike.len() == 1 {
                alone.push(head);
                continue;
            }
            let start = self.members.len() as u32;
            for &(_, _, member) in alike {
                self.members.push(member);
                self.flags[member as usize] |= MEMBER;
            }
            self.flags[head as usize] |= HEAD;
            let count = alike.len() as u32;
            let fold = Fold { head, start, count, bytes: 0, parameters: 0, mark: Mark::None };
            self.folds.push(fold);
            if largest.is_none_or(|largest| largest.count < count) {
                largest = Some(fold);
            }
        }
        if let Some(largest) = largest.filter(|largest| largest.count as usize * 2 > all) {
            odd.extend(alone.into_iter().map(|member| (member, largest.head)));
        }
    }

    /// Marks `member`, and below it the layers that are not as in `head`.
    fn compare(&mut self, checkpoint: &Checkpoint, hashes: &[u64], member: NodeId, head: NodeId) {
        let names = &checkpoint.files.names;
        self.flags[member as usize] |= ODD;
        let own = Own::new(checkpoint);
        let mut pairs = vec![(member, head)];
        let mut differing = Vec::new();
        while let Some((a, b)) = pairs.pop() {
            if own.hash(a) != own.hash(b) {
                differing.push(a);
            }
            let mut others = names.children(b).peekable();
            for child in names.children(a) {
                let label = names.label_id(child);
                let mut is_missing = false;
                while others.next_if(|&other| names.label_id(other) < label).is_some() {
                    is_missing = true;
                }
                if is_missing {
                    differing.push(a);
                }
                match others.next_if(|&other| names.label_id(other) == label) {
                    Some(other) if hashes[other as usize] != hashes[child as usize] => {
                        pairs.push((child, other));
                    }
                    Some(_) => {}
                    None => differing.push(child),
                }
            }
            if others.next().is_some() {
                differing.push(a);
            }
        }
        for mut node in differing {
            while node != member && !self.has(node, SHOWN) {
                node = names.parent(node);
            }
            self.flags[node as usize] |= DIFFERS;
        }
    }

    fn find_chains(&mut self, names: &Names) {
        for node in (0..names.len() as u32).rev() {
            if !self.has(node, NUMBERED) {
                let in_layers = self.row_with_children(names, node, Mode::Layers);
                let in_tensors = self.row_with_children(names, node, Mode::Tensors);
                self.flags[node as usize] |= in_layers | in_tensors;
            }
        }
    }

    /// Returns the flag for a node that is one row with its only child or fold.
    fn row_with_children(&self, names: &Names, node: NodeId, mode: Mode) -> u16 {
        let (chain, one_fold) = match mode {
            Mode::Layers => (CHAIN_LAYERS, ONE_FOLD_LAYERS),
            Mode::Tensors => (CHAIN_TENSORS, ONE_FOLD_TENSORS),
        };
        let is_item = |node| match mode {
            Mode::Layers => self.has(node, LAYER),
            Mode::Tensors => names.first_tensor(node) != NONE,
        };
        if is_item(node) || !self.is_shown(mode, node) {
            return 0;
        }
        let mut children = names.children(node).filter(|&child| self.is_shown(mode, child));
        let Some(first) = children.next() else { return 0 };
        let Some(second) = children.next() else {
            return if is_item(first) { 0 } else { chain };
        };
        if !self.has(first, HEAD) || !self.has(second, MEMBER) {
            return 0;
        }
        let count = 2 + children.count() as u32;
        let fold = self.fold_of(first).map(|fold| self.folds[fold].count);
        if fold == Some(count) { one_fold } else { 0 }
    }

    fn sum_folds(&mut self, checkpoint: &Checkpoint) {
        if self.folds.is_empty() {
            return;
        }
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let before = Before::of(checkpoint);
        for index in 0..self.folds.len() {
            let (mut bytes, mut parameters, mut mark) = (0u64, 0u64, Mark::None);
            for &member in self.members(index) {
                let end = files.names.end(member);
                bytes = bytes.saturating_add(files.bytes(before.tensors(member, end)));
                parameters = parameters.saturating_add(layers.parameters(before.layers(member, end)));
                mark = mark.max(self.mark(member));
            }
            let fold = &mut self.folds[index];
            (fold.bytes, fold.parameters, fold.mark) = (bytes, parameters, mark);
        }
    }
}

/// How many tensors and layers stand before each node.
struct Before {
    tensors: Vec<u32>,
    layers: Vec<u32>,
}

impl Before {
    fn of(checkpoint: &Checkpoint) -> Self {
        let nodes = checkpoint.files.names.len();
        let mut before = Self { tensors: vec![0; nodes + 1], layers: vec![0; nodes + 1] };
        let (mut tensor, mut layer) = (0, 0);
        let (tensors, layers) = (&checkpoint.files.tensors, checkpoint.layers.list());
        for node in 0..=nodes {
            while tensor < tensors.len() && (tensors[tensor].node as usize) < node {
                tensor += 1;
            }
            while layer < layers.len() && (layers[layer].node as usize) < node {
                layer += 1;
            }
            (before.tensors[node], before.layers[node]) = (tensor as u32, layer as u32);
        }
        before
    }

    fn tensors(&self, first: NodeId, end: NodeId) -> std::ops::Range<u32> {
        self.tensors[first as usize]..self.tensors[end as usize]
    }

    fn layers(&self, first: NodeId, end: NodeId) -> std::ops::Range<u32> {
        self.layers[first as usize]..self.layers[end as usize]
    }
}

/// Sets the flags that need no other node: layers, broken ones, numbers.
fn own_flags(checkpoint: &Checkpoint) -> Vec<u16> {
    let names = &checkpoint.files.names;
    let numbers: Vec<bool> =
        (0..names.label_count() as u32).map(|id| is_number(names.label_text(id))).collect();
    let mut flags: Vec<u16> = (0..names.len() as u32)
        .map(|node| if numbers[names.label_id(node) as usize] { NUMBERED } else { 0 })
        .collect();
    for (index, layer) in checkpoint.layers.list().iter().enumerate() {
        let broken = !checkpoint.layers.spec(index as u32).broken.is_empty();
        flags[layer.node as usize] |= if broken { LAYER | ERROR } else { LAYER };
    }
    flags
}

/// Returns true for the label of a numbered sibling.
pub(super) fn is_number(label: &str) -> bool {
    !label.is_empty() && label.len() <= NUMBER_DIGITS_MAX && label.bytes().all(|b| b.is_ascii_digit())
}

/// Digits of a number that surely fits 64 bits; longer ones are names.
const NUMBER_DIGITS_MAX: usize = 18;

/// Marks what problems name: the tensor's node, and its layer's.
fn mark_problems(checkpoint: &Checkpoint, flags: &mut [u16]) {
    let names = &checkpoint.files.names;
    let mut tensors: FxHashMap<u32, u16> = FxHashMap::default();
    let flag = |problem: &Problem| if problem.is_error() { ERROR } else { WARNING };
    for problem in &checkpoint.problems {
        let Some(name) = problem.tensor.as_deref() else { continue };
        let node = names.find(name).or_else(|| {
            let layer = checkpoint.layers.find_name(names, name)?;
            Some(checkpoint.layers.list()[layer as usize].node)
        });
        let Some(node) = node else { continue };
        flags[node as usize] |= flag(problem);
        let first = names.first_tensor(node);
        if first != NONE && flags[node as usize] & LAYER == 0 {
            *tensors.entry(first).or_default() |= flag(problem);
        }
    }
    if tensors.is_empty() {
        return;
    }
    for (index, layer) in checkpoint.layers.list().iter().enumerate() {
        for tensor in checkpoint.layers.tensors(index as u32) {
            if let Some(flag) = tensors.get(tensor) {
                flags[layer.node as usize] |= flag;
            }
        }
    }
}

/// Hashes each subtree, and tells each node what is below it.
fn hash_and_sum_up(checkpoint: &Checkpoint, flags: &mut [u16]) -> Vec<u64> {
    let names = &checkpoint.files.names;
    let mut hashes = vec![0u64; names.len()];
    let own = Own::new(checkpoint);
    let mut own = own.backward();
    for node in (0..names.len() as u32).rev() {
        let at = node as usize;
        let hash = mix(hashes[at], own.hash(node));
        hashes[at] = hash;
        let has = flags[at];
        if has & LAYER != 0 || has & LAYERS_BELOW != 0 {
            flags[at] |= SHOWN;
        }
        let parent = names.parent(node);
        if parent == NONE {
            continue;
        }
        let up = parent as usize;
        hashes[up] = mix(hashes[up], mix(hash, u64::from(names.label_id(node))));
        if flags[at] & SHOWN != 0 {
            flags[up] |= LAYERS_BELOW;
        }
        if has & (ERROR | ERROR_BELOW) != 0 {
            flags[up] |= ERROR_BELOW;
        }
        if has & (WARNING | WARNING_BELOW) != 0 {
            flags[up] |= WARNING_BELOW;
        }
    }
    hashes
}
