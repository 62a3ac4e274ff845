//! Stray tensors: what would lie beside a layer that is packed, under a name that loaders read as a part of it.

use std::collections::BTreeSet;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::planner::list;
use crate::plan::{OutTensor, Source};
use crate::quant::FORMATS;
use crate::quant::target::Target;
use crate::units;

/// Refuses tensors of the input that are no part of what is packed and would be taken for one: a zero point beside
/// symmetric codes.
pub(super) fn check(
    checkpoint: &Checkpoint,
    target: &dyn Target,
    (packed, tensors): (&[String], &[OutTensor]),
) -> Result<()> {
    let packed: BTreeSet<&str> = packed.iter().map(String::as_str).collect();
    let format = FORMATS.iter().find(|format| format.name() == target.format());
    let signature = format.map(|format| format.signature());
    let is_part = |suffix: &str| {
        suffix != "bias"
            && signature.is_some_and(|signature| {
                signature.anchors.contains(&suffix) || signature.parts.contains(&suffix)
            })
    };
    // What has the name of a tensor that is made is refused as that.
    let is_made = |tensor: &&OutTensor| matches!(tensor.source, Source::Encoded { .. });
    let made: BTreeSet<&str> = tensors.iter().filter(is_made).map(|tensor| tensor.name.as_str()).collect();
    let is_stray = |tensor: &&OutTensor| {
        !made.contains(tensor.name.as_str())
            && tensor
                .name
                .rsplit_once('.')
                .is_some_and(|(layer, suffix)| packed.contains(layer) && is_part(suffix))
    };
    let stray: Vec<String> =
        tensors.iter().filter(is_stray).map(|tensor| escape(&tensor.name).into_owned()).collect();
    if stray.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} of the input beside layers that are packed, which loaders of {} would read as a part of them: {}; --keep \
         leaves these layers plain",
        units::plural(stray.len(), "tensor"),
        target.label(),
        list(&stray)
    );
    Err(Error::input(message).at(&checkpoint.files.path))
}
