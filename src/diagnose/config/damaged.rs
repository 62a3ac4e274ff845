//! C002 config-damaged: a config file is not readable as JSON.

use crate::diagnose::container::files_of;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "config.json, tokenizer_config.json or another config of the folder that is no JSON.",
    why: "The file was cut off, or edited by hand: a comma after the last entry, a comment, a missing brace. \
          Loaders stop at it, and nothing that it says is known.",
    messages: &[message(
        "It looks like the config file at '{file}' is not a valid JSON file.",
        "transformers",
    )],
    remedy: "Correct the place that is named, or copy the file again from its source.",
    sources: "measured with transformers 5.23",
    fixes,
    ..Rule::new(&kind::CONFIG_DAMAGED)
};

fn fixes(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(format!("correct {} at the place that is named, or copy it again", files_of(finding)))]
}
