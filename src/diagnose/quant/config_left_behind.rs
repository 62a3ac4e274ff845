//! Q012 quant-config-left-behind: the config says quantized, and every tensor is 16 or 32 bits wide.

use super::config_blocks;
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{Severity, kind};

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A quantization block of a method whose layers always show in the tensors, and no packed \
                layer.",
    why: "A merge or a conversion wrote plain weights and kept the block. Loaders build packed layers and \
          look for scales or quant states that do not exist; up to 4.57 the layers then stay on the meta \
          device.",
    messages: &[
        message(
            "Supplied state dict for {key} does not contain `bitsandbytes__*` and possibly other \
             `quantized_stats` components.",
            "transformers 4.38 to 4.52",
        ),
        message(
            "Cannot copy out of meta tensor; no data!",
            "transformers 4.53 to 4.57, a bitsandbytes block over 16-bit weights",
        ),
    ],
    outside: "A `device_map` that offloads, and DeepSpeed ZeRO-3, leave tensors on the meta device though \
              the files are right.",
    remedy: "Take the quantization block out of the config.",
    sources: "ComfyUI_frontend#2695, LlamaFactory#3062, ms-swift#2208; reproduced on 4.57; 5.23 loads and \
              fails in the first forward pass",
    look,
    fixes,
    ..Rule::new(&kind::QUANT_CONFIG_LEFT)
};

/// FP8 weights whose scales are absent are told by their own rule.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let fp8 = super::fp8_without_scales::unscaled(subject).0;
    if fp8 > 0 {
        return Vec::new();
    }
    let severity = if is_never_packed(subject) { Severity::Warning } else { rule.kind.severity };
    Finding::of_problems(rule, subject).into_iter().map(|finding| finding.severity(severity)).collect()
}

/// Falcon has a linear layer of its own, which bitsandbytes in transformers 5 leaves as it is: such a save has the
/// block and no packed layer, and loads again. Version 4 and vLLM look for packed layers.
fn is_never_packed(subject: &Subject<'_>) -> bool {
    subject.files().configs.model_type() == Some("falcon") && subject.quant_method() == Some("bitsandbytes")
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let edits = config_blocks::take_all_out(subject);
    vec![Fix::new(
        "take the quantization block out of the config; the weights stay as they are",
        Act::Edit(edits),
    )]
}
