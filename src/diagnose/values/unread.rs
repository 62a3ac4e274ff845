//! V003 values-unread: data that could not be read.

use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Tensors whose bytes the system does not give; seen with --deep, which reads all data.",
    why: "The header is whole, and reading the data fails: the disk or the network share has a fault there, \
          or the archive is compressed. What these tensors hold is not known.",
    messages: &[message("OSError: [Errno 5] Input/output error", "Python")],
    remedy: "Copy the file from another place, and check the disk.",
    sources: "reads of this program; measured on an archive whose storages are deflated",
    look,
    ..Rule::new(&kind::UNREAD_VALUES)
};

/// Data that are not in the file are the file's fault to tell.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let causes = [&kind::TRUNCATED, &kind::BAD_OFFSETS, &kind::SHAPE_SIZE, &kind::PICKLE_DAMAGED];
    if subject.has_problem(&causes) { Vec::new() } else { Finding::of_problems(rule, subject) }
}
