//! Q007 quant-config-missing: the tensors are packed and no config says how.

use super::{config_of_tensors, remedies};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Packed layers, and no block in any config that names their method.",
    why: "A loader without a quantization config builds plain 16-bit layers. The packed tensors do not fit \
          them: it stops with a size mismatch, or fills the layers with random numbers.",
    messages: &[
        message(
            "Trying to set a tensor of shape torch.Size([{n}, 1]) in \"weight\" (which has shape \
             {shape})",
            "transformers 4.3x to 4.4x, bitsandbytes tensors",
        ),
        message(
            "size mismatch for weight: copying a param with shape torch.Size([{n}, 1]) from checkpoint",
            "transformers 4.53 to 4.57, bitsandbytes tensors",
        ),
        message(
            "size mismatch for {key}.weight: copying a param with shape torch.Size([{n}, 1]) from checkpoint",
            "transformers up to 4.52, bitsandbytes tensors",
        ),
        message(
            "The model's quantization config from the arguments has no `quant_method` attribute.",
            "transformers, all versions",
        ),
        message(
            "KeyError: '{key}.weight.absmax'",
            "vLLM, open-instruct: a packed checkpoint read as a plain one",
        ),
        message(
            "FP4 quantization state not initialized. Please call .cuda() or .to(device) on the LinearFP4 \
             layer first.",
            "bitsandbytes",
        ),
    ],
    outside: "vLLM without `--quantization bitsandbytes` says the KeyError of a checkpoint that is right.",
    remedy: "Write the quantization config that the tensors have, or dequantize.",
    sources: "vllm#11010, vllm#10710, fsdp_qlora#70, open-instruct#427; reproduced on 4.37, 4.46, 4.57, 5.23",
    fixes,
    ..Rule::new(&kind::QUANT_CONFIG_MISSING)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let edits = config_of_tensors::replace_blocks(subject);
    let written =
        edits.map(|edits| Fix::new("write the quantization config that the tensors have", Act::Edit(edits)));
    let decoded = remedies::dequantize(subject, "which needs no config");
    remedies::or_advice(written.into_iter().chain(decoded), finding)
}
