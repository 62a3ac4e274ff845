//! E001 vllm-modules-to-save: vLLM takes no modules that were trained whole, but for two of classifiers.

use super::engines;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "E001", name: "vllm-modules-to-save", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "modules_to_save with other names than classifier and score, or saved tensors of modules in the file.",
    why: "vLLM serves one base with many adapters and keeps factors only. A module that an adapter brings whole, such as a \
          trained lm_head, has no place there.",
    messages: &[
        message(
            "vLLM only supports modules_to_save being either None or [\"classifier\", \"score\"] for classification models.",
            "vLLM since 0.10",
        ),
        message("vLLM only supports modules_to_save being None.", "vLLM 0.6 to 0.10"),
        message("base_model.model.{key}.weight is unsupported LoRA weight", "vLLM, all versions"),
    ],
    outside: "",
    remedy: "Merge the adapter into its base and serve the result as a model of its own.",
    sources: "vllm#9280, vllm#32599; vLLM 0.33 `lora/peft_helper.py`",
    look,
    fixes: engines::merge,
    ..Rule::new(&KIND)
};

/// Modules that vLLM takes. Source: vLLM 0.33, `PEFTHelper`.
const TAKEN: [&str; 2] = ["classifier", "score"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    engines::lora(view)?;
    let saved = view.config("modules_to_save");
    let names = saved.and_then(|list| list.as_array()).into_iter().flatten().filter_map(|name| name.as_str());
    let refused: Vec<String> = names.filter(|name| !TAKEN.contains(name)).map(str::to_owned).collect();
    let first = refused.first()?;
    let title = format!(
        "modules_to_save has {}, and vLLM takes no module that was trained whole.",
        engines::shown(&crate::adapter::list(&refused))
    );
    let value = saved.map(engines::short).unwrap_or_default();
    let finding = Finding::new(rule, title).about(view.about).fill("key", first.clone());
    Some(finding.seen(Seen::config(engines::CONFIG, "modules_to_save", value)))
}
