//! Stands: which layers a row stands for, those of all alike members with its own; and rows by what they stand for.

use std::ops::Range;

use super::{RowKind, Sort, Tree};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::{NONE, NodeId};

/// A place in the order of rows, of a node or of a guest.
type Place = (NodeId, u8, NodeId, usize);

impl Tree {
    /// Returns the layers that a row stands for, in the order of names: one of each alike member for the row of a layer,
    /// all below of each member for a group. Empty for a tensor and beyond the rows.
    #[must_use]
    pub fn alike_layers(&self, checkpoint: &Checkpoint, row: usize) -> Vec<Range<u32>> {
        let Some(row) = self.rows.get(row) else { return Vec::new() };
        let (names, layers) = (&checkpoint.files.names, &checkpoint.layers);
        if matches!(row.kind, RowKind::Guest(_)) {
            return Vec::new();
        }
        let nodes = self.alike_nodes(checkpoint, row.node);
        match row.kind {
            RowKind::Tensor(_) | RowKind::Guest(_) => Vec::new(),
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
    pub(super) fn alike_nodes(&self, checkpoint: &Checkpoint, node: NodeId) -> Vec<NodeId> {
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

    /// Puts the cursor on the next or previous row that stands for one of these layers, or on that of a guest, and opens
    /// what hides it; goes round at the ends. Returns the row; `None` if there is none.
    pub fn next_of(
        &mut self,
        checkpoint: &Checkpoint,
        forward: bool,
        layers: impl Fn(u32) -> bool,
    ) -> Option<usize> {
        let from = self.cursor;
        if self.sort != Sort::Natural || self.matches.is_some() {
            let stands = |row: usize| match self.rows[row].kind {
                RowKind::Guest(_) => true,
                RowKind::Layer(_) => self.alike_layers(checkpoint, row).into_iter().flatten().any(&layers),
                RowKind::Group | RowKind::Tensor(_) => false,
            };
            let count = self.rows.len();
            let step = |by: usize| (if forward { from + by } else { from + count - by }) % count;
            let row = (1..=count).map(step).find(|&row| stands(row))?;
            self.set_cursor(row);
            return Some(row);
        }
        // Guests stand behind all before a node, and that node behind them.
        let place_of = |node: NodeId| (node, 1, 0, 0);
        let list = checkpoint.layers.list();
        let wanted = (0..list.len() as u32).filter(|&layer| layers(layer));
        let nodes = wanted.map(|layer| place_of(self.represented(checkpoint, list[layer as usize].node)));
        let guests = self.guest_places(checkpoint);
        // Of those that end before one node the innermost comes first.
        let outer = |above: NodeId| if above == NONE { NONE } else { NONE - 1 - above };
        let of_guest = |(at, guest): (usize, &(u32, NodeId, NodeId))| (guest.2, 0, outer(guest.1), at);
        let here = self.rows.get(from)?;
        let here = match here.kind {
            RowKind::Guest(guest) => {
                guests.iter().enumerate().find(|(_, (first, ..))| *first == guest).map(of_guest)?
            }
            _ => place_of(here.node),
        };
        // The nearest beyond the cursor, else the one that is farthest on the other side.
        let (mut beyond, mut farthest) = (None, None);
        for place in nodes.chain(guests.iter().enumerate().map(of_guest)) {
            let (is_beyond, is_nearer): (bool, fn(Place, Place) -> bool) =
                if forward { (place > here, |a, b| a < b) } else { (place < here, |a, b| a > b) };
            let best = if is_beyond { &mut beyond } else { &mut farthest };
            if best.is_none_or(|best| is_nearer(place, best)) {
                *best = Some(place);
            }
        }
        match beyond.or(farthest)? {
            (_, 0, _, at) => self.select_guest(checkpoint, guests[at].0),
            (node, ..) => self.select_node(checkpoint, node),
        }
    }

    /// Sets what `Sort::Difference` goes by: of each layer how much it differs, most first, and of all guests.
    pub fn set_differences(&mut self, checkpoint: &Checkpoint, differences: Vec<f64>, guests: f64) {
        (self.differences, self.guest_weight) = (differences, guests);
        if self.sort == Sort::Difference {
            self.set_sort(checkpoint, Sort::Difference);
        }
    }
}
