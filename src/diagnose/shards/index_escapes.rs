//! S003 index-path-escapes: the index names a path outside the folder.

use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Names in the weight_map with `..`, a slash, or a root: paths and no names.",
    why: "An index from a stranger that names a path makes a loader open files of this machine. It is not \
          followed here; transformers follows it, other tools refuse the folder.",
    messages: &[
        message("weight_map names {any} outside the model directory", "unsloth 2026"),
        message("[Errno 2] No such file or directory: '{any}../{any}'", "transformers"),
    ],
    remedy: "Do not load this folder as it is. Download it again from a source that you trust.",
    sources: "unsloth source; measured with transformers 5.23",
    fixes,
    ..Rule::new(&kind::INDEX_ESCAPES)
};

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![
        Fix::advice(finding.rule.remedy),
        Fix::new(
            "make the index anew from the headers of the shards in the folder",
            Act::Edit(vec![Edit::Index]),
        )
        .loss("tensors that only the path outside could hold are missing"),
    ]
}
