//! Reopen: the same view of files that were read again.

use super::{Expand, Row, Sort, Tree};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::NodeId;

/// Open rows and unfolded folds that are kept by name. A person has opened fewer; beyond stands only
/// what "open all" did.
const KEPT_MAX: usize = 10_000;

impl Tree {
    /// Takes over files that were read again, which may hold other names: mode, filter and order stay,
    /// what was open and unfolded is so again where its name is still there, and the cursor stays on its
    /// name. `before` is the checkpoint that the tree was made from.
    pub fn reopen(&mut self, before: &Checkpoint, checkpoint: &Checkpoint) {
        let names = &checkpoint.files.names;
        let twin = |node: NodeId| names.find(&before.files.names.name(node));
        let mut fresh = Self::new(checkpoint);
        let (filter, sort) = (self.filter.clone(), self.sort);
        self.clear_guests(before);
        let place: Option<Row> = self.current();
        self.sort = Sort::Natural;
        self.set_filter(before, None);
        fresh.open.clear_all();
        for (index, row) in self.rows.iter().enumerate().take(KEPT_MAX) {
            if self.expand(before, index) == Expand::Open
                && let Some(node) = twin(row.node)
            {
                fresh.open.set(node);
            }
        }
        let unfolded = self.structure.folds().iter().filter(|fold| !self.folded.get(fold.head));
        for head in unfolded.take(KEPT_MAX).filter_map(|fold| twin(fold.head)) {
            if let Some(fold) = fresh.structure.owner(head) {
                fresh.structure.put(&mut fresh.folded, fold, false);
            }
        }
        fresh.mode = self.mode;
        fresh.sort = sort;
        fresh.reflow(checkpoint);
        if filter.is_some() {
            fresh.set_filter(checkpoint, filter);
        }
        if let Some(node) = place.and_then(|row| twin(row.node)) {
            fresh.put_cursor(checkpoint, node);
        }
        *self = fresh;
    }
}
