//! E009 vllm-not-lora: an adapter of another method than LoRA.

use super::engines;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::name::escape;
use crate::problem::{ProblemKind, Severity, kind};

static KIND: ProblemKind = ProblemKind { code: "E009", name: "vllm-not-lora", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "A peft_type other than LORA.",
    why: "vLLM reads adapter_config.json for r, lora_alpha and target_modules and the file for lora_A and lora_B. Adapters \
          of other methods lack the fields or have other keys.",
    messages: &[
        message("Missing required configuration fields: {any}", "vLLM since 0.6"),
        message("{key} is unsupported LoRA weight", "vLLM, all versions"),
    ],
    outside: "",
    remedy: "Merge the adapter, where its method can be merged, and serve the result; else serve it with transformers and \
             PEFT.",
    sources: "vLLM 0.33 `lora/peft_helper.py`, `lora/utils.py`",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Methods that are merged here. Source: `plan/merge/refused.rs`.
const MERGED: [&str; 7] = ["ADALORA", "LOHA", "LOKR", "IA3", "OFT", "VERA", "TRAINABLE_TOKENS"];

/// A type that the keys contradict is said by another rule.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let is_wrong = |view: &AdapterView<'_>| {
        view.facts.problems.iter().any(|problem| problem.kind == &kind::ADAPTER_KIND)
    };
    subject.adapters().filter(|view| !is_wrong(view)).filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let kind = view.facts.declared.as_deref().filter(|kind| *kind != "LORA")?;
    view.checkpoint.files.configs.get(engines::CONFIG)?;
    let title = format!("This adapter is {}, and vLLM serves LoRA alone.", escape(kind));
    let seen = Seen::config(engines::CONFIG, "peft_type", kind);
    Some(Finding::new(rule, title).about(view.about).seen(seen))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let view = subject.adapters().find(|view| view.about == finding.about);
    let can_merge = view.is_some_and(|view| {
        let kind = view.facts.declared.as_deref().unwrap_or_default();
        // Projections that are said to be saved, and are not, are nowhere.
        let has_projections = view.checkpoint.files.names.find_label("vera_A").is_some();
        let lacks_projections = kind == "VERA" && view.flag("save_projection") && !has_projections;
        MERGED.contains(&kind) && !lacks_projections
    });
    if can_merge { engines::merge(subject, finding) } else { vec![Fix::advice(finding.rule.remedy)] }
}
