//! Config blocks: the places that describe a quantization, and the edits that change them or take them out.

use serde_json::Value;

use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::quant::QuantBlock;

/// Returns the blocks that describe the quantization and stand in a JSON file of the folder.
pub(in crate::diagnose) fn all<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a QuantBlock> {
    let files = subject.files();
    files.configs.quant.blocks.iter().filter(|block| files.configs.has(&block.file))
}

/// Returns the keys from the top of the file to a value of a block.
fn path(block: &QuantBlock, key: &str) -> Vec<String> {
    let above = block.key.split('.').filter(|part| !part.is_empty());
    above.chain([key]).map(str::to_owned).collect()
}

/// Returns the place of a value of a block: `quantization_config.bits`.
pub(in crate::diagnose) fn key(block: &QuantBlock, key: &str) -> String {
    path(block, key).join(".")
}

/// Returns the edit that sets a value of a block, or takes it out.
pub(in crate::diagnose) fn set(block: &QuantBlock, key: &str, value: Option<Value>) -> Edit {
    Edit::Json { file: block.file.clone(), path: path(block, key), value }
}

/// Returns the edit that takes a block out: its key, or the file that is nothing else.
pub(in crate::diagnose) fn take_out(block: &QuantBlock) -> Edit {
    if block.key.is_empty() {
        return Edit::LeaveOut { file: block.file.clone() };
    }
    let path = block.key.split('.').map(str::to_owned).collect();
    Edit::Json { file: block.file.clone(), path, value: None }
}

/// Returns the edits that take all blocks out, so that loaders take the weights as they are.
pub(in crate::diagnose) fn take_all_out(subject: &Subject<'_>) -> Vec<Edit> {
    all(subject).map(take_out).collect()
}
