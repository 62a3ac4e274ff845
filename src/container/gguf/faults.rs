//! Collects the problems of one file, with a bound on how many of a kind are told one by one.

use crate::name::escape;
use crate::problem::{Problem, ProblemKind};

/// How many problems of one kind are told one by one; a damaged file can have one for each tensor.
const EACH_KIND_MAX: usize = 16;

/// The problems of one file so far.
pub(super) struct Faults<'a> {
    file: &'a str,
    problems: Vec<Problem>,
    counts: Vec<(&'static ProblemKind, usize)>,
}

impl<'a> Faults<'a> {
    /// Returns an empty collection for the file that messages call `file`.
    pub(super) fn new(file: &'a str) -> Self {
        Self { file, problems: Vec::new(), counts: Vec::new() }
    }

    /// Returns how many problems were seen.
    pub(super) fn len(&self) -> usize {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// Adds a problem; `message` does not name the file.
    pub(super) fn add(&mut self, kind: &'static ProblemKind, message: impl AsRef<str>) {
        if self.count(kind) {
            self.problems.push(self.problem(kind, message.as_ref()));
        }
    }

    /// Adds a problem of one tensor; `message` does not name the file.
    pub(super) fn add_tensor(&mut self, kind: &'static ProblemKind, tensor: &str, message: impl AsRef<str>) {
        if self.count(kind) {
            self.problems.push(self.problem(kind, message.as_ref()).tensor(tensor));
        }
    }

    /// Returns the problems; kinds that were seen too often end with one that says how often.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        for (kind, count) in std::mem::take(&mut self.counts) {
            if count > EACH_KIND_MAX {
                let message = format!("{} more problems like this ({})", count - EACH_KIND_MAX, kind.name);
                self.problems.push(self.problem(kind, &message));
            }
        }
        self.problems
    }

    fn problem(&self, kind: &'static ProblemKind, message: &str) -> Problem {
        Problem::new(kind, format!("{}: {message}", escape(self.file))).file(self.file)
    }

    /// Counts one of `kind`; returns whether it is to be told.
    fn count(&mut self, kind: &'static ProblemKind) -> bool {
        let at = self.counts.iter().position(|(seen, _)| *seen == kind).unwrap_or(self.counts.len());
        if at == self.counts.len() {
            self.counts.push((kind, 0));
        }
        self.counts[at].1 += 1;
        self.counts[at].1 <= EACH_KIND_MAX
    }
}
