//! Matrices of an adapter, in f32, row by row.

use std::ops::Range;

/// A matrix of an adapter.
pub(super) struct Matrix {
    pub(super) values: Vec<f32>,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Matrix {
    /// Returns it with rows for columns.
    pub(super) fn transposed(&self) -> Self {
        let (rows, columns) = (self.columns, self.rows);
        let at = |at: usize| self.values[at % columns * self.columns + at / columns];
        Self { values: (0..self.values.len()).map(at).collect(), rows, columns }
    }

    /// Keeps some rows.
    pub(super) fn rows(self, range: Range<u64>) -> Result<Self, String> {
        let (start, end) = (range.start as usize, range.end as usize);
        if start > end || end > self.rows {
            return Err(format!("rows {start}..{end} of {}", self.rows));
        }
        let values = self.values[start * self.columns..end * self.columns].to_vec();
        Ok(Self { values, rows: end - start, columns: self.columns })
    }
}
