//! A020 adapter-parts-dropped: magnitudes or trained biases are in the file, and the config's flag for them is off.

use super::views;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "A020", name: "adapter-parts-dropped", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "lora_magnitude_vector in the file and use_dora false, or lora_B.bias and lora_bias false.",
    why: "PEFT makes these parts only where the config says so, and drops the tensors of the others without a word. The \
          factors that remain were trained together with them, so the adapter computes something else.",
    messages: &[],
    remedy: "Set the flag that the file was trained with: use_dora for magnitudes, lora_bias for biases. Tensors of a \
             few modules only may be leftovers of another run.",
    sources: "measured on PEFT 0.13.2, 0.17.1, 0.21.2: dropped by all, said by none",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Parts that a flag switches on.
const PARTS: [(&str, &str); 2] = [("lora_magnitude_vector", "use_dora"), ("lora_B.bias", "lora_bias")];

/// Returns the part that is dropped, its flag, and its tensors.
pub(super) fn dropped(view: &AdapterView<'_>) -> Option<(&'static str, &'static str, Vec<u32>)> {
    let has_config = view.checkpoint.files.configs.get(views::CONFIG).is_some();
    if !has_config || view.facts.declared.as_deref() != Some("LORA") {
        return None;
    }
    PARTS.into_iter().filter(|(_, flag)| !view.flag(flag)).find_map(|(part, flag)| {
        let tensors = views::parts(view, |other| other == part);
        (!tensors.is_empty()).then_some((part, flag, tensors))
    })
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let (part, flag, tensors) = dropped(view)?;
    let title = format!(
        "The file has {part} for {}, and {flag} is false: PEFT drops {} silently.",
        units::plural(tensors.len(), "module"),
        if tensors.len() == 1 { "it" } else { "them" }
    );
    let value = view.config(flag).map_or_else(|| "not there".to_owned(), views::short);
    Some(views::of_tensors(rule, view, &tensors, title).seen(Seen::config(views::CONFIG, flag, value)))
}

/// The flag, where all modules have the part: with some of them PEFT would make up the others.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some(view) = views::of(subject, finding.about) else { return Vec::new() };
    let factors = views::parts(&view, |part| matches!(part, "lora_B" | "lora_embedding_B")).len();
    let set = dropped(&view).filter(|(_, _, tensors)| tensors.len() == factors);
    let set = set.map(|(_, flag, _)| views::flag(flag, true));
    set.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
