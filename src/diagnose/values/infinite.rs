//! V002 inf-values: weights that are infinite.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "Infinite values in tensors of a floating dtype; seen with --deep, which reads all data.",
    why: "A value beyond 65,504 becomes infinite when it is cast to F16. In masks that is meant; in a weight \
          the outputs become infinite, and NaN after the next norm.",
    messages: &[message(
        "probability tensor contains either `inf`, `nan` or element < 0",
        "torch, while sampling",
    )],
    outside: "Activations of a right model can overflow in F16: try BF16 or F32 before you suspect the \
              weights.",
    remedy: "Convert again from BF16 or F32, or take the tensors from the base.",
    sources: "torch source; measured",
    ..Rule::new(&kind::INF_VALUES)
};
