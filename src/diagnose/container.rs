//! Rules about single files: damage, and what stands in the place of weights.

pub(super) mod bad_metadata;
pub(super) mod bad_offsets;
pub(super) mod bad_version;
pub(super) mod big_endian;
pub(super) mod duplicate_name;
pub(super) mod empty_file;
pub(super) mod header_damaged;
pub(super) mod header_length;
pub(super) mod hole;
pub(super) mod html_page;
pub(super) mod lfs_pointer;
pub(super) mod metadata_format;
pub(super) mod narrow_dtype;
pub(super) mod not_a_container;
pub(super) mod odd_header;
pub(super) mod over_limit;
pub(super) mod overlap;
pub(super) mod pickle_damaged;
pub(super) mod pickle_weights;
pub(super) mod shape_size;
pub(super) mod shared_storage;
pub(super) mod strict_reader;
pub(super) mod trailing_bytes;
pub(super) mod truncated;
pub(super) mod unknown_dtype;
pub(super) mod unreadable_file;
pub(super) mod unsafe_pickle;
pub(super) mod unsupported_container;

use super::finding::{Act, Finding, Fix};
use super::subject::Subject;
use crate::plan::edit::Edit;

/// Returns true if every weight file is safetensors: what can be written anew tensor by tensor.
pub(super) fn is_safetensors(subject: &Subject<'_>) -> bool {
    subject.files().container.name() == "safetensors"
}

/// Returns the fix of a file whose tensors are whole and lie oddly: it is written anew.
pub(super) fn written_anew(subject: &Subject<'_>, summary: &str) -> Option<Fix> {
    is_safetensors(subject).then(|| Fix::new(summary, Act::Edit(vec![Edit::Rewrite])))
}

/// Returns the names of the files that a finding speaks of, the first few.
pub(super) fn files_of(finding: &Finding) -> String {
    let mut names: Vec<&str> = finding.seen.iter().filter_map(|seen| seen.file.as_deref()).collect();
    names.dedup();
    let more = if names.len() > 3 { ", …" } else { "" };
    names.truncate(3);
    if names.is_empty() {
        "the file".into()
    } else {
        crate::name::escape(&names.join(", ")).into_owned() + more
    }
}

/// Returns the advice to get the files of a finding again.
pub(super) fn download_again(_: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    vec![Fix::advice(format!("download {} again and compare its size with the source", files_of(finding)))]
}
