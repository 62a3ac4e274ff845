//! Planes: a matrix packed along its first dimension, part by part.
//!
//! Rows `0..step` of the matrix take the first bits of each byte (or 32-bit word), rows `step..2 * step` the
//! next, and so on: byte row `r` holds rows `r`, `r + step`, `r + 2 * step` … The matrix, in its order, is the
//! weight in its own: only the lengths of rows differ. HQQ, quanto and `BitNet` pack so.

use std::ops::Range;

use super::formula::Formula;
use super::grid::{divisor, formula_numbers};
use super::{Beside, DecodeRows};
use crate::quant::kernel::{Kernel, Program};

/// How the matrix is packed.
pub(in crate::quant) struct Packing {
    /// Bits of a code.
    pub(in crate::quant) bits: u32,
    /// The lowest bit of each part's codes.
    pub(in crate::quant) shifts: Vec<u32>,
    /// Bytes of a packed element: 1 or 4.
    pub(in crate::quant) unit: u64,
}

impl Packing {
    /// Returns `8 / bits` parts a byte, the first in the low bits.
    pub(in crate::quant) fn low_first(bits: u32) -> Self {
        Self { bits, shifts: (0..8 / bits).map(|part| part * bits).collect(), unit: 1 }
    }

    /// Returns `8 / bits` parts a byte, the first in the high bits.
    pub(in crate::quant) fn high_first(bits: u32) -> Self {
        Self { bits, shifts: (0..8 / bits).rev().map(|part| part * bits).collect(), unit: 1 }
    }
}

/// Which codes of the matrix share a scale.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::quant) enum Share {
    /// Those of a row.
    Row,
    /// Those of a column.
    Column,
    /// All.
    All,
}

impl Share {
    /// Returns how `[rows, columns]` codes share scales of this shape.
    pub(in crate::quant) fn of(scales: &[u64], [rows, columns]: [u64; 2]) -> Option<Self> {
        match *scales {
            [] | [1] | [1, 1] => Some(Self::All),
            [a, 1] if a == rows => Some(Self::Row),
            [1, b] if b == columns => Some(Self::Column),
            _ => None,
        }
    }
}

/// Rows of a weight that is packed in planes; the offset of a code is its zero point.
pub(in crate::quant) struct Planes {
    packing: Packing,
    columns: u64,
    step: u64,
    row_len: u64,
    share: Share,
    scales: Vec<f32>,
    /// Empty if every zero point is 0.
    zeros: Vec<f32>,
    formula: Formula,
    /// True if the zero point is the format's own, and stands nowhere.
    is_zero_fixed: bool,
}

impl Planes {
    /// Returns the rows, of `row_len` values, of a `[rows, columns]` matrix whose codes take `bytes` bytes.
    ///
    /// # Errors
    /// The codes or scales are more or fewer than the matrix needs.
    pub(in crate::quant) fn new(
        [rows, columns]: [u64; 2],
        row_len: u64,
        bytes: u64,
        packing: Packing,
        (share, scales, zeros): (Share, Vec<f32>, Vec<f32>),
        formula: Formula,
    ) -> Result<Self, String> {
        if rows == 0 || columns == 0 || row_len == 0 {
            return Err(format!("{rows} × {columns} codes"));
        }
        let step = rows.div_ceil(packing.shifts.len().max(1) as u64);
        let needed = step.checked_mul(columns).and_then(|n| n.checked_mul(packing.unit));
        if needed != Some(bytes) {
            return Err(format!(
                "{bytes} bytes of codes are not {rows} × {columns} of {} bits",
                packing.bits
            ));
        }
        let needed = match share {
            Share::Row => rows,
            Share::Column => columns,
            Share::All => 1,
        };
        let of_zeros = if zeros.is_empty() { needed } else { zeros.len() as u64 };
        if scales.len() as u64 != needed || of_zeros != needed {
            let zeros = zeros.len();
            return Err(format!("{} scales and {zeros} zero points, not {needed} each", scales.len()));
        }
        Ok(Self { packing, columns, step, row_len, share, scales, zeros, formula, is_zero_fixed: false })
    }

    /// Takes the zero point for the format's own.
    pub(in crate::quant) fn with_fixed_zero(mut self) -> Self {
        self.is_zero_fixed = true;
        self
    }

    /// Gives each run of codes within a row of the matrix: that row and its first column, the packed elements,
    /// and where they go.
    fn runs<T>(
        &self,
        rows: &Range<u64>,
        codes: &[u8],
        mut out: &mut [T],
        mut unpack: impl FnMut(u64, usize, &[u8], &mut [T]),
    ) {
        let base = self.codes(rows.clone()).start;
        let mut element = rows.start * self.row_len;
        while !out.is_empty() {
            let (row, column) = (element / self.columns, element % self.columns);
            let count = (self.columns - column).min(out.len() as u64);
            let start = (row % self.step * self.columns + column) * self.packing.unit - base;
            let packed = &codes[start as usize..(start + count * self.packing.unit) as usize];
            let (piece, rest) = out.split_at_mut(count as usize);
            unpack(row, column as usize, packed, piece);
            (out, element) = (rest, element + count);
        }
    }

    /// Returns the codes of packed elements of one row of the matrix.
    fn unpacked(&self, row: u64, packed: &[u8]) -> impl Iterator<Item = u32> {
        let shift = self.packing.shifts[(row / self.step) as usize];
        codes(packed, self.packing.unit, shift, (1u32 << self.packing.bits) - 1)
    }

    /// Decodes codes of one row of the matrix from column `column` on.
    fn run(&self, row: u64, column: usize, packed: &[u8], out: &mut [f32]) {
        let bits = self.packing.bits;
        let codes = self.unpacked(row, packed);
        let zero = |at: usize| self.zeros.get(at).copied().unwrap_or(0.0);
        match self.share {
            Share::Column => {
                let scales = self.scales[column..].iter().enumerate();
                for ((out, code), (at, &scale)) in out.iter_mut().zip(codes).zip(scales) {
                    *out = self.formula.value(code as f32, scale, zero(column + at));
                }
            }
            Share::Row | Share::All => {
                let at = if self.share == Share::Row { row as usize } else { 0 };
                let (scale, zero) = (self.scales[at], zero(at));
                if bits > 4 {
                    for (out, code) in out.iter_mut().zip(codes) {
                        *out = self.formula.value(code as f32, scale, zero);
                    }
                    return;
                }
                let mut table = [0.0; 16];
                for (code, value) in table.iter_mut().enumerate().take(1 << bits) {
                    *value = self.formula.value(code as f32, scale, zero);
                }
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = table[(code & 15) as usize];
                }
            }
        }
    }
}

/// Returns the codes of packed elements.
fn codes(packed: &[u8], unit: u64, shift: u32, mask: u32) -> impl Iterator<Item = u32> {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
    packed.chunks_exact(unit as usize).map(move |bytes| word(bytes) >> shift & mask)
}

impl DecodeRows for Planes {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let (first, end) = (rows.start * self.row_len, rows.end * self.row_len);
        if end <= first {
            return 0..0;
        }
        let (row, last) = (first / self.columns, (end - 1) / self.columns);
        let elements = if row == last {
            let start = row % self.step * self.columns + first % self.columns;
            start..start + (end - first)
        } else if row / self.step == last / self.step {
            row % self.step * self.columns..(last % self.step + 1) * self.columns
        } else {
            0..self.step * self.columns
        };
        elements.start * self.packing.unit..elements.end * self.packing.unit
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.runs(&rows, codes, out, |row, column, packed, out| self.run(row, column, packed, out));
    }

    fn program(&self) -> Option<Program> {
        let packing = &self.packing;
        // The kernel reads bytes and words, and has six bits for each part's shift.
        let shifts = packing.shifts.iter().enumerate();
        let shifts = shifts.fold(0u64, |all, (part, &shift)| all | u64::from(shift) << (6 * part));
        if packing.shifts.len() > 10 || !matches!(packing.unit, 1 | 4) || packing.bits > 8 {
            return None;
        }
        let [columns, step] =
            [self.columns, self.step].map(|size| i32::try_from(size).ok().map(i32::cast_unsigned));
        i32::try_from(self.step.checked_mul(packing.shifts.len() as u64)?).ok()?;
        let share = match self.share {
            Share::Row => 0,
            Share::Column => 1,
            Share::All => 2,
        };
        let (formula, factor) = formula_numbers(self.formula)?;
        let kernel = Kernel::new("planes")
            .floats(&self.scales)
            .floats(&self.zeros)
            .numbers([u64::from(columns?), divisor(columns?)?, u64::from(step?), divisor(step?)?])
            .numbers([shifts, share | u64::from(packing.bits) << 8 | packing.unit << 16, formula, factor]);
        Some(kernel.into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(self.packing.bits)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        self.runs(&rows, codes, out, |row, _, packed, out| {
            for (out, code) in out.iter_mut().zip(self.unpacked(row, packed)) {
                *out = code as u16;
            }
        });
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        let zeros = if self.is_zero_fixed { &[][..] } else { &self.zeros };
        self.formula.beside(which, &self.scales, zeros)
    }
}
