//! S006 index-omits-tensor: a shard holds tensors that the index does not name.

use super::index_anew;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "Tensors in the shards that the weight_map leaves out.",
    why: "transformers up to 4.57 asks the index which tensors there are. What it leaves out is filled with \
          random values, and nothing but a line in the log says so. Version 5 reads the shard all the same.",
    messages: &[message(
        "Some weights of {class} were not initialized from the model checkpoint at {any} and are newly \
         initialized: ['{key}'",
        "transformers up to 4.57",
    )],
    remedy: "Make the index anew from the headers of the shards.",
    sources: "nano-vllm#264; measured on 4.37, 4.46, 4.57, 5.23",
    fixes: index_anew,
    ..Rule::new(&kind::INDEX_OMITS_TENSOR)
};
