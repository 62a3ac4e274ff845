//! Tiles: blocks of values that share a scale, and how those values become codes.
//!
//! | code | stored as                         | means                    |
//! |------|-----------------------------------|--------------------------|
//! | int  | two's complement in a byte        | `(code - zero) * worth`  |
//! | E4M3 | the byte                          | `value(code) * worth`    |
//! | E2M1 | four bits, one code a byte here   | `value(code) * worth`    |
//!
//! A weight is `[outputs, inputs]`, or a stack of such matrices; its tiles are `high` outputs by `wide` inputs, those
//! at the lower and right edges may be smaller. How a tile's scale comes of its range is the format's own (`Rule`);
//! what is written with a scale follows the arithmetic that its reference library computes in: the quotient is rounded
//! to the dtype of the weight, and the sum with the zero point once more.

pub(super) mod kernel;
pub(super) mod own;

use multiversion::multiversion;

use self::kernel::Finder;
use super::target::Search;
use crate::tensor::narrow::{e4m3_code, to_e2m1, to_e4m3};
use crate::tensor::{Dtype, values};

/// How many values share a scale, and how they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// Rows of one matrix; a stack repeats them.
    pub(super) outputs: u64,
    /// Values of a row.
    pub(super) inputs: usize,
    /// Rows of a tile.
    pub(super) high: u64,
    /// Columns of a tile.
    pub(super) wide: usize,
}

impl Tiling {
    /// Returns the tiles of a weight of this shape.
    ///
    /// # Errors
    /// It is no matrix and no stack of matrices, or it has no values.
    pub(super) fn new(shape: &[u64], [high, wide]: [u64; 2]) -> Result<Self, String> {
        let [.., outputs, inputs] = *shape else { return Err(format!("its shape {shape:?} is no matrix")) };
        if crate::tensor::elements(shape).is_none_or(|count| count == 0) || high == 0 || wide == 0 {
            return Err("it has no values".into());
        }
        Ok(Self {
            outputs,
            inputs: inputs as usize,
            high: high.min(outputs),
            wide: wide.min(inputs) as usize,
        })
    }

    /// Returns the scales of a row of tiles.
    pub(super) fn width(&self) -> usize {
        self.inputs.div_ceil(self.wide)
    }

    /// Returns how many rows cannot be parted: a row of tiles, or a matrix where its last tiles are lower.
    pub(super) fn rows_apart(&self) -> u64 {
        if self.outputs.is_multiple_of(self.high) { self.high } else { self.outputs }
    }

    /// Returns the row of tiles in which a row lies, and how many rows of it are left.
    fn band(&self, row: u64) -> (u64, u64) {
        let (matrix, output) = (row / self.outputs, row % self.outputs);
        let band = output / self.high;
        let end = ((band + 1) * self.high).min(self.outputs);
        (matrix * self.outputs.div_ceil(self.high) + band, end - output)
    }

    /// Cuts rows, from row `first` on, into rows of tiles: the number of each, and its values.
    pub(super) fn bands<'v>(
        &self,
        values: &'v [f32],
        first: u64,
    ) -> impl Iterator<Item = (usize, &'v [f32])> {
        let tiling = *self;
        let (mut rest, mut row) = (values, first);
        std::iter::from_fn(move || {
            let (band, rows) = tiling.band(row);
            let count = (rows as usize).saturating_mul(tiling.inputs).min(rest.len());
            let (head, tail) = rest.split_at_checked(count).filter(|(head, _)| !head.is_empty())?;
            (rest, row) = (tail, row + rows);
            Some((band as usize, head))
        })
    }
}

/// What the codes of a tile are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// Signed integers of so many bits, at most 8.
    Int(u32),
    /// 8-bit floats.
    E4M3,
    /// 4-bit floats.
    E2M1,
}

/// The scale of a tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// What values are divided by, or multiplied by if the coder does so.
    pub(super) by: f32,
    /// The code that means 0.
    pub(super) zero: f32,
    /// What a code of 1 is worth.
    pub(super) worth: f32,
    /// What is stored.
    pub(super) stored: f32,
}

impl Step {
    /// Returns a scale that is stored as it is used.
    pub(super) fn of(scale: f32, zero: f32) -> Self {
        Self { by: scale, zero, worth: scale, stored: scale }
    }

    /// Returns a scale that a layer has: by a scale of 0 every value has the code of 0.
    pub(super) fn held(worth: f32, zero: f32) -> Self {
        let by = if worth == 0.0 { f32::INFINITY } else { worth };
        Self { by, zero, worth, stored: worth }
    }
}

/// How scales come of ranges.
pub(super) trait Rule: Send + Sync {
    /// Returns the scale of a tile whose values lie in `[least, largest]`, which holds 0. `values`: those of
    /// the tile if it lies in one row; `whole`: the largest magnitude of the layer, if it is wanted.
    ///
    /// # Errors
    /// The range is beyond the format's; in words.
    fn step(&self, range: [f32; 2], values: &[f32], whole: f32) -> Result<Step, String>;

    /// Returns how scales are searched for, from those of ranges on.
    fn search(&self) -> Search {
        Search::None
    }

    /// Returns how a kernel finds the same scale of a range, before a search, in a layer of this largest magnitude; `None` if none does.
    fn finder(&self, _whole: f32) -> Option<Finder> {
        None
    }
}

/// How a value becomes a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coder {
    /// What codes are.
    pub(super) code: Code,
    /// The dtype to which quotients are rounded, and sums with zero points.
    pub(super) rounded: Dtype,
    /// True if values are multiplied, not divided.
    pub(super) multiplies: bool,
    /// True if the zero point is added; a zero point of 0 takes the sign of a negative zero.
    pub(super) adds_zero: bool,
    /// True if a negative zero keeps its sign in E2M1.
    pub(super) keeps_sign: bool,
}

impl Coder {
    /// Returns a coder that finds the code whose worth is nearest, without rounding in between.
    pub(super) fn nearest(code: Code) -> Self {
        let adds_zero = matches!(code, Code::Int(_));
        Self { code, rounded: Dtype::F32, multiplies: false, adds_zero, keeps_sign: true }
    }

    /// Writes the codes of a row, one a byte. `scratch` is overwritten.
    pub(super) fn row(
        &self,
        row: &[f32],
        wide: usize,
        steps: &[Step],
        scratch: &mut Vec<f32>,
        out: &mut [u8],
    ) {
        scratch.clear();
        scratch.extend_from_slice(row);
        if self.multiplies {
            multiply(scratch, wide, steps);
        } else {
            divide(scratch, wide, steps);
        }
        values::round_all(self.rounded, scratch);
        if self.adds_zero {
            add_zeros(scratch, wide, steps);
            values::round_all(self.rounded, scratch);
        }
        match self.code {
            Code::Int(bits) => {
                let half = (1u32 << (bits.clamp(1, 8) - 1)) as f32;
                to_int(scratch, [-half, half - 1.0], out);
            }
            Code::E4M3 => to_e4m3(scratch, out),
            Code::E2M1 => {
                to_e2m1(scratch, out);
                if self.keeps_sign {
                    for (out, value) in out.iter_mut().zip(scratch) {
                        *out |= (value.to_bits() >> 28 & 8) as u8;
                    }
                }
            }
        }
    }

    /// Writes what the codes of a row are worth.
    pub(super) fn worths(&self, codes: &[u8], wide: usize, steps: &[Step], out: &mut [f32]) {
        match self.code {
            Code::Int(_) => drop(values::to_f32(Dtype::I8, codes, out)),
            Code::E4M3 => drop(values::to_f32(Dtype::F8E4M3, codes, out)),
            Code::E2M1 => {
                let table: [f32; 16] = std::array::from_fn(|code| values::e2m1(code as u8));
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = table[usize::from(code & 15)];
                }
            }
        }
        scale(out, wide, steps);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn divide(values: &mut [f32], wide: usize, steps: &[Step]) {
    for (values, step) in values.chunks_mut(wide.max(1)).zip(steps) {
        let by = step.by;
        for value in values {
            *value /= by;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn multiply(values: &mut [f32], wide: usize, steps: &[Step]) {
    for (values, step) in values.chunks_mut(wide.max(1)).zip(steps) {
        let by = step.by;
        for value in values {
            *value *= by;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn add_zeros(values: &mut [f32], wide: usize, steps: &[Step]) {
    for (values, step) in values.chunks_mut(wide.max(1)).zip(steps) {
        let zero = step.zero;
        for value in values {
            *value += zero;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn scale(values: &mut [f32], wide: usize, steps: &[Step]) {
    for (values, step) in values.chunks_mut(wide.max(1)).zip(steps) {
        let (zero, worth) = (step.zero, step.worth);
        for value in values {
            *value = (*value - zero) * worth;
        }
    }
}

/// Writes the whole numbers nearest to values, ties to even, within bounds of a byte.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn to_int(values: &[f32], [least, largest]: [f32; 2], out: &mut [u8]) {
    /// Its last bit is 1: a sum is rounded to whole numbers, whose last byte is that of the sum.
    const ONES: f32 = 12_582_912.0;
    for (value, out) in values.iter().zip(out) {
        // What is not a number becomes the least.
        let bounded = if *value > least { *value } else { least };
        let bounded = if bounded < largest { bounded } else { largest };
        *out = (bounded + ONES).to_bits() as u8;
    }
}

/// Widens the ranges of tiles by a row of their values.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub(super) fn widen(ranges: &mut [[f32; 2]], row: &[f32], wide: usize) {
    const LANES: usize = 16;
    for (range, values) in ranges.iter_mut().zip(row.chunks(wide.max(1))) {
        let (lanes, rest) = values.as_chunks::<LANES>();
        let (mut least, mut largest) = ([range[0]; LANES], [range[1]; LANES]);
        // One loop for each: together they are not compiled for vectors.
        for values in lanes {
            for lane in 0..LANES {
                least[lane] = lesser(least[lane], values[lane]);
            }
        }
        for values in lanes {
            for lane in 0..LANES {
                largest[lane] = larger(largest[lane], values[lane]);
            }
        }
        range[0] = rest.iter().fold(folded(least, lesser), |a, &b| lesser(a, b));
        range[1] = rest.iter().fold(folded(largest, larger), |a, &b| larger(a, b));
    }
}

#[inline]
fn lesser(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

#[inline]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Returns what is left of lanes, a power of two of them, when the upper half is put to the lower again and again.
#[inline]
fn folded<const LANES: usize>(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = join(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Returns the larger magnitude of a range that holds 0.
pub(super) fn magnitude([least, largest]: [f32; 2]) -> f32 {
    largest.max(-least)
}

/// Writes a scale as it is stored: as a float of 16 or 32 bits, as E4M3, or as the exponent of a power of two.
pub(super) fn store(dtype: Dtype, scale: f32, out: &mut Vec<u8>) {
    match dtype {
        Dtype::F8E4M3 => out.push(e4m3_code(scale)),
        Dtype::U8 | Dtype::F8E8M0 => out.push((scale.to_bits() >> 23) as u8),
        Dtype::BF16 => out.extend_from_slice(&values::bf16_bits(scale).to_le_bytes()),
        Dtype::F16 => out.extend_from_slice(&half::f16::from_f32(scale).to_le_bytes()),
        _ => out.extend_from_slice(&scale.to_le_bytes()),
    }
}

/// Returns the power of two whose exponent a byte holds; for what would be NaN the largest.
pub(super) fn power_of_two(byte: i32) -> f32 {
    values::e8m0(byte.clamp(0, 254) as u8)
}

#[cfg(test)]
mod tests;
