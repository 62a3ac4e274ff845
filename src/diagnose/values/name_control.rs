//! N001 name-control-characters: a tensor name with characters that a terminal obeys.

use crate::diagnose::rule::Rule;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Control characters, or characters that turn the direction of text, in the names of tensors.",
    why: "No library writes such names. They can change what a terminal or a log shows, or make two names \
          look alike; here they are shown escaped. Loaders take them as they are, and find no such parameter.",
    remedy: "Ask where the file comes from before you load it.",
    sources: "measured: safetensors 0.8 opens such files",
    ..Rule::new(&kind::NAME_CONTROL)
};
