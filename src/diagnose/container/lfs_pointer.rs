//! K002 lfs-pointer: the repository was cloned without Git LFS, and a text of 130 bytes stands for the
//! weights.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A weight file that begins with `version https://git-lfs` and has about 130 bytes.",
    why: "The repository was cloned without git-lfs, so only pointers to the weights were downloaded. \
          Loaders read the first eight bytes of the text as the length of a header, which is far too large.",
    messages: &[
        message("Error while deserializing header: HeaderTooLarge", "safetensors before 0.6"),
        message("Error while deserializing header: header too large", "safetensors since 0.6"),
        message(
            "You seem to have cloned a repository without having git-lfs installed",
            "transformers, .bin files, up to 4.5x",
        ),
    ],
    remedy: "Run `git lfs pull` in that folder, or download the file again.",
    sources: "OmniParser#34, MFTCoder#20, DeepSeek-V3#557, transformers#27923; measured",
    ..Rule::new(&kind::LFS_POINTER)
};
