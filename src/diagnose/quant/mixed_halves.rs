//! T003 mixed-half-dtypes: some weights are BF16 and some F16.

use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::quant::LayerSpec;
use crate::tensor::Dtype;
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "T003", name: "mixed-half-dtypes", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora, Purpose::Merge],
    looks_for: "Plain matrices of both 16-bit dtypes in one model.",
    why: "A matrix product needs both sides in one dtype, and FSDP joins parameters of one dtype. Loaders \
          that are given `dtype=\"auto\"` keep the mix; a cast to one dtype rounds the others.",
    messages: &[
        message("Must flatten tensors with uniform dtype but got torch.{any} and torch.{any}", "torch, FSDP"),
        message("expected mat1 and mat2 to have the same dtype, but got: {any} != {any}", "torch"),
        message("expected m1 and m2 to have the same dtype, but got: {any} != {any}", "torch since 2.1"),
    ],
    outside: "Adapters in F32 on a 16-bit base without autocast give the same messages.",
    remedy: "Load with one `dtype=` for all weights, and save that.",
    sources: "torch source; pytorch#99264",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Returns how many plain matrices have this dtype, the first, and the parameters of all.
pub(super) fn matrices(subject: &Subject<'_>, dtype: Dtype) -> (usize, Option<String>, u64) {
    let (layers, names) = (&subject.checkpoint.layers, &subject.files().names);
    let is_it = |spec: &LayerSpec| !spec.is_quantized() && spec.shape.len() >= 2 && spec.dtype == Some(dtype);
    let wanted: Vec<bool> = layers.specs().iter().map(is_it).collect();
    if !wanted.contains(&true) {
        return (0, None, 0);
    }
    let (mut count, mut first, mut parameters) = (0, None, 0u64);
    for (layer, found) in layers.list().iter().enumerate().filter(|(_, layer)| wanted[layer.spec as usize]) {
        count += 1;
        parameters = parameters.saturating_add(layers.specs()[found.spec as usize].parameters);
        first.get_or_insert(layer as u32);
    }
    (count, first.map(|layer| layers.name(names, layer)), parameters)
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if subject.model().is_none() {
        return Vec::new();
    }
    let (brain, first_brain, _) = matrices(subject, Dtype::BF16);
    let (half, first_half, _) = matrices(subject, Dtype::F16);
    if brain == 0 || half == 0 {
        return Vec::new();
    }
    let (is_brain, is_half) = (units::plural(brain, "weight"), units::plural(half, "weight"));
    let title =
        format!("{brain} plain matrices are BF16 and {half} are F16: products and FSDP need one dtype.");
    let finding = Finding::new(rule, title)
        .seen(Seen::tensors(first_brain, format!("{is_brain} in BF16")))
        .seen(Seen::tensors(first_half, format!("{is_half} in F16")));
    vec![finding]
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(finding.rule.remedy)]
}
