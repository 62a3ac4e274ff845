//! A044 adapter-bias-without-base: `lora_bias` on layers that have no bias: nothing to merge it into.

use super::views;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A044", name: "adapter-bias-without-base", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Merge],
    looks_for: "Modules with lora_B.bias on base layers without a bias.",
    why: "With lora_bias the adapter adds a trained vector to the output. A merge adds it to the layer's bias, and these \
          layers have none: the architecture has no place for it.",
    messages: &[
        message(
            "Impossible to merge LoRA with `lora_bias=True` because the base layer has no bias.",
            "PEFT since 0.14",
        ),
        message(
            "`lora_bias=True` was passed but the targeted layer of type {class} has no bias. This means that merging LoRA \
             weights won't be possible.",
            "PEFT since 0.17, a warning",
        ),
    ],
    outside: "",
    remedy: "Load base and adapter apart. A merged model would need biases that its architecture does not have.",
    sources: "PEFT 0.21 `tuners/lora/layer.py`",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let base = &view.held?.base;
    let modules = &view.alignment()?.modules;
    let odd: Vec<_> = modules
        .iter()
        .filter(|module| module.part("lora_B.bias").is_some())
        .filter(|module| module.layer.is_some_and(|layer| !base.layers.spec(layer).bias))
        .collect();
    let first = odd.first()?;
    let title = format!(
        "{} have a trained bias and their base layers have none, such as {}.",
        views::share(odd.len(), modules.len()),
        views::shown(&first.path)
    );
    let finding = views::finding(rule, view, &odd, title);
    Some(finding.seen(Seen::config(views::CONFIG, "lora_bias", "true")))
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(finding.rule.remedy)]
}
