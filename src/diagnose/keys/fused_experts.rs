//! N011 experts-fused-on-disk: the experts of a layer are one tensor, as only version 5 keeps them in memory.

use super::nodes_of;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "N011", name: "experts-fused-on-disk", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Load, Purpose::Qlora, Purpose::Merge],
    is_silent: true,
    looks_for: "`experts.gate_up_proj` of three dimensions in a Mixtral, Qwen MoE, DeepSeek, OLMoE or GLM-4 \
                MoE.",
    why: "transformers 5 fuses the experts in memory and splits them when it saves. This file holds them \
          fused: a plain state dict was saved. Version 5 loads it, version 4 fills the experts with random \
          values, and engines look for `experts.N.`.",
    messages: &[
        message("KeyError: '{any}.experts.gate_up_proj'", "vLLM, sglang"),
        message("KeyError: '{any}.experts.w13_weight'", "vLLM"),
        message(
            "Some weights of {class} were not initialized from the model checkpoint at {any} and are newly \
             initialized: {any}mlp.experts.{n}.{any}",
            "transformers up to 4.57",
        ),
    ],
    remedy: "Load it with transformers 5 and save it with save_pretrained, which writes one tensor for each \
             expert.",
    sources: "vllm#41384 #47088, sglang#27381, Automodel#1755, ART#688",
    look,
    ..Rule::new(&KIND)
};

/// Types whose files keep each expert by itself.
const TYPES: [&str; 12] = [
    "deepseek_v2",
    "deepseek_v3",
    "dots1",
    "ernie4_5_moe",
    "flex_olmo",
    "glm4_moe",
    "hunyuan_v1_moe",
    "mixtral",
    "olmoe",
    "qwen2_moe",
    "qwen3_moe",
    "qwen3_next",
];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.model() else { return Vec::new() };
    let files = &model.files;
    let Some(kind) = files.configs.model_type().filter(|kind| TYPES.contains(kind)) else {
        return Vec::new();
    };
    let names = &files.names;
    let fused: Vec<u32> = nodes_of(files, "gate_up_proj")
        .into_iter()
        .filter(|&node| names.parent(node) != super::NONE && names.label(names.parent(node)) == "experts")
        .flat_map(|node| files.within(node, node + 1))
        .filter(|&tensor| files.shape(&files.tensors[tensor as usize]).len() == 3)
        .collect();
    let Some(&first) = fused.first() else { return Vec::new() };
    let shape = units::shape(files.shape(&files.tensors[first as usize]));
    let first = files.tensor_name(first);
    let count = units::plural(fused.len(), "layer");
    let title =
        format!("{count} hold all experts in one gate_up_proj {shape}; files of {kind} keep each by itself.");
    vec![Finding::new(rule, title).seen(Seen::tensors(Some(first), shape))]
}
