//! A008 adapter-targets-nothing: the config's targets name no module of the base: PEFT stops.

use super::views;
use crate::adapter::align::{EMBEDDINGS, State};
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{About, AdapterView, Subject};
use crate::name::escape;
use crate::problem::{Severity, kind};

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "target_modules or target_parameters of which none is a name in this base, and patterns inside a list.",
    why: "PEFT compares an entry of a list with whole names and with ends of names after a dot; only a text that stands \
          alone is a regular expression. Where nothing fits, it has no layer to put an adapter on and stops.",
    messages: &[
        message(
            "Target modules {any} not found in the base model. Please check the target modules and try again.",
            "PEFT, all versions",
        ),
        message(
            "No `target_modules` passed but also no `target_parameters` found. Please check the values for these \
             arguments.",
            "PEFT since 0.17",
        ),
        message(
            "target_parameters={any} were set but no parameter was matched.",
            "PEFT since 0.17, a warning",
        ),
        message("Please specify `target_modules` in `peft_config`", "PEFT, all versions"),
    ],
    outside: "The base was loaded as another class (a backbone without its head), or by transformers 4.52 and later, \
              which renamed the modules of vision language models.",
    remedy: "Name modules that the base has: `ckpt inspect BASE` lists them. A pattern has to be a text, not a list.",
    sources: "peft#1206, peft#758, LMFlow#125, LlamaFactory#6081, AutoGPTQ#667; measured on PEFT 0.7.1 to 0.21.2",
    look,
    fixes: views::repair,
    ..Rule::new(&kind::ADAPTER_TARGETS)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Finding::of_problems(rule, subject);
    // Where the base holds the targets inside a fused layer, that is said instead.
    findings.retain(|finding| !is_fused(subject, finding.about));
    for finding in &mut findings {
        if let Some(view) = views::of(subject, finding.about) {
            finding.seen.extend(names_of_base(&view));
        }
        if takes_defaults(subject, finding.about) {
            finding.severity = Severity::Warning;
            finding
                .title
                .push_str(": PEFT takes its default targets of this model type, or stops if it has none");
        }
    }
    findings
}

/// Returns the names that targets could have: the last parts of the base's linear layers.
fn names_of_base(view: &AdapterView<'_>) -> Option<Seen> {
    const SHOWN: usize = 16;
    let base = &view.held?.base;
    let mut labels: Vec<&str> = (0..base.layers.len() as u32)
        .filter(|&layer| base.layers.spec(layer).shape.len() == 2)
        .map(|layer| base.layers.label(&base.files.names, layer))
        .filter(|label| !EMBEDDINGS.contains(label))
        .collect();
    labels.sort_unstable();
    labels.dedup();
    let more = labels.len().saturating_sub(SHOWN);
    let list = escape(&labels.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ")).into_owned();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let seen =
        Seen { key: Some("layers".into()), value: format!("the base has {list}{more}"), ..Seen::default() };
    (!labels.is_empty()).then_some(seen)
}

/// Without `target_modules` PEFT takes the usual ones of the model type: which those are is not known here.
fn takes_defaults(subject: &Subject<'_>, about: About) -> bool {
    views::of(subject, about).is_some_and(|view| view.config("target_modules").is_none())
}

fn is_fused(subject: &Subject<'_>, about: About) -> bool {
    views::of(subject, about).is_some_and(|view| {
        let fused = views::in_state(&view, State::Fused).len();
        fused > 0 && fused == views::total(&view)
    })
}
