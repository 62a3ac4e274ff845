//! A021 adapter-saved-module-missing: `modules_to_save` names a module of which the file has no tensor.

use super::views;
use crate::adapter::align::Aligned;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A021", name: "adapter-saved-module-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "A module in modules_to_save that the base has and that the adapter's file holds no tensor of.",
    why: "The module was trained whole, and its weights did not get into the file: ZeRO-3 and partial saves lose them. \
          PEFT since 0.17 stops with a KeyError; older ones keep the base's weights silently.",
    messages: &[
        message("KeyError: 'base_model.model.lm_head.weight'", "PEFT since 0.17"),
        message("KeyError: 'base_model.model.{key}.embed_tokens.weight'", "PEFT since 0.17"),
        message("KeyError: 'base_model.model.score.weight'", "PEFT since 0.17"),
        message("KeyError: 'base_model.model.classifier.{key}'", "PEFT since 0.17"),
        message(
            "Found missing adapter keys while loading the checkpoint: {any}modules_to_save{any}",
            "PEFT 0.14 to 0.16",
        ),
    ],
    outside: "",
    remedy: "Find the file of the run that has the module. Without it, take the entry out of modules_to_save: the base's \
             own weights are used then.",
    sources: "AutomaTikZ#19, peft#2450; measured on PEFT 0.7.1, 0.13.2 (silent), 0.17.1, 0.21.2 (KeyError)",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn absent<'a>(view: &AdapterView<'a>) -> Vec<&'a Aligned> {
    let modules = view.alignment().map_or(&[][..], |alignment| &alignment.modules);
    modules.iter().filter(|module| module.method == "SAVED" && module.parts.is_empty()).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let absent = absent(view);
    let first = absent.first()?;
    let names: Vec<String> = absent.iter().map(|module| module.name.clone()).collect();
    let title = format!(
        "modules_to_save names {}, and no tensor of {} is in the file.",
        views::shown(&crate::adapter::list(&names)),
        if absent.len() == 1 { "it" } else { "them" }
    );
    let value = view.config("modules_to_save").map(views::short).unwrap_or_default();
    Some(Finding::new(rule, title).about(view.about).fill("key", first.path.clone()).seen(Seen::config(
        views::CONFIG,
        "modules_to_save",
        value,
    )))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    const LOSS: &str = "what was trained of these modules is lost: the base's own weights stand for it";
    let repair = views::repair(subject, finding);
    repair.into_iter().map(|fix| if fix.applies() { fix.loss(LOSS) } else { fix }).collect()
}
