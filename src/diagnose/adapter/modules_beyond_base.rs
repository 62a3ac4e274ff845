//! A018 adapter-modules-beyond-base: modules of layers that this base has not.

use super::views;
use crate::adapter::align::{Aligned, State};
use crate::adapter::names::split;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A018", name: "adapter-modules-beyond-base", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Modules of layers whose number is above that of the base's last layer.",
    why: "The adapter was trained on a deeper model. PEFT drops the modules of layers that are not here without a word, \
          and applies the others to layers that they were not trained for.",
    messages: &[message(
        "Found missing adapter keys while loading the checkpoint: {any}",
        "PEFT since 0.14, where the base has more layers than the adapter",
    )],
    remedy: "Attach it to the base that it was trained on: base_model_name_or_path in adapter_config.json names it.",
    sources: "measured on PEFT 0.7.1, 0.13.2, 0.17.1, 0.21.2: dropped by all, said by none",
    look,
    ..Rule::new(&KIND)
};

/// Returns the stack and the number of a path: `layers`, 31.
fn numbered(path: &str) -> Option<(&str, u64)> {
    let (_, rest) = split(path);
    let mut parts = rest.splitn(3, '.');
    Some((parts.next()?, parts.next()?.parse().ok()?))
}

/// Returns the modules of layers that the base has not, though it has others of the same stack.
pub(super) fn modules<'a>(view: &AdapterView<'a>) -> Vec<&'a Aligned> {
    let (missing, Some(last)) = (views::in_state(view, State::Missing), last(view)) else {
        return Vec::new();
    };
    let is_beyond = |module: &&Aligned| {
        numbered(&module.path).is_some_and(|(stack, number)| stack == last.0 && number > last.1)
    };
    missing.into_iter().filter(is_beyond).collect()
}

/// Returns the stack of the base that the missing modules name, and its last number.
fn last(view: &AdapterView<'_>) -> Option<(String, u64)> {
    let missing = views::in_state(view, State::Missing);
    let (stack, _) = missing.iter().find_map(|module| numbered(&module.path))?;
    let base = &view.held?.base;
    let names = (0..base.layers.len() as u32).map(|layer| base.layers.name(&base.files.names, layer));
    let mut last = None;
    for name in names {
        last = last.max(numbered(&name).filter(|(of, _)| *of == stack).map(|(_, number)| number));
    }
    Some((stack.to_owned(), last?))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let beyond = modules(view);
    let (stack, last) = last(view)?;
    let deepest =
        beyond.iter().filter_map(|module| numbered(&module.path)).map(|(_, number)| number).max()?;
    let stack = escape(&stack);
    let title = format!(
        "The adapter goes up to {stack}.{deepest} and the base ends at {stack}.{last}: PEFT drops {} silently.",
        views::share(beyond.len(), views::total(view))
    );
    let finding = views::finding(rule, view, &beyond, title);
    Some(match &view.facts.base {
        Some(base) => finding.seen(Seen::config(views::CONFIG, "base_model_name_or_path", base.clone())),
        None => finding,
    })
}
