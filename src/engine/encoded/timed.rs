//! Rows of a layer that are encoded for the time that it takes: what comes of them is dropped.

use std::ops::Range;

use super::{ToPack, cuts};
use crate::engine::cpu::Cpu;
use crate::engine::inputs::Inputs;
use crate::engine::{Device, Scratch};
use crate::error::Result;

/// The first rows of a layer that is packed.
pub(in crate::engine) struct Timed {
    work: ToPack,
    rows: Range<u64>,
    /// Their codes, if not all of the layer's are held.
    codes: Vec<u8>,
}

impl Timed {
    /// Reads so many rows of a pack as have about `values` values. What an encoder wants to know of the whole layer is
    /// that of these rows: it takes no other time for it.
    ///
    /// # Errors
    /// The inputs cannot be read, or the rows not decoded.
    pub(in crate::engine) fn new(
        (inputs, pack): (&Inputs<'_>, u32),
        values: u64,
        scratch: &mut Scratch,
    ) -> Result<Self> {
        let mut work = inputs.to_pack(pack)?;
        let rows = cuts(&work, 0..work.decoding.row_count(), values).into_iter().next().unwrap_or_default();
        if work.encoding.encoder.wants_largest() {
            work.largest = work.largest_of(rows.clone(), &Cpu, (inputs, scratch))?;
        }
        let mut codes = Vec::new();
        work.read(inputs, rows.clone(), &mut codes)?;
        Ok(Self { work, rows, codes })
    }

    /// Returns the rows in the pieces that a run has on a device.
    pub(in crate::engine) fn pieces(&self, device: &dyn Device) -> Vec<Range<u64>> {
        let values = device.values_at_once(&*self.work.encoding.encoder, self.work.largest);
        cuts(&self.work, self.rows.clone(), values)
    }

    /// Encodes one of the pieces as a run does; returns the bytes that were made.
    ///
    /// # Errors
    /// The device fails, or the rows cannot be encoded.
    pub(in crate::engine) fn encode(
        &self,
        piece: &Range<u64>,
        device: &dyn Device,
        (inputs, scratch): (&Inputs<'_>, &mut Scratch),
    ) -> Result<u64> {
        let place = |rows: &Range<u64>| self.work.decoding.rows.codes(rows.clone());
        let codes = if self.work.codes.is_some() {
            &[]
        } else {
            let (all, of_piece) = (place(&self.rows), place(piece));
            &self.codes[(of_piece.start - all.start) as usize..(of_piece.end - all.start) as usize]
        };
        let strands = self.work.encode_on(device, piece.clone(), codes, (inputs, scratch))?;
        Ok(strands.iter().map(|strand| strand.len() as u64).sum())
    }
}
