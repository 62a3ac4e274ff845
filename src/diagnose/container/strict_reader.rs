//! K015 strict-reader-rejects: the reference reader of the format refuses the file, for a reason of its own.

use crate::diagnose::finding::{Finding, SEEN_MAX, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{Problem, kind};

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A file that the reference reader refuses while no other fault of it is found.",
    why: "Loaders use the reference reader of the format. What it refuses does not load, even where the \
          tensors can be read here.",
    messages: &[
        message("tensor name {any} is too long: {n} >= {n}", "llama.cpp"),
        message("tensor '{key}' has offset {n}, expected {n}", "llama.cpp"),
        message("tensor '{key}' has invalid number of dimensions: {n} > {n}", "llama.cpp"),
    ],
    remedy: "Write the file anew, or download it again.",
    sources: "the reader of safetensors itself, which is part of this program",
    look,
    ..Rule::new(&kind::STRICT_READER)
};

/// The reader's verdict is a consequence where the same file has a fault that is named.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let is_verdict = |problem: &Problem| *problem.kind == kind::STRICT_READER;
    let is_explained = |of: &Problem| {
        let mut others = subject.problems().map(|(_, problem)| problem);
        others.any(|other| {
            !is_verdict(other) && other.is_error() && other.kind.code < "L" && other.file == of.file
        })
    };
    let alone: Vec<_> =
        subject.problems().filter(|(_, problem)| is_verdict(problem) && !is_explained(problem)).collect();
    let Some((about, first)) = alone.first() else { return Vec::new() };
    let mut finding = Finding::new(rule, escape(&first.message)).about(*about);
    for (_, problem) in alone.iter().take(SEEN_MAX) {
        finding = finding.seen(Seen::of(problem));
    }
    vec![finding]
}
