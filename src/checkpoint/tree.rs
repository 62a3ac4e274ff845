//! Tree: what the layer tree of one checkpoint shows: rows, what is open, what is folded, the filter.
//!
//! A view model without a screen. The tree of names (`Names`) is the arena; here stands one word of flags
//! a node, two bits a node for open and folded, and the visible rows. Rows are in preorder, so a row is
//! found from its node by binary search, and a closed subtree is jumped over. Every operation takes the
//! checkpoint that the tree was made from (or last refreshed with).
//!
//! Two nodes or more can be one row: a fold stands for all its alike members and shows the first, and a
//! chain of groups with one child each is one row, `base_model.model.model`, whose node is the last.
//! One node can be two rows: a layer `x` of the tensors `x.weight` and another of the tensor `x`.

mod alike;
mod bits;
pub mod filter;
pub mod guests;
mod matches;
mod reopen;
mod rows;
pub mod sort;
mod stands;
mod structure;
pub mod text;
mod words;

use super::Checkpoint;
use super::names::{NONE, NodeId};
use bits::Bits;
pub use filter::Filter;
pub use guests::{Guest, Guests, Shown};
use matches::Matches;
pub use sort::Sort;
use structure::Structure;
pub use text::{Expand, FoldText, Mark, RowText, State};

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A layer is a row; its parts are not shown.
    Layers,
    /// A tensor is a row.
    Tensors,
}

/// One visible row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its node; the last of the chain for a joined row, the first member for a fold.
    pub node: NodeId,
    /// What it is.
    pub kind: RowKind,
    /// How far it is indented. 0 for all rows of a flat list.
    pub depth: u8,
    /// How many nodes above `node` are in the same row.
    pub joined: u8,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// A prefix of names, no layer or tensor itself.
    Group,
    /// A layer, by its index; other layers may be below it.
    Layer(u32),
    /// A tensor, by its index; others may be below it.
    Tensor(u32),
    /// A layer that only another checkpoint has: the first of those that the row stands for, by its place in the list.
    Guest(u32),
}

/// The view state of one checkpoint's tree.
#[derive(Debug)]
pub struct Tree {
    mode: Mode,
    structure: Structure,
    /// Nodes whose children show.
    open: Bits,
    /// Heads and members of folds that are folded now.
    folded: Bits,
    /// `open` and `folded` as they were before the filter.
    unfiltered: Option<(Bits, Bits)>,
    filter: Option<Filter>,
    matches: Option<Matches>,
    sort: Sort,
    /// How much each layer differs from another checkpoint's, for `Sort::Difference`.
    differences: Vec<f64>,
    /// What guests count among the differences.
    guest_weight: f64,
    guests: Guests,
    shown: Option<Shown>,
    totals: Totals,
    rows: Vec<Row>,
    cursor: usize,
}

/// How many layers there are, and of which kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All layers.
    pub layers: usize,
    /// Those that are quantized.
    pub quantized: usize,
    /// Those that are not.
    pub dense: usize,
    /// Those that are broken.
    pub broken: usize,
}

impl Totals {
    fn of(checkpoint: &Checkpoint) -> Self {
        let specs = checkpoint.layers.specs();
        let kinds: Vec<(bool, bool)> =
            specs.iter().map(|spec| (spec.is_quantized(), !spec.broken.is_empty())).collect();
        let mut totals = Self { layers: checkpoint.layers.len(), ..Self::default() };
        for layer in checkpoint.layers.list() {
            let (is_quantized, is_broken) = kinds[layer.spec as usize];
            totals.quantized += usize::from(is_quantized);
            totals.broken += usize::from(is_broken);
        }
        totals.dense = totals.layers - totals.quantized;
        totals
    }
}

/// How many rows of the first fold are shown open at first; a longer one shows its groups closed.
const FEW_ROWS: usize = 40;
/// How many top groups are open at first.
const TOP_OPEN_MAX: usize = 32;

impl Tree {
    /// Returns the tree of a checkpoint as it is first shown: layers, alike ones folded, the top and the
    /// first fold open.
    #[must_use]
    pub fn new(checkpoint: &Checkpoint) -> Self {
        let structure = Structure::of(checkpoint);
        let nodes = checkpoint.files.names.len();
        let mut tree = Self {
            mode: Mode::Layers,
            folded: structure.all_folded(nodes),
            structure,
            open: Bits::new(nodes),
            unfiltered: None,
            filter: None,
            matches: None,
            sort: Sort::Natural,
            differences: Vec::new(),
            guest_weight: 0.0,
            guests: Guests::default(),
            shown: None,
            totals: Totals::of(checkpoint),
            rows: Vec::new(),
            cursor: 0,
        };
        tree.open_first(checkpoint);
        tree.reflow(checkpoint);
        tree
    }

    /// Takes over what `examine` found: other layers, problems and folds over the same files. What is open
    /// stays open, what was unfolded stays so where it can, and the cursor stays on its name.
    pub fn refresh(&mut self, checkpoint: &Checkpoint) {
        let at = self.place();
        self.totals = Totals::of(checkpoint);
        let before = std::mem::replace(&mut self.structure, Structure::of(checkpoint));
        let unfolded = |folded: &Bits| -> Vec<NodeId> {
            before.folds().iter().map(|fold| fold.head).filter(|&head| !folded.get(head)).collect()
        };
        let plain = self.unfiltered.as_ref().map_or(&self.folded, |(_, folded)| folded);
        let heads = unfolded(plain);
        let mut folded = self.structure.all_folded(checkpoint.files.names.len());
        for head in heads {
            if let Some(fold) = self.structure.fold_of(head) {
                self.structure.put(&mut folded, fold, false);
            }
        }
        match &mut self.unfiltered {
            Some((_, plain)) => *plain = folded,
            None => self.folded = folded,
        }
        self.refilter(checkpoint);
        self.return_to(checkpoint, at);
    }

    /// Returns the visible rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Returns how many layers there are, and of which kinds.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns what a row stands for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Switches between layers and tensors; the cursor goes to the same name or the nearest above it.
    pub fn set_mode(&mut self, checkpoint: &Checkpoint, mode: Mode) {
        if mode == self.mode {
            return;
        }
        self.mode = mode;
        self.refilter(checkpoint);
    }

    /// Returns the row under the cursor, by index. 0 if there is no row.
    #[must_use]
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Puts the cursor on a row, or on the last one if there are fewer.
    pub fn set_cursor(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
    }

    /// Moves the cursor by some rows, not beyond the ends.
    pub fn move_cursor(&mut self, by: isize) {
        self.set_cursor(self.cursor.saturating_add_signed(by));
    }

    /// Returns the row under the cursor.
    #[must_use]
    pub fn current(&self) -> Option<Row> {
        self.rows.get(self.cursor).copied()
    }

    /// Returns the row that a row is below, by index.
    #[must_use]
    pub fn parent_row(&self, row: usize) -> Option<usize> {
        let depth = self.rows.get(row)?.depth;
        // A flat list has a million rows at the top, and nothing above any of them.
        if depth == 0 {
            return None;
        }
        self.rows[..row].iter().rposition(|above| above.depth < depth)
    }

    /// Returns true if the children of a row show.
    #[must_use]
    pub fn is_open(&self, checkpoint: &Checkpoint, row: usize) -> bool {
        self.expand(checkpoint, row) == Expand::Open
    }

    /// Shows the children of a row. Returns false if it has none or they show already.
    pub fn open(&mut self, checkpoint: &Checkpoint, row: usize) -> bool {
        if self.expand(checkpoint, row) != Expand::Closed {
            return false;
        }
        self.open.set(self.rows[row].node);
        self.insert_below(checkpoint, row);
        true
    }

    /// Hides the children of a row. Returns false if they do not show.
    pub fn close(&mut self, checkpoint: &Checkpoint, row: usize) -> bool {
        if self.expand(checkpoint, row) != Expand::Open {
            return false;
        }
        self.open.clear(self.rows[row].node);
        self.remove_below(row);
        true
    }

    /// Opens a closed row, closes an open one.
    pub fn toggle(&mut self, checkpoint: &Checkpoint, row: usize) -> bool {
        self.open(checkpoint, row) || self.close(checkpoint, row)
    }

    /// Closes the row under the cursor, or goes to its parent if it is closed or a leaf.
    pub fn close_or_parent(&mut self, checkpoint: &Checkpoint) {
        if !self.close(checkpoint, self.cursor)
            && let Some(parent) = self.parent_row(self.cursor)
        {
            self.cursor = parent;
        }
    }

    /// Opens everything; folds stay folded.
    pub fn open_all(&mut self, checkpoint: &Checkpoint) {
        let at = self.place();
        self.open.set_all();
        self.reflow(checkpoint);
        self.return_to(checkpoint, at);
    }

    /// Closes everything; the cursor goes to the top row it was under.
    pub fn close_all(&mut self, checkpoint: &Checkpoint) {
        let at = self.place();
        self.open.clear_all();
        self.reflow(checkpoint);
        self.return_to(checkpoint, at);
    }

    /// Returns true if a row is in a fold, or is one.
    #[must_use]
    pub fn can_unfold(&self, checkpoint: &Checkpoint, row: usize) -> bool {
        self.enclosing_fold(checkpoint, row).is_some()
    }

    /// Unfolds the innermost fold that the row is or is in, or folds it again. Returns false if there is
    /// none, or if a filter leaves its members differently.
    pub fn toggle_unfold(&mut self, checkpoint: &Checkpoint, row: usize) -> bool {
        let Some(fold) = self.enclosing_fold(checkpoint, row) else { return false };
        let head = self.structure.folds()[fold].head;
        let fold_again = !self.folded.get(head);
        if fold_again && !self.can_fold(checkpoint, fold) {
            return false;
        }
        let (node, at) = (self.home(&self.rows[row]), self.rows.get(row).copied());
        self.structure.put(&mut self.folded, fold, fold_again);
        let parent = checkpoint.files.names.parent(head);
        if parent != NONE {
            self.open.set(parent);
        }
        self.reflow(checkpoint);
        // A member that is hidden now is represented by the first.
        let target = if fold_again { self.twin_in_head(checkpoint, fold, node) } else { node };
        match at.map(|row| row.kind) {
            Some(RowKind::Guest(guest)) => {
                self.select_guest(checkpoint, guest);
            }
            _ => self.put_cursor(checkpoint, target),
        }
        true
    }

    /// Unfolds all folds, or folds all again if any is unfolded.
    pub fn toggle_unfold_all(&mut self, checkpoint: &Checkpoint) {
        let at = self.place();
        let count = self.structure.folds().len();
        let is_unfolded = |tree: &Self, fold: usize| !tree.folded.get(tree.structure.folds()[fold].head);
        let any_unfolded = (0..count).any(|fold| is_unfolded(self, fold) && self.can_fold(checkpoint, fold));
        for fold in 0..count {
            if any_unfolded && !self.can_fold(checkpoint, fold) {
                continue;
            }
            self.structure.put(&mut self.folded, fold, any_unfolded);
            let parent = checkpoint.files.names.parent(self.structure.folds()[fold].head);
            if !any_unfolded && parent != NONE && self.open.get(self.structure.folds()[fold].head) {
                self.open.set(parent);
            }
        }
        self.reflow(checkpoint);
        self.return_to(checkpoint, at);
    }

    /// Returns the node of a full name (unescaped), of a layer, a tensor or a prefix.
    #[must_use]
    pub fn find(&self, checkpoint: &Checkpoint, name: &str) -> Option<NodeId> {
        let names = &checkpoint.files.names;
        names.find(name).or_else(|| {
            let layer = checkpoint.layers.find_name(names, name)?;
            Some(checkpoint.layers.list()[layer as usize].node)
        })
    }

    /// Puts the cursor on a node: opens what is closed above it, unfolds what hides it, and clears a filter
    /// that leaves it out. A part of a layer leads to its layer in layer mode. Returns the row.
    pub fn select_node(&mut self, checkpoint: &Checkpoint, node: NodeId) -> Option<usize> {
        if node as usize >= checkpoint.files.names.len() {
            return None;
        }
        let node = self.shown_at_or_above(checkpoint, node)?;
        if self.matches.as_ref().is_some_and(|matches| !matches.keeps(node)) {
            self.set_filter(checkpoint, None);
        }
        if self.sort == Sort::Natural {
            self.reveal(checkpoint, node);
        }
        self.put_cursor(checkpoint, node);
        Some(self.cursor)
    }

    /// Returns the filter.
    #[must_use]
    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// Returns how many layers (or tensors) the filter leaves; `None` without a filter.
    #[must_use]
    pub fn hits(&self) -> Option<usize> {
        self.matches.as_ref().map(Matches::count)
    }

    /// Sets the filter: only what it leaves shows, opened. `None` or an empty filter clears it: what was open
    /// before is open again, and the cursor stays on its name.
    pub fn set_filter(&mut self, checkpoint: &Checkpoint, filter: Option<Filter>) {
        self.filter = filter.filter(|filter| !filter.is_empty());
        self.refilter(checkpoint);
    }

    /// Returns the order of the rows.
    #[must_use]
    pub fn sort(&self) -> Sort {
        self.sort
    }

    /// Sets the order of the rows: the tree in natural order, or else a flat list.
    pub fn set_sort(&mut self, checkpoint: &Checkpoint, sort: Sort) {
        let at = self.place();
        self.sort = sort;
        self.reflow(checkpoint);
        self.return_to(checkpoint, at);
    }

    /// Returns the next or previous row that stands out, and puts the cursor there: a hit while filtered,
    /// else a broken or odd layer or one with a problem. Opens what hides it; goes round at the ends.
    pub fn next_marked(&mut self, checkpoint: &Checkpoint, from: usize, forward: bool) -> Option<usize> {
        let row = match (&self.matches, self.sort) {
            (Some(_), Sort::Natural) => self.next_hit(checkpoint, from, forward),
            (Some(_), _) => self.beside(from, forward, |_| true),
            (None, Sort::Natural) => {
                let node = self.next_marked_node(checkpoint, from, forward)?;
                return self.select_node(checkpoint, node);
            }
            (None, _) => {
                let is_own = |row: &Row| !matches!(row.kind, RowKind::Guest(_));
                self.beside(from, forward, |row| is_own(row) && self.structure.stands_out(row.node))
            }
        }?;
        self.set_cursor(row);
        Some(row)
    }

    fn open_first(&mut self, checkpoint: &Checkpoint) {
        self.reflow(checkpoint);
        let tops: Vec<Row> = self.rows.iter().take(TOP_OPEN_MAX).copied().collect();
        for row in tops {
            if matches!(row.kind, RowKind::Group) && self.structure.fold_of(row.node).is_none() {
                self.open.set(row.node);
            }
        }
        // Without folds, the first numbered layer is as good an example.
        let first_fold = self.structure.folds().first().map(|fold| fold.head);
        let Some(head) = first_fold.or_else(|| self.structure.first_numbered()) else { return };
        let names = &checkpoint.files.names;
        let mut above = head;
        while above != NONE {
            self.open.set(above);
            above = names.parent(above);
        }
        // Open what is in it as long as it stays short, layers too: in tensor mode they have children. Folds
        // inside it stay closed.
        let mut count = 0;
        let mut groups = Vec::new();
        let (mut node, end) = (head + 1, names.end(head));
        while node < end && count <= FEW_ROWS {
            if !self.is_shown(node) || (self.structure.is_member(node) && !self.structure.is_head(node)) {
                node = names.end(node);
                continue;
            }
            count += 1;
            let is_nested_fold = self.structure.is_head(node);
            if !is_nested_fold {
                groups.push(node);
            }
            node = if is_nested_fold { names.end(node) } else { node + 1 };
        }
        if count <= FEW_ROWS {
            for group in groups {
                self.open.set(group);
            }
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
