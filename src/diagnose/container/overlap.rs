//! K010 overlap: two tensors claim the same bytes.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Two tensors of a file whose ranges of bytes meet.",
    why: "Each byte of a safetensors file belongs to one tensor. Where two ranges meet, one of the tensors \
          has the values of the other, or the header was edited by hand to tie two weights. Loaders refuse \
          the file.",
    messages: &[
        message("Error while deserializing header: InvalidOffset(\"{key}\")", "safetensors before 0.6"),
        message(
            "Error while deserializing header: invalid offset for tensor `{key}`",
            "safetensors since 0.6",
        ),
    ],
    remedy: "Save the file again with the library that made it; which of the two tensors is right cannot be \
             told here.",
    sources: "safetensors source; measured with safetensors 0.8",
    ..Rule::new(&kind::OVERLAP)
};
