//! E006 vllm-target-modules: modules that vLLM does not put adapters on.

use super::engines;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "E006", name: "vllm-target-modules", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "Factors on a vision or audio tower, on embeddings, or on the head.",
    why: "vLLM puts adapters on the linears of the language model. Towers are left out unless it is started for them, \
          and embeddings and head are taken only by some of its model classes. It refuses an adapter with a module that \
          its class does not know. Which classes take what differs by version: this is a guess from the names.",
    messages: &[message(
        "While loading {file}, expected target modules in {any} but received {any}. Please verify that the loaded LoRA \
             module is correct",
        "vLLM since 0.4",
    )],
    outside: "A model class of vLLM that knows other names than the adapter has (qkv_proj against q_proj).",
    remedy: "Merge the adapter, or train without the towers: their factors are often zero, and then a copy without them \
             serves as well.",
    sources: "vllm#21500, vllm#4915, LlamaFactory#9545, ms-swift#5252; vLLM 0.33 `lora/lora_model.py`",
    look,
    fixes: engines::merge,
    ..Rule::new(&KIND)
};

/// Parts of a path that name a tower.
const TOWERS: [&str; 9] = [
    "visual",
    "vision_tower",
    "vision_model",
    "audio_tower",
    "audio_model",
    "multi_modal_projector",
    "vpm",
    "resampler",
    "image_newline",
];
const ENDS: [&str; 2] = ["embed_tokens", "lm_head"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    engines::lora(view)?;
    let is_odd = |key: &str| {
        let (part, module) = engines::part(key);
        let is_factor = matches!(part, Some("lora_A" | "lora_embedding_A"));
        let last = module.rsplit('.').next().unwrap_or("");
        is_factor && (module.split('.').any(|part| TOWERS.contains(&part)) || ENDS.contains(&last))
    };
    let odd = engines::tensors(view, is_odd);
    let first = *odd.first()?;
    let key = view.checkpoint.files.tensor_name(first);
    let title = format!(
        "{} of {} are on a tower, embeddings or the head ({}), which vLLM takes for some models only.",
        units::exact(odd.len() as u64),
        units::plural(view.facts.modules.len(), "module"),
        engines::shown(engines::part(&key).1)
    );
    Some(engines::finding(rule, view, &odd, title))
}
