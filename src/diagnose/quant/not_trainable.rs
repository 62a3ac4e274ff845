//! Q036 method-not-trainable: transformers does not let a Trainer train adapters on this format.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::matrix;
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q036", name: "method-not-trainable", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "The row of the compatibility matrix for the base format.",
    why: "The quantizer of each format says whether gradients pass through its layers. Where they do not, \
          the Trainer stops before the first step, with adapters as well.",
    messages: &[message(
        "The model you are trying to fine-tune is quantized with {method} but that quantization method \
             do not support training.",
        "transformers since 4.38",
    )],
    remedy: "Dequantize to 16-bit, and train a LoRA on that, or let bitsandbytes quantize it while loading.",
    sources: "`is_trainable` in the quantizers of transformers 4.46.3, 4.52.4, 4.57.1, 5.23.0",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let row = matrix::row_of(subject.checkpoint).filter(|row| row.refuses_now() && subject.model().is_some());
    let Some(row) = row else { return Vec::new() };
    let (count, first) = subject.packed_layers();
    let layers = units::plural(count, "layer");
    let newest = matrix::VERSIONS[matrix::VERSIONS.len() - 1];
    let but = row.trains[matrix::VERSIONS.len() - 1]
        .strip_prefix("no, ")
        .map_or_else(String::new, |but| format!(", {but}"));
    let title =
        format!("{layers} of {}: transformers {newest} does not train adapters on it{but}.", row.format);
    let mut finding = Finding::new(rule, title).seen(Seen::tensors(first, layers));
    if let Some(method) = subject.quant_method() {
        finding = finding.fill("method", method);
    }
    vec![finding]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let decoded = remedies::dequantize(subject, "then train on the result");
    decoded.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
