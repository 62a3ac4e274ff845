//! Stands: which layers a row stands for, those of all alike members with its own; and rows by what they stand for.

use std::ops::Range;

use super::{RowKind, Sort, Tree};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::{NONE, NodeId};

impl Tree {
    /// Returns the layers that a row stands for, in the order of names: one of each alike member for the row of a layer,
    /// all below of each member for a group. Empty for a tensor and beyond the rows.
    #[must_use]
    pub fn alike_layers(&self, checkpoint: &Checkpoint, row: usize) -> Vec<Range<u32>> {
        let Some(row) = self.rows.get(row) else { return Vec::new() };
        let (names, layers) = (&checkpoint.files.names, &checkpoint.layers);
        let nodes = self.alike_nodes(checkpoint, row.node);
        match row.kind {
            RowKind::Tensor(_) => Vec::new(),
            RowKind::Group => nodes.into_iter().map(|node| layers.within(node, names.end(node))).collect(),
            RowKind::Layer(layer) => {
                // Of several layers of one node, the one of the same place.
                let place = layer - layers.within(row.node, row.node + 1).start;
                let at = |node| layers.within(node, node + 1);
                let one = |of: Range<u32>| of.start + place..of.start + place + 1;
                nodes.into_iter().map(at).filter(|of| place < of.len() as u32).map(one).collect()
            }
        }
    }

    /// Returns the nodes that a node's row stands for: alike members have their nodes in one order.
    fn alike_nodes(&self, checkpoint: &Checkpoint, node: NodeId) -> Vec<NodeId> {
        let names = &checkpoint.files.names;
        let mut nodes = vec![node];
        let mut at = node;
        while at != NONE {
            if let Some(fold) = self.fold_at(at) {
                let members = self.structure.members(fold);
                nodes = members
                    .iter()
                    .flat_map(|member| nodes.iter().map(move |inner| member + (inner - at)))
                    .filter(|&inner| (inner as usize) < names.len())
                    .collect();
            }
            at = names.parent(at);
        }
        nodes
    }

    /// Puts the cursor on the next or previous row that stands for one of these layers, and opens what hides it; goes
    /// round at the ends. Returns the row; `None` if there is none.
    pub fn next_of(
        &mut self,
        checkpoint: &Checkpoint,
        forward: bool,
        layers: impl Fn(u32) -> bool,
    ) -> Option<usize> {
        let from = self.cursor;
        if self.sort != Sort::Natural || self.matches.is_some() {
            let stands = |row: usize| self.alike_layers(checkpoint, row).into_iter().flatten().any(&layers);
            let is_layer = |row: &usize| matches!(self.rows[*row].kind, RowKind::Layer(_));
            let count = self.rows.len();
            let step = |by: usize| (if forward { from + by } else { from + count - by }) % count;
            let row = (1..=count).map(step).filter(is_layer).find(|&row| stands(row))?;
            self.set_cursor(row);
            return Some(row);
        }
        let here = self.rows.get(from)?.node;
        let list = checkpoint.layers.list();
        let wanted = (0..list.len() as u32).filter(|&layer| layers(layer));
        let nodes = wanted.map(|layer| self.represented(checkpoint, list[layer as usize].node));
        // The nearest beyond the cursor, else the one that is farthest on the other side.
        let (mut beyond, mut farthest) = (None::<NodeId>, None::<NodeId>);
        for node in nodes {
            let (is_beyond, is_nearer): (bool, fn(NodeId, NodeId) -> bool) =
                if forward { (node > here, |a, b| a < b) } else { (node < here, |a, b| a > b) };
            let best = if is_beyond { &mut beyond } else { &mut farthest };
            if best.is_none_or(|best| is_nearer(node, best)) {
                *best = Some(node);
            }
        }
        self.select_node(checkpoint, beyond.or(farthest)?)
    }

    /// Sets what `Sort::Difference` goes by: of each layer how much it differs, most first.
    pub fn set_differences(&mut self, checkpoint: &Checkpoint, differences: Vec<f64>) {
        self.differences = differences;
        if self.sort == Sort::Difference {
            self.set_sort(checkpoint, Sort::Difference);
        }
    }
}
