//! K024 big-endian: data in the byte order that readers here do not take.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A GGUF file or a pickle that says its numbers begin with the highest byte.",
    why: "The file was made on or for a big-endian machine. Readers on common machines take every number in \
          it for another one, or refuse it.",
    messages: &[
        message(
            "failed to load model: this GGUF file version {n} is extremely large, is there a mismatch \
             between the host and model endianness?",
            "llama.cpp",
        ),
        message("Sorry, file appears to be version {n} which we cannot handle", "gguf-py"),
    ],
    remedy: "Convert it with `gguf-convert-endian`, or convert the model again on this machine.",
    sources: "llama.cpp and gguf-py 0.19 source",
    ..Rule::new(&kind::BIG_ENDIAN)
};
