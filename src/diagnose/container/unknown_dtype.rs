//! K013 unknown-dtype: a dtype that the format does not define.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A dtype in the header that no version of the format has.",
    why: "The file was written by a fork or a newer version of the format. Without the width of an element \
          the tensor cannot be read, and loaders refuse the whole file.",
    messages: &[
        message("unknown variant `{any}`, expected one of `BOOL`", "safetensors"),
        message("Cannot load safetensors of unknown dtype {any}", "transformers 4.45 and later"),
        message("invalid ggml type {n}", "llama.cpp"),
    ],
    remedy: "Load it with the program that wrote it and save it there in a dtype of the format.",
    sources: "transformers source; measured with safetensors 0.8",
    ..Rule::new(&kind::UNKNOWN_DTYPE)
};
