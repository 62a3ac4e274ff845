//! K016 bad-version: a version of the format that current readers refuse.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A GGUF file of version 1, or of a version that no reader knows yet.",
    why: "Version 1 of GGUF counts with 32 bits and was given up in 2023. A version number that nobody knows \
          comes from a newer program, from data of the other byte order, or from damage in the first eight \
          bytes.",
    messages: &[
        message("GGUFv1 is no longer supported. please use a more up-to-date version", "llama.cpp"),
        message(
            "this GGUF file is version {n} but this software only supports up to version {n}",
            "llama.cpp since 2025",
        ),
        message("Sorry, file appears to be version {n} which we cannot handle", "gguf-py"),
    ],
    remedy: "Convert the model again from its source with a current converter, or update the program that \
             reads it.",
    sources: "gguf-py 0.19 and llama.cpp source",
    ..Rule::new(&kind::BAD_VERSION)
};
