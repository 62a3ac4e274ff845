//! S004 index-absent-tensor: the index names a tensor that no shard holds.

use super::index_anew;
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Load],
    looks_for: "Names in the weight_map that are in the header of no shard.",
    why: "The index is older than the shards: a merge or a pruning rewrote them and left it. transformers \
          prints a warning and goes on; if the model needs the tensor, its values are random. Other loaders \
          stop at it.",
    messages: &[message(
        "SafetensorError: File does not contain tensor {key}",
        "loaders that read by the index",
    )],
    remedy: "Make the index anew from the headers. If the model needs the tensor, take it from the base.",
    sources: "measured with transformers 4.37 to 5.23",
    fixes: index_anew,
    ..Rule::new(&kind::INDEX_ABSENT_TENSOR)
};
