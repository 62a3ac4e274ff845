//! Checks of the whole: config against tensors, names, duplicates, ties. One function a check.

use super::index::Index;
use super::{Checkpoint, CheckpointKind};

/// Checks that need headers only.
pub(super) fn on_open(checkpoint: &mut Checkpoint) {
    checkpoint.kind = if checkpoint.files.tensors.is_empty() {
        CheckpointKind::Unknown
    } else if checkpoint.files.configs.has("adapter_config.json") {
        CheckpointKind::Adapter
    } else {
        CheckpointKind::Model
    };
}

/// Checks that need side data or the whole index.
pub(super) fn on_examine(checkpoint: &mut Checkpoint) {
    let files = std::sync::Arc::clone(&checkpoint.files);
    if let Some(path) = &files.index {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Ok(index) = Index::read(path) {
            checkpoint.problems.extend(index.check_entries(&name, &files));
        }
    }
}
