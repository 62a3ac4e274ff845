//! Ready: a checkpoint that is here, with what the screen keeps about it.

use std::sync::Arc;

use super::marks::Marks;
use super::measured::Measured;
use super::memory::Memory;
use crate::adapter::base::Search;
use crate::adapter::{Adapter, problems_of};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::Files;
use crate::checkpoint::names::NodeId;
use crate::checkpoint::summary::{FormatSum, Summary};
use crate::checkpoint::tree::{RowKind, Tree};
use crate::problem::Problem;
use crate::quant::Evidence;

/// A checkpoint that is here.
pub struct Ready {
    /// The checkpoint; replaced as a whole when it has been examined.
    pub checkpoint: Arc<Checkpoint>,
    /// Its adapter facts.
    pub adapter: Option<Adapter>,
    /// Where the base of the adapter is, once it was looked for.
    pub base: Option<Search>,
    /// Its problems and its adapter's, errors first.
    pub problems: Vec<Problem>,
    /// Its tree.
    pub tree: Tree,
    /// It in numbers.
    pub summary: Summary,
    /// Format words of the header row.
    pub headline: String,
    /// The layer whose evidence was asked for last.
    pub asked: Option<u32>,
    /// Evidence of that layer, once it is there.
    pub evidence: Option<(u32, Vec<Evidence>)>,
    /// The layers below the group that was shown last, by format: a large group is summed once.
    pub sums: Option<(NodeId, Vec<FormatSum>)>,
    /// First line of Detail that shows.
    pub detail_top: usize,
    /// First line that shows in the other tabs.
    pub tab_top: usize,
    /// Layers that are marked.
    pub marks: Marks,
    /// What packing took of its layers, if a job of ours has made it.
    pub measured: Option<Measured>,
    /// What the tab of memory keeps, once it was shown.
    pub(super) memory: Option<Memory>,
}

impl Ready {
    /// Returns a checkpoint as it is first shown.
    #[must_use]
    pub fn new(checkpoint: Arc<Checkpoint>) -> Self {
        let adapter = Adapter::of(&checkpoint);
        Self {
            problems: problems_of(&checkpoint, adapter.as_ref()),
            adapter,
            base: None,
            tree: Tree::new(&checkpoint),
            summary: checkpoint.summary(),
            headline: checkpoint.headline(),
            checkpoint,
            asked: None,
            evidence: None,
            sums: None,
            detail_top: 0,
            tab_top: 0,
            marks: Marks::default(),
            measured: None,
            memory: None,
        }
    }

    /// Returns the layer under the cursor.
    #[must_use]
    pub fn layer(&self) -> Option<u32> {
        match self.tree.current()?.kind {
            RowKind::Layer(layer) => Some(layer),
            RowKind::Tensor(tensor) => self.checkpoint.layers.of_tensor(&self.checkpoint.files, tensor),
            RowKind::Group | RowKind::Guest(_) => None,
        }
    }

    /// Sums the layers below the row under the cursor, if it is a group and not summed yet.
    pub fn sum_group(&mut self) {
        let Some(row) = self.tree.current().filter(|row| row.kind == RowKind::Group) else { return };
        if self.sums.as_ref().is_some_and(|(node, _)| *node == row.node) {
            return;
        }
        let names = &self.checkpoint.files.names;
        let layers = self.checkpoint.layers.within(row.node, names.end(row.node));
        self.sums = Some((row.node, self.checkpoint.format_sums(layers)));
    }

    /// Returns the headers' part.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.checkpoint.files
    }

    pub(super) fn take_examined(&mut self, checkpoint: Arc<Checkpoint>) {
        self.adapter = Adapter::of(&checkpoint);
        self.problems = problems_of(&checkpoint, self.adapter.as_ref());
        self.summary = checkpoint.summary();
        self.headline = checkpoint.headline();
        self.tree.refresh(&checkpoint);
        if self.checkpoint.layers.len() != checkpoint.layers.len() {
            self.marks = self.marks.read_again(&self.checkpoint, &checkpoint);
        }
        (self.asked, self.evidence, self.sums) = (None, None, None);
        self.checkpoint = checkpoint;
        self.refresh_memory();
    }

    /// Puts the cursor on the name that it was on before the files were read again.
    pub(super) fn return_to(&mut self, before: Self) {
        self.memory = before.memory;
        self.marks = before.marks.read_again(&before.checkpoint, &self.checkpoint);
        self.refresh_memory();
        let Some(row) = before.tree.current() else { return };
        let name = before.checkpoint.files.names.name(row.node);
        let checkpoint = Arc::clone(&self.checkpoint);
        if let Some(node) = self.tree.find(&checkpoint, &name) {
            self.tree.select_node(&checkpoint, node);
        }
    }
}
