//! C022 pad-token-beyond-vocabulary: the padding token's id is no row of the embeddings.

use super::config_of;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "C022", name: "pad-token-beyond-vocabulary", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    looks_for: "pad_token_id of config.json against vocab_size.",
    why: "The embedding is built with a row for padding, and torch refuses a row beyond the last. A pad \
          token was added to the tokenizer, and the embeddings were not resized or vocab_size was set back.",
    messages: &[
        message("Padding_idx must be within num_embeddings", "torch"),
        message(
            "Model config: pad_token_id must be `None` or an integer within the vocabulary (between 0 and \
             {n}), got {n}.",
            "transformers 5",
        ),
    ],
    remedy: "Take pad_token_id out of config.json, or set it to a token that is there, such as eos_token_id.",
    sources: "torch 2.15 source; measured with transformers 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Returns the id and the size of the vocabulary if the one is beyond the other.
fn beyond(subject: &Subject<'_>) -> Option<(u64, u64)> {
    let config = config_of(subject)?;
    let id = config.get("pad_token_id")?.as_u64()?;
    let vocabulary = config.get("vocab_size")?.as_u64()?;
    (id >= vocabulary).then_some((id, vocabulary))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((id, vocabulary)) = beyond(subject) else { return Vec::new() };
    let title = format!("pad_token_id {id} is beyond the vocabulary of {vocabulary}.");
    let size = Seen::config("config.json", "vocab_size", vocabulary.to_string());
    vec![
        Finding::new(rule, title)
            .seen(Seen::config("config.json", "pad_token_id", id.to_string()))
            .seen(size),
    ]
}

fn fixes(_: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let edit = super::set("config.json", "pad_token_id", None);
    vec![
        Fix::new("take pad_token_id out of config.json", Act::Edit(vec![edit]))
            .loss("batches need a pad token: name one in the tokenizer, such as its eos_token"),
    ]
}
