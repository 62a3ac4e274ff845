//! C021 head-missing: no head is stored and the config does not tie it.

use super::set_config;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "A causal language model without lm_head, and tie_word_embeddings false, or absent for a type \
                that does not tie.",
    why: "The loader makes up a head of random values and no exception comes: the model answers with noise. \
          Mostly a conversion or a merge lost the flag of a model whose head is its embeddings.",
    messages: &[
        message(
            "Some weights of {class} were not initialized from the model checkpoint at {any} and are newly \
             initialized: ['lm_head.weight']",
            "transformers up to 4.57",
        ),
        message(
            "lm_head.weight | MISSING{any}those params were newly initialized because missing from the \
             checkpoint.",
            "transformers 5, LOAD REPORT",
        ),
    ],
    remedy: "Set tie_word_embeddings to true if the base ties (as Qwen2.5 up to 3B, Llama 3.2 1B and 3B do); \
             else take lm_head.weight from the base.",
    sources: "measured with transformers 4.37 to 5.23",
    fixes,
    ..Rule::new(&kind::HEAD_MISSING)
};

fn fixes(_: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    vec![
        set_config(
            "set tie_word_embeddings to true: the embeddings are the head",
            "tie_word_embeddings",
            true.into(),
        )
        .loss("right only if the base ties its head; a head of its own is lost either way"),
        Fix::advice("take lm_head.weight from the base if the base has one"),
    ]
}
