//! Changes of values on the way out of a layer: rows in another order, rows as columns, or one less.
//!
//! A change is an adaptor over a decoder, so that whatever can be decoded can be changed too, row by row.
//! llama.cpp stores the query and key rows of some models in the order of its own rotary embedding (the two
//! halves of a head interleaved), and the norms of others with one added: these are the ways back.
//! Sources: llama.cpp's `convert_hf_to_gguf.py` (`LlamaModel.permute`, `GemmaModel.modify_tensors`) and
//! transformers' `modeling_gguf_pytorch_utils.py`.
//!
//! GPT-2 keeps its weights as `[in, out]` (`Conv1D`), and quantizers turn them to `[out, in]` before they pack:
//! the result is turned back. Source: transformers 5.23, `pytorch_utils.py`, `integrations/bitsandbytes.py`.

use std::ops::Range;

use super::decode::{Beside, DecodeRows, Decoding};
use super::kernel::{Kernel, Program, Step};

/// What becomes of values beside rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing.
    #[default]
    None,
    /// The rows of each of `heads` heads, stored as `0, h, 1, h + 1, …` for halves of `h` rows, come in order.
    RopeRows {
        /// Heads that the rows belong to.
        heads: u64,
    },
    /// One is subtracted, in f32.
    MinusOne,
    /// The rows of a matrix become its columns.
    Turned,
}

impl Change {
    /// Returns true if values stay as they are.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::None
    }

    /// Returns true if a tensor of this shape can be changed so.
    #[must_use]
    pub fn fits(self, shape: &[u64]) -> bool {
        match self {
            Self::RopeRows { heads } => {
                let rows = shape.first().copied().unwrap_or(0);
                let per_two = heads.checked_mul(2).filter(|&n| n > 0);
                matches!(shape.len(), 1 | 2) && rows > 0 && per_two.is_some_and(|n| rows.is_multiple_of(n))
            }
            Self::Turned => shape.len() == 2,
            Self::None | Self::MinusOne => true,
        }
    }

    /// Returns the shape of the result.
    #[must_use]
    pub fn shape(self, shape: &[u64]) -> Vec<u64> {
        let mut shape = shape.to_vec();
        if self == Self::Turned {
            shape.reverse();
        }
        shape
    }

    /// Returns a decoding whose values are changed.
    ///
    /// # Errors
    /// The shape does not fit.
    pub fn over(self, mut decoding: Decoding) -> Result<Decoding, String> {
        if !self.fits(&decoding.shape) {
            let needs = if self == Self::Turned { "a matrix" } else { "of whole heads" };
            return Err(format!("its shape {:?} is not {needs}", decoding.shape));
        }
        let (stored_rows, row_len) = (decoding.row_count(), decoding.row_len());
        decoding.shape = self.shape(&decoding.shape);
        let inner = decoding.rows;
        decoding.rows = match self {
            Self::None => inner,
            Self::MinusOne => Box::new(MinusOne(inner)),
            Self::Turned => Box::new(Ordered(Turned { inner, rows: stored_rows, row_len: row_len as usize })),
            Self::RopeRows { heads } => {
                let head = decoding.shape[0] / heads;
                if decoding.shape.len() == 1 {
                    Box::new(Ordered(RopeValues { inner, head, count: row_len }))
                } else {
                    Box::new(Ordered(RopeRows { inner, head }))
                }
            }
        };
        Ok(decoding)
    }
}

/// Returns where row `row` of the model stands among the stored rows.
fn stored(row: u64, head: u64) -> u64 {
    let (start, within, half) = (row / head * head, row % head, head / 2);
    start + within % half * 2 + within / half
}

/// A decoder whose rows, or the values of whose rows, stand in another order than they are stored in.
trait Reordered: Send + Sync {
    /// Returns the decoder of what is stored.
    fn inner(&self) -> &dyn DecodeRows;

    /// Returns the bytes of the codes that these rows need.
    fn codes(&self, rows: Range<u64>) -> Range<u64>;

    /// Returns how many rows are worth decoding together.
    fn rows_at_once(&self) -> u64 {
        1
    }

    /// Returns how a GPU does the same, if one can.
    fn program(&self) -> Option<Program> {
        None
    }

    /// Returns the bytes that a kernel is given for these rows, as `DecodeRows::runs`.
    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        vec![self.codes(rows)]
    }

    /// Returns the decoder of the columns, as `DecodeRows::columns`.
    fn columns(&self) -> Option<&dyn DecodeRows> {
        None
    }

    /// Puts in order what `decode` gives of stored rows: values, or codes themselves.
    fn reorder<T: Copy + Default>(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        out: &mut [T],
        decode: impl Fn(Range<u64>, &[u8], &mut [T]),
    );
}

/// The decoder of what is reordered.
struct Ordered<R>(R);

impl<R: Reordered> DecodeRows for Ordered<R> {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        self.0.codes(rows)
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let inner = self.0.inner();
        self.0.reorder(rows, codes, out, |rows, codes, out| inner.decode(rows, codes, out));
    }

    fn rows_at_once(&self) -> u64 {
        self.0.rows_at_once()
    }

    fn program(&self) -> Option<Program> {
        self.0.program()
    }

    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        self.0.runs(rows)
    }

    fn columns(&self) -> Option<&dyn DecodeRows> {
        self.0.columns()
    }

    fn code_bits(&self) -> Option<u32> {
        self.0.inner().code_bits()
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        let inner = self.0.inner();
        self.0.reorder(rows, codes, out, |rows, codes, out| inner.stored_codes(rows, codes, out));
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.0.inner().beside(which)
    }
}

/// Rows of a matrix, head by head. A kernel is given the codes of rows in the order of the model.
struct RopeRows {
    inner: Box<dyn DecodeRows>,
    /// Rows of a head.
    head: u64,
}

impl Reordered for RopeRows {
    fn inner(&self) -> &dyn DecodeRows {
        &*self.inner
    }

    /// Those of all heads that `rows` touch.
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let first = rows.start / self.head * self.head;
        self.inner.codes(first..rows.end.div_ceil(self.head) * self.head)
    }

    /// That of the stored rows, where each has codes of its own, one behind the other. GGUF alone has such weights, and a
    /// row of its matrices is what its codes say, wherever it stands.
    fn program(&self) -> Option<Program> {
        let [first, second] = [0, 1].map(|row| self.inner.codes(row..row + 1));
        let is_alone = first.start == 0 && first.end == second.start && second.end == 2 * first.end;
        self.inner.program().filter(|program| is_alone && program.steps.is_empty())
    }

    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        rows.map(|row| stored(row, self.head)).map(|row| self.inner.codes(row..row + 1)).collect()
    }

    fn reorder<T: Copy + Default>(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        out: &mut [T],
        decode: impl Fn(Range<u64>, &[u8], &mut [T]),
    ) {
        let count = (rows.end - rows.start).max(1);
        let row_len = (out.len() as u64 / count).max(1) as usize;
        let start = self.codes(rows.clone()).start;
        for (row, out) in rows.zip(out.chunks_mut(row_len)) {
            let from = stored(row, self.head);
            let range = self.inner.codes(from..from + 1);
            let codes = &codes[(range.start - start) as usize..(range.end - start) as usize];
            decode(from..from + 1, codes, out);
        }
    }
}

/// The values of a bias: one row. A kernel is given plain values in the order of the model.
struct RopeValues {
    inner: Box<dyn DecodeRows>,
    /// Values of a head, and of all heads.
    head: u64,
    count: u64,
}

impl Reordered for RopeValues {
    fn inner(&self) -> &dyn DecodeRows {
        &*self.inner
    }

    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        self.inner.codes(rows)
    }

    fn program(&self) -> Option<Program> {
        let is_plain = |program: &Program| program.decode.name == "plain" && program.steps.is_empty();
        self.inner.program().filter(is_plain)
    }

    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        let all = self.inner.codes(rows);
        let each = (all.end - all.start) / self.count.max(1);
        let start = |at| all.start + stored(at, self.head) * each;
        (0..self.count).map(start).map(|start| start..start + each).collect()
    }

    fn reorder<T: Copy + Default>(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        out: &mut [T],
        decode: impl Fn(Range<u64>, &[u8], &mut [T]),
    ) {
        let mut values = vec![T::default(); out.len()];
        decode(rows, codes, &mut values);
        for (at, out) in (0..).zip(out) {
            *out = values[stored(at, self.head) as usize];
        }
    }
}

/// Values of a turned matrix that are worth decoding together: each time, all stored rows are gone through.
const TURNED_AT_ONCE: u64 = 1 << 20;

/// A matrix whose stored rows are the columns. A kernel reads columns of plain values; packed ones are decoded some rows at
/// a time, of which another kernel takes the columns. What is turned twice is decoded as it is stored.
struct Turned {
    inner: Box<dyn DecodeRows>,
    /// Rows as stored, and the length of one.
    rows: u64,
    row_len: usize,
}

impl Reordered for Turned {
    fn inner(&self) -> &dyn DecodeRows {
        &*self.inner
    }

    fn codes(&self, _rows: Range<u64>) -> Range<u64> {
        self.inner.codes(0..self.rows)
    }

    fn rows_at_once(&self) -> u64 {
        (TURNED_AT_ONCE / self.rows.max(1)).max(1)
    }

    fn program(&self) -> Option<Program> {
        let Program { decode, turned, steps } = self.inner.program()?;
        let steps = steps.into_iter().map(Step::turned).collect::<Option<_>>()?;
        let size = [self.rows, self.row_len as u64];
        let dtype = decode.numbers.first().copied();
        if turned.is_some() {
            return Some(Program { decode, turned: None, steps });
        }
        if self.inner.runs(0..self.rows) != [self.inner.codes(0..self.rows)] {
            return None;
        }
        let (decode, turned) = match decode.name {
            "plain" => (Kernel::new("plain_turned").numbers([dtype?]).numbers(size), None),
            "plain_turned" => (Kernel::new("plain").numbers([dtype?]), None),
            _ => (decode, Some(size)),
        };
        Some(Program { decode, turned, steps })
    }

    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        // The rows of the columns of columns are what is stored.
        self.inner
            .columns()
            .map_or_else(|| vec![self.codes(rows.clone())], |stored| stored.runs(rows.clone()))
    }

    fn columns(&self) -> Option<&dyn DecodeRows> {
        Some(&*self.inner)
    }

    fn reorder<T: Copy + Default>(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        out: &mut [T],
        decode: impl Fn(Range<u64>, &[u8], &mut [T]),
    ) {
        let columns = rows.start as usize..rows.end as usize;
        let start = self.inner.codes(0..self.rows).start;
        let at_once = self.inner.rows_at_once().clamp(1, self.rows.max(1));
        let mut values = Vec::new();
        for first in (0..self.rows).step_by(at_once as usize) {
            let from = first..self.rows.min(first + at_once);
            let range = self.inner.codes(from.clone());
            values.resize((from.end - from.start) as usize * self.row_len, T::default());
            let codes = &codes[(range.start - start) as usize..(range.end - start) as usize];
            decode(from.clone(), codes, &mut values);
            for (column, row) in from.zip(values.chunks_exact(self.row_len)) {
                let turned = out.iter_mut().skip(column as usize).step_by(self.rows as usize);
                for (out, value) in turned.zip(&row[columns.clone()]) {
                    *out = *value;
                }
            }
        }
    }
}

/// What changes values gives no codes: they would no longer be those of the values.
struct MinusOne(Box<dyn DecodeRows>);

impl DecodeRows for MinusOne {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        self.0.codes(rows)
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.0.decode(rows, codes, out);
        for value in out {
            *value -= 1.0;
        }
    }

    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        self.0.runs(rows)
    }

    fn columns(&self) -> Option<&dyn DecodeRows> {
        self.0.columns()
    }

    fn program(&self) -> Option<Program> {
        let mut program = self.0.program()?;
        let less = u64::from((-1f32).to_bits());
        program.steps.push(Kernel::new("edit_plus").numbers([less]).into());
        Some(program)
    }
}

#[cfg(test)]
mod tests;
