//! S010 missing-index: several shards, and no index that joins them.

use super::index_anew;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Files named `…-0000N-of-0000M.safetensors`, and no `…safetensors.index.json`.",
    why: "transformers looks for model.safetensors or for the index, and finds neither. The shards are fine: \
          their headers say what the index would.",
    messages: &[
        message(
            "Error no file named model.safetensors, or pytorch_model.bin, found in directory {any}",
            "transformers 5",
        ),
        message(
            "Error no file named model.safetensors found in directory {any}",
            "transformers with use_safetensors",
        ),
        message("Error no file named pytorch_model.bin, model.safetensors, {any}", "transformers 4"),
        message("Error no file named pytorch_model.bin, tf_model.h5, {any}", "transformers up to 4.4x"),
        message("does not appear to have a file named {file}", "transformers"),
    ],
    remedy: "Make the index from the headers of the shards.",
    sources: "textgen#2306, Qwen3-VL#492; measured",
    fixes,
    ..Rule::new(&kind::MISSING_INDEX)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    if subject.has_problem(&[&kind::INCOMPLETE_SET]) {
        return vec![Fix::advice("download the missing files of the set first, and its index with them")];
    }
    index_anew(subject, finding)
}
