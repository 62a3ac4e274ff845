//! S007 duplicate-across-shards: the same tensor in two shards.

use super::tensor_parallel;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "One tensor name in the headers of two weight files.",
    why: "Two saves were mixed in one folder, or a shard was replaced and the old one stayed. Which of the \
          two is loaded depends on the order in which the loader opens the files, and nothing is said.",
    remedy: "Move the files that do not belong to the set out of the folder; which are right cannot be told \
             here.",
    sources: "measured with transformers 5.23",
    look,
    ..Rule::new(&kind::DUPLICATE_ACROSS_SHARDS)
};

/// Parts of tensor parallelism have the same names by design: that is a rule of its own.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if tensor_parallel::parts(subject).len() > 1 { Vec::new() } else { Finding::of_problems(rule, subject) }
}
