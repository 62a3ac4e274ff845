//! A017 adapter-modules-dropped: modules that fit the base and that the config's targets leave out.

use super::{targets_excluded, views};
use crate::adapter::align::State;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity, kind};

static KIND: ProblemKind =
    ProblemKind { code: "A017", name: "adapter-modules-dropped", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Modules that are in the file and fit the base, and that target_modules, layers_to_transform or \
                exclude_modules leave out.",
    why: "PEFT makes factors for the modules that the config names, and then loads the file without a word about keys \
          that are left over. A part of what was trained is not applied.",
    messages: &[],
    remedy: "Name the modules in target_modules and take out what excludes them; `ckpt align --repair` writes the \
             config from the keys.",
    sources: "measured on PEFT 0.7.1, 0.13.2, 0.17.1, 0.21.2: dropped by all, said by none",
    look,
    fixes: views::repair,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let is_explained = |view: &AdapterView<'_>| {
        views::has(subject, view.about, &kind::ADAPTER_TARGETS) || targets_excluded::applies(view)
    };
    subject.adapters().filter(|view| !is_explained(view)).filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let dropped = views::in_state(view, State::Dropped);
    let first = dropped.first()?;
    let title = format!(
        "PEFT drops {} silently: they fit the base, and the config does not name them. The first is {}.",
        views::share(dropped.len(), views::total(view)),
        views::shown(&first.name)
    );
    let mut finding = views::finding(rule, view, &dropped, title);
    for key in ["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"] {
        if let Some(value) = view.config(key) {
            finding = finding.seen(Seen::config(views::CONFIG, key, views::short(value)));
        }
    }
    Some(finding)
}
