//! A023 adapter-changes-base: `PiSSA`, `OLoRA`, `CorDA`, `LoftQ` and the like: the adapter belongs to a base that was changed
//! when training began.

use super::views;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A023", name: "adapter-changes-base", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Merge],
    is_silent: true,
    looks_for: "init_lora_weights that names pissa, olora, corda, loftq or lora_ga, or a kasa_config.",
    why: "These take a part out of the base's weights when training begins and give it to the factors. Added to the plain \
          base, that part is there twice, and nothing says so. PEFT takes it out again when it loads the adapter; tools \
          that only add the product do not.",
    messages: &[
        message(
            "PiSSA changes the base weights of the model and should thus not be used with other adapters.",
            "PEFT since 0.11, a warning",
        ),
        message(
            "OLoRA changes the base weights of the model and should thus not be used with other adapters.",
            "PEFT since 0.12, a warning",
        ),
        message(
            "CorDA changes the base weights of the model and should thus not be used with other adapters.",
            "PEFT since 0.15, a warning",
        ),
        message("KaSA cannot be combined with adapters that don't use KaSA", "PEFT since 0.21"),
    ],
    outside: "",
    remedy: "Save it as a plain LoRA with PEFT: save_pretrained(…, path_initial_model_for_weight_conversion=…). If the \
             base that you attach is the changed one, `ckpt merge --base-is-residual` says so.",
    sources: "PEFT 0.21 `tuners/lora/layer.py`; vLLM 0.33 `lora/peft_helper.py`",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Initial values that change the base.
const CHANGING: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Returns the field that says so, and its value.
fn change(view: &AdapterView<'_>) -> Option<(&'static str, String)> {
    if let Some(kasa) = view.config("kasa_config") {
        return Some(("kasa_config", views::short(kasa)));
    }
    let init = view.config("init_lora_weights")?.as_str()?;
    let lower = init.to_ascii_lowercase();
    let is_changing = CHANGING.iter().any(|name| lower.starts_with(name));
    is_changing.then(|| ("init_lora_weights", init.to_owned()))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter(views::is_lora).filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let (key, value) = change(view)?;
    let title = format!(
        "{key} is {}: the adapter belongs to a base that was changed when training began, and merged into the plain one \
         the result is wrong.",
        crate::name::escape(&value)
    );
    Some(Finding::new(rule, title).about(view.about).seen(Seen::config(views::CONFIG, key, value)))
}

fn fixes(_: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    vec![
        Fix::advice(
            "save it as a plain LoRA with PEFT: path_initial_model_for_weight_conversion, then merge that",
        ),
        Fix::advice(
            "if this base is the changed one, merge with --base-is-residual; nothing in the files proves it",
        ),
    ]
}
