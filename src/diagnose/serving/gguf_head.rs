//! E012 gguf-adapter-head-ignored: a delta on the head of a model that has no head of its own in GGUF.

use super::engines;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "E012", name: "gguf-adapter-head-ignored", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Merge],
    looks_for: "A delta on lm_head, and a base whose config ties head and embeddings.",
    why: "For tied models llama.cpp's files have the embeddings alone, and its converter of adapters finds no tensor that the \
          head's delta could go to.",
    messages: &[
        message(
            "lm_head is present in adapter, but is ignored in base model",
            "llama.cpp convert_lora_to_gguf.py",
        ),
        message(
            "Error: unrecognized tensor base_model.model.lm_head.{key}",
            "llama.cpp convert-lora-to-ggml.py, up to 2024",
        ),
    ],
    outside: "",
    remedy: "Untie the base (a copy of the embeddings as lm_head.weight, tie_word_embeddings false), merge the adapter into \
             it, and convert the result.",
    sources: "llama.cpp#9065, llama.cpp#3651; its converter's source",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    engines::lora(view)?;
    let is_head = |path: &str| path.rsplit('.').next() == Some("lm_head");
    let modules = &view.alignment()?.modules;
    let head = modules.iter().find(|m| m.is_tied && m.part("lora_A").is_some() && is_head(&m.path))?;
    let title = format!(
        "{} has a delta, and the base ties the head: llama.cpp's converter of adapters refuses it.",
        engines::shown(&head.name)
    );
    let seen = Seen::tensors(Some(head.name.clone()), "a delta on a tied head");
    let tied = Seen::config("config.json", "tie_word_embeddings", "true");
    Some(Finding::new(rule, title).about(view.about).seen(seen).seen(tied))
}
