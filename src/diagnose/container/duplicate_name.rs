//! K014 duplicate-name: the same tensor name twice in one file.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "Two entries of one name in the header of one file.",
    why: "A name can stand for one tensor only. safetensors takes the last entry of a name without a word, \
          other readers the first, and llama.cpp refuses the file: which weights are loaded depends on the \
          reader.",
    messages: &[
        message("invalid tensor name '{key}': duplicate", "llama.cpp"),
        message("Found duplicated tensor with name {key}", "gguf-py"),
        message("Duplicate {any} already in list at offset {n}", "gguf-py"),
    ],
    remedy: "Save the file again; which of the two tensors is right cannot be told here.",
    sources: "measured: safetensors 0.8 opens such a file, gguf 0.19 refuses it",
    ..Rule::new(&kind::DUPLICATE_NAME)
};
