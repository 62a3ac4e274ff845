//! Q030 group-does-not-divide: layers whose inputs are no multiple of the group size.

use super::remedies;
use super::tensor_parallel::grouped;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q030", name: "group-does-not-divide", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "GPTQ and AWQ layers whose last group is shorter than the others; often those of a vision \
                tower.",
    why: "vLLM asks that every group is whole, on one GPU as well, and stops while it builds the layers. \
          transformers and the tools that packed them take the shorter last group.",
    messages: &[
        message("The input size is not aligned with the quantized weight shape.", "vLLM"),
        message(
            "Weight input_size_per_partition = {n} is not divisible by group_size = {n}",
            "vLLM, Marlin kernels",
        ),
    ],
    remedy: "Dequantize and pack again with those modules left out, or with a group size that divides their \
             inputs.",
    sources: "vllm#11128; vLLM source (`gptq.py`, `awq.py`)",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (layers, names) = (&subject.checkpoint.layers, &subject.files().names);
    let is_cut = |layer: &u32| {
        grouped(layers.spec(*layer)).is_some_and(|(_, inputs, group)| !inputs.is_multiple_of(group))
    };
    let is_any = layers.specs().iter().any(|spec| grouped(spec).is_some());
    let cut: Vec<u32> = (0..layers.len() as u32).filter(|layer| is_any && is_cut(layer)).collect();
    let Some((first, (_, inputs, group))) =
        cut.first().and_then(|&layer| Some((layer, grouped(layers.spec(layer))?)))
    else {
        return Vec::new();
    };
    let name = layers.name(names, first);
    let title = format!(
        "{} with a last group that is not whole: {} has {inputs} inputs in groups of {group}.",
        units::plural(cut.len(), "packed layer"),
        escape(&name),
    );
    let value = format!("{inputs} inputs, groups of {group}");
    vec![Finding::new(rule, title).seen(Seen::tensors(Some(name), value))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let decoded = remedies::dequantize(subject, "which has no groups");
    decoded.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
