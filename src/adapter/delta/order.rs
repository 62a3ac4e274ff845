//! Rows in another order: an edit whose factors are for rows as transformers has them, of a weight whose rows lie as
//! llama.cpp has them, or the other way around.
//!
//! llama.cpp's converter interleaves the two halves of each head of query and key weights, for its rotary embedding.
//! Source: `convert_hf_to_gguf.py` (`LlamaModel.permute`).

use std::ops::Range;

use super::Edit;
use crate::quant::kernel::Step;

/// In which order the rows of a weight lie, where it is not that of the factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// Those of each head as `0, h, 1, h + 1, …` of its halves of `h` rows, where the factors have them one after the
    /// other.
    Interleaved {
        /// Heads that the rows belong to.
        heads: u64,
    },
    /// Those of each head one after the other, where the factors have them interleaved.
    Halves {
        /// Heads that the rows belong to.
        heads: u64,
    },
}

impl RowOrder {
    /// Returns the rows of a head, if a weight of so many rows has whole ones.
    fn head(self, rows: u64) -> Option<u64> {
        let (Self::Interleaved { heads } | Self::Halves { heads }) = self;
        let pairs = heads.checked_mul(2).filter(|&pairs| pairs > 0 && rows > 0)?;
        rows.is_multiple_of(pairs).then(|| rows / heads)
    }

    /// Returns the row of the factors that row `row` of the weight is.
    fn of_factors(self, row: u64, head: u64) -> u64 {
        let (start, within, half) = (row / head * head, row % head, head / 2);
        start
            + match self {
                Self::Interleaved { .. } => within % 2 * half + within / 2,
                Self::Halves { .. } => within % half * 2 + within / half,
            }
    }
}

/// An edit of a weight whose rows lie in another order.
pub struct Reordered {
    inner: Box<dyn Edit>,
    order: RowOrder,
    /// Rows of a head.
    head: u64,
    /// True for a bias: its values are what is in another order, and it is one row.
    is_bias: bool,
}

impl Reordered {
    /// Returns the edit of a weight `[out, in]`, or of a bias `[out]`.
    ///
    /// # Errors
    /// Its rows are not those of whole heads.
    pub fn new(inner: Box<dyn Edit>, order: RowOrder, shape: &[u64]) -> Result<Self, String> {
        let rows = shape.first().copied().unwrap_or(0);
        let head = order.head(rows).filter(|_| matches!(shape.len(), 1 | 2));
        let head = head.ok_or_else(|| {
            format!("its {rows} rows are not of whole heads, as the metadata of the GGUF say ({order:?})")
        })?;
        Ok(Self { inner, order, head, is_bias: shape.len() == 1 })
    }

    /// Lets `edit` change rows in the order of the factors, as many together as follow each other there.
    fn changed<T: Copy + Default>(
        &self,
        rows: &Range<u64>,
        values: &mut [T],
        edit: impl Fn(Range<u64>, &mut [T]),
    ) {
        let count = if self.is_bias { values.len() as u64 } else { rows.end - rows.start };
        let first = if self.is_bias { 0 } else { rows.start };
        let len = values.len() / (count as usize).max(1);
        let place = |at: usize| self.order.of_factors(first + at as u64, self.head);
        let mut places: Vec<(u64, usize)> = (0..count as usize).map(|at| (place(at), at)).collect();
        places.sort_unstable();
        let mut taken = Vec::new();
        for run in places.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
            taken.clear();
            for &(_, at) in run {
                taken.extend_from_slice(&values[at * len..(at + 1) * len]);
            }
            let start = run[0].0;
            let of_weight = if self.is_bias { rows.clone() } else { start..start + run.len() as u64 };
            edit(of_weight, &mut taken);
            for (&(_, at), row) in run.iter().zip(taken.chunks_exact(len.max(1))) {
                values[at * len..(at + 1) * len].copy_from_slice(row);
            }
        }
    }
}

impl Edit for Reordered {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        self.changed(&rows, values, |rows, values| self.inner.apply(rows, values));
    }

    /// Those whose factors of rows can stand in the weight's order.
    fn steps(&self) -> Option<Vec<Step>> {
        let row = |row| self.order.of_factors(row, self.head);
        let steps = self.inner.steps().filter(|_| !self.is_bias)?;
        steps.into_iter().map(|step| step.ordered(&row)).collect()
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        self.changed(&rows, values, |rows, values| self.inner.exact(rows, values));
    }
}
