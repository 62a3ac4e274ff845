//! Rows of codes that lie one after another, with a scale (and an offset) a block of them.
//!
//! The layout of most formats: codes of 2 to 8 bits, low bits first, each row whole bytes; one scale for
//! `rows × columns` codes. What becomes of a code, its scale and its offset is the format's own.

use std::ops::Range;

use super::codes::Codes;
use super::formula::Formula;
use super::grid::Grid;
use super::{Beside, DecodeRows};
use crate::quant::kernel::Program;
use crate::tensor::elements;

/// Scales and offsets of blocks of `rows × columns` codes, row by row of blocks.
pub(in crate::quant) struct Blocks {
    scales: Vec<f32>,
    /// Empty if every offset is 0.
    offsets: Vec<f32>,
    rows: u64,
    columns: usize,
    a_row: usize,
}

impl Blocks {
    /// Returns the blocks of a weight of this shape; leading dimensions are rows too.
    ///
    /// # Errors
    /// The counts do not fit the shape.
    pub(in crate::quant) fn new(
        shape: &[u64],
        [rows, columns]: [u64; 2],
        scales: Vec<f32>,
        offsets: Vec<f32>,
    ) -> Result<Self, String> {
        let [leading @ .., row_len] = shape else { return Err("it has no dimensions".into()) };
        let all = elements(leading).ok_or("its shape overflows")?;
        if rows == 0 || columns == 0 || all == 0 || *row_len == 0 {
            return Err(format!("blocks of {rows} × {columns} in {}", crate::units::shape(shape)));
        }
        if let [.., _, last] = leading
            && last % rows != 0
        {
            return Err(format!("{last} rows in blocks of {rows}, and matrices follow each other"));
        }
        let a_row = row_len.div_ceil(columns);
        let needed = a_row.checked_mul(all.div_ceil(rows));
        if needed != Some(scales.len() as u64) {
            let needed = needed.map_or_else(|| "more".to_owned(), |n| n.to_string());
            let shape = crate::units::shape(shape);
            return Err(format!(
                "{} scales, {shape} in blocks of {rows} × {columns} needs {needed}",
                scales.len()
            ));
        }
        if !offsets.is_empty() && offsets.len() != scales.len() {
            return Err(format!("{} offsets for {} scales", offsets.len(), scales.len()));
        }
        Ok(Self { scales, offsets, rows, columns: columns.min(*row_len) as usize, a_row: a_row as usize })
    }
}

/// Rows of packed codes with scales.
pub(in crate::quant) struct Scaled {
    row_len: usize,
    row_bytes: u64,
    codes: Codes,
    blocks: Blocks,
    formula: Formula,
}

impl Scaled {
    /// Returns the rows of a weight of this shape whose codes take `bytes` bytes.
    ///
    /// # Errors
    /// Rows are no whole bytes, or the codes are more or fewer.
    pub(in crate::quant) fn new(
        shape: &[u64],
        bytes: u64,
        codes: Codes,
        blocks: Blocks,
        formula: Formula,
    ) -> Result<Self, String> {
        let row_len = shape.last().copied().unwrap_or(1);
        let row_bytes = codes
            .bytes(row_len)
            .ok_or_else(|| format!("{row_len} codes of {} bits are no whole bytes", codes.bits()))?;
        let rows = elements(&shape[..shape.len().saturating_sub(1)]);
        let needed = rows.and_then(|rows| rows.checked_mul(row_bytes));
        if needed != Some(bytes) {
            let (shape, bits) = (crate::units::shape(shape), codes.bits());
            return Err(format!("{bytes} bytes of codes are not {shape} of {bits} bits"));
        }
        Ok(Self { row_len: row_len as usize, row_bytes, codes, blocks, formula })
    }
}

impl DecodeRows for Scaled {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        rows.start * self.row_bytes..rows.end * self.row_bytes
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let blocks = &self.blocks;
        let stored = codes.chunks_exact(self.row_bytes as usize);
        for ((row, out), bytes) in rows.zip(out.chunks_exact_mut(self.row_len)).zip(stored) {
            self.codes.unpack(bytes, out);
            let first = (row / blocks.rows) as usize * blocks.a_row;
            for (at, out) in out.chunks_mut(blocks.columns).enumerate() {
                let scale = blocks.scales[first + at];
                let offset = blocks.offsets.get(first + at).copied().unwrap_or(0.0);
                self.formula.apply(out, scale, offset);
            }
        }
    }

    fn program(&self) -> Option<Program> {
        let blocks = &self.blocks;
        let rows_of_blocks = blocks.scales.len() as u64 / (blocks.a_row as u64).max(1);
        let grid = Grid {
            rows: rows_of_blocks.checked_mul(blocks.rows)?,
            columns: self.row_len as u64,
            outputs: u64::MAX,
            block: [blocks.rows, blocks.columns as u64],
            width: blocks.a_row,
            matrix: 0,
            scales: &blocks.scales,
            offsets: &blocks.offsets,
            by_column: &[],
            formula: self.formula,
        };
        grid.program(&self.codes, false)
    }

    fn code_bits(&self) -> Option<u32> {
        Some(self.codes.bits())
    }

    fn stored_codes(&self, _rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        self.codes.stored_rows(codes, self.row_len, out);
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.formula.beside(which, &self.blocks.scales, &self.blocks.offsets)
    }
}

/// Returns `[batch, columns, rows]` values as `[batch, rows, columns]`.
pub(in crate::quant) fn transposed(values: &[f32], columns: usize, rows: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    if columns > 0 && rows > 0 {
        for matrix in values.chunks_exact(columns * rows) {
            out.extend((0..rows).flat_map(|row| (0..columns).map(move |column| matrix[column * rows + row])));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_do_not_fit_are_refused() {
        let blocks =
            |shape: &[u64], block, count| Blocks::new(shape, block, vec![1.0; count], vec![]).is_ok();
        assert!(blocks(&[4, 8], [2, 3], 6) && !blocks(&[4, 8], [2, 3], 5) && !blocks(&[4, 8], [0, 3], 0));
        assert!(blocks(&[2, 4, 8], [2, 8], 4) && !blocks(&[2, 3, 8], [2, 8], 3));
        assert!(!blocks(&[u64::MAX, u64::MAX, 2], [1, 1], 2) && !blocks(&[0, 8], [1, 8], 0));
    }
}
