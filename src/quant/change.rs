//! Changes of values on the way out of a layer: rows in another order, or one less.
//!
//! A change is an adaptor over a decoder, so that whatever can be decoded can be changed too, row by row.
//! llama.cpp stores the query and key rows of some models in the order of its own rotary embedding (the two
//! halves of a head interleaved), and the norms of others with one added: these are the ways back.
//! Sources: llama.cpp's `convert_hf_to_gguf.py` (`LlamaModel.permute`, `GemmaModel.modify_tensors`) and
//! transformers' `modeling_gguf_pytorch_utils.py`.

use std::ops::Range;

use super::decode::{DecodeRows, Decoding};

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
            Self::None | Self::MinusOne => true,
        }
    }

    /// Returns a decoding whose values are changed.
    ///
    /// # Errors
    /// The shape does not fit.
    pub fn over(self, mut decoding: Decoding) -> Result<Decoding, String> {
        if !self.fits(&decoding.shape) {
            return Err(format!("its shape {:?} is not of whole heads", decoding.shape));
        }
        let inner = decoding.rows;
        decoding.rows = match self {
            Self::None => inner,
            Self::MinusOne => Box::new(MinusOne(inner)),
            Self::RopeRows { heads } => {
                let head = decoding.shape[0] / heads;
                if decoding.shape.len() == 1 {
                    Box::new(RopeValues { inner, head })
                } else {
                    Box::new(RopeRows { inner, head })
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

/// Rows of a matrix, head by head.
struct RopeRows {
    inner: Box<dyn DecodeRows>,
    /// Rows of a head.
    head: u64,
}

impl RopeRows {
    /// Returns the rows of all heads that `rows` touch.
    fn heads(&self, rows: &Range<u64>) -> Range<u64> {
        rows.start / self.head * self.head..rows.end.div_ceil(self.head) * self.head
    }
}

impl DecodeRows for RopeRows {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        self.inner.codes(self.heads(&rows))
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let count = (rows.end - rows.start).max(1);
        let row_len = (out.len() as u64 / count).max(1) as usize;
        let start = self.codes(rows.clone()).start;
        for (row, out) in rows.zip(out.chunks_mut(row_len)) {
            let from = stored(row, self.head);
            let range = self.inner.codes(from..from + 1);
            let codes = &codes[(range.start - start) as usize..(range.end - start) as usize];
            self.inner.decode(from..from + 1, codes, out);
        }
    }
}

/// The values of a bias: one row.
struct RopeValues {
    inner: Box<dyn DecodeRows>,
    /// Values of a head.
    head: u64,
}

impl DecodeRows for RopeValues {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        self.inner.codes(rows)
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let mut values = vec![0.0; out.len()];
        self.inner.decode(rows, codes, &mut values);
        for (at, out) in (0..).zip(out) {
            *out = values[stored(at, self.head) as usize];
        }
    }
}

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::dense;
    use crate::tensor::Dtype;

    /// A matrix whose value at row r is r everywhere (plus the column as a fraction).
    fn matrix(rows: u64, columns: u64) -> (Vec<f32>, Vec<u8>) {
        let values: Vec<f32> =
            (0..rows * columns).map(|at| (at / columns) as f32 + (at % columns) as f32 / 64.0).collect();
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (values, bytes)
    }

    /// `w.reshape(heads, half, 2, columns).swapaxes(1, 2)`, index by index.
    fn naive(values: &[f32], heads: usize, half: usize, columns: usize) -> Vec<f32> {
        let mut out = Vec::new();
        for head in 0..heads {
            for second in 0..2 {
                for first in 0..half {
                    let row = (head * half + first) * 2 + second;
                    out.extend_from_slice(&values[row * columns..(row + 1) * columns]);
                }
            }
        }
        out
    }

    fn read(decoding: &Decoding, bytes: &[u8], block: u64) -> Vec<f32> {
        let mut out = Vec::new();
        let mut start = 0;
        while start < decoding.row_count() {
            let rows = start..decoding.row_count().min(start + block);
            let range = decoding.rows.codes(rows.clone());
            let at = out.len();
            out.resize(at + ((rows.end - rows.start) * decoding.row_len()) as usize, f32::NAN);
            decoding.rows.decode(
                rows.clone(),
                &bytes[range.start as usize..range.end as usize],
                &mut out[at..],
            );
            start = rows.end;
        }
        out
    }

    #[test]
    fn rows_come_as_from_a_naive_reshape() {
        for (heads, half, columns) in [(1, 1, 1), (1, 4, 3), (2, 3, 5), (4, 32, 2), (3, 8, 1)] {
            let (values, bytes) = matrix(heads * half * 2, columns);
            let want = naive(&values, heads as usize, half as usize, columns as usize);
            let shape = [heads * half * 2, columns];
            for block in [1, 2, 3, 7, u64::MAX / 2] {
                let plain = dense::plain(0, Dtype::F32, &shape, bytes.len() as u64).unwrap();
                let changed = Change::RopeRows { heads }.over(plain).unwrap();
                assert_eq!(read(&changed, &bytes, block), want, "{heads} heads of {half}, {block} rows");
            }
        }
    }

    #[test]
    fn a_bias_is_changed_within_its_one_row() {
        let (values, bytes) = matrix(24, 1);
        let plain = dense::plain(0, Dtype::F32, &[24], 96).unwrap();
        let changed = Change::RopeRows { heads: 3 }.over(plain).unwrap();
        assert_eq!(read(&changed, &bytes, 1), naive(&values, 3, 4, 1));
    }

    #[test]
    fn one_less_is_of_f32() {
        let bytes: Vec<u8> =
            [1.0f32, 1.0 + f32::EPSILON, -3.5].iter().flat_map(|v| v.to_le_bytes()).collect();
        let plain = dense::plain(0, Dtype::F32, &[3], 12).unwrap();
        let changed = Change::MinusOne.over(plain).unwrap();
        assert_eq!(read(&changed, &bytes, 1), [0.0, f32::EPSILON, -4.5]);
    }

    #[test]
    fn heads_that_are_not_whole_are_refused() {
        for (heads, shape) in
            [(0, &[8, 2][..]), (3, &[8, 2]), (8, &[8, 2]), (1, &[]), (1, &[0, 2]), (1, &[2, 2, 2])]
        {
            assert!(!Change::RopeRows { heads }.fits(shape), "{heads} {shape:?}");
        }
        assert!(Change::RopeRows { heads: 4 }.fits(&[8, 2]));
    }
}
