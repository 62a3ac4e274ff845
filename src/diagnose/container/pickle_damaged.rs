//! K018 pickle-damaged: a pickle or the zip around it is damaged.

use super::download_again;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A zip without its directory, without its pickle or with cut entries, or a pickle that ends \
                too early.",
    why: "torch.save writes a zip whose directory stands at the end. A download or a save that stopped lacks \
          it, so the loader finds no entry at all.",
    messages: &[
        message(
            "PytorchStreamReader failed reading zip archive: failed finding central directory",
            "torch.load, .bin files",
        ),
        message("PytorchStreamReader failed reading file {any}: file read failed", "torch.load, .bin files"),
        message("Expected hasRecord(\"version\") to be true, but got false", "torch.load, .bin files"),
        message("Invalid magic number; corrupt file?", "torch.load, .bin files"),
        message("EOFError: Ran out of input", "torch.load, .bin files"),
        message("UnpicklingError: pickle data was truncated", "torch.load, .bin files"),
        message("invalid load key, '{any}'.", "torch.load, .bin files"),
        message("Weights only load failed", "torch 2.4 and later"),
    ],
    remedy: "Download the file again, or save it again from the program that made it.",
    sources: "torch 2.15 source; measured",
    fixes: download_again,
    ..Rule::new(&kind::PICKLE_DAMAGED)
};
