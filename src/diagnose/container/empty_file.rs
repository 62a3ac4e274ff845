//! K001 empty-file: a weight file without a byte, or too short for the length of a header.

use super::download_again;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A weight file of 0 bytes.",
    why: "The file was created and never filled: a download or a save stopped at its beginning, or the disk \
          was full. Loaders want at least the eight bytes that hold the length of the header.",
    messages: &[
        message("Error while deserializing header: HeaderTooSmall", "safetensors before 0.6"),
        message("Error while deserializing header: header too small", "safetensors since 0.6"),
        message("EOFError: Ran out of input", "torch.load, .bin files"),
    ],
    remedy: "Download or save the file again. Nothing of it can be recovered.",
    sources: "measured with safetensors 0.8",
    fixes: download_again,
    ..Rule::new(&kind::EMPTY_FILE)
};
