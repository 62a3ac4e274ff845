//! Q004 bad-scales: scales of a packed layer are NaN, infinite or zero where they divide.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "Scales, absmax and global scales that are not finite, counted layer by layer.",
    why: "Every weight of a group is its code times the scale. One NaN or infinite scale makes a whole \
          group NaN, and the model answers with noise or nothing; no loader checks it.",
    messages: &[message(
        "probability tensor contains either `inf`, `nan` or element < 0",
        "torch, when a text is sampled",
    )],
    outside: "The same message comes from F16 overflow in the activations and from a damaged adapter, with \
              scales that are right.",
    remedy: "Download the shard again; if the values are the same there, quantize again: the lost scales \
             cannot be computed from the codes.",
    sources: "measured on damaged layers; transformers#17937",
    ..Rule::new(&kind::BAD_SCALES)
};
