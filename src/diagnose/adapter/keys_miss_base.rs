//! A001 adapter-keys-miss-base: keys that name no module of the base as PEFT reads them: it drops them silently.

use super::{modules_beyond_base, views};
use crate::adapter::align::{Aligned, State};
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::name::escape;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Modules of the adapter whose keys PEFT does not find in this base: another prefix, `base_layer` in the \
                key, an adapter's name left in, another tool's spelling, or names that the base has not.",
    why: "PEFT looks for `base_model.model.` and the base's own module path, and ignores every other key without a \
          word. lora_B stays zero there, so the base answers as if it had no adapter. Since PEFT 0.14 there is one \
          warning about missing keys; before, nothing is printed.",
    messages: &[
        message(
            "Found missing adapter keys while loading the checkpoint: {any}",
            "PEFT since 0.14, a warning",
        ),
        message("KeyError: 'base_model.model.{key}.base_layer.weight'", "PEFT 0.6 to 0.7 with bitsandbytes"),
        message(
            "Already found a `peft_config` attribute in the model. This will lead to having multiple adapters in the \
             model.",
            "PEFT, when an adapter was loaded twice and keys got two prefixes",
        ),
    ],
    outside: "bitsandbytes 0.41.2 raises the KeyError for adapters that are right: it takes the weight's key out of \
              every state dict. The missing keys are also reported where the adapter's name is part of `lora_`.",
    remedy: "`ckpt align BASE --adapter ADAPTER` shows each key and the one that PEFT looks for; where the names can \
             be told, --repair writes them.",
    sources: "peft#3433, peft#1095, Automodel#3630, Automodel#2120; measured on PEFT 0.7.1, 0.13.2, 0.17.1, 0.21.2",
    look,
    fixes: views::repair,
    ..Rule::new(&kind::ADAPTER_KEYS)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

/// Returns true for a module whose keys PEFT does not find.
fn is_lost(module: &Aligned) -> bool {
    let is_named_wrong = matches!(module.state, State::Renamed | State::Wrapped)
        || module.state == State::Saved && module.is_renamed();
    is_named_wrong && !module.is_applied || module.state == State::Missing
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let alignment = view.alignment()?;
    let beyond = modules_beyond_base::modules(view);
    let is_beyond = |module: &Aligned| beyond.iter().any(|other| std::ptr::eq(*other, module));
    let lost: Vec<&Aligned> =
        alignment.modules.iter().filter(|module| is_lost(module) && !is_beyond(module)).collect();
    let several =
        alignment.problems.iter().filter(|p| p.kind == rule.kind && p.message.contains("other adapters"));
    let several: Vec<Seen> = several.map(Seen::of).collect();
    if lost.is_empty() {
        let first = several.first()?;
        let mut finding = Finding::new(rule, escape(&first.value)).about(view.about);
        finding.seen = several;
        return Some(finding);
    }
    let all = alignment.modules.len();
    let title = if lost.len() == all {
        format!(
            "This adapter has no effect: PEFT finds none of its {all} modules in the base and drops them silently."
        )
    } else {
        format!("PEFT does not find {} in the base and drops them silently.", views::share(lost.len(), all))
    };
    let title =
        format!("{title} The first is {}: {}.", views::shown(&lost[0].name), views::evidence(lost[0]));
    let key = lost[0].parts.first().map(|part| view.checkpoint.files.tensor_name(part.tensor));
    let mut finding = views::finding(rule, view, &lost, title);
    finding.seen.extend(several);
    Some(match key {
        Some(key) => finding.fill("key", key),
        None => finding,
    })
}
