//! A012 adapter-unused-keys: tensors of the file that PEFT does not look at.

use super::{parts_dropped, views};
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::kind;
use crate::units;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Tensors that belong to no module of the adapter as its config describes it: copies of the base, other \
                adapters, biases with bias none.",
    why: "PEFT never reports keys that it does not use. Copies of the base's own weights do no harm and make the file \
          large; trained tensors among them are lost without a word.",
    messages: &[message("is unsupported LoRA weight", "vLLM, which stops at such keys")],
    outside: "",
    remedy: "See with `ckpt align` what they are. Copies of the base can go: `ckpt align --repair` leaves them out. Trained \
             biases need bias in the config, trained modules modules_to_save.",
    sources: "measured on PEFT 0.7.1, 0.13.2, 0.17.1, 0.21.2: no version reports unexpected keys",
    look,
    ..Rule::new(&kind::ADAPTER_UNUSED)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

/// What no other finding explains: neither tensors of modules, whose state says why they are not applied, nor parts
/// that a flag leaves out.
fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let alignment = view.alignment()?;
    let of_modules = alignment.modules.iter().flat_map(|module| &module.parts).map(|part| part.tensor);
    let by_flags = parts_dropped::dropped(view).into_iter().flat_map(|(_, _, tensors)| tensors);
    let mut known: Vec<u32> = of_modules.chain(by_flags).collect();
    known.sort_unstable();
    let left: Vec<u32> =
        alignment.unused.iter().copied().filter(|tensor| known.binary_search(tensor).is_err()).collect();
    let first = *left.first()?;
    let title = format!(
        "PEFT does not use {} of {}, such as {}.",
        left.len(),
        units::plural(view.checkpoint.files.tensors.len(), "tensor"),
        views::shown(&view.checkpoint.files.tensor_name(first))
    );
    Some(views::of_tensors(rule, view, &left, title))
}
