//! Proof of files that the kernel copied.

use std::path::Path;

use super::{CHUNK_BYTES, Proven, failed};
use crate::container::bytes::SourceFile;
use crate::engine::{Proof, Run};
use crate::error::Result;
use crate::name::escape;

/// Tensors of a file, or parts of one, that a sample compares at most.
const PARTS: u64 = 16;
/// Bytes of a part.
const PART_BYTES: u64 = 1 << 20;

/// Returns true if a sample compares this tensor of so many: the first, the last, and some between.
pub(super) fn is_in_sample(at: usize, of: usize) -> bool {
    at + 1 == of || at.is_multiple_of(of.div_ceil(PARTS as usize).max(1))
}

/// Compares files that went over as they are with those that they are of.
pub(super) fn compare(run: &Run<'_>, folder: &Path) -> Result<Proven> {
    let mut proven = Proven::default();
    for copied in &run.plan.whole {
        let is = SourceFile::open(&folder.join(&copied.file), copied.file.clone())?;
        let should = SourceFile::open(&copied.from, copied.file.clone())?;
        let name = escape(&copied.file);
        if is.len() != should.len() {
            return Err(failed(&format!("{name} has {} bytes, its source {}", is.len(), should.len())));
        }
        let is_full = run.options.proof == Proof::Full || is.len() <= PARTS * PART_BYTES;
        let (step, part) = if is_full { (CHUNK_BYTES, CHUNK_BYTES) } else { (is.len() / PARTS, PART_BYTES) };
        let mut at = 0;
        while at < is.len() {
            run.progress.check()?;
            same(&is, &should, (at, part.min(is.len() - at)))?;
            at += step;
        }
        if !is_full {
            same(&is, &should, (is.len() - PART_BYTES, PART_BYTES))?;
        }
        proven.whole += 1;
        proven.is_sampled |= !is_full;
    }
    Ok(proven)
}

fn same(is: &SourceFile, should: &SourceFile, (at, count): (u64, u64)) -> Result<()> {
    let (mut one, mut other) = (vec![0; count as usize], vec![0; count as usize]);
    is.read_at(&mut one, at)?;
    should.read_at(&mut other, at)?;
    match one.iter().zip(&other).position(|(one, other)| one != other) {
        None => Ok(()),
        Some(first) => {
            Err(failed(&format!("{} differs from byte {} on", escape(is.name()), at + first as u64)))
        }
    }
}
