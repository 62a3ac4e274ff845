//! Q013 quant-flag-disagrees: a flag of the config (`sym`, `desc_act`, double quantization, version)
//! contradicts the tensors.

use super::{config_of_tensors, remedies};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Flags of the quantization block, against zero points, group indices and the parts that are \
                stored.",
    why: "Some kernels trust the flag and not the tensors: with `sym` they use a fixed zero point, without \
          `desc_act` they ignore `g_idx`. The weights then differ from kernel to kernel, and nothing is \
          said.",
    remedy: "Write the flag that the tensors have, or dequantize, which goes by the tensors.",
    sources: "vLLM and GPTQModel source: marlin takes sym, exllama takes desc_act from the config",
    fixes,
    ..Rule::new(&kind::QUANT_FLAG_DISAGREES)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let edits = config_of_tensors::replace_blocks(subject);
    let written =
        edits.map(|edits| Fix::new("write the flags of the tensors into the config", Act::Edit(edits)));
    let decoded = remedies::dequantize(subject, "by what the tensors are");
    remedies::or_advice(written.into_iter().chain(decoded), finding)
}
