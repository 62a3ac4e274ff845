//! A packed layer that is made once more, and compared with what was written.

use std::ops::Range;

use super::{CHUNK_BYTES, Prover, check_entry, differs, failed};
use crate::engine::encoded::{Again, ToPack};
use crate::error::Result;
use crate::name::escape;
use crate::plan::{OutShard, OutTensor};

/// A layer while it is made once more, of values that are decoded for its quality too.
pub(super) struct Remade<'w> {
    prover: &'w Prover<'w>,
    work: &'w ToPack,
    /// The tensors that were written, in the order of its encoding.
    parts: &'w [(&'w OutShard, &'w OutTensor)],
    again: Again<'w>,
    /// True if the first tensor is compared piece by piece.
    is_passed: bool,
    /// What was written, read anew.
    is: Vec<u8>,
}

impl<'w> Remade<'w> {
    pub(super) fn new(prover: &'w Prover<'_>, (number, work): (u32, &'w ToPack)) -> Self {
        let is_passed = prover.run.plan.packs[number as usize].making.piece_bytes.is_some();
        let parts = prover.packed.get(&number).map(Vec::as_slice).unwrap_or_default();
        Self { prover, work, parts, again: Again::new(work, is_passed), is_passed, is: Vec::new() }
    }

    /// Makes the rows behind those before, as many as belong together, of values and of what these were decoded from.
    pub(super) fn rows(&mut self, rows: Range<u64>, codes: &[u8], values: &[f32]) -> Result<()> {
        let piece = self.again.rows(rows, codes, values).map_err(|why| self.refused(&why))?;
        piece.map_or(Ok(()), |(at, piece)| self.same(0, at, &piece))
    }

    /// Makes and compares all that is not compared yet.
    pub(super) fn finish(mut self) -> Result<()> {
        let first = self.again.first_bytes;
        let again = std::mem::replace(&mut self.again, Again::new(self.work, self.is_passed));
        let should = again.finish().map_err(|why| self.refused(&why))?;
        if self.parts.len() != should.len() {
            let (is, should) = (self.parts.len(), should.len());
            return Err(failed(&format!("{is} tensors are written of a layer that has {should}")));
        }
        for (part, ((_, tensor), should)) in self.parts.iter().zip(&should).enumerate() {
            let bytes = if part == 0 && self.is_passed { first } else { should.len() as u64 };
            if bytes != tensor.bytes {
                let (name, is) = (escape(&tensor.name), tensor.bytes);
                return Err(failed(&format!("{name} has {is} bytes, made again {bytes}")));
            }
            self.same(part, 0, should)?;
        }
        Ok(())
    }

    /// Compares bytes of a tensor with what was written of it.
    fn same(&mut self, part: usize, at: u64, should: &[u8]) -> Result<()> {
        let Prover { opened, index, data, .. } = self.prover;
        let (shard, tensor) = self.parts.get(part).ok_or_else(|| failed("a tensor of a layer is missing"))?;
        let written = check_entry(opened, index, shard, tensor)?;
        let places = (at..).step_by(CHUNK_BYTES as usize);
        for (at, should) in places.zip(should.chunks(CHUNK_BYTES as usize)) {
            self.is.resize(should.len(), 0);
            data.fill(written, at, &mut self.is).map_err(|why| failed(&why))?;
            differs(tensor, at, &self.is, should)?;
        }
        Ok(())
    }

    fn refused(&self, why: &str) -> crate::error::Error {
        self.prover.inputs.refused(self.work.values, why)
    }
}
