//! Q021 unknown-quantization: packed weights whose format is not known here.

use super::fp8_without_scales::is_raw;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Integer or narrow float tensors whose names, dtypes and shapes fit no known format.",
    why: "What the numbers mean is not known, so nothing here decodes, merges or converts these layers. A \
          loader of that very format may still read them.",
    remedy: "Say which tool wrote it; `ckpt inspect` lists the parts of such a layer.",
    sources: "the table of formats",
    look,
    ..Rule::new(&kind::UNKNOWN_QUANT)
};

/// FP8 weights whose scales are absent are told by their own rule.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let mut unknown =
        subject.checkpoint.layers.specs().iter().filter(|spec| spec.format.get().name() == "unknown");
    if unknown.all(is_raw) { Vec::new() } else { Finding::of_problems(rule, subject) }
}
