//! Q006 group-index-negative: `g_idx` holds negative numbers, which torch counts from the end.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "Negative values of `g_idx`.",
    why: "torch takes -1 as the last group, compiled kernels do not. The same layer then has two sets of \
          weights, depending on the kernel that runs it.",
    remedy: "Dequantize, which reads the numbers as torch does, or quantize again.",
    sources: "measured: torch indexing against the exllama kernels",
    fixes,
    ..Rule::new(&kind::GROUP_INDEX_NEGATIVE)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let decoded = remedies::dequantize(subject, "where negative numbers count from the end");
    decoded.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
