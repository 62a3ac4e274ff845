//! C009 tied-head-differs: the stored head is not the embeddings that the config ties it to.

use super::set_config;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "tie_word_embeddings true (or tied by the type of the model) and a head whose bytes are not \
                those of the embeddings.",
    why: "transformers up to 4.57 overwrites the head with the embeddings without a word, so that what was \
          trained or merged into the head is lost. Version 5 warns and keeps both.",
    messages: &[message(
        "The tied weights mapping and config for this model specifies to tie {key} to {key}, but both are \
         present in the checkpoints with different values, so we will NOT tie them.",
        "transformers 5",
    )],
    remedy: "Set tie_word_embeddings to false, so that every loader uses the stored head.",
    sources: "transformers#45127, unsloth#1971, peft#2972; measured on 4.37, 4.46, 4.57, 5.23",
    fixes,
    ..Rule::new(&kind::TIED_DIFFERS)
};

fn fixes(_: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    vec![set_config(
        "set tie_word_embeddings to false, so that the stored head is used",
        "tie_word_embeddings",
        false.into(),
    )]
}
