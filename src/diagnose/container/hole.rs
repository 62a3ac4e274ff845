//! K009 hole: bytes between tensors belong to none.

use super::{download_again, written_anew};
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Offsets that leave bytes between two tensors to no tensor.",
    why: "safetensors wants the tensors to lie one behind the other without a gap. A tool that took tensors \
          out of the header, or aligned them, left bytes that nobody names. Loaders refuse the file though \
          every tensor is whole.",
    messages: &[
        message("Error while deserializing header: InvalidOffset(\"{key}\")", "safetensors before 0.6"),
        message(
            "Error while deserializing header: invalid offset for tensor `{key}`",
            "safetensors since 0.6",
        ),
    ],
    remedy: "Write the file anew: the tensors are packed one behind the other.",
    sources: "safetensors source; measured with safetensors 0.8",
    fixes,
    ..Rule::new(&kind::HOLE)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let anew = written_anew(subject, "write the file anew with the tensors packed one behind the other");
    anew.into_iter().chain(download_again(subject, finding)).collect()
}
