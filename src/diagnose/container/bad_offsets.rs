//! K011 bad-offsets: offsets are reversed or lie outside the file.

use super::download_again;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A tensor that ends before it begins, or whose offsets are not those of any byte of the file.",
    why: "The header says where each tensor lies. These offsets cannot be true, so the header was damaged or \
          written by a faulty tool, and the loader refuses the file.",
    messages: &[
        message("Error while deserializing header: InvalidOffset(\"{key}\")", "safetensors before 0.6"),
        message(
            "Error while deserializing header: invalid offset for tensor `{key}`",
            "safetensors since 0.6",
        ),
        message("Error while deserializing header: MetadataIncompleteBuffer", "safetensors before 0.6"),
        message(
            "Error while deserializing header: incomplete metadata, file not fully covered",
            "safetensors since 0.6",
        ),
        message("Trying to resize storage that is not resizable", "torch.load, .bin files"),
    ],
    remedy: "Download the file again, or save it again with the library that made it.",
    sources: "safetensors source; measured with safetensors 0.8 and torch 2.15",
    fixes: download_again,
    ..Rule::new(&kind::BAD_OFFSETS)
};
