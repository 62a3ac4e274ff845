//! K006 header-damaged: the header is not what the format says.

use super::download_again;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A header that is no JSON object, no UTF-8, or lacks the fields that each tensor needs.",
    why: "The header names every tensor with dtype, shape and place. Loaders read all of it before any \
          tensor, and refuse the whole file where one entry is wrong.",
    messages: &[
        message("Error while deserializing header: InvalidHeaderDeserialization", "safetensors before 0.6"),
        message("Error while deserializing header: invalid JSON in header: {any}", "safetensors since 0.6"),
        message("Error while deserializing header: invalid UTF-8 in header: {any}", "safetensors since 0.6"),
        message("Error while deserializing header: InvalidHeaderStart", "safetensors 0.3 to 0.5"),
        message("failed to read key-value pairs", "llama.cpp"),
        message("failed to read tensor info", "llama.cpp"),
    ],
    remedy: "Download the file again, or save it again with the library that wrote it.",
    sources: "safetensors source; measured with safetensors 0.8",
    fixes: download_again,
    ..Rule::new(&kind::HEADER_DAMAGED)
};
