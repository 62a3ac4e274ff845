//! Q033 mxfp4-expert-adapter: an adapter changes experts that are packed as MXFP4, and merges drop the change.

use super::remedies;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q033", name: "mxfp4-expert-adapter", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Merge],
    milder: &[Purpose::Load, Purpose::Qlora],
    is_silent: true,
    looks_for: "Experts stored as `_blocks` and `_scales`, and an adapter with keys or `target_parameters` \
                of experts.",
    why: "The experts of gpt-oss are two packed tensors in the file and one plain parameter in memory. A \
          merge that looks for the plain name finds none and drops the change of the experts, and nothing \
          is said.",
    remedy: "Merge here, where experts are decoded and changed one by one, or dequantize the base first.",
    sources: "unsloth#3405, unsloth#4193, unsloth-zoo#885",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (count, first) = subject.layers_of(|format| format == "mxfp4");
    if count == 0 || subject.model().is_none() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for view in subject.adapters() {
        let named = view.config("target_parameters").and_then(|list| list.as_array()).map_or(0, Vec::len);
        let keys = view.facts.modules.iter().filter(|module| module.name.contains(".experts")).count();
        if named + keys == 0 {
            continue;
        }
        let layers = units::plural(count, "expert tensor");
        let title = format!(
            "{layers} are packed as MXFP4, and the adapter changes experts ({} of its modules, {named} target_parameters).",
            units::exact(keys as u64),
        );
        findings.push(Finding::new(rule, title).about(view.about).seen(Seen::tensors(first.clone(), layers)));
    }
    findings
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let merge = Fix::new("merge the adapter; the experts are decoded first", Act::Merge).loss(remedies::LOSS);
    let decoded = remedies::dequantize(subject, "then train or merge on that");
    remedies::or_advice([merge].into_iter().chain(decoded), finding)
}
