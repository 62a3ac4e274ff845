//! A034 adapter-saved-name-reserved: a module of `modules_to_save` whose name begins like a part of LoRA.

use super::views;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A034", name: "adapter-saved-name-reserved", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "A name in modules_to_save with a part that begins with lora_.",
    why: "PEFT told the tensors of LoRA by the prefix lora_ in their keys. A saved module of such a name was taken for one, \
          and its weights were lost when the adapter was saved or loaded, without a word. PEFT 0.21.2 keeps and loads them.",
    messages: &[],
    remedy: "Use PEFT 0.21.2 or later on both sides, or rename the module in the model's code and save the adapter again.",
    sources: "peft#3433; measured on PEFT 0.21.2, which saves and loads such a module",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter(views::is_lora).filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let saved = view.config("modules_to_save")?;
    let names = saved.as_array()?.iter().filter_map(serde_json::Value::as_str);
    let name = names.into_iter().find(|name| name.split('.').any(|part| part.starts_with("lora_")))?;
    let title = format!(
        "modules_to_save names {}, which PEFT before 0.21 takes for a part of LoRA by its lora_ and loses silently.",
        views::shown(name)
    );
    let seen = Seen::config(views::CONFIG, "modules_to_save", views::short(saved));
    Some(Finding::new(rule, title).about(view.about).seen(seen))
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(finding.rule.remedy)]
}
