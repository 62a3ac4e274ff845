//! A033 adapter-projection-missing: `VeRA` with `save_projection` true and no projections in the file.

use super::views;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A033", name: "adapter-projection-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "A VeRA or PVeRA config that says (or leaves to the default) that projections are saved, and no vera_A and \
                vera_B in the file.",
    why: "VeRA trains two vectors a module and shares two random matrices. They are in the file, or drawn anew from \
          projection_prng_key; a config that says the first and a file of the second stop PEFT.",
    messages: &[
        message(
            "Specified to load vera_A and vera_B from state dictionary however they were not present!",
            "PEFT since 0.11",
        ),
        message(
            "Specified to load pvera_A and pvera_B from state dictionary however they were not present!",
            "PEFT since 0.19",
        ),
    ],
    outside: "",
    remedy: "Set save_projection to false: PEFT draws the projections from projection_prng_key, the same ones on the same \
             torch.",
    sources: "PEFT 0.21 `tuners/vera/model.py`, `tuners/vera/config.py`",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let parts: [&str; 2] = match view.facts.declared.as_deref()? {
        "VERA" => ["vera_A", "vera_B"],
        "PVERA" => ["pvera_A", "pvera_B"],
        _ => return None,
    };
    let says_not = view.config("save_projection").and_then(serde_json::Value::as_bool) == Some(false);
    let is_here = !views::parts(view, |part| parts.contains(&part)).is_empty();
    if says_not || is_here || view.facts.modules.is_empty() {
        return None;
    }
    let value = view.config("save_projection").map_or_else(|| "not there: true".to_owned(), views::short);
    let title = format!(
        "The config says that the projections are saved, and {} and {} are not in the file ({} have their vectors).",
        parts[0],
        parts[1],
        crate::units::plural(view.facts.modules.len(), "module")
    );
    let seen = Seen::config(views::CONFIG, "save_projection", value);
    Some(Finding::new(rule, title).about(view.about).seen(seen))
}

/// The flag, where there is a number to draw the projections from.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let has_key = views::of(subject, finding.about)
        .is_some_and(|view| view.config("projection_prng_key").is_some_and(serde_json::Value::is_number));
    if !has_key {
        return vec![Fix::advice(
            "find the file that has the projections: without them and without projection_prng_key they are lost",
        )];
    }
    vec![
        views::flag("save_projection", false).loss(
            "the projections are drawn anew: the same ones only if torch draws them as it did in training",
        ),
        Fix::advice(finding.rule.remedy),
    ]
}
