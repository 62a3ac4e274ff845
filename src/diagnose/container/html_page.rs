//! K003 html-page: a web page was saved in the place of the weights.

use super::download_again;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A weight file that begins with `<`, as a page of HTML or XML does.",
    why: "The download saved a page that says the file cannot be had: a login page, an error, or the page \
          around the file. Loaders read the first eight characters of it as the length of a header, which is \
          far too large.",
    messages: &[
        message("Error while deserializing header: HeaderTooLarge", "safetensors before 0.6"),
        message("Error while deserializing header: header too large", "safetensors since 0.6"),
        message("invalid load key, '<'.", "torch.load, .bin files"),
    ],
    remedy: "Download the file again, logged in if the repository asks for it, from the address with \
             `resolve` and not `blob` in it.",
    sources: "OmniParser#34, MFTCoder#20; measured",
    fixes: download_again,
    ..Rule::new(&kind::HTML_PAGE)
};
