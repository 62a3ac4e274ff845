//! Rows that are encoded where they are decoded: on the device, or by the processor where it cannot.

use std::ops::Range;

use super::{Kept, Strands, ToPack, cuts};
use crate::engine::cpu::VALUES_AT_ONCE;
use crate::engine::inputs::Inputs;
use crate::engine::{Device, Resident, Scratch, ToEncode, Work};
use crate::error::Result;
use crate::quant::encode::Encode;
use crate::quant::largest::Largest;
use crate::tensor::Dtype;

impl ToPack {
    /// Has rows cut as the device wants them.
    pub(super) fn for_device(self, device: &dyn Device) -> Self {
        let at_once = device.values_at_once(&*self.encoding.encoder, self.largest);
        Self { at_once, ..self }
    }

    /// Encodes rows on the device. `codes`: those that the rows need, if all are not held.
    ///
    /// # Errors
    /// The device fails, or the rows cannot be encoded.
    pub(super) fn encode_on(
        &self,
        device: &dyn Device,
        rows: Range<u64>,
        codes: &[u8],
        (inputs, scratch): (&Inputs<'_>, &mut Scratch),
    ) -> Result<Strands> {
        let encoder = &*self.encoding.encoder;
        let codes_start = self.codes_start(&rows);
        let work = self.to_encode(rows.clone(), codes, (encoder, &self.resident));
        if let Some(strands) = device.encode(&work)? {
            return Ok(strands);
        }
        let strands = self.encode_cuts(rows, (codes, codes_start), scratch);
        strands.map_err(|why| inputs.refused(self.values, &why))
    }

    /// Returns the largest magnitude of rows.
    ///
    /// # Errors
    /// The device fails, or the rows cannot be read or decoded.
    pub(super) fn largest_of(
        &self,
        rows: Range<u64>,
        device: &dyn Device,
        (inputs, scratch): (&Inputs<'_>, &mut Scratch),
    ) -> Result<f32> {
        let encoder = Largest { row_len: self.decoding.row_len() };
        // It goes with what the device has of the layer for it, before the layer is encoded.
        let resident = Resident::default();
        let (mut largest, mut codes) = (0f32, Vec::new());
        for rows in cuts(self, rows, device.values_at_once(&encoder, 0.0)) {
            self.read(inputs, rows.clone(), &mut codes)?;
            let work = self.to_encode(rows.clone(), &codes, (&encoder, &resident));
            let found = match device.encode(&work)? {
                Some(strands) => Largest::of(&strands),
                None => self
                    .largest_here(rows, &codes, scratch)
                    .map_err(|why| inputs.refused(self.values, &why))?,
            };
            largest = largest.max(found);
        }
        Ok(largest)
    }

    /// Finds the same on the processor, in cuts that stay in its caches.
    fn largest_here(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        scratch: &mut Scratch,
    ) -> std::result::Result<f32, String> {
        let (mut largest, codes_start) = (0f32, self.codes_start(&rows));
        for rows in cuts(self, rows, VALUES_AT_ONCE) {
            let codes = self.codes_of(&rows, (codes, codes_start));
            let values = self.decode(rows, codes, scratch)?;
            largest = values.iter().fold(largest, |largest, value| largest.max(value.abs()));
        }
        Ok(largest)
    }

    /// Returns where codes begin that rows need, if all are not held.
    fn codes_start(&self, rows: &Range<u64>) -> u64 {
        if self.codes.is_some() { 0 } else { self.decoding.rows.codes(rows.clone()).start }
    }

    /// Returns the codes that rows need of these, which begin at a byte.
    fn codes_of<'c>(&self, rows: &Range<u64>, (codes, start): (&'c [u8], u64)) -> &'c [u8] {
        let range = self.decoding.rows.codes(rows.clone());
        match &self.codes {
            Some(_) => codes,
            None => &codes[(range.start - start) as usize..][..(range.end - range.start) as usize],
        }
    }

    /// Returns rows as a device is given them. `codes`: those that the rows need, if all are not held.
    fn to_encode<'w>(
        &'w self,
        rows: Range<u64>,
        codes: &'w [u8],
        (encoder, resident): (&'w dyn Encode, &'w Resident),
    ) -> ToEncode<'w> {
        let work = Work {
            decoding: &self.decoding,
            codes: self.codes.as_deref().unwrap_or(codes),
            is_whole: self.codes.is_some(),
            codes_start: self.codes_start(&rows),
            rows,
            native: Dtype::F32,
            dtype: Dtype::F32,
            resident,
        };
        // An encoder that keeps no blocks is asked for none.
        let stored = self.kept.as_ref().filter(|_| encoder.kept_block().is_some()).map(Kept::rows);
        ToEncode { work, rounded: &self.rounded, encoder, largest: self.largest, stored }
    }

    /// Encodes rows on the processor, in cuts that stay in its caches.
    fn encode_cuts(
        &self,
        rows: Range<u64>,
        (codes, codes_start): (&[u8], u64),
        scratch: &mut Scratch,
    ) -> std::result::Result<Strands, String> {
        let mut all = Strands::new();
        for rows in cuts(self, rows, VALUES_AT_ONCE) {
            let codes = self.codes_of(&rows, (codes, codes_start));
            let strands = self.encode(rows, codes, scratch)?;
            if all.is_empty() {
                all = strands;
            } else {
                all.iter_mut().zip(strands).for_each(|(all, strand)| all.extend(strand));
            }
        }
        Ok(all)
    }
}
