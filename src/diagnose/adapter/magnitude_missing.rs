//! A019 adapter-magnitude-missing: `use_dora` is true and the magnitudes are not in the file.

use super::views;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A019", name: "adapter-magnitude-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "use_dora true, and modules with lora_A and lora_B but no lora_magnitude_vector.",
    why: "DoRA rescales each output row to a trained length. Where that length is not in the file, PEFT takes the one of \
          the weights with the delta in them, which is not what was trained. PEFT up to 0.13 says nothing, later ones \
          warn about missing keys.",
    messages: &[message(
        "Found missing adapter keys while loading the checkpoint: ['{key}.lora_magnitude_vector.{any}'",
        "PEFT since 0.14, a warning",
    )],
    outside: "",
    remedy: "Take an adapter file with its magnitudes. If it was trained without DoRA, set use_dora to false.",
    sources: "measured on PEFT 0.13.2, 0.17.1, 0.21.2",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    if !views::is_lora(view) || !view.flag("use_dora") {
        return None;
    }
    let factors = views::parts(view, |part| matches!(part, "lora_B" | "lora_embedding_B")).len();
    let magnitudes = views::parts(view, |part| part == "lora_magnitude_vector").len();
    if factors == 0 || magnitudes >= factors {
        return None;
    }
    let lacking = factors - magnitudes;
    let title =
        format!("use_dora is true, and {} have no lora_magnitude_vector.", views::share(lacking, factors));
    let finding = Finding::new(rule, title)
        .about(view.about)
        .seen(Seen::config(views::CONFIG, "use_dora", "true"))
        .seen(Seen::tensors(None, format!("{factors} lora_B, {magnitudes} lora_magnitude_vector")));
    Some(finding.fill("any", "default"))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let none = views::of(subject, finding.about)
        .is_some_and(|view| views::parts(&view, |part| part == "lora_magnitude_vector").is_empty());
    let plain = views::flag("use_dora", false)
        .loss("if it was trained with DoRA, its magnitudes are lost and the result is another");
    let plain = none.then_some(plain);
    [Fix::advice(finding.rule.remedy)].into_iter().chain(plain).rev().collect()
}
