//! Rules about the names of a model's tensors: prefixes, renames, leftovers of wrappers and of distributed
//! training.

pub(super) mod extra_model;
pub(super) mod fsdp_wrappers;
pub(super) mod fused_experts;
pub(super) mod fused_projections;
pub(super) mod head_name;
pub(super) mod megatron_names;
pub(super) mod meta_names;
pub(super) mod missing_model;
pub(super) mod norm_names;
pub(super) mod peft_dump;
pub(super) mod stale_buffers;
pub(super) mod vision_layout;
pub(super) mod wrapper_prefix;

use super::subject::Subject;
use crate::checkpoint::files::Files;
use crate::checkpoint::names::{NONE, NodeId};

/// Returns the nodes with this label, without those below another.
fn nodes_of(files: &Files, label: &str) -> Vec<NodeId> {
    let names = &files.names;
    let Some(label) = names.find_label(label) else { return Vec::new() };
    let mut found: Vec<NodeId> = Vec::new();
    let mut end = 0;
    for node in 0..names.len() as u32 {
        if node >= end && names.label_id(node) == label {
            end = names.end(node);
            found.push(node);
        }
    }
    found
}

/// Returns how many tensors have this part in their name, and the name of the first.
fn tensors_with(files: &Files, label: &str) -> (usize, Option<String>) {
    let mut count = 0;
    let mut first = None;
    for node in nodes_of(files, label) {
        let tensors = files.within(node, files.names.end(node));
        count += tensors.len();
        if first.is_none() && !tensors.is_empty() {
            first = Some(tensors.start);
        }
    }
    (count, first.map(|tensor| files.tensor_name(tensor)))
}

/// Returns the parts that all names begin with, as long as they are among these, dots included:
/// `module._orig_mod.`.
fn common_prefix(files: &Files, parts: &[&str]) -> String {
    let names = &files.names;
    let mut prefix = String::new();
    let mut at = NONE;
    loop {
        let mut children = names.children(at);
        let (Some(only), None) = (children.next(), children.next()) else { return prefix };
        let label = names.label(only);
        if !parts.contains(&label) || names.end(only) == only + 1 {
            return prefix;
        }
        prefix.push_str(label);
        prefix.push('.');
        at = only;
    }
}

/// Returns the node of a part at the top of the names.
fn top(files: &Files, label: &str) -> Option<NodeId> {
    files.names.children(NONE).find(|node| files.names.label(*node) == label)
}

/// Returns true if other names of the same weights explain why those of the architecture are not here.
pub(super) fn explains_gaps(subject: &Subject<'_>) -> bool {
    fused_projections::found(subject).is_some()
        || peft_dump::found(subject).is_some()
        || wrapper_prefix::found(subject).is_some()
        || fsdp_wrappers::found(subject).is_some()
}
