//! K005 header-length: the header's length field cannot be true.

use super::download_again;
use crate::diagnose::finding::Finding;
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A length of the header that is beyond the end of the file, or above the 100 MB that the \
                format allows.",
    why: "The first eight bytes say how long the header is. Here they point behind the file: it was cut off \
          inside its header, or its first bytes are not those of a weight file.",
    messages: &[
        message("Error while deserializing header: InvalidHeaderLength", "safetensors before 0.6"),
        message("Error while deserializing header: invalid header length", "safetensors since 0.6"),
        message("Error while deserializing header: HeaderTooLarge", "safetensors before 0.6"),
        message("Error while deserializing header: header too large", "safetensors since 0.6"),
        message("Error while deserializing header: HeaderTooSmall", "safetensors before 0.6"),
        message("Error while deserializing header: header too small", "safetensors since 0.6"),
    ],
    remedy: "Download the file again. Without its header no tensor can be found in it.",
    sources: "measured with safetensors 0.8",
    look,
    fixes: download_again,
    ..Rule::new(&kind::HEADER_LENGTH)
};

/// Lengths of the other byte order look absurd: the order is the fault.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let is_explained = subject.has_problem(&[&kind::BIG_ENDIAN]);
    if is_explained { Vec::new() } else { Finding::of_problems(rule, subject) }
}
