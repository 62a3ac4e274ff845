//! A009 adapter-untouched-targets: targets that name nothing, or layers that are targeted and have no factors.

use super::views;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{About, Subject};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "Entries of target_modules that no module of the base is named by, and layers that the targets name and \
                the file has no factors for.",
    why: "One entry that fits is enough for PEFT; the others are passed over. Layers without factors in the file get new \
          ones whose lora_B is zero, so they have no effect: the base may be deeper than the one that was trained on, or \
          a part of the file is lost.",
    messages: &[
        message(
            "Found missing adapter keys while loading the checkpoint: {any}",
            "PEFT since 0.14, a warning",
        ),
        message(
            "While injecting the PEFT adapters, an inconsistency was discovered between the PEFT config and the provided \
             state_dict.",
            "PEFT since 0.16, a warning",
        ),
        message("target_modules={any} were set but no module was matched.", "PEFT since 0.17, a warning"),
        message(
            "The following {any} keys did not match any targeted module and were ignored: {any}.",
            "PEFT 0.21, a warning",
        ),
    ],
    outside: "",
    remedy: "If the base is the one that was trained on, the file lacks a part: compare it with the run's other \
             checkpoints. Entries that name nothing do no harm.",
    sources: "measured on PEFT 0.7.1 (silent), 0.13.2 (silent), 0.17.1, 0.21.2 (warning)",
    look,
    ..Rule::new(&kind::ADAPTER_UNTOUCHED)
};

/// Only of adapters of which something is applied: without that, another finding says why.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Finding::of_problems(rule, subject);
    findings.retain(|finding| is_applied(subject, finding.about));
    findings
}

fn is_applied(subject: &Subject<'_>, about: About) -> bool {
    views::of(subject, about)
        .and_then(|view| view.alignment())
        .is_some_and(|alignment| alignment.aligned() > 0)
}
