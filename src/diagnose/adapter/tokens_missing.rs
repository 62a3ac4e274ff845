//! A022 adapter-token-rows-missing: `trainable_token_indices` is set and the rows are not in the file.

use super::views;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A022", name: "adapter-token-rows-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "trainable_token_indices in the config, and no trainable_tokens_delta in the file.",
    why: "The rows of these tokens were trained, and their values did not get into the file. PEFT looks for them and \
          stops with a KeyError.",
    messages: &[message("KeyError: '{key}.token_adapter.trainable_tokens_delta'", "PEFT since 0.15")],
    outside: "A tied copy of the embeddings (peft#2946): PEFT 0.15 to 0.17 looked for its rows as well.",
    remedy: "Find the file of the run that has the rows. Without it, take trainable_token_indices out of the config: the \
             base's own rows are used then.",
    sources: "peft#2946; PEFT 0.21 `utils/other.py`",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let indices = view.config("trainable_token_indices")?;
    let count = match indices {
        serde_json::Value::Array(list) => list.len(),
        serde_json::Value::Object(lists) => {
            lists.values().filter_map(|list| Some(list.as_array()?.len())).sum()
        }
        _ => 0,
    };
    let is_here = !views::parts(view, |part| part == "trainable_tokens_delta").is_empty();
    if count == 0 || is_here || view.checkpoint.files.tensors.is_empty() {
        return None;
    }
    let title = format!(
        "trainable_token_indices names {}, and the file has no trainable_tokens_delta.",
        crate::units::plural(count, "token row")
    );
    let seen = Seen::config(views::CONFIG, "trainable_token_indices", views::short(indices));
    Some(Finding::new(rule, title).about(view.about).seen(seen))
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let summary = "take trainable_token_indices out of adapter_config.json, in a new folder";
    vec![
        views::setting(summary, "trainable_token_indices", Some(serde_json::Value::Null))
            .loss("the trained rows of these tokens are lost: the base's own rows stand for them"),
        Fix::advice(finding.rule.remedy),
    ]
}
