//! K008 trailing-bytes: bytes follow the last tensor.

use super::{download_again, written_anew};
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A file that is longer than the end of its last tensor.",
    why: "The tensors are whole, and something was written behind them: a second write into a longer file, a \
          resumed download, padding of a storage system. safetensors wants every byte to belong to a tensor \
          and refuses the file.",
    messages: &[
        message("Error while deserializing header: MetadataIncompleteBuffer", "safetensors before 0.6"),
        message(
            "Error while deserializing header: incomplete metadata, file not fully covered",
            "safetensors since 0.6",
        ),
    ],
    remedy: "Write the file anew without them. If the download was resumed, compare the checksum as well.",
    sources: "measured with safetensors 0.8",
    fixes,
    ..Rule::new(&kind::TRAILING_BYTES)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let anew = written_anew(subject, "write the file anew without the bytes that belong to no tensor");
    anew.into_iter().chain(download_again(subject, finding)).collect()
}
