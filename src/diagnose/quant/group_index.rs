//! Q005 group-index-out-of-range: `g_idx` names groups that the scales do not have.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Values of `g_idx` that are not less than the number of groups in `scales`.",
    why: "`g_idx` tells for each input which group of scales counts. An index beyond the groups reads \
          outside the tensor: kernels stop or take scales of another layer.",
    messages: &[
        message("device-side assert triggered", "torch, CUDA"),
        message("index {n} is out of bounds for dimension {n} with size {n}", "torch, CPU"),
    ],
    outside: "Both messages have many other causes: token numbers beyond the vocabulary are the commonest.",
    remedy: "Download the shard again, or quantize the layer again.",
    sources: "measured on damaged layers",
    ..Rule::new(&kind::GROUP_INDEX)
};
