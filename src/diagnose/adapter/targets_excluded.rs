//! A028 adapter-targets-excluded: the targets name modules, and what restricts them leaves none.

use serde_json::Value;

use super::views;
use crate::adapter::targets::Targets;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "A028", name: "adapter-targets-excluded", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "target_modules that name modules of the base, and exclude_modules or layers_to_transform that leave \
                none of them.",
    why: "PEFT takes away what exclude_modules names and what lies outside layers_to_transform. With nothing left it \
          has no layer to put the adapter on and stops.",
    messages: &[
        message(
            "All modules were excluded. This is likely unintended. Check your `target_modules`, `exclude_modules` and \
             `modules_to_save` configuration.",
            "PEFT since 0.14",
        ),
        message(
            "No modules were targeted for adaptation. This might be caused by a combination of mismatched target \
             modules and excluded modules.",
            "PEFT since 0.14",
        ),
        message(
            "Target modules {any} not found in the base model. Please check the target modules and try again. Note: \
             You specified 'layers_to_transform': {any}",
            "PEFT since 0.15",
        ),
    ],
    outside: "An adapter of a deeper model, whose layers_to_transform this base has not.",
    remedy: "Take exclude_modules and layers_to_transform out of the config, or name layers that the base has.",
    sources: "PEFT 0.21 `tuners/tuners_utils.py`",
    look,
    fixes: views::repair,
    ..Rule::new(&KIND)
};

/// What restricts targets.
const RESTRICTING: [&str; 3] = ["exclude_modules", "layers_to_transform", "layers_pattern"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

/// Returns true if nothing is left of the targets.
pub(super) fn applies(view: &AdapterView<'_>) -> bool {
    one(&RULE, view).is_some()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let base = &view.held?.base;
    let set: Vec<&str> = RESTRICTING.into_iter().filter(|key| view.config(key).is_some()).collect();
    let config = view.checkpoint.files.configs.get(views::CONFIG).filter(|_| !set.is_empty())?;
    let targets = Targets::read(config);
    if targets.is_open() || !targets.parameters.is_empty() {
        return None;
    }
    let mut free = config.as_object()?.clone();
    free.retain(|key, _| !RESTRICTING.contains(&key.as_str()));
    let free = Targets::read(&Value::Object(free));
    let names = (0..base.layers.len() as u32).map(|layer| base.layers.name(&base.files.names, layer));
    let mut meant = 0;
    for name in names.filter(|name| free.names(name)) {
        if targets.names(&name) {
            return None;
        }
        meant += 1;
    }
    if meant == 0 {
        return None;
    }
    let title = format!(
        "target_modules names {} of the base, and {} leaves none of them.",
        units::plural(meant, "layer"),
        set.join(" with ")
    );
    let finding = Finding::new(rule, title).about(view.about);
    Some(set.into_iter().fold(finding, |finding, key| {
        let value = view.config(key).map(views::short).unwrap_or_default();
        finding.seen(Seen::config(views::CONFIG, key, value))
    }))
}
