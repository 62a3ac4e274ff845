//! Q012 quant-config-left-behind: the config says quantized, and every tensor is 16 or 32 bits wide.

use super::common;
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

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
    sources: "ComfyUI_frontend#2695, LlamaFactory#3062, ms-swift#2208; reproduced on 4.57, loads on 5.23",
    look,
    fixes,
    ..Rule::new(&kind::QUANT_CONFIG_LEFT)
};

/// FP8 weights whose scales are absent are told by their own rule.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let fp8 = super::fp8_without_scales::unscaled(subject).0;
    if fp8 > 0 { Vec::new() } else { Finding::of_problems(rule, subject) }
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let edits = common::take_all_out(subject);
    vec![Fix::new(
        "take the quantization block out of the config; the weights stay as they are",
        Act::Edit(edits),
    )]
}
