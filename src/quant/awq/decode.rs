//! Decoding AWQ: `(code - zero) * scale` in `gemm`, `gemv` and `marlin`, rounded once in the scales' dtype,
//! and `code * scale + scaled zero` in `gemv_fast`, product and sum in f32.
//!
//! | variant     | code of output `o`, input `i`                                                        |
//! |-------------|--------------------------------------------------------------------------------------|
//! | `gemm`      | row `i`, word `o / 8`, nibble 0 4 1 5 2 6 3 7 of `o % 8`                               |
//! | `gemv`      | row `o`, word `i / 8`, nibble `i % 8`                                                 |
//! | `gemv_fast` | row `o / 4`, of each 64 halves number `16 (o % 4) + 8 (i / 32 % 2) + i % 8`, nibble `i / 8 % 4` |
//!
//! Source: AutoAWQ `utils/packing_utils.py`, `modules/linear/gemv.py` and `gemv_fast.py`.

use std::ops::Range;

use super::files::{NIBBLE, WOVEN};
use super::{Kind, zeros_suffix};
use crate::quant::affine::{self, Affine, Groups, Zeros};
use crate::quant::decode::{Beside, DecodeRows, Decoding, as_numbers, floats, words};
use crate::quant::kernel::Program;
use crate::quant::pack::Packing;
use crate::quant::qweight::is_words;
use crate::quant::side::matrix;
use crate::quant::{LayerSpec, Part, Parts, marlin};
use crate::tensor::Dtype;
use crate::units;

/// Words of a row that are unpacked together: a cache line.
const WORDS: usize = 16;
/// Inputs that are unpacked together.
const INPUTS: usize = 64;

/// What the layouts have in common.
struct Layer {
    inputs: usize,
    outputs: usize,
    affine: Affine,
}

struct Gemm(Layer);
struct Gemv(Layer);
struct GemvFast(Layer);

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let kind = Kind::of(parts).ok_or("its parts are not AWQ's")?;
    if kind == Kind::Marlin {
        return marlin::decode(parts, "qweight", "scales");
    }
    let qweight = parts.get("qweight").ok_or("missing qweight")?;
    let Grids { shape: [outputs, inputs], dtype, size, width, scales, zeros } = grids(parts, layer, kind)?;
    let zeros = if kind == Kind::GemvFast { Zeros::Added(zeros) } else { Zeros::Each(zeros) };
    let shape = [outputs as u64, inputs as u64];
    let affine = Affine::new(scales, zeros, width, Groups::Runs(size), shape)?;
    let layer = Layer { inputs, outputs, affine };
    Ok(match kind {
        Kind::Gemm => Decoding::weight(parts, qweight, &shape, Some(dtype), Gemm(layer)),
        Kind::Gemv => Decoding::weight(parts, qweight, &shape, Some(dtype), Gemv(layer)),
        _ => Decoding::weight(parts, qweight, &shape, Some(dtype), GemvFast(layer)),
    })
}

/// Scales and zero points of a layer, checked against its codes.
pub(super) struct Grids {
    /// Outputs, inputs.
    pub(super) shape: [usize; 2],
    /// The dtype of scales.
    dtype: Dtype,
    /// Inputs of a group.
    pub(super) size: usize,
    /// Scales of an output, padding included.
    pub(super) width: usize,
    /// Scales `[outputs, width]`.
    pub(super) scales: Vec<f32>,
    /// Zero points in the same order; of `gemv_fast` their products with scales, negated.
    pub(super) zeros: Vec<f32>,
}

pub(super) fn grids(parts: &Parts<'_>, layer: &LayerSpec, kind: Kind) -> Result<Grids, String> {
    let qweight = parts.get("qweight").ok_or("missing qweight")?;
    let dims = matrix(qweight).ok_or("qweight is not a matrix")?;
    let [inputs, outputs] = kind.size(dims);
    check_codes(kind, qweight, [inputs, outputs])?;
    let scales = parts.get("scales").ok_or("missing scales")?;
    let dtype = affine::rounded_to(scales)?;
    let zeros = parts.get(zeros_suffix(parts)).ok_or("missing qzeros")?;
    let groups = matrix(scales).map_or(0, |dims| kind.groups_of("scales", dims));
    let needs = kind.needs([inputs, outputs], groups);
    for (part, needed) in [(scales, needs.scales), (zeros, needs.zeros)] {
        if groups == 0 || part.shape != needed {
            let (has, needed) = (units::shape(part.shape), units::shape(&needed));
            return Err(format!("{} is {has}, {groups} groups need {needed}", part.suffix));
        }
    }
    let (width, tall) = (if kind == Kind::Gemm { groups } else { groups * 8 } as usize, outputs as usize);
    let size = layer.group_size.unwrap_or(inputs) as usize;
    let by_output = |values: Vec<f32>| affine::transposed(&values, width, tall);
    let (scales, zeros) = match kind {
        Kind::Gemm => (by_output(floats(parts, "scales")?), gemm_zeros(parts, width, tall)?),
        Kind::Gemv => (floats(parts, "scales")?, gemv_zeros(parts)?),
        _ => (by_output(floats(parts, "scales")?), by_output(floats(parts, zeros.suffix)?)),
    };
    Ok(Grids { shape: [tall, inputs as usize], dtype, size, width, scales, zeros })
}

/// Returns a decoder that gives the codes themselves.
pub(super) fn codes(kind: Kind, [outputs, inputs]: [usize; 2]) -> Result<Box<dyn DecodeRows>, String> {
    let (ones, groups) = (vec![1.0; outputs], Groups::Runs(inputs.max(1)));
    let affine = Affine::new(ones, Zeros::One(0.0), 1, groups, [outputs as u64, inputs as u64])?;
    let layer = Layer { inputs, outputs, affine };
    Ok(match kind {
        Kind::Gemm => Box::new(Gemm(layer)),
        Kind::Gemv | Kind::Marlin => Box::new(Gemv(layer)),
        Kind::GemvFast => Box::new(GemvFast(layer)),
    })
}

/// Checks dtype, size and divisibility of the codes.
fn check_codes(kind: Kind, qweight: &Part<'_>, [inputs, outputs]: [u64; 2]) -> Result<(), String> {
    let fits = match kind {
        Kind::GemvFast => matches!(qweight.dtype, Dtype::I16 | Dtype::U16),
        _ => is_words(qweight.dtype),
    };
    if !fits {
        return Err(format!("qweight is {}, which {} has not", qweight.dtype, kind.name()));
    }
    if kind == Kind::GemvFast && !inputs.is_multiple_of(WOVEN as u64) {
        return Err(format!(
            "{inputs} inputs are no whole number of {WOVEN}, over which rows are interleaved"
        ));
    }
    let codes = inputs.checked_mul(outputs).filter(|&codes| codes > 0);
    if codes.is_none_or(|codes| qweight.bytes != codes / 2) {
        return Err(format!(
            "qweight has {} bytes, {outputs} outputs and {inputs} inputs do not fill them",
            { qweight.bytes }
        ));
    }
    Ok(())
}

/// Returns the zero points `[out, groups]` of `gemm`.
fn gemm_zeros(parts: &Parts<'_>, groups: usize, outputs: usize) -> Result<Vec<f32>, String> {
    let mut zeros = vec![0.0; groups * outputs];
    for (group, line) in words(parts, "qzeros")?.chunks_exact(outputs / 8).enumerate() {
        for (word, zeros) in line.iter().zip(zeros.chunks_exact_mut(8 * groups)) {
            for (k, shift) in NIBBLE.into_iter().enumerate() {
                zeros[k * groups + group] = (word >> (4 * shift) & 15) as f32;
            }
        }
    }
    Ok(zeros)
}

/// Returns the zero points `[out, groups]` of `gemv`, of which some fill up words.
fn gemv_zeros(parts: &Parts<'_>) -> Result<Vec<f32>, String> {
    let words: Vec<[u8; 4]> = words(parts, "qzeros")?.into_iter().map(u32::to_le_bytes).collect();
    let mut zeros = vec![0.0; words.len() * 8];
    Packing::Dense.unpack(&words, 4, &mut zeros);
    Ok(zeros)
}

impl Gemm {
    /// Unpacks rows as numbers; `finish` is given each output, its first input and the codes from there on.
    fn unpack(
        &self,
        rows: &Range<u64>,
        codes: &[u8],
        out: &mut [f32],
        finish: impl Fn(usize, usize, &mut [f32]),
    ) {
        let Layer { inputs, outputs, .. } = &self.0;
        let (words, _) = codes.as_chunks::<4>();
        let mut columns = [[0u32; INPUTS]; WORDS];
        for from in (0..*inputs).step_by(INPUTS) {
            let count = INPUTS.min(inputs - from);
            let lines = words.chunks_exact(outputs / 8).skip(from).take(count);
            let (mut output, mut rest) = (rows.start as usize, &mut *out);
            while !rest.is_empty() {
                // As many outputs as the words beginning with this output's hold.
                let height = (WORDS * 8 - output % 8).min(rest.len() / inputs);
                let (outs, behind) = rest.split_at_mut(height * inputs);
                let (left, width) = (output / 8, (output % 8 + height).div_ceil(8));
                for (row, line) in lines.clone().enumerate() {
                    for (column, word) in columns.iter_mut().zip(&line[left..left + width]) {
                        column[row] = u32::from_le_bytes(*word);
                    }
                }
                for (out, output) in outs.chunks_exact_mut(*inputs).zip(output..) {
                    let out = &mut out[from..from + count];
                    let shift = 4 * NIBBLE[output % 8];
                    for (value, word) in out.iter_mut().zip(&columns[output / 8 - left]) {
                        *value = (word >> shift & 15) as i32 as f32;
                    }
                    finish(output, from, out);
                }
                (output, rest) = (output + height, behind);
            }
        }
    }
}

impl DecodeRows for Gemm {
    fn codes(&self, _rows: Range<u64>) -> Range<u64> {
        0..(self.0.inputs * self.0.outputs / 2) as u64
    }

    fn rows_at_once(&self) -> u64 {
        128
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(&rows, codes, out, |output, from, out| self.0.affine.apply(output, from, out));
    }

    fn program(&self) -> Option<Program> {
        let Layer { inputs, outputs, affine } = &self.0;
        let nibbles = NIBBLE.into_iter().rev().fold(0, |all, nibble| all << 4 | u64::from(nibble));
        let own = [*outputs as u64 / 8, nibbles];
        Some(affine.kernel("words_down", [*outputs, *inputs], own)?.into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(4)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        as_numbers(out, |numbers| self.unpack(&rows, codes, numbers, |_, _, _| {}));
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.0.affine.beside(which)
    }
}

impl Gemv {
    /// Unpacks rows as numbers; `finish` is given each output, its first input and the codes from there on.
    fn unpack(
        &self,
        rows: &Range<u64>,
        codes: &[u8],
        out: &mut [f32],
        finish: impl Fn(usize, usize, &mut [f32]),
    ) {
        let Layer { inputs, .. } = &self.0;
        let lines = codes.chunks_exact(inputs / 2);
        for ((out, line), output) in out.chunks_exact_mut(*inputs).zip(lines).zip(rows.start as usize..) {
            Packing::Dense.unpack(line.as_chunks().0, 4, out);
            finish(output, 0, out);
        }
    }
}

impl DecodeRows for Gemv {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let row = self.0.inputs as u64 / 2;
        rows.start * row..rows.end * row
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(&rows, codes, out, |output, from, out| self.0.affine.apply(output, from, out));
    }

    fn program(&self) -> Option<Program> {
        let Layer { inputs, outputs, affine } = &self.0;
        let own = [*inputs as u64 / 8, 4, 0];
        Some(affine.kernel("packed", [*outputs, *inputs], own)?.into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(4)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        as_numbers(out, |numbers| self.unpack(&rows, codes, numbers, |_, _, _| {}));
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.0.affine.beside(which)
    }
}

impl GemvFast {
    /// Unpacks rows as numbers; `finish` is given each output, its first input and the codes from there on.
    fn unpack(
        &self,
        rows: &Range<u64>,
        codes: &[u8],
        out: &mut [f32],
        finish: impl Fn(usize, usize, &mut [f32]),
    ) {
        let Layer { inputs, .. } = &self.0;
        let (halves, _) = codes.as_chunks::<2>();
        let first = rows.start as usize;
        for (out, output) in out.chunks_exact_mut(*inputs).zip(first..) {
            let line = &halves[(output / 4 - first / 4) * inputs..];
            let own = WOVEN / 4 * (output % 4);
            for (out, line) in out.chunks_exact_mut(WOVEN).zip(line.chunks_exact(WOVEN)) {
                let runs = line[own..own + WOVEN / 4].as_chunks::<8>().0;
                for (out, run) in out.chunks_exact_mut(32).zip(runs) {
                    for (out, shift) in out.chunks_exact_mut(8).zip([0, 4, 8, 12]) {
                        for (value, half) in out.iter_mut().zip(run) {
                            *value = f32::from(u16::from_le_bytes(*half) >> shift & 15);
                        }
                    }
                }
            }
            finish(output, 0, out);
        }
    }
}

impl DecodeRows for GemvFast {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let four = self.0.inputs as u64 * 2;
        rows.start / 4 * four..rows.end.div_ceil(4) * four
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(&rows, codes, out, |output, from, out| self.0.affine.apply(output, from, out));
    }

    fn program(&self) -> Option<Program> {
        let Layer { inputs, outputs, affine } = &self.0;
        Some(affine.kernel("gemv_fast", [*outputs, *inputs], [])?.into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(4)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        as_numbers(out, |numbers| self.unpack(&rows, codes, numbers, |_, _, _| {}));
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        self.0.affine.beside(which)
    }
}

#[cfg(test)]
mod tests;
