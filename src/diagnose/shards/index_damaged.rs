//! S002 index-damaged: the index is not readable.

use super::index_anew;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "An index file that is no JSON, or has no weight_map of names to files.",
    why: "Loaders read the index first, and without it do not know in which file a tensor lies. The shards \
          themselves name their tensors, so that nothing is lost.",
    messages: &[
        message("get_checkpoint_shard_files{any}json.decoder.JSONDecodeError: {any}", "transformers"),
        message("KeyError: 'weight_map'", "transformers"),
    ],
    outside: "A JSONDecodeError may be about any JSON file: the traceback names it, or the function that \
              reads it.",
    remedy: "Make the index anew from the headers of the shards.",
    sources: "measured with transformers 5.23",
    fixes: index_anew,
    ..Rule::new(&kind::INDEX_DAMAGED)
};
