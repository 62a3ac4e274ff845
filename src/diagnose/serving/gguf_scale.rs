//! E010 gguf-adapter-scale-lost: `use_rslora` and `alpha_pattern`, which llama.cpp's converter does not read.

use super::engines;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "E010", name: "gguf-adapter-scale-lost", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Merge],
    is_silent: true,
    looks_for: "use_rslora true, or an alpha_pattern, in the config of an adapter.",
    why: "llama.cpp keeps one alpha for the whole adapter and scales each module by alpha / rank. Its converter reads \
          lora_alpha alone: a rank-stabilized scale (alpha / sqrt r) and alphas of single modules are lost, and the GGUF \
          adapter is too weak or too strong without a word.",
    messages: &[],
    remedy: "For llama.cpp, merge the adapter and convert the merged model; or give the converter an adapter whose factors \
             hold the scale.",
    sources: "llama.cpp `convert_lora_to_gguf.py` (lora_alpha alone), `src/llama-adapter.h` (alpha / rank)",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    engines::lora(view)?;
    let rank = view.facts.rank.filter(|&rank| rank > 1);
    let (alpha, scale) = (view.facts.alpha?, view.facts.scaling?);
    let (key, title) = if view.flag("use_rslora") {
        let plain = alpha / rank? as f64;
        (
            "use_rslora",
            format!(
                "use_rslora is true: the scale is {scale:.3}, and a GGUF of this adapter has {plain:.3}."
            ),
        )
    } else if engines::is_set(view, "alpha_pattern") {
        (
            "alpha_pattern",
            format!(
                "alpha_pattern gives modules alphas of their own; a GGUF of this adapter has {alpha} for all."
            ),
        )
    } else {
        return None;
    };
    let value = view.config(key).map(engines::short).unwrap_or_default();
    Some(Finding::new(rule, title).about(view.about).seen(Seen::config(engines::CONFIG, key, value)))
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(finding.rule.remedy)]
}
