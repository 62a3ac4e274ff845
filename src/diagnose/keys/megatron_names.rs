//! N014 megatron-names: the tensors have the names of Megatron core.

use super::tensors_with;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "N014", name: "megatron-names", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "`linear_qkv`, `linear_fc1` and the like under `decoder.layers`.",
    why: "These are the names and the layout of Megatron core: queries, keys and values of a group lie one \
          behind the other in one tensor, gate and up are one. No loader of transformers knows them.",
    messages: &[
        message(
            "KeyError: 'decoder.layers.{n}.self_attention.linear_qkv.weight'",
            "loaders of Hugging Face models",
        ),
        message("Unexpected key(s) in state_dict: {any}linear_qkv.{any}", "torch load_state_dict"),
        message("Missing key(s) in state_dict: {any}linear_qkv.{any}", "Megatron-LM, NeMo"),
    ],
    remedy: "Convert it with Megatron-Bridge or the converter of the program that trained it.",
    sources: "Megatron-LM and NeMo source",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.model() else { return Vec::new() };
    let (count, first) = tensors_with(&model.files, "linear_qkv");
    if count == 0 {
        return Vec::new();
    }
    let title =
        format!("{count} tensors are linear_qkv of Megatron core; the names are not those of transformers.");
    vec![Finding::new(rule, title).seen(Seen::tensors(first, format!("{count} tensors")))]
}
