//! S001 missing-shard: the index names a file that is not there.

use crate::diagnose::container::files_of;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "File names in the weight_map of the index that are not in the folder.",
    why: "The index says in which file each tensor lies, and one of these files was not downloaded or \
          copied. Loaders open every file that the index names, and stop at the first that is not there.",
    messages: &[
        message("No such file or directory: {file}", "safetensors, transformers"),
        message("[Errno 2] No such file or directory: '{file}'", "Python"),
        message("does not appear to have files named {any}", "transformers since 4.49"),
        message("does not appear to have a file named {file}", "transformers"),
    ],
    outside: "The path itself may be wrong: a relative path that is opened from another folder.",
    remedy: "Download the missing file into the folder.",
    sources: "CoSER#3, sglang#14253; measured",
    fixes,
    ..Rule::new(&kind::MISSING_SHARD)
};

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(format!("download {} into the folder", files_of(finding)))]
}
