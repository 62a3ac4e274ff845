//! Rows: the visible rows, made by one scan over the nodes that jumps over closed subtrees, and kept up
//! to date by inserting and removing what one row hides.

use super::matches::Matches;
use super::{Expand, Filter, Mode, Row, RowKind, Sort, Tree, sort};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::{DEPTH_MAX, NONE, NodeId};

/// Nodes in a subtree above which opening it makes all rows anew.
const MANY_NODES: usize = 1 << 17;

impl Tree {
    /// Makes all rows anew.
    pub(super) fn reflow(&mut self, checkpoint: &Checkpoint) {
        self.scan_all(checkpoint);
        self.set_cursor(self.cursor);
    }

    fn scan_all(&mut self, checkpoint: &Checkpoint) {
        self.settle_guests(checkpoint);
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        if self.sort == Sort::Natural {
            self.scan(checkpoint, (0, checkpoint.files.names.len() as u32), 0, &mut rows);
            self.push_guests(checkpoint, NONE, (0, 0), &mut rows);
        } else {
            let by = (self.sort, &self.differences[..]);
            sort::flat(checkpoint, self.mode, by, self.matches.as_ref(), &mut rows);
            self.insert_guests(&mut rows);
        }
        self.rows = rows;
    }

    /// Appends the rows of siblings and what is open below them; `range` starts at a node.
    fn scan(&self, checkpoint: &Checkpoint, range: (NodeId, NodeId), depth: u8, rows: &mut Vec<Row>) {
        let names = &checkpoint.files.names;
        let (mut node, end) = range;
        // Display depth, and nodes joined so far, by depth in the tree of names.
        let mut below = [(0u8, 0u8); DEPTH_MAX + 2];
        if node < end {
            below[names.depth(node)] = (depth, 0);
        }
        let mut layer = checkpoint.layers.within(0, node).end;
        // Nodes above whose guests come where they end, innermost last.
        let mut above: Vec<(NodeId, (u8, u8))> = Vec::new();
        while node < end {
            self.end_above(checkpoint, node, &mut above, rows);
            if !self.is_visible_child(node) {
                node = names.end(node);
                continue;
            }
            let at = names.depth(node);
            let (depth, joined) = below[at];
            if self.is_joined_with_child(checkpoint, node) {
                below[at + 1] = (depth, joined.saturating_add(1));
                above.extend(self.guests.has(node).then_some((node, (depth, joined.saturating_add(1)))));
                node += 1;
                continue;
            }
            below[at + 1] = (depth.saturating_add(1), 0);
            let row = Row { node, kind: RowKind::Group, depth, joined };
            self.push_rows(checkpoint, row, &mut layer, rows);
            // Parts of a layer are many and never shown in layer mode.
            let is_open =
                self.open.get(node) && (self.mode == Mode::Tensors || self.structure.has_layers_below(node));
            if self.open.get(node) && self.guests.has(node) {
                above.push((node, (depth.saturating_add(1), 0)));
            }
            node = if is_open { node + 1 } else { names.end(node) };
        }
        self.end_above(checkpoint, end, &mut above, rows);
    }

    /// Appends the row of a node; before it, those of further layers or tensors of the same node.
    fn push_rows(&self, checkpoint: &Checkpoint, row: Row, layer: &mut u32, rows: &mut Vec<Row>) {
        let node = row.node;
        let hit = |item| self.matches.as_ref().is_none_or(|matches| matches.hit(item));
        match self.mode {
            Mode::Layers if self.structure.is_layer(node) => {
                let list = checkpoint.layers.list();
                // Near ones one by one, a far one by search.
                let mut steps = 0;
                while list[*layer as usize].node < node {
                    *layer += 1;
                    steps += 1;
                    if steps == 16 {
                        *layer = checkpoint.layers.within(0, node).end;
                    }
                }
                while list.get(*layer as usize + 1).is_some_and(|next| next.node == node) {
                    if hit(*layer) {
                        rows.push(Row { kind: RowKind::Layer(*layer), ..row });
                    }
                    *layer += 1;
                }
                rows.push(Row { kind: RowKind::Layer(*layer), ..row });
            }
            Mode::Tensors if checkpoint.files.names.first_tensor(node) != NONE => {
                let mut tensor = checkpoint.files.names.first_tensor(node);
                let tensors = &checkpoint.files.tensors;
                while tensors.get(tensor as usize + 1).is_some_and(|next| next.node == node) {
                    if hit(tensor) {
                        rows.push(Row { kind: RowKind::Tensor(tensor), ..row });
                    }
                    tensor += 1;
                }
                rows.push(Row { kind: RowKind::Tensor(tensor), ..row });
            }
            _ => rows.push(row),
        }
    }

    /// Returns true if a node has a row when its parent's children show.
    fn is_visible_child(&self, node: NodeId) -> bool {
        self.is_shown(node)
            && !self.is_hidden_member(node)
            && self.matches.as_ref().is_none_or(|matches| matches.keeps(node))
    }

    pub(super) fn is_shown(&self, node: NodeId) -> bool {
        self.structure.is_shown(self.mode, node)
    }

    /// Returns true for a member of a folded fold that is not its first.
    pub(super) fn is_hidden_member(&self, node: NodeId) -> bool {
        self.folded.get(node) && !self.structure.is_head(node)
    }

    /// Returns the fold that this row stands for.
    pub(super) fn fold_at(&self, node: NodeId) -> Option<usize> {
        if self.sort != Sort::Natural || !self.folded.get(node) {
            return None;
        }
        self.structure.fold_of(node)
    }

    fn is_joined_with_child(&self, checkpoint: &Checkpoint, node: NodeId) -> bool {
        if self.structure.is_chain(self.mode, node) {
            return true;
        }
        self.structure.is_one_fold(self.mode, node)
            && checkpoint
                .files
                .names
                .children(node)
                .find(|&child| self.is_shown(child))
                .is_some_and(|first| self.folded.get(first))
    }

    /// Returns whether a row has children, and whether they show.
    pub(super) fn expand(&self, checkpoint: &Checkpoint, row: usize) -> Expand {
        let Some(&Row { node, kind, .. }) = self.rows.get(row) else { return Expand::Leaf };
        if matches!(kind, RowKind::Guest(_)) {
            return Expand::Leaf;
        }
        let is_other = |next: &&Row| matches!(next.kind, RowKind::Guest(_));
        let is_extra =
            self.rows.get(row + 1).filter(|next| !is_other(next)).is_some_and(|next| next.node == node);
        let has_children = self.guests.has(node)
            || match (&self.matches, self.mode) {
                (Some(matches), _) => matches.keeps_below(node),
                (None, Mode::Layers) => self.structure.has_layers_below(node),
                (None, Mode::Tensors) => checkpoint.files.names.end(node) > node + 1,
            };
        if self.sort != Sort::Natural || is_extra || !has_children {
            Expand::Leaf
        } else if self.open.get(node) {
            Expand::Open
        } else {
            Expand::Closed
        }
    }

    /// Inserts the rows below a row that was just opened.
    pub(super) fn insert_below(&mut self, checkpoint: &Checkpoint, row: usize) {
        let Row { node, depth, .. } = self.rows[row];
        let end = checkpoint.files.names.end(node);
        // Much to insert, or much to move behind it: making all rows anew is the faster way.
        if (end - node) as usize > MANY_NODES {
            let before = self.rows.len();
            self.scan_all(checkpoint);
            if self.cursor > row {
                self.cursor += self.rows.len() - before;
            }
            return;
        }
        let mut rows = Vec::new();
        self.scan(checkpoint, (node + 1, end), depth.saturating_add(1), &mut rows);
        self.push_guests(checkpoint, node, (depth.saturating_add(1), 0), &mut rows);
        if self.cursor > row {
            self.cursor += rows.len();
        }
        self.rows.splice((row + 1)..=row, rows);
    }

    /// Removes the rows below a row that was just closed. A cursor among them goes to the row.
    pub(super) fn remove_below(&mut self, row: usize) {
        let depth = self.rows[row].depth;
        let count = self.rows[row + 1..].iter().take_while(|below| below.depth > depth).count();
        self.rows.drain(row + 1..=row + count);
        if self.cursor > row + count {
            self.cursor -= count;
        } else if self.cursor > row {
            self.cursor = row;
        }
    }

    /// Returns the row under the cursor, to find its name again.
    pub(super) fn place(&self) -> Option<Row> {
        self.current()
    }

    /// Puts the cursor where it was by name, or on the nearest row above that name.
    pub(super) fn return_to(&mut self, checkpoint: &Checkpoint, place: Option<Row>) {
        let Some(place) = place else { return };
        if let RowKind::Guest(guest) = place.kind {
            match self.row_of_guest(guest) {
                Some(row) => self.cursor = row,
                None if place.node != NONE => self.put_cursor(checkpoint, place.node),
                None => self.set_cursor(self.cursor),
            }
            return;
        }
        self.put_cursor(checkpoint, place.node);
        let same = |row: &Row| row.node == place.node && row.kind == place.kind;
        // Of several rows of one node, the same one.
        let start = self.cursor.saturating_sub(usize::from(u8::MAX));
        if let Some(at) = self.rows[start..(self.cursor + 1).min(self.rows.len())].iter().position(same) {
            self.cursor = start + at;
        }
    }

    /// Puts the cursor on the row of a node, or on the nearest one that stands for it.
    pub(super) fn put_cursor(&mut self, checkpoint: &Checkpoint, node: NodeId) {
        let names = &checkpoint.files.names;
        let mut at = if self.sort == Sort::Natural { self.represented(checkpoint, node) } else { node };
        while at != NONE {
            if let Some(row) = self.row_of(checkpoint, at) {
                self.cursor = row;
                return;
            }
            at = names.parent(at);
        }
        // Nothing of it shows: what comes next in the order of names.
        let next = match self.sort {
            Sort::Natural => self.rows.partition_point(|row| row.node < node),
            _ => 0,
        };
        self.set_cursor(next);
    }

    /// Returns the row of a node, if it has one. In a flat list, that of a group is the first of its own.
    #[must_use]
    pub fn row_of(&self, checkpoint: &Checkpoint, node: NodeId) -> Option<usize> {
        let names = &checkpoint.files.names;
        if self.sort != Sort::Natural {
            let end = names.end(node);
            let first_below = || self.rows.iter().position(|row| node < row.node && row.node < end);
            return self.rows.iter().rposition(|row| row.node == node).or_else(first_below);
        }
        let after = self.rows.partition_point(|row| row.node <= node);
        let is_own = |row: &Row| !matches!(row.kind, RowKind::Guest(_));
        // Guests at the end of a node stand behind its last one.
        if let Some(last) = self.rows[..after].iter().rposition(is_own)
            && self.rows[last].node == node
        {
            return Some(last);
        }
        // A node in a chain: the row of the chain's last comes next.
        let row = self.rows.get(after).filter(|row| is_own(row))?;
        let first_depth = names.depth(row.node) - usize::from(row.joined);
        (row.node < names.end(node) && first_depth <= names.depth(node)).then_some(after)
    }

    /// Returns the node that stands for a node: the same, or its twin in the first member of a fold.
    pub(super) fn represented(&self, checkpoint: &Checkpoint, node: NodeId) -> NodeId {
        let names = &checkpoint.files.names;
        let mut node = node;
        for _ in 0..=DEPTH_MAX {
            let mut hidden = None;
            let mut at = node;
            while at != NONE {
                if self.is_hidden_member(at) {
                    hidden = Some(at);
                }
                at = names.parent(at);
            }
            let Some(fold) = hidden.and_then(|member| self.structure.owner(member)) else { return node };
            let twin = self.twin_in_head(checkpoint, fold, node);
            if twin == node {
                return node;
            }
            node = twin;
        }
        node
    }

    /// Returns the node's twin in the first member of a fold: alike members have their nodes in one order.
    pub(super) fn twin_in_head(&self, checkpoint: &Checkpoint, fold: usize, node: NodeId) -> NodeId {
        let members = self.structure.members(fold);
        let after = members.partition_point(|&member| member <= node);
        let Some(&member) = after.checked_sub(1).and_then(|at| members.get(at)) else { return node };
        let names = &checkpoint.files.names;
        let head = members[0];
        if node < names.end(member) && head + (node - member) < names.end(head) {
            head + (node - member)
        } else {
            node
        }
    }

    /// Opens what is closed above a node, and unfolds what hides it.
    pub(super) fn reveal(&mut self, checkpoint: &Checkpoint, node: NodeId) {
        let names = &checkpoint.files.names;
        let mut changed = false;
        let mut at = node;
        while at != NONE {
            if self.is_hidden_member(at)
                && let Some(fold) = self.structure.owner(at)
            {
                self.structure.put(&mut self.folded, fold, false);
                changed = true;
            }
            at = names.parent(at);
            if at != NONE && !self.open.get(at) {
                self.open.set(at);
                changed = true;
            }
        }
        if changed {
            self.reflow(checkpoint);
        }
    }

    /// Returns the node itself if the mode shows it, else its layer's, else the nearest above that shows.
    pub(super) fn shown_at_or_above(&self, checkpoint: &Checkpoint, node: NodeId) -> Option<NodeId> {
        if self.is_shown(node) {
            return Some(node);
        }
        let names = &checkpoint.files.names;
        let tensor = names.first_tensor(node);
        if tensor != NONE
            && let Some(layer) = checkpoint.layers.of_tensor(&checkpoint.files, tensor)
        {
            return Some(checkpoint.layers.list()[layer as usize].node);
        }
        let mut at = names.parent(node);
        while at != NONE && !self.is_shown(at) {
            at = names.parent(at);
        }
        (at != NONE).then_some(at)
    }

    /// Returns the innermost fold that a row is, is in, or holds.
    pub(super) fn enclosing_fold(&self, checkpoint: &Checkpoint, row: usize) -> Option<usize> {
        if self.sort != Sort::Natural {
            return None;
        }
        let names = &checkpoint.files.names;
        let node = self.home(self.rows.get(row)?);
        let mut at = node;
        while at != NONE {
            if let Some(fold) = self.structure.owner(at) {
                return Some(fold);
            }
            at = names.parent(at);
        }
        (node != NONE).then(|| names.children(node).find_map(|child| self.structure.fold_of(child)))?
    }

    /// Takes a filter, and what is to show: opens what leads to its hits, and unfolds where members do not match alike.
    pub(super) fn apply_filter(&mut self, checkpoint: &Checkpoint, filter: Option<Filter>) {
        let nothing = Filter::default();
        let mut matches =
            Matches::of(checkpoint, &self.structure, filter.as_ref().unwrap_or(&nothing), self.mode);
        if let Some(shown) = &self.shown {
            matches = matches.within(checkpoint, self.mode, &shown.layers);
        }
        self.filter = filter;
        for above in self.taken_guests() {
            matches.lead_to(checkpoint, above);
        }
        let (_, folded) = self.unfiltered.get_or_insert_with(|| (self.open.clone(), self.folded.clone()));
        self.folded.clone_from(folded);
        self.open.clone_from(matches.below());
        self.matches = Some(matches);
        for fold in 0..self.structure.folds().len() {
            if self.folded.get(self.structure.folds()[fold].head) && !self.can_fold(checkpoint, fold) {
                self.structure.put(&mut self.folded, fold, false);
            }
        }
        self.reflow(checkpoint);
    }

    /// Returns true if the filter leaves the members of a fold alike, so that one can stand for all.
    pub(super) fn can_fold(&self, checkpoint: &Checkpoint, fold: usize) -> bool {
        let Some(matches) = &self.matches else { return true };
        let head = self.structure.folds()[fold].head;
        let nodes = checkpoint.files.names.end(head) - head;
        self.structure.members(fold).iter().all(|&member| matches.alike(head, member, nodes))
    }

    /// Drops the filter: what was open before is open again, and so is the way to the cursor's name.
    pub(super) fn clear_filter(&mut self, checkpoint: &Checkpoint) {
        let at = self.place();
        self.filter = None;
        self.matches = None;
        if let Some((open, folded)) = self.unfiltered.take() {
            (self.open, self.folded) = (open, folded);
        }
        self.reflow(checkpoint);
        if let Some(row) = at
            && self.sort == Sort::Natural
            && row.node != NONE
        {
            let node = self.represented(checkpoint, row.node);
            // A fold's row means the fold; any other row means its own name.
            let node = if matches!(row.kind, RowKind::Group) { node } else { row.node };
            self.reveal(checkpoint, node);
        }
    }

    /// Returns the next or previous row that is a hit, opening closed ones on the way.
    pub(super) fn next_hit(&mut self, checkpoint: &Checkpoint, from: usize, forward: bool) -> Option<usize> {
        let mut row = from;
        // Each step moves on or opens a row: twice round is the end.
        let mut left = 2 * self.rows.len() + 2;
        while left > 0 && !self.rows.is_empty() {
            left -= 1;
            let last = self.rows.len() - 1;
            row = match forward {
                true if row >= last => 0,
                true => row + 1,
                false if row == 0 || row > last => last,
                false => row - 1,
            };
            if self.expand(checkpoint, row) == Expand::Closed {
                let before = self.rows.len();
                self.open(checkpoint, row);
                let added = self.rows.len() - before;
                left += 2 * added;
                if !forward {
                    // Those below come first when going up.
                    row += added + 1;
                    continue;
                }
            }
            if self.is_hit(&self.rows[row]) {
                return Some(row);
            }
        }
        None
    }

    pub(super) fn is_hit(&self, row: &Row) -> bool {
        match row.kind {
            RowKind::Group => false,
            RowKind::Guest(_) => true,
            RowKind::Layer(item) | RowKind::Tensor(item) => {
                self.matches.as_ref().is_some_and(|matches| matches.hit(item))
            }
        }
    }

    /// Returns the next or previous row of a flat list that is wanted, going round.
    pub(super) fn beside(&self, from: usize, forward: bool, wanted: impl Fn(&Row) -> bool) -> Option<usize> {
        let count = self.rows.len();
        (1..=count)
            .map(|step| if forward { (from + step) % count } else { (from + 2 * count - step) % count })
            .find(|&row| wanted(&self.rows[row]))
    }

    /// Returns the next or previous node that stands out, going round.
    pub(super) fn next_marked_node(
        &self,
        checkpoint: &Checkpoint,
        from: usize,
        forward: bool,
    ) -> Option<NodeId> {
        let count = checkpoint.files.names.len() as u32;
        let at = self.rows.get(from)?.node;
        let wanted = |&node: &NodeId| self.structure.stands_out(node) && self.is_shown(node);
        if forward {
            (at + 1..count).chain(0..=at).find(wanted)
        } else {
            (0..at).rev().chain((at..count).rev()).find(wanted)
        }
    }
}
