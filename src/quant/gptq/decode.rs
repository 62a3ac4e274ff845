//! Decoding GPTQ: `scales[g, o] * (code[i, o] - zero[g, o])`, where `g` is the group of input `i`.
//!
//! Codes lie along the inputs, so that a row of the result is a column of `qweight`. Columns are unpacked
//! some at a time, which reads whole cache lines. The difference is a whole number and the product is
//! rounded once, in the scales' dtype.
//!
//! Zero points of v1 are stored minus one. GPTQModel subtracts the one from whole words, borrows and all, and
//! adds it so; other readers add it field by field within the bits. For 3 bits, and for planes, all do that.
//! Sources: GPTQModel 7 `TorchLinear.dequantize_weight` and `utils/model.py`, AutoGPTQ 0.7 `qlinear_cuda.py`.

use std::ops::Range;

use super::{Claims, Numbers, Version, Zeros, claimed_version, claims, is_empty, judged, side};
use crate::quant::affine::{self, Affine, Groups};
use crate::quant::decode::{Beside, DecodeRows, Decoding, as_numbers, floats, words};
use crate::quant::kernel::Program;
use crate::quant::pack::Packing;
use crate::quant::qweight::{is_gptq, is_words};
use crate::quant::side::{NumberRead, integers, matrix};
use crate::quant::{LayerSpec, Parts, marlin};

/// Columns that are unpacked together: a cache line of words.
const COLUMNS: usize = 16;
/// Inputs that are unpacked together; sets of planes end with them.
const INPUTS: usize = 256;
/// Words of a column that hold them, of 8 bits at most.
const WORDS: usize = INPUTS / 4;

/// Columns of a packed weight.
struct Columns {
    packing: Packing,
    bits: u32,
    inputs: usize,
    outputs: usize,
    affine: Affine,
}

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    if layer.variant == "marlin" {
        let (codes, scales) = if parts.has("B") { ("B", "s") } else { ("qweight", "scales") };
        let mut decoding = marlin::decode(parts, codes, scales)?;
        decoding.caution =
            Some("the marlin layout of GPTQ is read as its source has it, never run against it");
        return Ok(decoding);
    }
    let claims = claims(parts);
    let qweight = parts.get("qweight").ok_or("missing qweight")?;
    let Some(numbers) = Numbers::of(parts, claims.as_ref()) else {
        return Err("no whole number of bits a code fits the parts".into());
    };
    let Numbers { bits, inputs, outputs, packing, .. } = numbers;
    if !is_words(qweight.dtype) {
        return Err(format!("codes in words of {}; only those of 32 bits are decoded", qweight.dtype));
    }
    let rows = matrix(qweight).map_or(0, |[rows, _]| rows);
    let bytes = rows.checked_mul(outputs).and_then(|words| words.checked_mul(4));
    if packing.words(inputs, bits) != Some(rows) || bytes != Some(qweight.bytes) {
        return Err(format!(
            "qweight has {rows} rows of words, {inputs} inputs of {bits} bits do not fill them"
        ));
    }
    if inputs == 0 || outputs == 0 {
        return Err(format!("qweight has {inputs} inputs and {outputs} outputs"));
    }
    let scales = parts.get("scales").ok_or("missing scales")?;
    let dtype = affine::rounded_to(scales)?;
    let Some([groups, _]) = matrix(scales).filter(|&[rows, columns]| rows > 0 && columns == outputs) else {
        return Err(format!("scales do not have {outputs} columns"));
    };
    let values = affine::transposed(&floats(parts, "scales")?, groups as usize, outputs as usize);
    let (version, is_told) = version(parts, &numbers, claims.as_ref());
    let zeros = zero_points(parts, &numbers, version, groups)?;
    let order = order(parts, &numbers, groups)?;
    let shape = [outputs, inputs];
    let affine = Affine::new(values, affine::Zeros::Each(zeros), groups as usize, order, shape)?;
    let columns = Columns { packing, bits, inputs: inputs as usize, outputs: outputs as usize, affine };
    let mut decoding = Decoding::weight(parts, qweight, &shape, Some(dtype), columns);
    let untold = "nothing says whether the zero points are stored minus one (v1) or as they are: read as v1";
    decoding.caution = (!is_told).then_some(untold);
    Ok(decoding)
}

/// Returns a decoder that gives the codes themselves.
pub(super) fn codes(numbers: &Numbers) -> Result<Box<dyn DecodeRows>, String> {
    let Numbers { bits, inputs, outputs, packing, .. } = *numbers;
    let (inputs, outputs) = (inputs as usize, outputs as usize);
    let (ones, groups) = (vec![1.0; outputs], Groups::Runs(inputs.max(1)));
    let shape = [outputs as u64, inputs as u64];
    let affine = Affine::new(ones, affine::Zeros::One(0.0), 1, groups, shape)?;
    Ok(Box::new(Columns { packing, bits, inputs, outputs, affine }))
}

/// Returns the version, as recognition finds it, from all the bytes that it asks for: at opening some may
/// not have been read. With it, true if something tells it: the zero points or the config.
pub(super) fn version(parts: &Parts<'_>, numbers: &Numbers, claims: Option<&Claims<'_>>) -> (Version, bool) {
    let said = claims.and_then(claimed_version).map(|said| said.value);
    let said_symmetric = claims.and_then(|c| c.flag(&["sym"]));
    let fallback = said.unwrap_or(Version::V1);
    match Zeros::read(parts, numbers) {
        side::Read::Found(zeros) => {
            let is_told = said.is_some() || zeros.fingerprint().is_some();
            (judged(&zeros, said_symmetric.as_ref(), fallback), is_told)
        }
        side::Read::Pending | side::Read::Nothing(_) => (fallback, said.is_some()),
    }
}

/// Returns true if GPTQModel wrote the files.
pub(super) fn is_of_gptqmodel(parts: &Parts<'_>) -> bool {
    let blocks = parts.config.blocks.iter().filter(|b| b.method.as_deref().is_some_and(is_gptq));
    let mut writers = blocks.filter_map(|block| block.value.get("meta")?.get("quantizer"));
    let is_it = |writer: &serde_json::Value| writer.as_str().is_some_and(|w| w.starts_with("gptqmodel"));
    writers.any(|writers| is_it(writers) || writers.as_array().is_some_and(|list| list.iter().any(is_it)))
}

/// Returns the zero points `[outputs, groups]`.
pub(super) fn zero_points(
    parts: &Parts<'_>,
    numbers: &Numbers,
    version: Version,
    groups: u64,
) -> Result<Vec<f32>, String> {
    let Numbers { bits, outputs, packing, .. } = *numbers;
    let part = parts.get("qzeros").ok_or("missing qzeros")?;
    let (rows, width) = matrix(part).map_or((0, 0), |[rows, width]| (rows, width));
    if rows != groups || packing.words(outputs, bits).is_none_or(|needed| needed > width) {
        let has = format!("{rows} rows of {width} words");
        return Err(format!(
            "qzeros has {has}, {groups} groups of {outputs} outputs in {bits} bits need more"
        ));
    }
    let is_v1 = version == Version::V1;
    let by_words = is_v1 && matches!(bits, 2 | 4 | 8) && is_of_gptqmodel(parts);
    // A one in each field of a word.
    let ones = if by_words { u32::MAX / ((1 << bits) - 1) } else { 0 };
    let words = words(parts, "qzeros")?;
    let words: Vec<[u8; 4]> = words.iter().map(|word| word.wrapping_add(ones).to_le_bytes()).collect();
    let (top, width) = (((1 << bits) - 1) as f32, (width as usize).max(1));
    let mut zeros = vec![0.0; (outputs as usize).saturating_mul(groups as usize)];
    let mut line = vec![0.0; outputs as usize];
    for (group, words) in words.chunks_exact(width).enumerate() {
        packing.unpack(words, bits, &mut line);
        for (zeros, &stored) in zeros.chunks_exact_mut(groups as usize).zip(&line) {
            zeros[group] = match is_v1 && !by_words {
                true if stored == top => 0.0,
                true => stored + 1.0,
                false => stored,
            };
        }
    }
    Ok(zeros)
}

/// Returns the group of each input: by `g_idx`, whose negative entries count from the end.
pub(super) fn order(parts: &Parts<'_>, numbers: &Numbers, groups: u64) -> Result<Groups, String> {
    let size = numbers.grouping.size.unwrap_or(numbers.inputs).max(1) as usize;
    let Some(part) = parts.get("g_idx").filter(|part| !is_empty(part)) else { return Ok(Groups::Runs(size)) };
    let inputs = numbers.inputs as usize;
    let list = match integers(parts, "g_idx", inputs) {
        NumberRead::Numbers(list) if part.shape == [numbers.inputs] && list.len() == inputs => list,
        NumberRead::Numbers(list) => {
            return Err(format!("g_idx has {} entries, there are {inputs} inputs", list.len()));
        }
        NumberRead::Pending | NumberRead::Absent => {
            return Err(format!("g_idx ({}) cannot be read", part.dtype));
        }
    };
    let group = |(at, value): (usize, i64)| {
        let group = if value < 0 { value.saturating_add_unsigned(groups) } else { value };
        let outside = || format!("g_idx is {value} at input {at}, there are {groups} groups");
        u32::try_from(group).ok().filter(|&g| u64::from(g) < groups).ok_or_else(outside)
    };
    let list: Vec<u32> = list.into_iter().enumerate().map(group).collect::<Result<_, _>>()?;
    Ok(affine::in_order(list, size))
}

impl Columns {
    /// Unpacks rows as numbers; `finish` is given each output, its first input and the codes from there on.
    fn unpack(
        &self,
        rows: &Range<u64>,
        codes: &[u8],
        out: &mut [f32],
        finish: impl Fn(usize, usize, &mut [f32]),
    ) {
        let (words, _) = codes.as_chunks::<4>();
        let first = rows.start as usize;
        let mut columns = [[[0; 4]; WORDS]; COLUMNS];
        for from in (0..self.inputs).step_by(INPUTS) {
            let count = INPUTS.min(self.inputs - from);
            let first_word = from / 32 * self.bits as usize;
            let height = self.packing.words(count as u64, self.bits).unwrap_or(0) as usize;
            let lines = words.chunks_exact(self.outputs).skip(first_word).take(height);
            for (tile, outs) in out.chunks_mut(COLUMNS * self.inputs).enumerate() {
                let left = first + tile * COLUMNS;
                let width = outs.len() / self.inputs;
                for (row, line) in lines.clone().enumerate() {
                    for (column, word) in columns.iter_mut().zip(&line[left..left + width]) {
                        column[row] = *word;
                    }
                }
                for ((column, out), output) in
                    columns.iter().zip(outs.chunks_exact_mut(self.inputs)).zip(left..)
                {
                    let out = &mut out[from..from + count];
                    self.packing.unpack(&column[..height], self.bits, out);
                    finish(output, from, out);
                }
            }
        }
    }
}

impl DecodeRows for Columns {
    fn codes(&self, _rows: Range<u64>) -> Range<u64> {
        let words = self.packing.words(self.inputs as u64, self.bits).unwrap_or(0);
        0..words * self.outputs as u64 * 4
    }

    fn rows_at_once(&self) -> u64 {
        32
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(&rows, codes, out, |output, from, out| self.affine.apply(output, from, out));
    }

    fn program(&self) -> Option<Program> {
        let Self { packing, bits, inputs, outputs, affine } = self;
        let words = packing.words(*inputs as u64, *bits)?;
        let own = [*outputs as u64, words, u64::from(*bits), packing.planes(*bits)?];
        let name = if *bits == 4 { "gptq4" } else { "gptq" };
        Some(affine.kernel(name, [*outputs, *inputs], own)?.into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(self.bits)
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
