//! Names: the tensors' names as one preorder tree of interned components.
//!
//! A checkpoint of a million tensors has some thousand distinct components, so a node is a label id, a
//! parent, the end of its subtree and a depth: 18 bytes. Names are not kept: they are rebuilt from the
//! node. Labels are numbered in natural order (`layers.2` before `layers.10`), so the preorder of nodes is
//! the natural order of names, a subtree is a contiguous range, and comparing ids compares labels.
//!
//! A name can be a tensor and a parent at once (`weight` and `weight.absmax`). Depth is capped: what lies
//! deeper is joined into the last component, dots included.

mod build;

use crate::name::natural_cmp;

/// No node, no tensor.
pub const NONE: u32 = u32::MAX;
/// Components a name is split into; the rest stays joined. Real names have about twelve.
pub const DEPTH_MAX: usize = 64;

/// A node of the tree, by its preorder number.
pub type NodeId = u32;

/// The tree of names.
#[derive(Debug, Default)]
pub struct Names {
    text: String,
    label_starts: Vec<u32>,
    has_joined: bool,
    label: Vec<u32>,
    parent: Vec<u32>,
    end: Vec<u32>,
    first_tensor: Vec<u32>,
    depth: Vec<u8>,
}

/// Where a tensor of the sorted order came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Index of the header.
    pub shard: u32,
    /// Index of the entry in the header.
    pub entry: u32,
    /// Its node.
    pub node: NodeId,
}

impl Names {
    /// Returns how many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.label.len()
    }

    /// Returns true if there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.label.is_empty()
    }

    /// Returns the label id of a node: equal ids are equal labels, and ids order naturally.
    #[must_use]
    pub fn label_id(&self, node: NodeId) -> u32 {
        self.label[node as usize]
    }

    /// Returns how many distinct labels there are.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.label_starts.len().saturating_sub(1)
    }

    /// Returns the text of a label id, as in the file (unescaped).
    #[must_use]
    pub fn label_text(&self, label: u32) -> &str {
        let start = self.label_starts[label as usize] as usize;
        &self.text[start..self.label_starts[label as usize + 1] as usize]
    }

    /// Returns the texts of all labels, one after the other.
    #[must_use]
    pub fn all_labels(&self) -> &str {
        &self.text
    }

    /// Returns where each label starts in `all_labels`; the last number is the length of it all.
    #[must_use]
    pub fn label_starts(&self) -> &[u32] {
        &self.label_starts
    }

    /// Returns true if some name was too deep, so that a label holds dots.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.has_joined
    }

    /// Returns the id of a label's text.
    #[must_use]
    pub fn find_label(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.label_count() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match natural_cmp(self.label_text(middle), text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// Returns the last component of a node's name, as in the file (unescaped).
    #[must_use]
    pub fn label(&self, node: NodeId) -> &str {
        self.label_text(self.label[node as usize])
    }

    /// Returns the parent, or `NONE` at the top.
    #[must_use]
    pub fn parent(&self, node: NodeId) -> NodeId {
        self.parent[node as usize]
    }

    /// Returns the node after the last of the subtree: nodes `node..end(node)` are the subtree.
    #[must_use]
    pub fn end(&self, node: NodeId) -> NodeId {
        self.end[node as usize]
    }

    /// Returns how many ancestors a node has.
    #[must_use]
    pub fn depth(&self, node: NodeId) -> usize {
        usize::from(self.depth[node as usize])
    }

    /// Returns the first tensor with exactly this name, or `NONE`.
    #[must_use]
    pub fn first_tensor(&self, node: NodeId) -> u32 {
        self.first_tensor[node as usize]
    }

    /// Returns the children of a node, or the top nodes for `NONE`.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let (mut next, end) = if node == NONE { (0, self.len() as u32) } else { (node + 1, self.end(node)) };
        std::iter::from_fn(move || {
            (next < end).then(|| {
                let child = next;
                next = self.end(child);
                child
            })
        })
    }

    /// Returns the full name of a node (unescaped).
    #[must_use]
    pub fn name(&self, node: NodeId) -> String {
        let mut path = Vec::with_capacity(self.depth(node) + 1);
        let mut at = node;
        while at != NONE {
            path.push(self.label(at));
            at = self.parent(at);
        }
        path.reverse();
        path.join(".")
    }

    /// Returns true if the node's full name is `name`.
    #[must_use]
    pub fn is_named(&self, node: NodeId, name: &str) -> bool {
        let mut rest = name;
        let mut at = node;
        loop {
            let parent = self.parent(at);
            let Some(before) = rest.strip_suffix(self.label(at)) else { return false };
            if parent == NONE {
                return before.is_empty();
            }
            let Some(before) = before.strip_suffix('.') else { return false };
            (rest, at) = (before, parent);
        }
    }

    /// Returns the node of a full name: by binary search, as preorder is the order of paths.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        let path: Option<Vec<u32>> =
            name.splitn(DEPTH_MAX, '.').map(|label| self.find_label(label)).collect();
        let path = path?;
        let mut own = Vec::with_capacity(DEPTH_MAX);
        let (mut low, mut high) = (0, self.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            own.clear();
            let mut at = middle;
            while at != NONE {
                own.push(self.label[at as usize]);
                at = self.parent[at as usize];
            }
            match own.iter().rev().cmp(&path) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// Returns the bytes that the tree itself keeps.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.text.capacity() + 4 * self.label_starts.capacity() + self.label.capacity() * 17
    }
}

/// Names of many nodes, one after another: neighbors share their path, which is then built once.
pub struct NameWriter<'a> {
    names: &'a Names,
    parent: NodeId,
    path_len: usize,
    text: String,
}

impl<'a> NameWriter<'a> {
    /// Returns a writer over a tree of names.
    #[must_use]
    pub fn new(names: &'a Names) -> Self {
        Self { names, parent: NONE, path_len: 0, text: String::new() }
    }

    /// Returns the full name of a node (unescaped), until the next call.
    pub fn name(&mut self, node: NodeId) -> &str {
        let parent = self.names.parent(node);
        if parent != self.parent {
            self.text.clear();
            if parent != NONE {
                self.text.push_str(&self.names.name(parent));
                self.text.push('.');
            }
            self.path_len = self.text.len();
            self.parent = parent;
        }
        self.text.truncate(self.path_len);
        self.text.push_str(self.names.label(node));
        &self.text
    }
}

#[cfg(test)]
mod tests;
