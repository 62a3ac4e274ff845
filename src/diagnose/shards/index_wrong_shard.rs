//! S005 index-wrong-shard: the index says another shard than the one that holds the tensor.

use super::index_anew;
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Load],
    looks_for: "Names in the weight_map whose tensor lies in another shard.",
    why: "The shards were dealt out anew and the index was not. transformers reads every shard and finds the \
          tensor; loaders that open the file that the index names do not.",
    messages: &[message(
        "SafetensorError: File does not contain tensor {key}",
        "loaders that read by the index",
    )],
    remedy: "Make the index anew from the headers of the shards.",
    sources: "measured with transformers 5.23",
    fixes: index_anew,
    ..Rule::new(&kind::INDEX_WRONG_SHARD)
};
