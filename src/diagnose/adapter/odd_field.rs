//! A013 adapter-odd-field: fields that no PEFT knows, or that cannot be read.

use serde_json::Value;

use super::views;
use crate::adapter::config::version_of;
use crate::diagnose::finding::{Act, Finding, Fix, SEEN_MAX, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{About, AdapterView, Subject};
use crate::problem::kind;
use crate::units;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "Fields of a LoRA config that no version of PEFT has, lists with entries that are no text, patterns that \
                cannot be read.",
    why: "PEFT since 0.14 warns about a field that it does not know and leaves it out; older versions stop. What such a \
          field was to do is not done.",
    messages: &[
        message("{class}.__init__() got an unexpected keyword argument '{any}'", "PEFT up to 0.13"),
        message(
            "Unexpected keyword arguments {any} for class {class}, these are ignored.",
            "PEFT since 0.14, a warning",
        ),
    ],
    outside: "A field of a PEFT that is newer than 0.21, which is the newest that is known here.",
    remedy: "Take the field out, or install the fork of PEFT that wrote it.",
    sources: "measured on PEFT 0.13.2 (TypeError), 0.17.1, 0.21.2 (warning)",
    look,
    fixes,
    ..Rule::new(&kind::ADAPTER_FIELD)
};

/// Returns the fields of a LoRA config that no version has.
fn unknown<'a>(view: &AdapterView<'a>) -> Vec<&'a str> {
    let config = view.checkpoint.files.configs.get(views::CONFIG).and_then(Value::as_object);
    let config = config.filter(|_| view.facts.declared.as_deref() == Some("LORA"));
    let keys = config.into_iter().flat_map(|config| config.keys());
    keys.map(String::as_str).filter(|key| version_of(key).is_none()).collect()
}

/// What aligning saw; of an adapter alone its config.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Finding::of_problems(rule, subject);
    let alone = subject.adapters().find(|view| view.about == About::Checkpoint);
    findings.extend(alone.and_then(|view| of_config(rule, &view)));
    findings.into_iter().map(|finding| finding.fill("class", "LoraConfig")).collect()
}

fn of_config(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let unknown = unknown(view);
    let first = unknown.first()?;
    let title = format!(
        "The config has {} that no PEFT knows, such as {}.",
        units::plural(unknown.len(), "field"),
        views::shown(first)
    );
    let finding = Finding::new(rule, title).about(view.about);
    Some(unknown.iter().take(SEEN_MAX).fold(finding, |finding, key| {
        let value = view.config(key).map_or_else(|| "null".to_owned(), views::short);
        finding.seen(Seen::config(views::CONFIG, *key, value))
    }))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some(view) = views::of(subject, finding.about) else { return Vec::new() };
    let unknown = unknown(&view);
    let edits: Vec<_> = unknown.iter().map(|key| views::set(key, None)).collect();
    let summary =
        format!("take {} out of {}, in a new folder", units::plural(unknown.len(), "field"), views::CONFIG);
    let edit =
        (!edits.is_empty() && views::odd_values(&view) == 0).then(|| Fix::new(summary, Act::Edit(edits)));
    edit.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
