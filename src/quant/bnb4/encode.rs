//! Encoding nf4 and fp4: each block's absmax, and the code whose value is nearest to `w / absmax`.
//!
//! | what                     | how                                                                           |
//! |--------------------------|-------------------------------------------------------------------------------|
//! | code                     | midpoints of the sorted values that lie below `w · (1 / absmax)`; ties go down |
//! | last block, if not whole | `w / absmax` instead                                                          |
//! | nested absmax            | `absmax - mean`, in blocks of 256 with the 256-entry map, found in 65,536 steps |
//!
//! The mean of the absmax is torch's, summed in its order.
//! Source: bitsandbytes 0.50, `backends/default/ops.py` (`quantize_4bit`), `functional.py` (`quantize_4bit`),
//! `csrc/cpu_ops.cpp` (`quantize_cpu`).

use multiversion::multiversion;
use serde_json::{Map, Value};

use super::mean::mean;
use super::python::python_json;
use super::state::{State, StateRead};
use super::{BLOCKS, Table, codes, part, state_part};
use crate::quant::decode::{bytes_of, floats_as};
use crate::quant::encode::{Around, Encode, Encoded, Encoding};
use crate::quant::kernel::Kernel;
use crate::quant::{LayerSpec, Parts};
use crate::tensor::nearest::Nearest;
use crate::tensor::{Dtype, elements};

/// Values that are held together at most: where blocks straddle rows, as many rows as make whole blocks.
const APART_MAX: u64 = 64 << 20;
/// The smallest absmax that is divided by.
const LEAST: f32 = 1e-38;
/// Characters of the longest offset.
pub(super) const OFFSET_CHARS: usize = 24;
/// Which tensor of nested absmax the quant state is.
const NESTED_STATE: usize = 3;

/// Encodes rows of a 4-bit weight; strands: codes, absmax.
pub(super) struct Rows {
    nearest: Nearest,
    block: usize,
    row_len: u64,
    nested: Option<Nested>,
}

/// How absmax are quantized themselves.
pub(super) struct Nested {
    map: Vec<f32>,
    block: usize,
    state: Map<String, Value>,
    /// Bytes of the quant state with the longest offset.
    state_bytes: usize,
}

pub(super) fn encode(table: Table, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
    let weight = codes(parts).ok_or("missing weight")?;
    let StateRead::State(state) = State::read(parts) else {
        return Err("without its quant state neither shape nor block size are known".into());
    };
    let block = state
        .block
        .filter(|block| BLOCKS.contains(block))
        .ok_or("the quant state has no blocksize of bitsandbytes")?;
    let count = elements(&layer.shape).filter(|_| layer.shape_known).ok_or("its shape is not known")?;
    if weight.bytes != count.div_ceil(2) {
        return Err(format!("weight has {} bytes, {count} codes need {}", weight.bytes, count.div_ceil(2)));
    }
    let stored = part(parts, "absmax").ok_or("missing absmax")?;
    let row_len = layer.shape.last().copied().unwrap_or(1).max(1);
    let mut tensors = vec![Encoded::like(weight), Encoded::like(stored)];
    let nested = match stored.dtype {
        Dtype::F32 => None,
        Dtype::U8 => {
            let absmax = part(parts, "nested_absmax").ok_or("missing nested_absmax")?;
            if absmax.dtype != Dtype::F32 {
                return Err(format!("nested_absmax is {}, bitsandbytes writes F32", absmax.dtype));
            }
            let nested = Nested::read(parts, &state)?;
            let blob = state_part(parts).ok_or("missing quant state")?;
            let bytes = nested.state_bytes();
            tensors.push(Encoded::like(absmax));
            tensors.push(Encoded { shape: vec![bytes], bytes, ..Encoded::like(blob) });
            Some(nested)
        }
        other => return Err(format!("absmax is {other}, bitsandbytes writes F32 or U8")),
    };
    let rows = Rows::new(table, block, row_len, nested);
    rows.check()?;
    Ok(Encoding { tensors, encoder: Box::new(rows) })
}

impl Rows {
    pub(super) fn new(table: Table, block: u64, row_len: u64, nested: Option<Nested>) -> Self {
        let values = table.values();
        let mut codes: [u8; 16] = std::array::from_fn(|code| code as u8);
        // Stable: of fp4's two zeros the positive one comes first.
        codes.sort_by(|&a, &b| {
            let (a, b) = (values[usize::from(a)], values[usize::from(b)]);
            a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
        });
        let at = |place: usize| values[usize::from(codes[place])];
        let bounds = std::array::from_fn(|place| f32::midpoint(at(place), at(place + 1)));
        Self { nearest: Nearest { bounds, codes }, block: block as usize, row_len, nested }
    }
}

impl Rows {
    /// Refuses blocks that straddle so many rows that they could not be held.
    pub(super) fn check(&self) -> Result<(), String> {
        let (apart, row_len) = (self.rows_apart(), self.row_len);
        if apart.saturating_mul(row_len) <= APART_MAX {
            return Ok(());
        }
        let block = self.block;
        Err(format!(
            "blocks of {block} straddle rows of {row_len}: {apart} rows would have to be held together"
        ))
    }
}

impl Encode for Rows {
    fn rows_apart(&self) -> u64 {
        let block = self.block as u64;
        block / greatest_common_divisor(block, self.row_len)
    }

    fn rows(&self, values: &[f32], _at: Around) -> Result<Vec<Vec<u8>>, String> {
        let mut absmax = Vec::with_capacity(values.len().div_ceil(self.block));
        let mut packed = vec![0; values.len().div_ceil(2)];
        let (whole, last) = values.split_at(values.len() / self.block * self.block);
        let (to_whole, to_last) = packed.split_at_mut(whole.len() / 2);
        self.nearest.blocks(whole, self.block, LEAST, to_whole, &mut absmax);
        if !last.is_empty() {
            let largest = largest(last).max(LEAST);
            let code = |value: &f32| self.nearest.code(value / largest);
            for (pair, out) in last.chunks(2).zip(to_last) {
                // The value behind an odd last one is 0.
                *out = code(&pair[0]) << 4 | code(pair.get(1).unwrap_or(&0.0));
            }
            absmax.push(largest);
        }
        let absmax = absmax.iter().flat_map(|largest| largest.to_le_bytes()).collect();
        Ok(vec![packed, absmax])
    }

    fn piece_bytes(&self) -> Option<u64> {
        // As many rows as make whole blocks, whose values are even in number.
        Some(self.rows_apart() * self.row_len / 2)
    }

    fn is_exact(&self, tensor: usize) -> bool {
        // The offset in a quant state has as many digits as it needs.
        self.nested.is_none() || tensor != NESTED_STATE
    }

    fn finish(&self, strands: Vec<Vec<u8>>, _largest: f32) -> Vec<Vec<u8>> {
        let (Some(nested), [_, absmax]) = (&self.nested, strands.as_slice()) else { return strands };
        let absmax: Vec<f32> =
            absmax.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let others = nested.quantize(&absmax);
        strands.into_iter().take(1).chain(others).collect()
    }

    fn kernel(&self, _largest: f32) -> Option<Kernel> {
        let power = self.block.is_power_of_two().then(|| self.block.ilog2()).filter(|&power| power >= 5)?;
        let Nearest { bounds, codes } = &self.nearest;
        let codes = codes.iter().rev().fold(0, |all, &code| all << 4 | u64::from(code));
        Some(Kernel::new("bnb4_encode").floats(bounds).numbers([u64::from(power), codes]))
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        let count = rows * self.row_len;
        vec![count.div_ceil(2), count.div_ceil(self.block as u64) * 4]
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Returns the largest magnitude of finite values.
#[multiversion(targets("x86_64+avx2"))]
fn largest(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (lanes, rest) = values.as_chunks::<LANES>();
    let mut largest = [0f32; LANES];
    for values in lanes {
        for lane in 0..LANES {
            let magnitude = values[lane].abs();
            largest[lane] = if magnitude > largest[lane] { magnitude } else { largest[lane] };
        }
    }
    largest.iter().chain(rest).fold(0.0, |largest, value| value.abs().max(largest))
}

impl Nested {
    fn read(parts: &Parts<'_>, state: &State) -> Result<Self, String> {
        let stored = part(parts, "nested_quant_map").ok_or("missing nested_quant_map")?;
        let map = floats_as(parts, stored, Dtype::F32)?;
        let is_sorted = map.len() == 256 && map.iter().all(|value| value.is_finite()) && map.is_sorted();
        if !is_sorted {
            return Err(format!(
                "nested_quant_map has {} values, 256 in ascending order are needed",
                map.len()
            ));
        }
        let block =
            state.nested_block.filter(|&block| block > 0).ok_or("the quant state has no nested_blocksize")?;
        let blob = state_part(parts).ok_or("missing quant state")?;
        let read: Value =
            serde_json::from_slice(&bytes_of(parts, blob)?).map_err(|error| error.to_string())?;
        let Value::Object(mut state) = read else { return Err("the quant state is no JSON object".into()) };
        state.insert("nested_offset".into(), Value::from(0));
        Ok(Self::new(map, block, state))
    }

    /// Returns how absmax are quantized with a map and blocks; `state`: the quant state, in which the offset is set.
    pub(super) fn new(map: Vec<f32>, block: u64, state: Map<String, Value>) -> Self {
        let state_bytes = python_json(&Value::Object(state.clone())).len() - 1 + OFFSET_CHARS;
        Self { map, block: block as usize, state, state_bytes }
    }

    /// Returns the most bytes of the quant state.
    pub(super) fn state_bytes(&self) -> u64 {
        self.state_bytes as u64
    }

    /// Returns codes, their absmax, and the quant state with the offset.
    fn quantize(&self, absmax: &[f32]) -> [Vec<u8>; 3] {
        let offset = mean(absmax);
        let rest: Vec<f32> = absmax.iter().map(|value| value - offset).collect();
        let midpoints: Vec<f32> = self.map.windows(2).map(|pair| f32::midpoint(pair[0], pair[1])).collect();
        let mut codes = Vec::with_capacity(rest.len());
        let mut scales = Vec::new();
        for block in rest.chunks(self.block) {
            let scale = largest(block);
            scales.extend_from_slice(&scale.to_le_bytes());
            if scale == 0.0 {
                // Whatever the code is, it stands for zero; the library's is the first.
                codes.resize(codes.len() + block.len(), 0);
                continue;
            }
            let inverse = 1.0 / scale;
            codes.extend(block.iter().map(|value| {
                let scaled = (value * inverse).clamp(-1.0, 1.0);
                let step = ((scaled + 1.0) * 32767.5 + 0.5).floor();
                let exact = (-1.0 + 2.0 * f64::from(step) / 65535.0) as f32;
                midpoints.partition_point(|midpoint| *midpoint < exact) as u8
            }));
        }
        [codes, scales, self.state(offset)]
    }

    /// Returns the quant state.
    fn state(&self, offset: f32) -> Vec<u8> {
        let mut state = self.state.clone();
        state.insert("nested_offset".into(), Value::from(f64::from(offset)));
        python_json(&Value::Object(state)).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_cut_where_rows_and_blocks_meet() {
        for (block, row_len, apart) in [(64, 128, 1), (64, 32, 2), (64, 11, 64), (64, 96, 2), (4096, 6, 2048)]
        {
            assert_eq!(Rows::new(Table::Nf4, block, row_len, None).rows_apart(), apart, "{block} {row_len}");
        }
    }
}
