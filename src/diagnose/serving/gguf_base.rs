//! E013 gguf-adapter-other-base: a GGUF adapter whose tensors the GGUF base has not.

use super::engines;
use crate::adapter::align::State;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "E013", name: "gguf-adapter-other-base", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load],
    looks_for: "A GGUF adapter on a GGUF base, with tensors that the base has not, or whose shapes differ.",
    why: "llama.cpp looks up each tensor of the adapter by its name in the base and stops at the first that is not there or \
          has another shape. The adapter is of another model, or of another size of it.",
    messages: &[
        message(
            "LoRA tensor '{key}' does not exist in base model (hint: maybe wrong base model?)",
            "llama.cpp since 2024-07",
        ),
        message(
            "tensor '{key}' has incorrect shape (hint: maybe wrong base model?)",
            "llama.cpp since 2024-07",
        ),
        message("LoRA tensor '{key}' has unexpected suffix", "llama.cpp since 2024-07"),
        message(
            "lora_a tensor is not transposed (hint: adapter from \"finetune\" example is no longer supported)",
            "llama.cpp since 2024-07",
        ),
        message("expect adapter.type to be 'lora', but got: {any}", "llama.cpp since 2024-07"),
    ],
    outside: "",
    remedy: "Use the GGUF of the model that the adapter was converted for, or convert the adapter anew from PEFT's files.",
    sources: "llama.cpp#9114; llama.cpp `src/llama-adapter.cpp`",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let held = view.held?;
    let is_gguf = |container: &str| container == "gguf";
    if !is_gguf(held.base.files.container.name()) || !is_gguf(view.checkpoint.files.container.name()) {
        return None;
    }
    let modules = &held.alignment.modules;
    let odd: Vec<_> = modules
        .iter()
        .filter(|m| matches!(m.state, State::Missing | State::Shape | State::Incomplete))
        .collect();
    let first = odd.first()?;
    let title = format!(
        "llama.cpp stops at this adapter: {} of {} do not fit this base; {}: {}.",
        odd.len(),
        crate::units::plural(modules.len(), "module"),
        engines::shown(&first.name),
        engines::shown(&first.evidence)
    );
    let seen = Seen::tensors(Some(first.name.clone()), first.evidence.clone());
    Some(Finding::new(rule, title).about(view.about).fill("key", first.name.clone()).seen(seen))
}
