//! Blocks whose values do not change: they keep their stored bytes, and only the others are encoded.
//!
//! Where scales are searched for, a block that is decoded and encoded again is another one: what no adapter changes would
//! lose for nothing.

use std::ops::Range;

use crate::quant::decode::DecodeRows;
use crate::quant::encode::{Around, Encode};

/// The rows of a layer as they are stored.
pub(in crate::engine) struct Kept {
    /// Their decoder, of the same codes.
    rows: Box<dyn DecodeRows>,
    /// Values of a block.
    values: usize,
    /// Its bytes.
    bytes: usize,
}

impl Kept {
    /// Returns the stored rows; `block`: the values and the bytes of a block.
    pub(in crate::engine) fn new(rows: Box<dyn DecodeRows>, [values, bytes]: [usize; 2]) -> Self {
        Self { rows, values, bytes }
    }

    /// Returns the decoder of the stored rows.
    pub(super) fn rows(&self) -> &dyn DecodeRows {
        &*self.rows
    }

    /// Encodes rows of which `codes` are stored.
    pub(super) fn encode(
        &self,
        rows: Range<u64>,
        (codes, values): (&[u8], &[f32]),
        (encoder, at): (&dyn Encode, Around),
    ) -> Result<Vec<Vec<u8>>, String> {
        let mut before = vec![0.0; values.len()];
        self.rows.decode(rows, codes, &mut before);
        let blocks = || values.chunks_exact(self.values).zip(before.chunks_exact(self.values));
        let changed: Vec<bool> = blocks().map(|(is, was)| is != was).collect();
        let mut anew = Vec::new();
        for ((block, _), _) in blocks().zip(&changed).filter(|(_, changed)| **changed) {
            anew.extend_from_slice(block);
        }
        let mut strands = encoder.rows(&anew, at)?;
        let first = strands.first().map(Vec::as_slice).unwrap_or_default();
        let is_whole =
            codes.len() == changed.len() * self.bytes && first.len() * self.values == anew.len() * self.bytes;
        if !is_whole {
            return Err(super::OTHER_SIZES.into());
        }
        let mut made = codes.to_vec();
        let places = made.chunks_exact_mut(self.bytes).zip(&changed).filter(|(_, changed)| **changed);
        for ((place, _), block) in places.zip(first.chunks_exact(self.bytes)) {
            place.copy_from_slice(block);
        }
        if let Some(first) = strands.first_mut() {
            *first = made;
        }
        Ok(strands)
    }
}
