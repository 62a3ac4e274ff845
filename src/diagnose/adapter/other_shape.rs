//! A016 adapter-other-shape: the adapter's factors are for layers of another size.

use super::{views, vocabulary_delta};
use crate::adapter::align::{Aligned, State};
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A016", name: "adapter-other-shape", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "Modules whose factors give a delta of another shape than the base layer of that name.",
    why: "The names fit and the sizes do not: the adapter is of another size of this family (8B and 70B share names), or \
          of another number of key-value heads. PEFT stops at the first tensor; no change of names mends it.",
    messages: &[
        message(
            "size mismatch for {key}.lora_A.{any}: copying a param with shape {shape} from checkpoint, the \
             shape in current model is {shape}.",
            "PEFT, all versions",
        ),
        message(
            "size mismatch for {key}.lora_B.{any}: copying a param with shape {shape} from checkpoint, the \
             shape in current model is {shape}.",
            "PEFT, all versions",
        ),
        message(
            "tensor '{key}' has incorrect shape (hint: maybe wrong base model?)",
            "llama.cpp, for GGUF adapters",
        ),
    ],
    outside: "",
    remedy: "Attach it to the base that it was trained on: base_model_name_or_path in adapter_config.json names it, and \
             the sizes of its factors tell which one fits.",
    sources: "measured on PEFT 0.7.1, 0.13.2, 0.17.1, 0.21.2: all stop",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let odd: Vec<&Aligned> = views::in_state(view, State::Shape)
        .into_iter()
        .filter(|module| !vocabulary_delta::is_of_other(module))
        .collect();
    let first = odd.first()?;
    let title = format!(
        "{} are for layers of another size: {}: {}.",
        views::share(odd.len(), views::total(view)),
        views::shown(&first.name),
        views::evidence(first)
    );
    let finding = views::finding(rule, view, &odd, title).fill("key", first.name.clone());
    Some(match &view.facts.base {
        Some(base) => finding.seen(Seen::config(views::CONFIG, "base_model_name_or_path", base.clone())),
        None => finding,
    })
}
