//! Merged weights: a decoder whose values adapters change before they are rounded for the last time.

use std::ops::Range;

use crate::adapter::delta::{Edit, EditSpec};
use crate::plan::Merge;
use crate::quant::decode::{DecodeRows, Decoding};
use crate::quant::kernel::{Program, Step};
use crate::tensor::{Dtype, values};

/// Rows that are worth editing together: each value of an adapter's factors is used for all of them.
const ROWS_AT_ONCE: u64 = 8;

/// Rows of a weight with edits.
struct Merged {
    base: Box<dyn DecodeRows>,
    /// The dtype of the base's values.
    native: Dtype,
    /// The edits, and the dtype to which the result of each is rounded; that of the last by the caller.
    edits: Vec<(Box<dyn Edit>, Option<Dtype>)>,
}

/// Returns a decoding whose values are edited.
pub(super) fn over(mut decoding: Decoding, merge: &Merge, edits: Vec<Box<dyn Edit>>) -> Decoding {
    let last = edits.len().saturating_sub(1);
    let rounded = |(at, spec): (usize, &EditSpec)| {
        // What is packed again PEFT packs as it is; what DoRA makes it has rounded.
        let is_rounded = if merge.is_packed { spec.is_dora() } else { at < last };
        is_rounded.then_some(merge.dtype)
    };
    let rounded = merge.edits.iter().enumerate().map(rounded);
    let edits = edits.into_iter().zip(rounded).collect();
    decoding.rows = Box::new(Merged { base: decoding.rows, native: merge.native, edits });
    decoding.dtype = Some(merge.dtype);
    decoding
}

impl DecodeRows for Merged {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        self.base.codes(rows)
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.base.decode(rows.clone(), codes, out);
        values::round_all(self.native, out);
        for (edit, rounded) in &self.edits {
            edit.apply(rows.clone(), out);
            if let Some(dtype) = rounded {
                values::round_all(*dtype, out);
            }
        }
    }

    fn program(&self) -> Option<Program> {
        let mut program = self.base.program()?;
        program.steps.push(Step::Round(self.native));
        for (edit, rounded) in &self.edits {
            program.steps.extend(edit.steps()?);
            program.steps.extend(rounded.map(Step::Round));
        }
        Some(program)
    }

    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        self.base.runs(rows)
    }

    fn columns(&self) -> Option<&dyn DecodeRows> {
        self.base.columns()
    }

    fn rows_at_once(&self) -> u64 {
        self.base.rows_at_once().max(ROWS_AT_ONCE)
    }
}
