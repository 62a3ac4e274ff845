//! Q035 peft-layer-needs-version: PEFT puts adapters only on layer classes that its version knows.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::matrix;
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q035", name: "peft-layer-needs-version", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "The format of the packed layers, against the version of PEFT that got a layer class for it.",
    why: "Each quantization format has a layer class of its own, and PEFT has a list of those it can wrap. \
          A format that is newer than PEFT, or whose package was replaced, is refused by the name of its \
          class.",
    messages: &[message(
        "Target module {any} is not supported. Currently, only the following modules are supported",
        "PEFT; GPTQ before 0.5, AWQ before 0.9, gptqmodel before 0.15",
    )],
    outside: "PEFT says it as well of targets that are no linear layers, such as a whole attention block.",
    remedy: "Update PEFT, or dequantize: plain layers are known to every version.",
    sources: "transformers#28193, transformers#27380, peft#1097, Qwen#431; PEFT 0.21 source",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let is_foreign =
        |format: &str| !matches!(format, "dense" | "unknown" | "ggml") && !format.starts_with("bnb-");
    let (count, first) = subject.layers_of(is_foreign);
    let Some(row) = matrix::row_of(subject.checkpoint).filter(|_| count > 0 && subject.model().is_some())
    else {
        return Vec::new();
    };
    let layers = units::plural(count, "packed layer");
    let has_number = row.layer_since.starts_with(|sign: char| sign.is_ascii_digit());
    let since = if has_number { "since " } else { "" };
    let title = format!("{layers} of {}; layer class in PEFT: {since}{}.", row.format, row.layer_since);
    vec![Finding::new(rule, title).seen(Seen::tensors(first, layers))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let decoded = remedies::dequantize(subject, "then train on the result");
    [Fix::advice(finding.rule.remedy)].into_iter().chain(decoded).collect()
}
