//! A015 adapter-tied-embeddings: a delta on one of head and embeddings, which the base keeps as one tensor.

use super::views;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{About, Subject};
use crate::problem::{Severity, kind};

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    milder: &[Purpose::Load, Purpose::Vllm],
    is_silent: true,
    looks_for: "tie_word_embeddings true in the base's config, and an adapter with a delta on embed_tokens or lm_head, or \
                with a head of its own.",
    why: "The adapter was trained with the delta on one side of the model. Merged into the tensor that both sides share, \
          it acts on the other side as well, and the merged model is not the trained one. A head of its own is lost when \
          the result still says that the two are tied.",
    messages: &[
        message(
            "Model with `tie_word_embeddings=True` and the tied_target_modules={any} are part of the adapter. This can \
             lead to complications.",
            "PEFT since 0.14, a warning at the merge",
        ),
        message(
            "Model has `tie_word_embeddings=True` and a tied layer is part of the adapter",
            "PEFT since 0.18, a warning",
        ),
        message(
            "Input and output embeddings are no longer tied after merging. Setting `tie_word_embeddings=False` in the \
             model config.",
            "PEFT since 0.19, a warning at the merge",
        ),
    ],
    outside: "",
    remedy: "Untie the base first: save it with tie_word_embeddings false and a copy of the embeddings as lm_head.weight, \
             and merge into that. Or load base and adapter apart.",
    sources: "peft#2777, transformers#45127, unsloth#1971; measured on PEFT 0.21.2",
    look,
    ..Rule::new(&kind::ADAPTER_TIED)
};

/// An error of the merge where a delta goes to both; only odd where the adapter brings a whole head.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Finding::of_problems(rule, subject);
    for finding in &mut findings {
        if has_delta(subject, finding.about) {
            finding.severity = Severity::Error;
        }
    }
    findings
}

fn has_delta(subject: &Subject<'_>, about: About) -> bool {
    let view = views::of(subject, about);
    let alignment = view.and_then(|view| view.alignment());
    alignment.is_some_and(|alignment| {
        alignment.modules.iter().any(|module| module.is_tied && module.delta.is_some() && module.is_applied)
    })
}
