//! Q038 integer-storage: 4-bit weights are stored as bytes, which FSDP does not shard and nothing trains
//! directly.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::tensor::Dtype;
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "Q038", name: "integer-storage", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "bitsandbytes 4-bit layers whose packed weight is U8 (`bnb_4bit_quant_storage` uint8, the \
                default).",
    why: "FSDP joins parameters of one dtype and gives each a gradient, and bytes can have none. With \
          `bnb_4bit_quant_storage` bfloat16 the same bits are held in a float dtype. On one GPU, and with \
          DDP, bytes are fine.",
    messages: &[
        message(
            "Only Tensors of floating point and complex dtype can require gradients",
            "torch, FSDP or full fine-tuning of packed weights",
        ),
        message("Must flatten tensors with uniform dtype but got torch.{any} and torch.uint8", "torch, FSDP"),
        message("Must flatten tensors with uniform dtype but got torch.uint8 and torch.{any}", "torch, FSDP"),
    ],
    remedy: "For FSDP, let bitsandbytes quantize the 16-bit base with \
             `bnb_4bit_quant_storage=torch.bfloat16`. Otherwise train adapters only.",
    sources: "bitsandbytes#1232, accelerate#2813, pytorch#99264, Kolors#10",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (layers, files) = (&subject.checkpoint.layers, subject.files());
    let (count, first) = subject.layers_of(|format| matches!(format, "bnb-nf4" | "bnb-fp4"));
    let Some(name) = first.filter(|_| count > 0 && subject.model().is_some()) else { return Vec::new() };
    let weight = files.find(&format!("{name}.weight")).map(|tensor| files.tensors[tensor as usize].dtype);
    let is_bytes = weight == Some(Dtype::U8) && !layers.is_empty();
    let words = units::plural(count, "bitsandbytes 4-bit layer");
    let title = format!("{words} stored as U8: FSDP needs them in a float dtype.");
    let finding = Finding::new(rule, title).seen(Seen::tensors(Some(name), "weight is U8"));
    is_bytes.then_some(finding).into_iter().collect()
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let advice = Fix::advice(finding.rule.remedy);
    [advice]
        .into_iter()
        .chain(remedies::dequantize(subject, "to quantize it again with another storage"))
        .collect()
}
