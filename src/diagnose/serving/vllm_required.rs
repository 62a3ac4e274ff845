//! E007 vllm-config-fields-missing: `r`, `lora_alpha` or `target_modules` is not in the config.

use serde_json::{Map, Value, json};

use super::engines;
use crate::adapter::config::ALPHA;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::plan::edit::Edit;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "E007", name: "vllm-config-fields-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "A LoRA config without r, lora_alpha or target_modules.",
    why: "PEFT has defaults for r (8) and lora_alpha (8); vLLM has none and stops where one of the three is not in the \
          file.",
    messages: &[
        message("Missing required configuration fields: {any}", "vLLM since 0.6"),
        message("is missing required configuration fields", "vLLM since about 0.30"),
    ],
    outside: "An adapter of another method than LoRA, whose config has not these fields.",
    remedy: "Write the fields with the values that PEFT takes without them.",
    sources: "vLLM 0.33 `lora/peft_helper.py` (from_dict)",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const REQUIRED: [&str; 3] = ["r", "lora_alpha", "target_modules"];

fn lacking(config: &Map<String, Value>) -> Vec<&'static str> {
    REQUIRED.into_iter().filter(|key| !config.contains_key(*key)).collect()
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let lacking = lacking(engines::lora(view)?.as_object()?);
    if lacking.is_empty() {
        return None;
    }
    let title = format!("The config has no {}, which vLLM requires.", lacking.join(", "));
    let finding = Finding::new(rule, title).about(view.about);
    Some(
        lacking
            .into_iter()
            .fold(finding, |finding, key| finding.seen(Seen::config(engines::CONFIG, key, "not there"))),
    )
}

/// The values that PEFT takes; targets only as ends of names, which the keys give.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let edits = subject.adapters().find(|view| view.about == finding.about).and_then(|view| edits(&view));
    let written = edits.map(|edits| {
        Fix::new(
            "write the fields with the values that PEFT takes without them, in a new folder",
            Act::Edit(edits),
        )
    });
    written.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}

fn edits(view: &AdapterView<'_>) -> Option<Vec<Edit>> {
    let set = |key: &str, value: Value| Edit::Json {
        file: engines::CONFIG.into(),
        path: vec![key.to_owned()],
        value: Some(value),
    };
    let mut edits = Vec::new();
    for key in lacking(engines::lora(view)?.as_object()?) {
        edits.push(match key {
            // Without r PEFT makes 8; other tensors would not load there either.
            "r" => set(key, json!(8)),
            "lora_alpha" => set(key, json!(ALPHA as u64)),
            _ => {
                let mut labels: Vec<&str> =
                    view.facts.modules.iter().filter_map(|module| module.name.rsplit('.').next()).collect();
                labels.sort_unstable();
                labels.dedup();
                // Of stacked experts the names are of parameters.
                if labels.is_empty() || labels.iter().any(|label| ["experts", "base_layer"].contains(label)) {
                    return None;
                }
                set(key, json!(labels))
            }
        });
    }
    Some(edits)
}
