//! Q016 zero-point-wrap: zero points of 0 in GPTQ v1, which readers decode differently.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "GPTQ v1 layers, not symmetric, whose stored zero points are at the top of their range: 0 \
                stored minus one.",
    why: "GPTQ v1 stores each zero point minus one, so 0 becomes the largest number. Some kernels add one \
          and wrap to 0, others carry into the next field or use 16: groups with that zero point differ \
          from reader to reader.",
    remedy: "Convert to 16-bit, or quantize again as `gptq_v2` or symmetric.",
    sources: "AutoGPTQ#640, vllm#26092; measured with GPTQModel 7.7 on cases of 2, 3, 4 and 8 bits",
    fixes,
    ..Rule::new(&kind::ZERO_POINT_WRAP)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let decoded = remedies::dequantize(subject, "as GPTQModel reads it");
    decoded.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
