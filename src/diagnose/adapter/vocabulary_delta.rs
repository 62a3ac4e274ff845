//! A046 adapter-delta-of-other-vocabulary: factors on embeddings or head of another number of tokens.

use super::views;
use crate::adapter::align::{Aligned, EMBEDDINGS, State};
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A046", name: "adapter-delta-of-other-vocabulary", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "lora_embedding_A, or factors on the head, for another number of tokens than the base (or the embeddings \
                that the adapter itself brings) has.",
    why: "Tokens were added in training, and the embeddings grew before the factors were made. On a base without these rows \
          the factors do not fit, and PEFT stops.",
    messages: &[
        message(
            "size mismatch for {key}.lora_embedding_A.{any}: copying a param with shape {shape} from \
             checkpoint, the shape in current model is {shape}.",
            "PEFT, all versions",
        ),
        message(
            "size mismatch for {key}.lm_head.lora_B.{any}: copying a param with shape {shape} from \
             checkpoint, the shape in current model is {shape}.",
            "PEFT, all versions",
        ),
        message(
            "size mismatch for {key}.embed_tokens.base_layer.weight: copying a param with shape {shape} from \
             checkpoint, the shape in current model is {shape}.",
            "PEFT since 0.7",
        ),
    ],
    outside: "",
    remedy: "Resize the base to the vocabulary that was trained (base.resize_token_embeddings(N)), save it, and attach the \
             adapter to that. The rows of new tokens have to come from the training run.",
    sources: "peft#2290, peft#1554, mergekit#328; measured on PEFT 0.13.2, 0.17.1, 0.21.2",
    look,
    ..Rule::new(&KIND)
};

/// Returns true if a delta does not fit because of the number of tokens.
pub(super) fn is_of_other(module: &Aligned) -> bool {
    let label = module.path.rsplit('.').next().unwrap_or("");
    let inputs = module.base_shape.as_ref().and_then(|shape| shape.get(1));
    module.state == State::Shape
        && EMBEDDINGS.contains(&label)
        && module.delta.is_some_and(|[_, columns]| inputs == Some(&columns))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let modules = views::in_state(view, State::Shape);
    let odd: Vec<&Aligned> = modules.into_iter().filter(|module| is_of_other(module)).collect();
    let first = odd.first()?;
    let title = format!(
        "The factors of {} are for another vocabulary: {}.",
        views::shown(&first.name),
        views::evidence(first)
    );
    Some(views::finding(rule, view, &odd, title).fill("key", first.name.clone()))
}
