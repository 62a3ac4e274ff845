//! Proof of the header of a GGUF: its key-values are those of the input, byte for byte, but for what was to be set.

use crate::container::bytes::SourceFile;
use crate::container::gguf::written::{Pair, pairs};
use crate::engine::Run;
use crate::error::Result;
use crate::name::escape;
use crate::plan::gguf::written::{Gguf, metadata};

use super::failed;

/// Bytes that are compared at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Compares the key-values of a file that was written with those of the file that they are of.
pub(super) fn prove(run: &Run<'_>, gguf: &Gguf, is: &SourceFile) -> Result<()> {
    let metadata = metadata(run.plan.target.as_ref().and_then(|target| target.gguf()));
    let should = SourceFile::open(&gguf.source, gguf.source.display().to_string())?;
    let kept = |file: &SourceFile| -> Result<Vec<Pair>> {
        let mut list = pairs(file).map_err(|why| failed(&why))?;
        list.retain(|pair| !metadata.left_out.contains(&pair.key.as_str()));
        Ok(list)
    };
    let is_set = |pair: &Pair| metadata.set.iter().any(|(key, _)| *key == pair.key);
    let (written, stored) = (kept(is)?, kept(&should)?);
    for &(key, number) in &metadata.set {
        let found = written.iter().find(|pair| pair.key == key);
        let found = found.ok_or_else(|| failed(&format!("{key} is not there")))?;
        let bytes = is.read_vec(found.bytes.end.saturating_sub(4), 4)?;
        if bytes != number.to_le_bytes() {
            return Err(failed(&format!("{key} is not {number}")));
        }
    }
    let written: Vec<&Pair> = written.iter().filter(|pair| !is_set(pair)).collect();
    let stored: Vec<&Pair> = stored.iter().filter(|pair| !is_set(pair)).collect();
    if written.len() != stored.len() {
        return Err(failed(&format!("{} key-values are kept of {}", written.len(), stored.len())));
    }
    for (written, stored) in written.into_iter().zip(stored) {
        same((is, written), (&should, stored))?;
    }
    Ok(())
}

fn same((is, written): (&SourceFile, &Pair), (should, stored): (&SourceFile, &Pair)) -> Result<()> {
    let differs = || failed(&format!("key {} differs from the input's", escape(&stored.key)));
    let length = |pair: &Pair| pair.bytes.end - pair.bytes.start;
    if length(written) != length(stored) {
        return Err(differs());
    }
    let mut at = 0;
    while at < length(stored) {
        let count = (length(stored) - at).min(CHUNK_BYTES);
        let read = |file: &SourceFile, pair: &Pair| file.read_vec(pair.bytes.start + at, count as usize);
        if read(is, written)? != read(should, stored)? {
            return Err(differs());
        }
        at += count;
    }
    Ok(())
}
