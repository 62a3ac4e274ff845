//! Q031 lora-on-fp8: an adapter on FP8 layers: torch does not compute with 8-bit floats, and their scales are
//! easily forgotten.

use super::remedies;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "Q031", name: "lora-on-fp8", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora, Purpose::Merge],
    looks_for: "Layers of 8-bit floats with scales.",
    why: "torch stores 8-bit floats and does not multiply or add them, so a LoRA that is added to them as \
          they are stops with an error. Cast without their scales they no longer stop, and the weights are \
          wrong. transformers 5 cannot write a merged FP8 model back.",
    messages: &[
        message("\"addmm_cuda\" not implemented for 'Float8_e4m3fn'", "torch"),
        message("\"mul_cuda\" not implemented for 'Float8_e4m3fn'", "torch"),
        message("Promotion for Float8 Types is not supported", "torch"),
        message("in reverse_op raise NotImplementedError", "transformers 5, saving a merged FP8 model"),
    ],
    remedy: "Decode with the scales to BF16, then train or merge there.",
    sources: "ComfyUI#4577, ComfyUI#10910, CatvtonFlux#3, heretic#182, LlamaFactory#10328",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (count, first) = subject.layers_of(|format| format == "fp8");
    if count == 0 || subject.model().is_none() {
        return Vec::new();
    }
    let layers = units::plural(count, "FP8 layer");
    let title = format!("{layers} with scales: an adapter cannot be added to them before they are decoded.");
    vec![Finding::new(rule, title).seen(Seen::tensors(first, layers))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let merge = (!subject.held.is_empty())
        .then(|| Fix::new("merge the adapter; FP8 layers are decoded with their scales first", Act::Merge));
    let decoded = remedies::dequantize(subject, "with the scales");
    remedies::or_advice(merge.into_iter().chain(decoded), finding)
}
