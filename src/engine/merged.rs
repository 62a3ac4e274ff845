//! Merged weights: a decoder whose values adapters change before they are rounded for the last time.

use std::ops::Range;

use crate::adapter::delta::Edit;
use crate::plan::Merge;
use crate::quant::decode::{DecodeRows, Decoding};
use crate::tensor::{Dtype, values};

/// Rows that are worth editing together: each value of an adapter's factors is used for all of them.
const ROWS_AT_ONCE: u64 = 8;

/// Rows of a weight with edits.
struct Merged {
    base: Box<dyn DecodeRows>,
    /// The dtype of the base's values.
    native: Dtype,
    /// The dtype to which each edit's result is rounded; that of the last by the caller.
    dtype: Dtype,
    edits: Vec<Box<dyn Edit>>,
}

/// Returns a decoding whose values are edited.
pub(super) fn over(mut decoding: Decoding, merge: &Merge, edits: Vec<Box<dyn Edit>>) -> Decoding {
    let base = decoding.rows;
    decoding.rows = Box::new(Merged { base, native: merge.native, dtype: merge.dtype, edits });
    decoding.dtype = Some(merge.dtype);
    decoding
}

impl DecodeRows for Merged {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        self.base.codes(rows)
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.base.decode(rows.clone(), codes, out);
        // A dtype in between only if the result's is another: else the values are the base's own already.
        let mut dtype = self.native;
        for edit in &self.edits {
            values::round_all(dtype, out);
            edit.apply(rows.clone(), out);
            dtype = self.dtype;
        }
    }

    fn rows_at_once(&self) -> u64 {
        self.base.rows_at_once().max(ROWS_AT_ONCE)
    }
}
