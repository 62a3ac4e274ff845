//! A035 adapter-name-in-keys: `.default.` was left in the keys: current PEFT reads them, older ones drop them silently.

use super::views;
use crate::adapter::align::Aligned;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A035", name: "adapter-name-in-keys", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Keys such as lora_A.default.weight, which have the adapter's name in them.",
    why: "The state dict was written by a trainer and not by PEFT, which takes the name out. PEFT 0.21 takes it out on \
          loading too; with 0.7 to 0.17 the keys fit nothing and the adapter has no effect. Converters of llama.cpp stop at \
          such keys.",
    messages: &[
        message(
            "Found missing adapter keys while loading the checkpoint: {any}",
            "PEFT 0.14 to 0.20, a warning",
        ),
        message(
            "Unexpected name '{key}.default.weight': Not a lora_A or lora_B tensor",
            "llama.cpp convert_lora_to_gguf.py",
        ),
    ],
    outside: "",
    remedy: "`ckpt align --repair` takes the name out of the keys, so that every version reads them.",
    sources: "measured: no effect on PEFT 0.7.1, 0.13.2, 0.17.1; applied on 0.21.2",
    look,
    fixes: views::repair,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let modules = &view.alignment()?.modules;
    let named: Vec<&Aligned> =
        modules.iter().filter(|module| module.is_applied && module.is_renamed()).collect();
    let first = named.first()?.parts.first()?;
    let key = view.checkpoint.files.tensor_name(first.tensor);
    let title = format!(
        "The keys of {} have the adapter's name in them ({}): PEFT before 0.21 drops them silently.",
        views::share(named.len(), modules.len()),
        views::shown(&key)
    );
    Some(views::finding(rule, view, &named, title).fill("key", key))
}
