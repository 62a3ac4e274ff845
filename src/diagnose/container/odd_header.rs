//! K020 odd-header: a header that is legal and odd.

use crate::diagnose::rule::Rule;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Blanks before the header, content that is not what the file's name promises, tensors without \
                an element.",
    why: "The file can be read, and another reader may trip over it: some go by the name of the file, some \
          by the exact form of the header.",
    remedy: "Write the file anew, or give it the name of its kind.",
    sources: "safetensors and llama.cpp source",
    ..Rule::new(&kind::ODD_HEADER)
};
