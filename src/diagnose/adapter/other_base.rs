//! A014 adapter-other-base: by what adapter and base say of themselves, the adapter is of another model.

use super::{modules_beyond_base, views};
use crate::adapter::align::State;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Another model's name or size in base_model_name_or_path than the base gives itself.",
    why: "A base and its instruction-tuned copy have the same names and shapes, so an adapter of the one loads on the \
          other without a word. It was trained for other weights: answers get worse and nothing says why. That it is \
          another model is told from names, which anyone can change.",
    messages: &[],
    remedy: "Attach it to the base that its config names, or see that the two are the same model under two names.",
    sources: "unsloth#1804, peft#1035; no loader compares them",
    look,
    ..Rule::new(&kind::ADAPTER_IDENTITY)
};

/// Without what shapes and numbers of layers show already.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Finding::of_problems(rule, subject);
    findings.retain(|finding| {
        let by_name = finding.seen.iter().any(|seen| seen.file.as_deref() == Some(views::CONFIG));
        by_name
            || views::of(subject, finding.about).is_none_or(|view| {
                views::in_state(&view, State::Shape).is_empty()
                    && modules_beyond_base::modules(&view).is_empty()
            })
    });
    findings
}
