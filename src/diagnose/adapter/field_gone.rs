//! A027 adapter-field-gone: fields of PEFT before 0.3: `enable_lora`, `merge_weights`.

use serde_json::Value;

use super::views;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A027", name: "adapter-field-gone", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "enable_lora or merge_weights in a LoRA config.",
    why: "PEFT 0.3 took these fields out: versions up to 0.13 stop at them, later ones leave them out with a warning. \
          merge_weights did nothing to the weights. enable_lora put separate factors on parts of a fused projection, \
          which no later version has: such tensors do not fit.",
    messages: &[
        message("LoraConfig.__init__() got an unexpected keyword argument 'enable_lora'", "PEFT 0.3 to 0.13"),
        message(
            "LoraConfig.__init__() got an unexpected keyword argument 'merge_weights'",
            "PEFT 0.3 to 0.13",
        ),
        message(
            "size mismatch for {key}.lora_B.{any}: copying a param with shape torch.Size([{n}, {n}, 1]) from \
             checkpoint, the shape in current model is {shape}.",
            "PEFT since 0.3, enable_lora",
        ),
    ],
    outside: "",
    remedy: "Take the fields out. With enable_lora set, load the adapter with PEFT 0.2 and train or export it anew.",
    sources: "LlamaFactory#5348, peft#1337, peft#276",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const GONE: [&str; 2] = ["enable_lora", "merge_weights"];

fn gone(view: &AdapterView<'_>) -> Vec<&'static str> {
    let config = view.checkpoint.files.configs.get(views::CONFIG).filter(|_| views::is_lora(view));
    GONE.into_iter().filter(|key| config.is_some_and(|config| config.get(key).is_some())).collect()
}

/// Returns true if some parts of a fused projection have factors.
fn is_partial(view: &AdapterView<'_>) -> bool {
    let list = view.config("enable_lora").and_then(Value::as_array);
    list.is_some_and(|list| list.iter().any(|part| part.as_bool() == Some(true)))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let gone = gone(view);
    if gone.is_empty() {
        return None;
    }
    let title = format!(
        "The config has {}, which PEFT dropped in 0.3{}.",
        gone.join(" and "),
        if is_partial(view) { ": its factors are for parts of a fused projection" } else { "" }
    );
    let finding = Finding::new(rule, title).about(view.about);
    Some(gone.into_iter().fold(finding, |finding, key| {
        let value = view.config(key).map_or_else(|| "null".to_owned(), views::short);
        finding.seen(Seen::config(views::CONFIG, key, value))
    }))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some(view) = views::of(subject, finding.about) else { return Vec::new() };
    if is_partial(&view) {
        return vec![Fix::advice(finding.rule.remedy)];
    }
    let gone = gone(&view);
    let edits = gone.iter().map(|key| views::set(key, None)).collect();
    let summary = format!("take {} out of {}, in a new folder", gone.join(" and "), views::CONFIG);
    vec![Fix::new(summary, Act::Edit(edits))]
}
