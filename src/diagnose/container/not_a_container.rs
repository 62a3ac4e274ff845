//! K004 not-a-container: the bytes are of no weight format that is known here.

use super::download_again;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A weight file whose first bytes fit no container: no plausible safetensors length, no \
                `GGUF`, no zip or pickle.",
    why: "The file has the name of a weight file and other content: an archive, a part of a download, \
          encrypted or damaged bytes. Loaders go by the name and stop at the first bytes.",
    messages: &[
        message("GGUF magic invalid", "gguf-py"),
        message("invalid magic characters: '{any}', expected 'GGUF'", "llama.cpp since 2024"),
        message("invalid magic character", "llama.cpp up to 2024"),
        message("Invalid magic number; corrupt file?", "torch.load, .bin files"),
        message("invalid load key, '{any}'.", "torch.load, .bin files"),
    ],
    remedy: "Look at how the file came here: unpack it if it is an archive, else download it again.",
    sources: "measured with safetensors 0.8, torch 2.15, gguf 0.19",
    fixes: download_again,
    ..Rule::new(&kind::NOT_A_CONTAINER)
};
