//! Rules about the set of files: shards, index, what lies beside them.

pub(super) mod custom_name;
pub(super) mod distributed_checkpoint;
pub(super) mod duplicate_across_shards;
pub(super) mod empty_tensors;
pub(super) mod incomplete_set;
pub(super) mod index_absent_tensor;
pub(super) mod index_damaged;
pub(super) mod index_escapes;
pub(super) mod index_omits_tensor;
pub(super) mod index_wrong_shard;
pub(super) mod missing_index;
pub(super) mod missing_shard;
pub(super) mod padded_vocabulary;
pub(super) mod stray_weights;
pub(super) mod tensor_parallel;
pub(super) mod total_size;
pub(super) mod zero_folder;

use super::finding::{Act, Finding, Fix};
use super::subject::Subject;
use crate::plan::edit::Edit;

/// Returns the fix that makes the index anew from the headers.
pub(super) fn index_anew(_: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    vec![Fix::new("make the index anew from the headers of the shards", Act::Edit(vec![Edit::Index]))]
}
