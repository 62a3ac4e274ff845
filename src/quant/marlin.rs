//! Marlin: 4-bit codes around 8, in the order in which tensor cores take them.
//!
//! | tensor           | dtype | shape                | holds                                             |
//! |------------------|-------|----------------------|---------------------------------------------------|
//! | `B`, `qweight`   | I32   | `[in / 16, out * 2]` | tiles of 16 inputs; 128 words for 64 outputs       |
//! | `s`, `scales`    | F16   | `[G, out]`           | permuted within 64 outputs; within 32 for one group |
//!
//! Word `4 i + j` of a tile's 128 words holds inputs `2 (i % 4) + {0, 1, 8, 9}` of the outputs `i / 4` and
//! `i / 4 + 8` of the 16 that `j` counts, its eight codes in the order 0 2 4 6 1 3 5 7. The weight is
//! `(code - 8) * scale`. Source: AutoGPTQ 0.7 `qlinear_marlin.py`, AutoAWQ `modules/linear/marlin.py`.

use std::ops::Range;

use super::Parts;
use super::affine::{self, Affine, Groups};
use super::claims::Said;
use super::decode::{Beside, DecodeRows, Decoding, as_numbers, floats};
use super::draft::Draft;
use super::kernel::Program;
use super::qweight::{group_fault, grouping, is_words};
use super::side::matrix;
use crate::units;

/// Inputs of a tile.
const HIGH: usize = 16;
/// Outputs of a tile.
const WIDE: usize = 64;
/// Words of a tile.
const WORDS: usize = HIGH * WIDE / 8;

impl Draft<'_, '_> {
    /// Fills a layer in the marlin layout: codes `[in / 16, out * 2]`, scales `[G, out]`.
    pub(super) fn marlin(&mut self, codes: &str, scales: &str, said: Option<&Said<i64>>) {
        let found = self.parts.get(codes).filter(|part| is_words(part.dtype)).and_then(matrix);
        let Some([rows, columns]) = found.filter(|[_, columns]| columns.is_multiple_of(2)) else {
            self.shape_unknown();
            self.lacks(codes);
            return;
        };
        let (inputs, outputs) = (rows.saturating_mul(16), columns / 2);
        self.shape(&[outputs, inputs]);
        self.bias("bias", &[outputs]);
        let Some(part) = self.parts.get(scales) else {
            self.lacks(scales);
            return;
        };
        match matrix(part) {
            Some([groups, columns]) if columns == outputs && groups > 0 => {
                let grouping = grouping(inputs, said, |size| inputs.div_ceil(size) == groups, Some(groups));
                self.spec.group_size = grouping.size;
                self.faults(group_fault(said, &grouping));
            }
            _ => {
                let has = units::shape(part.shape);
                self.misfit(scales, format!("{scales} is {has}, {codes} has {outputs} outputs"));
            }
        }
        self.finite_scales(scales);
    }

    /// Checks that scales are finite.
    pub(super) fn finite_scales(&mut self, suffix: &str) {
        if let Some(dtype) = self.parts.get(suffix).map(|part| part.dtype) {
            self.finite(suffix, dtype);
        }
    }
}

/// Where the code of an output and input of a tile lies: word and shift.
type Places = [[(u8, u8); HIGH]; WIDE];

fn places() -> Places {
    let mut places = [[(0, 0); HIGH]; WIDE];
    for word in 0..WORDS {
        let (i, j) = (word / 4, word % 4);
        for (k, entry) in [0, 2, 4, 6, 1, 3, 5, 7].into_iter().enumerate() {
            let input = 2 * (i % 4) + [0, 1, 8, 9][entry % 4];
            let output = 16 * j + i / 4 + 8 * (entry / 4);
            places[output][input] = (word as u8, 4 * k as u8);
        }
    }
    places
}

/// Returns the output whose scale stands `at` among those of a chunk, and the chunk's length.
fn scale_place(at: usize, one_group: bool) -> (usize, usize) {
    if one_group {
        (2 * (at / 8) + [0, 1, 8, 9, 16, 17, 24, 25][at % 8], 32)
    } else {
        (at / 8 + 8 * (at % 8), 64)
    }
}

/// Returns the scales of each output `[out, groups]` from those stored `[groups, out]`.
fn scales_by_output(stored: &[f32], groups: usize, outputs: usize) -> Vec<f32> {
    let mut scales = vec![0.0; stored.len()];
    let (_, chunk) = scale_place(0, groups == 1);
    for (at, &scale) in stored.iter().enumerate() {
        let (group, column) = (at / outputs, at % outputs);
        let (within, _) = scale_place(column % chunk, groups == 1);
        scales[(column / chunk * chunk + within) * groups + group] = scale;
    }
    scales
}

/// Rows of a weight in this layout.
struct Tiles {
    inputs: usize,
    outputs: usize,
    places: Box<Places>,
    affine: Affine,
}

/// Returns how a layer of these parts is decoded.
pub(super) fn decode(parts: &Parts<'_>, codes: &str, scales: &str) -> Result<Decoding, String> {
    let part = parts.get(codes).ok_or_else(|| format!("missing {codes}"))?;
    let [rows, columns] = matrix(part).ok_or_else(|| format!("{codes} is not a matrix"))?;
    if !is_words(part.dtype) {
        return Err(format!("{codes} is {}, not 32-bit words", part.dtype));
    }
    let (inputs, outputs) = (rows.saturating_mul(HIGH as u64), columns / 2);
    let bytes = rows.checked_mul(columns).and_then(|words| words.checked_mul(4));
    let is_tiled = inputs > 0 && outputs > 0 && columns.is_multiple_of(2 * WIDE as u64);
    if !is_tiled || bytes != Some(part.bytes) {
        return Err(format!("{outputs} outputs and {inputs} inputs are not tiles of {WIDE} and {HIGH}"));
    }
    let scale = parts.get(scales).ok_or_else(|| format!("missing {scales}"))?;
    let dtype = affine::rounded_to(scale)?;
    let Some([groups, _]) = matrix(scale).filter(|&[rows, columns]| rows > 0 && columns == outputs) else {
        return Err(format!("{scales} is {}, there are {outputs} outputs", units::shape(scale.shape)));
    };
    if !inputs.is_multiple_of(groups) {
        return Err(format!("{groups} groups do not divide {inputs} inputs"));
    }
    let values = scales_by_output(&floats(parts, scales)?, groups as usize, outputs as usize);
    let (shape, runs) = ([outputs, inputs], Groups::Runs((inputs / groups) as usize));
    let affine = Affine::new(values, affine::Zeros::One(8.0), groups as usize, runs, shape)?;
    let tiles =
        Tiles { inputs: inputs as usize, outputs: outputs as usize, places: Box::new(places()), affine };
    Ok(Decoding::weight(parts, part, &shape, Some(dtype), tiles))
}

impl Tiles {
    /// Unpacks rows as numbers; `finish` is given each output, its first input and the codes from there on.
    fn unpack(
        &self,
        rows: &Range<u64>,
        codes: &[u8],
        out: &mut [f32],
        finish: impl Fn(usize, usize, &mut [f32]),
    ) {
        let (words, _) = codes.as_chunks::<4>();
        let (tiles, _) = words.as_chunks::<WORDS>();
        let across = self.outputs / WIDE;
        let (mut output, mut rest) = (rows.start as usize, out);
        // The rows of one column of tiles, then those of the next.
        while !rest.is_empty() {
            let height = (WIDE - output % WIDE).min(rest.len() / self.inputs);
            let (outs, behind) = rest.split_at_mut(height * self.inputs);
            let column = tiles.iter().skip(output / WIDE).step_by(across);
            for (tile, from) in column.zip((0..self.inputs).step_by(HIGH)) {
                let tile = tile.map(u32::from_le_bytes);
                let places = &self.places[output % WIDE..];
                for (out, places) in outs.chunks_exact_mut(self.inputs).zip(places) {
                    for (value, &(word, shift)) in out[from..from + HIGH].iter_mut().zip(places) {
                        *value = (tile[usize::from(word)] >> shift & 15) as i32 as f32;
                    }
                }
            }
            for (out, output) in outs.chunks_exact_mut(self.inputs).zip(output..) {
                finish(output, 0, out);
            }
            (output, rest) = (output + height, behind);
        }
    }
}

impl DecodeRows for Tiles {
    fn codes(&self, _rows: Range<u64>) -> Range<u64> {
        0..(self.inputs / HIGH * self.outputs * 8) as u64
    }

    fn rows_at_once(&self) -> u64 {
        64
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(&rows, codes, out, |output, from, out| self.affine.apply(output, from, out));
    }

    fn program(&self) -> Option<Program> {
        let own = [(self.outputs / WIDE) as u64];
        Some(self.affine.kernel("marlin", [self.outputs, self.inputs], own)?.into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(4)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        as_numbers(out, |numbers| self.unpack(&rows, codes, numbers, |_, _, _| {}));
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.affine.beside(which)
    }
}

#[cfg(test)]
mod tests;
