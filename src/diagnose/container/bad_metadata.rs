//! K022 bad-metadata: a metadata value is of the wrong type.

use super::written_anew;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "`__metadata__` that is no object, or holds values that are not text; GGUF keys of the wrong \
                type.",
    why: "safetensors allows text only in `__metadata__`, and refuses the whole file for one number in it. \
          llama.cpp checks the type of each key that it reads.",
    messages: &[
        message("invalid type: {any}, expected a string", "safetensors"),
        message("Error while deserializing header: InvalidHeaderDeserialization", "safetensors before 0.6"),
        message("key {any} has wrong type {any} but expected type {any}", "llama.cpp"),
        message("Bad type for general.alignment field", "gguf-py"),
    ],
    remedy: "Write the file anew. Metadata that are not text go.",
    sources: "measured with safetensors 0.8; gguf-py 0.19 source",
    fixes,
    ..Rule::new(&kind::BAD_METADATA)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let anew = written_anew(subject, "write the file anew with metadata that are text");
    let otherwise = || vec![Fix::advice(finding.rule.remedy)];
    anew.map_or_else(otherwise, |fix| vec![fix])
}
