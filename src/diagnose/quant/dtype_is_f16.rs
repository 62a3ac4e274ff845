//! T004 dtype-is-f16: the plain weights are F16, which overflows in training and which old CPUs and torch
//! versions do not multiply.

use super::mixed_halves::matrices;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::tensor::Dtype;
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "T004", name: "dtype-is-f16", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "Plain matrices that are mostly F16.",
    why: "F16 ends at 65504, so gradients and activations overflow, and mixed-precision training refuses to \
          scale gradients of F16 weights. PEFT keeps what it trains in F32, so a base in F16 does no harm by \
          itself. On the CPU, torch before 2.2 has no product of F16.",
    messages: &[
        message("Attempting to unscale FP16 gradients.", "torch, trainable weights in F16"),
        message("\"addmm_impl_cpu_\" not implemented for 'Half'", "torch before 2.2, CPU"),
        message("\"LayerNormKernelImpl\" not implemented for 'Half'", "torch before 2.2, CPU"),
        message("\"slow_conv2d_cpu\" not implemented for 'Half'", "torch before 2.2, CPU"),
        message("\"baddbmm_with_gemm\" not implemented for 'Half'", "torch before 2.2, CPU"),
    ],
    outside: "The same comes where a BF16 model is loaded with `dtype=torch.float16`.",
    remedy: "Load with `dtype=torch.bfloat16` on a GPU that has it, keep trainable weights in F32, and use \
             F32 on the CPU.",
    sources: "LlamaFactory#3434, peft#341; torch source",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if subject.model().is_none() {
        return Vec::new();
    }
    let (count, first, half) = matrices(subject, Dtype::F16);
    let rest = [Dtype::BF16, Dtype::F32].map(|dtype| matrices(subject, dtype).2);
    if half <= rest[0].saturating_add(rest[1]) {
        return Vec::new();
    }
    let matrices =
        if count == 1 { "1 plain matrix is".to_owned() } else { format!("{count} plain matrices are") };
    let title = format!(
        "{matrices} F16 ({} parameters): what is trained in F16 overflows easily.",
        units::count(half)
    );
    vec![Finding::new(rule, title).seen(Seen::tensors(first, "F16"))]
}

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(finding.rule.remedy)]
}
