//! A031 adapter-part-of-fused-layer: the adapter has `q_proj` and the base one `qkv_proj`, or the other way round.

use super::views;
use crate::adapter::align::{Aligned, State};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A031", name: "adapter-part-of-fused-layer", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "Modules for a projection that the base holds as rows of a fused tensor (qkv_proj, gate_up_proj, W_pack, \
                stacked experts), or for a fused one that the base holds in pieces.",
    why: "PEFT puts factors beside a whole module and finds none of this name: it stops if all targets are such, and \
          drops them silently if others exist. The rows are known, so a merge can still put the delta where it belongs.",
    messages: &[message(
        "Target modules {any} not found in the base model. Please check the target modules and try again.",
        "PEFT, all versions",
    )],
    outside: "The base was loaded by another class than in training: remote code and transformers' own may fuse \
              differently.",
    remedy: "Merge it into this base, or attach it to the copy of the base that was trained on, fused or not.",
    sources: "vllm#4715, vllm#4915, peft#1705, sglang#6585; A11 of PEFT's and transformers' conversions",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let fused = views::in_state(view, State::Fused);
    let first = fused.first()?;
    let title = format!(
        "PEFT cannot address {}: {}: {}.",
        views::share(fused.len(), views::total(view)),
        views::shown(&first.name),
        views::evidence(first)
    );
    Some(views::finding(rule, view, &fused, title))
}

/// The merge, where the rows of all modules are known.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some(view) = views::of(subject, finding.about) else { return Vec::new() };
    let is_known = |module: &Aligned| match module.state {
        State::Fused => !module.places.is_empty(),
        State::Aligned | State::Saved => module.is_applied,
        _ => false,
    };
    let modules = view.alignment().map_or(&[][..], |alignment| &alignment.modules);
    let mut fixes = Vec::new();
    if modules.iter().all(is_known) {
        fixes.push(Fix::new("merge it: the rows of the fused layers are known", Act::Merge));
    }
    fixes.push(Fix::advice(finding.rule.remedy));
    fixes
}
