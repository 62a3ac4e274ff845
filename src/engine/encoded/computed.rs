//! Rows that are encoded where they are decoded: on the device, or by the processor where it cannot.

use std::ops::Range;

use super::{Kept, Strands, ToPack, cuts};
use crate::engine::cpu::VALUES_AT_ONCE;
use crate::engine::inputs::Inputs;
use crate::engine::{Device, Scratch, ToEncode, Work};
use crate::error::Result;
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
        let codes_start = if self.codes.is_some() { 0 } else { self.decoding.rows.codes(rows.clone()).start };
        let work = Work {
            decoding: &self.decoding,
            rows: rows.clone(),
            codes: self.codes.as_deref().unwrap_or(codes),
            is_whole: self.codes.is_some(),
            codes_start,
            native: Dtype::F32,
            dtype: Dtype::F32,
            resident: &self.resident,
        };
        let encoder = &*self.encoding.encoder;
        let stored = self.kept.as_ref().map(Kept::rows);
        let work = ToEncode { work, rounded: &self.rounded, encoder, largest: self.largest, stored };
        if let Some(strands) = device.encode(&work)? {
            return Ok(strands);
        }
        let strands = self.encode_cuts(rows, (codes, codes_start), scratch);
        strands.map_err(|why| inputs.refused(self.values, &why))
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
            let range = self.decoding.rows.codes(rows.clone());
            let codes = match &self.codes {
                Some(_) => codes,
                None => &codes[(range.start - codes_start) as usize..][..(range.end - range.start) as usize],
            };
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
