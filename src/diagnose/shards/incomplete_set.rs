//! S009 incomplete-set: the file names say `of N`, and fewer than N are there.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Files named `…-00001-of-00004.…` whose numbers do not run from the first to the last.",
    why: "A download or a copy left files out. Without them the tensors that they hold are missing, and no \
          index is here that says which.",
    messages: &[
        message("No such file or directory: {file}", "safetensors, transformers"),
        message("failed to load split {any}", "llama.cpp"),
        message("invalid split count, given: {n} splits, but expected {n}", "llama.cpp"),
    ],
    remedy: "Download the missing files of the set, and its index.",
    sources: "llama.cpp source; measured",
    ..Rule::new(&kind::INCOMPLETE_SET)
};
