//! Decoding of small floats and integers by a table and by scales that lie over the weight in a grid:
//! `value[code] * scale`, one rounding. What the fp8 and modelopt families share.
//!
//! A weight is `[outputs, inputs]`, or a stack of such matrices. Its scales are one grid a matrix, each for
//! a block of outputs and inputs; blocks at the lower and right edges may be partial.

use std::ops::Range;

use super::decode::codes::Codes;
use super::decode::formula::Formula;
use super::decode::grid::Grid;
use super::decode::{Beside, DecodeRows, Decoding};
use super::grain::grid;
use super::kernel::Program;
use super::{Part, Parts};
use crate::tensor::elements;
use crate::units;

/// Which of its dimensions codes are packed along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    /// Neighbors in a row share bytes.
    Inputs,
    /// Nibbles of two outputs share a byte, the first the low one: as many bytes in a row as there are inputs.
    Outputs,
}

/// What is done to a code's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Multiply,
    Divide,
}

/// Rows of a scaled weight.
pub(super) struct Scaled {
    codes: Codes,
    along: Along,
    scales: Vec<f32>,
    how: Use,
    /// Rows of all matrices.
    rows: u64,
    outputs: u64,
    inputs: usize,
    /// Outputs and inputs of a block.
    high: u64,
    wide: usize,
    /// Scales in a row of the grid, and of a whole matrix; 0 for one that all matrices share.
    columns: usize,
    matrix: usize,
    /// What columns are multiplied by at last, if anything.
    by_column: Vec<f32>,
}

impl Scaled {
    /// Returns rows of `weight`, whose true shape is `shape`, with scales for blocks of `[outputs, inputs]`.
    ///
    /// # Errors
    /// Sizes do not fit each other.
    pub(super) fn new(
        weight: &Part<'_>,
        (codes, along): (Codes, Along),
        shape: &[u64],
        block: [u64; 2],
        scales: Vec<f32>,
    ) -> Result<Self, String> {
        let [stack @ .., outputs, inputs] = shape else {
            return Err(format!("weight is {}, not [out, in]", units::shape(shape)));
        };
        let (outputs, inputs) = (*outputs, *inputs);
        let needs = elements(shape).and_then(|count| codes.bytes(count));
        // Nibbles pair up inside a row, or inside a matrix.
        let pairs_up = match along {
            Along::Inputs => codes.bytes(inputs).is_some(),
            Along::Outputs => codes.bits() == 4 && outputs.is_multiple_of(2),
        };
        if needs != Some(weight.bytes) || !pairs_up {
            let shape = units::shape(shape);
            return Err(format!("weight has {} bytes, which are not those of {shape}", weight.bytes));
        }
        let [rows, columns] = grid([outputs, inputs], block).ok_or("a block of no size")?;
        let matrix = rows.checked_mul(columns);
        let all = elements(stack).zip(matrix).and_then(|(stack, matrix)| stack.checked_mul(matrix));
        let count = scales.len() as u64;
        let matrix = match (matrix, all) {
            (Some(matrix), Some(all)) if count == all => matrix,
            (Some(1), _) if count == 1 => 0,
            _ => {
                let shape = units::shape(shape);
                let [high, wide] = block;
                return Err(format!("{count} scales are not those of {shape} in blocks of {high} × {wide}"));
            }
        };
        Ok(Self {
            codes,
            along,
            scales,
            how: Use::Multiply,
            rows: elements(stack).and_then(|stack| stack.checked_mul(outputs)).unwrap_or(u64::MAX),
            outputs: outputs.max(1),
            inputs: (inputs as usize).max(1),
            high: block[0],
            wide: block[1] as usize,
            columns: columns as usize,
            matrix: matrix as usize,
            by_column: Vec::new(),
        })
    }

    /// Sets whether values are multiplied by the scales or divided.
    pub(super) fn with_use(mut self, how: Use) -> Self {
        self.how = how;
        self
    }

    /// Multiplies each column by a number of its own after all else.
    ///
    /// # Errors
    /// There are more or fewer numbers than columns.
    pub(super) fn by_column(mut self, suffix: &str, factors: Vec<f32>) -> Result<Self, String> {
        if factors.len() != self.inputs {
            return Err(format!("{suffix} has {} values for {} inputs", factors.len(), self.inputs));
        }
        self.by_column = factors;
        Ok(self)
    }

    /// Returns how the layer of `weight` is decoded, with the biases beside it kept.
    pub(super) fn decoding(self, parts: &Parts<'_>, weight: &Part<'_>, shape: &[u64]) -> Decoding {
        let mut decoding = Decoding::weight(parts, weight, shape, None, self);
        if weight.suffix == "*" {
            decoding.suffix = "*";
        }
        decoding.kept.extend(parts.get("*_bias").map(|bias| bias.tensor));
        decoding
    }

    /// Returns the scales of a row.
    fn scales(&self, row: u64) -> &[f32] {
        let (matrix, output) = ((row / self.outputs) as usize, row % self.outputs);
        let start = matrix * self.matrix + (output / self.high) as usize * self.columns;
        self.scales.get(start..start + self.columns).unwrap_or_default()
    }

    /// Unpacks the codes of each row from its bytes on, as `unpack` does those of bytes; `finish` is given the row then.
    fn unpack<T: Copy + Default>(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        out: &mut [T],
        unpack: impl Fn(&Codes, &[u8], &mut [T]),
        finish: impl Fn(u64, &mut [T]),
    ) {
        let first = self.codes(rows.clone()).start;
        for (row, out) in rows.zip(out.chunks_mut(self.inputs)) {
            let start = self.codes(row..row + 1).start - first;
            let codes = codes.get(start as usize..).unwrap_or_default();
            match self.along {
                Along::Inputs => unpack(&self.codes, codes, out),
                Along::Outputs => {
                    for (out, code) in out.iter_mut().zip(codes) {
                        let mut pair = [T::default(); 2];
                        unpack(&self.codes, &[*code], &mut pair);
                        *out = pair[(row % 2) as usize];
                    }
                }
            }
            finish(row, out);
        }
    }

    /// Turns the values of a row's codes into weights.
    fn row(&self, row: u64, out: &mut [f32], value: impl Fn(f32, f32) -> f32) {
        let scales = self.scales(row);
        if self.wide == 1 {
            for (out, &scale) in out.iter_mut().zip(scales) {
                *out = value(*out, scale);
            }
        } else {
            for (out, &scale) in out.chunks_mut(self.wide).zip(scales) {
                for out in out {
                    *out = value(*out, scale);
                }
            }
        }
        for (out, factor) in out.iter_mut().zip(&self.by_column) {
            *out *= factor;
        }
    }
}

impl DecodeRows for Scaled {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let inputs = self.inputs as u64;
        match self.along {
            Along::Inputs => {
                let row = self.codes.bytes(inputs).unwrap_or(0);
                rows.start * row..rows.end * row
            }
            Along::Outputs => rows.start / 2 * inputs..rows.end.div_ceil(2) * inputs,
        }
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(rows, codes, out, Codes::unpack, |row, out| match self.how {
            Use::Multiply => self.row(row, out, |code, scale| code * scale),
            Use::Divide => self.row(row, out, |code, scale| code / scale),
        });
    }

    fn program(&self) -> Option<Program> {
        let grid = Grid {
            rows: self.rows,
            columns: self.inputs as u64,
            outputs: self.outputs,
            block: [self.high, self.wide as u64],
            width: self.columns,
            matrix: self.matrix,
            scales: &self.scales,
            offsets: &[],
            by_column: &self.by_column,
            formula: if self.how == Use::Multiply { Formula::PRODUCT } else { Formula::Quotient },
        };
        grid.program(&self.codes, self.along == Along::Outputs)
    }

    fn code_bits(&self) -> Option<u32> {
        Some(self.codes.bits())
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        self.unpack(rows, codes, out, Codes::stored, |_, _| {});
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        (which == Beside::Scales).then(|| self.scales.clone())
    }
}
