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
use crate::quant::decode::{DecodeRows, Decoding, floats, words};
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

impl DecodeRows for Columns {
    fn codes(&self, _rows: Range<u64>) -> Range<u64> {
        let words = self.packing.words(self.inputs as u64, self.bits).unwrap_or(0);
        0..words * self.outputs as u64 * 4
    }

    fn rows_at_once(&self) -> u64 {
        32
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
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
                    self.affine.apply(output, from, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use serde_json::{Value, json};

    use super::*;
    use crate::quant::QuantFormat as _;
    use crate::quant::gptq::Gptq;
    use crate::quant::testing::{Literal, decode, f16s, words};
    use crate::tensor::Dtype;

    /// Words of 4-bit codes for 16 inputs and 8 outputs: input `i` of output `o` has code `(i + o) % 16`.
    fn codes() -> Vec<u8> {
        let word = |row: u32, o: u32| (0..8).fold(0, |w, k| w | ((8 * row + k + o) % 16) << (4 * k));
        words(&(0..16).map(|at| word(at / 8, at % 8)).collect::<Vec<_>>())
    }

    fn bare(zeros: [u32; 2], index: &[i32; 16]) -> Literal {
        let scales: Vec<f32> = (0..16).map(|at| if at < 8 { 0.5 } else { 0.25 }).collect();
        let index: Vec<u32> = index.iter().map(|&i| i as u32).collect();
        Literal::new("m")
            .part("qweight", Dtype::I32, &[2, 8], codes())
            .part("qzeros", Dtype::I32, &[2, 1], words(&zeros))
            .part("scales", Dtype::F16, &[2, 8], f16s(&scales))
            .part("g_idx", Dtype::I32, &[16], words(&index))
    }

    fn layer(zeros: [u32; 2], index: &[i32; 16], config: Value) -> Literal {
        bare(zeros, index).block(Some("gptq"), config)
    }

    const ORDERED: [i32; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

    fn v2() -> Value {
        json!({"bits": 4, "group_size": 8, "checkpoint_format": "gptq_v2"})
    }

    #[test]
    fn a_product_is_rounded_as_the_vector_has_it() {
        let product = (13.0 - 8.0) * f16::from_f32(0.0123).to_f32();
        assert_eq!(f16::from_f32(product).to_bits(), 0x2bdf);
    }

    #[test]
    fn act_order_counts_negative_groups_from_the_end() {
        let index = [0, 1, -1, -2, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
        let out = decode(&layer([0x1111_1111, 0x3333_3333], &index, v2()), &Gptq, 0..8).unwrap();
        let group = |i: usize| usize::from(i >= 8 || i == 1 || i == 2);
        for (at, value) in out.into_iter().enumerate() {
            let (o, i) = (at / 16, at % 16);
            let code = ((i + o) % 16) as f32;
            assert_eq!(value, [(code - 1.0) * 0.5, (code - 3.0) * 0.25][group(i)], "{o} {i}");
        }
    }

    #[test]
    fn without_an_index_groups_follow_each_other() {
        let scales: Vec<f32> = (0..16).map(|at| if at < 8 { 0.5 } else { 0.25 }).collect();
        let layer = Literal::new("m")
            .part("qweight", Dtype::I32, &[4, 8], codes().repeat(2))
            .part("qzeros", Dtype::I32, &[2, 1], words(&[0x8888_8888; 2]))
            .part("scales", Dtype::F16, &[2, 8], f16s(&scales));
        let out = decode(&layer, &Gptq, 0..8).unwrap();
        for (at, value) in out.into_iter().enumerate() {
            let (o, i) = (at / 32, at % 32);
            assert_eq!(value, (((i + o) % 16) as f32 - 8.0) * if i < 16 { 0.5 } else { 0.25 });
        }
    }

    #[test]
    fn rows_are_decoded_alone() {
        let layer = layer([0x7777_7777; 2], &ORDERED, v2());
        let all = decode(&layer, &Gptq, 0..8).unwrap();
        assert_eq!(decode(&layer, &Gptq, 3..5).unwrap(), all[48..80]);
    }

    #[test]
    fn zero_points_of_v1_wrap_in_the_word_for_gptqmodel_and_in_the_field_for_others() {
        // Zero points 0 8 0 8 8 8 8 8 minus 0x11111111: borrows.
        let stored = 0x8888_8080u32.wrapping_sub(0x1111_1111);
        let zeros = |config: Value| {
            let out = decode(&layer([stored; 2], &ORDERED, config), &Gptq, 0..8).unwrap();
            let zero = |o: usize| o as f32 - out[16 * o] / 0.5;
            (0..8).map(zero).collect::<Vec<_>>()
        };
        let config = |meta: Value| json!({"bits": 4, "group_size": 8, "sym": false, "meta": meta});
        let gptqmodel = zeros(config(json!({"quantizer": ["gptqmodel:7.7.0"]})));
        assert_eq!(gptqmodel, [0.0, 8.0, 0.0, 8.0, 8.0, 8.0, 8.0, 8.0]);
        let other = zeros(config(json!({"quantizer": "optimum"})));
        assert_eq!(other, [0.0, 7.0, 0.0, 7.0, 8.0, 8.0, 8.0, 8.0]);
    }

    #[test]
    fn a_version_that_nothing_tells_is_a_caution() {
        let caution = |zeros: u32, method: &str, config: Value| {
            bare([zeros; 2], &ORDERED).block(Some(method), config).with(|parts| {
                let spec = Gptq.recognize(parts).unwrap().spec;
                Gptq.decode(parts, &spec).unwrap().caution.is_some()
            })
        };
        let either_way = json!({"bits": 4, "group_size": 8, "packing_format": "auto_round"});
        assert!(caution(0x1234_5678, "auto-round", either_way.clone()));
        assert!(!caution(0x7777_7777, "auto-round", either_way));
        assert!(!caution(0x1234_5678, "gptq", json!({"bits": 4})), "without a word it is v1");
        assert!(!caution(0x1234_5678, "gptq", v2()));
    }

    #[test]
    fn planes_and_straddling_fields_are_unpacked() {
        for (bits, planar) in [(3u32, false), (3, true), (5, true), (6, true), (7, true)] {
            let packing = if planar { Packing::Planar } else { Packing::Dense };
            let height = bits as usize;
            let qweight: Vec<u32> = (1..=32 * bits).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).collect();
            let zeros: Vec<u32> = (1..=bits).map(|i: u32| i.wrapping_mul(0x1234_5679)).collect();
            let format = if planar { "gptq_p" } else { "gptq_v2" };
            let layer = Literal::new("m")
                .part("qweight", Dtype::I32, &[u64::from(bits), 32], words(&qweight))
                .part("qzeros", Dtype::I32, &[1, u64::from(bits)], words(&zeros))
                .part("scales", Dtype::BF16, &[1, 32], [0x00, 0x3f].repeat(32))
                .block(Some("gptq"), json!({"bits": bits, "group_size": -1, "format": format}));
            let out = decode(&layer, &Gptq, 0..32).unwrap();
            for (at, value) in out.into_iter().enumerate() {
                let (o, i) = (at / 32, at % 32);
                let column: Vec<u32> = (0..height).map(|row| qweight[32 * row + o]).collect();
                let code = packing.field(&words(&column), i, bits) as f32;
                let zero = packing.field(&words(&zeros), o, bits) as f32;
                assert_eq!(value, (code - zero) * 0.5, "{bits} {o} {i}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_numbers() {
        let good = || layer([0x7777_7777; 2], &ORDERED, v2());
        let why = |layer: &Literal| decode(layer, &Gptq, 0..8).unwrap_err();
        let mut outside = ORDERED;
        outside[5] = 2;
        let layer_outside = layer([0; 2], &outside, v2());
        assert_eq!(why(&layer_outside), "g_idx is 2 at input 5, there are 2 groups");
        outside[5] = -3;
        assert_eq!(why(&layer([0; 2], &outside, v2())), "g_idx is -3 at input 5, there are 2 groups");
        let short = good().without("qzeros").part("qzeros", Dtype::I32, &[1, 1], words(&[0]));
        assert!(why(&short).starts_with("qzeros has 1 rows of 1 words"), "{}", why(&short));
        let double = good().without("scales").part("scales", Dtype::F64, &[2, 8], vec![0; 128]);
        assert_eq!(why(&double), "scales is F64, not F16, BF16 or F32");
        assert!(why(&good().without("scales")).starts_with("missing scales"));
        assert!(why(&good().headers_only()).contains("read"));
        let unread = good().without("qzeros").shape("qzeros", Dtype::I32, &[2, 1]);
        assert_eq!(why(&unread), "qzeros: not given in this test");
        let narrow = Literal::new("m")
            .part("qweight", Dtype::I16, &[4, 8], vec![0; 64])
            .part("qzeros", Dtype::I16, &[1, 2], vec![0; 4])
            .part("scales", Dtype::F16, &[1, 8], f16s(&[1.0; 8]))
            .block(Some("gptq"), json!({"bits": 4, "group_size": -1}));
        assert!(narrow.recognize(&Gptq).is_some() && why(&narrow).contains("I16"));
    }
}
