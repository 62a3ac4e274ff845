//! S008 total-size: `total_size` is not the sum of the tensors.

use super::index_anew;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "metadata.total_size of the index against the bytes of all tensors.",
    why: "No loader checks the sum. It differs where a save was partial, or where a tool changed the tensors \
          and kept the index. vLLM and launchers estimate memory with it.",
    remedy: "Make the index anew from the headers of the shards.",
    sources: "sglang#32279; measured",
    look,
    fixes: index_anew,
    ..Rule::new(&kind::TOTAL_SIZE)
};

/// A wrong sum is a consequence where the index and the headers name different tensors.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let causes = [
        &kind::INDEX_OMITS_TENSOR,
        &kind::INDEX_ABSENT_TENSOR,
        &kind::DUPLICATE_ACROSS_SHARDS,
        &kind::MISSING_SHARD,
        &kind::INDEX_ESCAPES,
    ];
    if subject.has_problem(&causes) { Vec::new() } else { Finding::of_problems(rule, subject) }
}
