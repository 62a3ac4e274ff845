//! A026 adapter-config-newer: the config has fields that PEFT up to 0.13 does not know and stops at.

use serde_json::Value;

use super::views;
use crate::adapter::config::{is_default, parse, version_of};
use crate::diagnose::finding::{Act, Finding, Fix, SEEN_MAX, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "A026", name: "adapter-config-newer", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[crate::diagnose::rule::Purpose::Load],
    looks_for: "Fields of a LoRA config that came with PEFT 0.14 or later.",
    why: "PEFT up to 0.13 gives every field of the file to its config class, which stops at one that it does not know. \
          Later versions warn and leave the field out: harmless where it has its default, another adapter where not.",
    messages: &[
        message(
            "{class}.__init__() got an unexpected keyword argument '{any}'",
            "PEFT up to 0.13, Python 3.10 and later",
        ),
        message("__init__() got an unexpected keyword argument '{any}'", "PEFT up to 0.13, Python up to 3.9"),
        message(
            "Unexpected keyword arguments {any} for class {class}, these are ignored. This probably means that you're \
             loading a configuration file that was saved using a higher version of the library",
            "PEFT since 0.14, a warning",
        ),
    ],
    outside: "Any call with an argument that a class does not have: look at the class that the message names.",
    remedy: "Upgrade PEFT (`pip install -U peft`), or take out the fields that have their defaults: `ckpt align --repair \
             --peft-version 0.13`.",
    sources: "peft#2275, peft#1168, peft#1979, ms-swift#3141, LlamaFactory#2696; measured on PEFT 0.7.1, 0.13.2, 0.17.1",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// The last version that stops at a field it does not know.
const STRICT: (u64, u64) = (0, 13);

/// Returns the fields that came later, with their versions.
fn newer<'a>(view: &AdapterView<'a>) -> Vec<(&'a str, &'a Value, &'static str)> {
    let config = view.checkpoint.files.configs.get(views::CONFIG).and_then(Value::as_object);
    let Some(config) = config.filter(|_| view.facts.declared.as_deref() == Some("LORA")) else {
        return Vec::new();
    };
    let later =
        |key: &str| version_of(key).filter(|version| parse(version).is_some_and(|since| since > STRICT));
    config.iter().filter_map(|(key, value)| Some((key.as_str(), value, later(key)?))).collect()
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let newer = newer(view);
    let (key, _, version) = newer.iter().max_by_key(|(_, _, version)| parse(version))?;
    let title = format!(
        "The config has {} of PEFT after 0.13 ({key} since {version}): PEFT up to 0.13 stops at them, later ones load it.",
        units::plural(newer.len(), "field")
    );
    let mut finding = Finding::new(rule, title).about(view.about).fill("class", "LoraConfig");
    for (key, value, version) in newer.iter().take(SEEN_MAX) {
        let value = format!("{}, since PEFT {version}", views::short(value));
        finding = finding.seen(Seen::config(views::CONFIG, *key, value));
    }
    Some(finding)
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some(view) = views::of(subject, finding.about) else { return Vec::new() };
    let newer = newer(&view);
    if let Some((key, value, version)) = newer.iter().find(|(key, value, _)| !is_default(key, value)) {
        let why = format!(
            "use PEFT {version} or later: {key} is {}, and without it the adapter means something else",
            views::short(value)
        );
        return vec![Fix::advice(why)];
    }
    let edits = newer.iter().map(|(key, ..)| views::set(key, None)).collect();
    let summary = format!(
        "take {} with default values out of {}, in a new folder",
        units::plural(newer.len(), "field"),
        views::CONFIG
    );
    vec![Fix::new(summary, Act::Edit(edits)), Fix::advice("upgrade PEFT: pip install -U peft")]
}
