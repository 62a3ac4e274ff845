//! What files that are written say of tensors of which only the most bytes were planned.

use std::path::Path;

use memmap2::Advice;
use safetensors::SafeTensors;

use crate::container::bytes::SourceFile;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::{OutShard, OutTensor, Plan};

/// Returns the plan with the bytes of its tensors in the files of `folder`; `None` if all are as planned.
///
/// # Errors
/// A file cannot be read, lacks such a tensor, or it has more bytes than planned.
pub(super) fn read(plan: &Plan, folder: &Path) -> Result<Option<Plan>> {
    let mut last: Option<(String, safetensors::tensor::Metadata)> = None;
    plan.settled(&mut |shard: &OutShard, tensor: &OutTensor| {
        let path = folder.join(&shard.file);
        let failed = |why: &str| Error::input(format!("{}: {why}", escape(&shard.file))).at(&path);
        if last.as_ref().is_none_or(|(file, _)| *file != shard.file) {
            let source = SourceFile::open(&path, shard.file.clone())?;
            if source.is_empty() {
                return Err(failed("it is empty"));
            }
            let map = source.map(0, source.len(), Advice::Random)?;
            let (_, metadata) =
                SafeTensors::read_metadata(&map).map_err(|error| failed(&error.to_string()))?;
            last = Some((shard.file.clone(), metadata));
        }
        let info = last.as_ref().and_then(|(_, metadata)| metadata.info(&tensor.name));
        let info = info.ok_or_else(|| failed(&format!("{} is not there", escape(&tensor.name))))?;
        let bytes = info.data_offsets.1.saturating_sub(info.data_offsets.0) as u64;
        if bytes > tensor.bytes {
            let (name, most) = (escape(&tensor.name), tensor.bytes);
            return Err(failed(&format!("{name} has {bytes} bytes, it was planned with at most {most}")));
        }
        Ok(bytes)
    })
}
