//! N002 name-long: a tensor name longer than any loader makes.

use crate::diagnose::rule::Rule;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Names of tensors with more than 512 bytes; those of real models have up to about 150.",
    why: "A name of that length is of no model: the header is damaged or made by hand. GGUF allows 63 bytes, \
          so that a conversion stops at it.",
    remedy: "Ask where the file comes from before you load it.",
    sources: "llama.cpp source; measured: safetensors 0.8 opens such files",
    ..Rule::new(&kind::NAME_LONG)
};
