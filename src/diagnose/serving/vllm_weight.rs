//! E005 vllm-unsupported-weight: keys that vLLM cannot take apart.

use super::engines;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "E005", name: "vllm-unsupported-weight", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "Keys that end in none of lora_A.weight, lora_B.weight, lora_embedding_A and lora_embedding_B.",
    why: "vLLM takes every key of the file apart by its end and stops at the first that is no factor of LoRA: saved \
          embeddings, biases, token rows, keys with an adapter's name in them. It passes over the base_layer weights of \
          embeddings and head.",
    messages: &[message("{key} is unsupported LoRA weight", "vLLM, all versions")],
    outside: "",
    remedy: "Merge the adapter. Keys with a name left in are mended by `ckpt align --repair`.",
    sources: "vllm#32599, vllm#9280; vLLM 0.33 `lora/utils.py` (parse_fine_tuned_lora_name)",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Ends that vLLM knows.
const ENDS: [&str; 4] = [".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B"];
/// Ends that it passes over.
const PASSED: [&str; 2] = [".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

/// What has its own finding is not said again: magnitudes, trained biases, modules to save.
fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    engines::lora(view)?;
    let saved: Vec<&str> = view
        .config("modules_to_save")
        .and_then(|list| list.as_array())
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str())
        .collect();
    let bias = view.config("bias").and_then(|bias| bias.as_str());
    let has_bias = bias.is_some_and(|bias| bias != "none");
    let is_said = |key: &str| match engines::part(key) {
        (Some("lora_magnitude_vector"), _) => view.flag("use_dora"),
        (Some("lora_B.bias"), _) => view.flag("lora_bias"),
        (None, _) if has_bias && key.rsplit('.').next() == Some("bias") => true,
        (None, module) => saved.iter().any(|name| module.split('.').any(|part| part == *name)),
        _ => false,
    };
    let is_odd = |key: &str| !ENDS.iter().chain(&PASSED).any(|end| key.ends_with(end)) && !is_said(key);
    let odd = engines::tensors(view, is_odd);
    let first = *odd.first()?;
    let key = view.checkpoint.files.tensor_name(first);
    let title = format!(
        "vLLM stops at {} that {} no factor of LoRA, such as {}.",
        units::plural(odd.len(), "key"),
        if odd.len() == 1 { "is" } else { "are" },
        engines::shown(&key)
    );
    Some(engines::finding(rule, view, &odd, title).fill("key", key))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    engines::merge(subject, finding)
}
