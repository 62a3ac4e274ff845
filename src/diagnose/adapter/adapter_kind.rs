//! A004 adapter-kind-disagrees: `peft_type` names one method, and the tensors are of another.

use super::views;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "A `peft_type` that no version of PEFT has, or that has other tensors than the file.",
    why: "PEFT builds the modules of the type that the config names and looks for their keys. Keys of another method \
          are not found: it stops with a KeyError, or loads nothing.",
    messages: &[
        message("KeyError: 'prompt_embeddings'", "PEFT, all versions"),
        message(
            "PEFT_TYPE_TO_CONFIG_MAPPING[{any}KeyError: '{any}'",
            "PEFT, all versions, a type that it does not know",
        ),
        message("Unknown PEFT type passed: {any}", "PEFT, all versions"),
    ],
    outside: "An installed PEFT that is older than the method: the header of the adapter says which version it needs.",
    remedy: "Set peft_type to the method of the tensors, or find the config that belongs to them.",
    sources: "PEFT `config.py`, `utils/peft_types.py`; measured on PEFT 0.7.1 to 0.21.2",
    fixes: views::repair,
    ..Rule::new(&kind::ADAPTER_KIND)
};
