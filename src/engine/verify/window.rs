//! The values of a layer as it was written, read and decoded piece by piece.

use std::ops::Range;

use super::failed;
use crate::error::Result;
use crate::quant::decode::Decoding;
use crate::tensor::{Dtype, values};

/// Values whose codes are read at a time: what was just written is on the disk alone.
const VALUES_READ: u64 = 2 << 20;

/// Reads bytes of the codes of a layer.
pub(super) type ReadCodes<'a> = dyn Fn(Range<u64>, &mut Vec<u8>) -> Result<()> + 'a;

/// A layer that was written.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    /// How it is decoded.
    pub(super) decoding: &'a Decoding,
    /// All its codes, where every row needs all of them.
    pub(super) held: Option<&'a [u8]>,
    /// Reads codes that are not held.
    pub(super) read: &'a ReadCodes<'a>,
}

/// Rows of a layer that was written, one piece after the other.
pub(super) struct Window<'a> {
    written: Written<'a>,
    /// The dtype to which values are rounded.
    dtype: Dtype,
    /// Rows whose codes are read at a time.
    rows_read: u64,
    /// The bytes of codes that are here.
    range: Range<u64>,
    bytes: Vec<u8>,
    rounded: Vec<u8>,
    values: Vec<f32>,
}

impl<'a> Window<'a> {
    /// `at_once`: how many rows are asked for at a time.
    pub(super) fn new(written: Written<'a>, dtype: Dtype, at_once: u64) -> Self {
        let rows_read = at_once * (VALUES_READ / (at_once * written.decoding.row_len()).max(1)).max(1);
        let (bytes, rounded, values) = (Vec::new(), Vec::new(), Vec::new());
        Self { written, dtype, rows_read, range: 0..0, bytes, rounded, values }
    }

    /// Returns the values of rows, as a loader has them.
    pub(super) fn values(&mut self, rows: Range<u64>) -> Result<&[f32]> {
        let Written { decoding, held, read } = self.written;
        let range = decoding.rows.codes(rows.clone());
        if held.is_none() && !(self.range.start <= range.start && range.end <= self.range.end) {
            let end = decoding.row_count().min(rows.start + self.rows_read);
            let ahead = decoding.rows.codes(rows.start..end.max(rows.end));
            self.range = range.start..range.end.max(ahead.end);
            read(self.range.clone(), &mut self.bytes)?;
        }
        let from = (range.start - self.range.start.min(range.start)) as usize;
        let here = self.bytes.get(from..).and_then(|b| b.get(..(range.end - range.start) as usize));
        let Some(stored) = held.or(here) else { return Err(failed("codes of a row are missing")) };
        let values = &mut self.values;
        values.resize(((rows.end - rows.start) * decoding.row_len()) as usize, 0f32);
        let (dtype, rounded) = (self.dtype, &mut self.rounded);
        rounded.resize(dtype.bytes_of(values.len() as u64).unwrap_or(0) as usize, 0);
        // The quick way gives the values as they are rounded.
        if !(decoding.rows.decode_to(rows.clone(), stored, dtype, rounded)
            && values::to_f32(dtype, rounded, values))
        {
            decoding.rows.decode(rows, stored, values);
            values::round_all(dtype, values);
        }
        Ok(values)
    }
}
