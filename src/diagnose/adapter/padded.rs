//! A045 adapter-padded-base: the shapes differ by the padding of a quantized base.

use super::views;
use crate::adapter::align::State;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A045", name: "adapter-padded-base", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "Modules whose delta differs from the base layer by a few rows or columns, up to the next multiple of \
                32 to 512.",
    why: "Some quantized copies of a model are padded to whole groups or tiles, so that kernels and tensor parallelism \
          can divide them. An adapter of the unpadded model has other shapes, and PEFT stops; the same holds the other \
          way round.",
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
    ],
    outside: "",
    remedy: "Attach it to the copy of the base that it was trained on, padded or not: that this is padding is told from \
             the sizes alone.",
    sources: "Qwen3#698, Qwen3#986; PEFT 0.21 `utils/save_and_load.py`",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let padded = views::in_state(view, State::Padded);
    let first = padded.first()?;
    let title = format!(
        "{} do not fit by what looks like padding: {}: {}.",
        views::share(padded.len(), views::total(view)),
        views::shown(&first.name),
        views::evidence(first)
    );
    Some(views::finding(rule, view, &padded, title).fill("key", first.name.clone()))
}
