//! V001 nan-values: weights that are no numbers.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "NaN in tensors of a floating dtype; seen with --deep, which reads all data.",
    why: "One NaN in a weight makes every output that it touches NaN. Training that diverged, or a cast of \
          values beyond the range of F16, wrote them. No loader looks at values.",
    messages: &[
        message("probability tensor contains either `inf`, `nan` or element < 0", "torch, while sampling"),
        message(
            "Assertion `probability tensor contains either `inf`, `nan` or element < 0` failed",
            "torch on CUDA",
        ),
    ],
    outside: "Activations of a right model can overflow in F16: try BF16 or F32 before you suspect the \
              weights.",
    remedy: "Take the tensors from an earlier checkpoint or from the base.",
    sources: "torch source; measured",
    ..Rule::new(&kind::NAN_VALUES)
};
