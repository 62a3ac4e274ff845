//! D001 zero3-empty-weights: weights without an element, as a save under ZeRO-3 or FSDP leaves them.

use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "D001", name: "zero3-empty-weights", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Tensors named `.weight` of shape `[0]`. A matrix with a zero beside another number is of a model \
                that is built so.",
    why: "Under ZeRO-3 each rank holds a share of every parameter, and a parameter that is not gathered \
          looks empty. The save wrote these placeholders; the values are not in this file.",
    messages: &[
        message(
            "size mismatch for {key}: copying a param with shape torch.Size([0]) from checkpoint, the shape \
             in current model is {shape}.",
            "transformers up to 4.57",
        ),
        message("Reinit due to size mismatch - ckpt: torch.Size([0]) vs model:{shape}", "transformers 5"),
    ],
    remedy: "Recover the weights from the folders of the training: `python zero_to_fp32.py . model.bin` in \
             the checkpoint that has `global_step…`, or save again with \
             stage3_gather_16bit_weights_on_model_save.",
    sources: "DeepSpeed#1896; measured on 4.37, 4.46, 4.57, 5.23",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.model() else { return Vec::new() };
    let files = &model.files;
    let is_empty: Vec<bool> = files.shapes().iter().map(|shape| **shape == [0]).collect();
    let is_placeholder = |t: &crate::checkpoint::files::TensorRecord| {
        is_empty[t.shape as usize] && files.names.label(t.node) == "weight"
    };
    let count = files.tensors.iter().filter(|tensor| is_placeholder(tensor)).count();
    let Some(first) = files.tensors.iter().position(is_placeholder) else { return Vec::new() };
    let first = files.tensor_name(first as u32);
    let all = files.tensors.len();
    let title = format!(
        "{count} of {all} tensors have no element: placeholders of ZeRO-3, the weights are elsewhere."
    );
    let counted = format!("{} without an element", units::plural(count, "weight"));
    vec![Finding::new(rule, title).fill("key", first.clone()).seen(Seen::tensors(Some(first), counted))]
}
