//! Decoding nf4 and fp4: `table[code] * absmax[block]` in f32.
//!
//! Blocks run over the flattened weight and may straddle rows. Nested absmax are
//! `map[code] * nested_absmax[block / 256] + offset`, two roundings, no fused multiply-add.
//! Source: bitsandbytes 0.50 `functional.dequantize_4bit` (its AVX512 path errs where a row is no whole
//! number of blocks; the generic path counts).

use std::ops::Range;

use super::state::{State, StateRead};
use super::{Bnb4, codes, part};
use crate::quant::decode::{Beside, DecodeRows, Decoding, bytes_of, floats_as};
use crate::quant::kernel::{Kernel, Program};
use crate::quant::{LayerSpec, Parts};
use crate::tensor::{Dtype, elements, lookup};

/// Rows of a 4-bit weight.
struct Rows {
    values: [f32; 16],
    absmax: Vec<f32>,
    block: u64,
    row_len: u64,
}

pub(super) fn decode(format: &Bnb4, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let weight = codes(parts).ok_or("missing weight")?;
    let StateRead::State(state) = State::read(parts) else {
        return Err("without its quant state neither shape nor block size are known".into());
    };
    let block = state.block.filter(|&block| block > 0).ok_or("the quant state has no blocksize")?;
    let count = elements(&layer.shape).ok_or("its shape overflows")?;
    if !layer.shape_known {
        return Err("the quant state has no shape that the codes fit".into());
    }
    if weight.bytes != count.div_ceil(2) {
        return Err(format!("weight has {} bytes, {count} codes need {}", weight.bytes, count.div_ceil(2)));
    }
    let absmax = absmax(parts, &state)?;
    if absmax.len() as u64 != count.div_ceil(block) {
        let needed = count.div_ceil(block);
        return Err(format!("absmax has {} values, {count} weights need {needed}", absmax.len()));
    }
    let dtype = state.dtype.ok_or("the quant state has no dtype")?;
    let row_len = layer.shape.last().copied().unwrap_or(1).max(1);
    // Adding 0 turns the -0 of fp4's code 8 into 0, as bitsandbytes' CPU path has it; its CUDA kernel keeps the sign.
    let values = format.0.values().map(|value| value + 0.0);
    let rows = Rows { values, absmax, block, row_len };
    let mut decoding = Decoding::weight(parts, weight, &layer.shape, Some(dtype), rows);
    if weight.suffix == "*" {
        decoding.suffix = "*";
    }
    Ok(decoding)
}

/// Returns the absmax of all blocks.
fn absmax(parts: &Parts<'_>, state: &State) -> Result<Vec<f32>, String> {
    let stored = part(parts, "absmax").ok_or("missing absmax")?;
    if stored.dtype != Dtype::U8 {
        return floats_as(parts, stored, Dtype::F32);
    }
    let codes = bytes_of(parts, stored)?;
    let nested = part(parts, "nested_absmax").ok_or("missing nested_absmax")?;
    let nested = floats_as(parts, nested, Dtype::F32)?;
    let map = part(parts, "nested_quant_map").ok_or("missing nested_quant_map")?;
    let map = floats_as(parts, map, Dtype::F32)?;
    let block =
        state.nested_block.filter(|&block| block > 0).ok_or("the quant state has no nested_blocksize")?;
    let offset = state.nested_offset.ok_or("the quant state has no nested_offset")? as f32;
    if map.len() != 256 {
        return Err(format!("nested_quant_map has {} values, not 256", map.len()));
    }
    if nested.len() as u64 != (codes.len() as u64).div_ceil(block) {
        return Err(format!("nested_absmax has {} values for {} blocks", nested.len(), codes.len()));
    }
    let value = |(index, &code): (usize, &u8)| {
        let scaled = map[usize::from(code)] * nested[index / block as usize];
        scaled + offset
    };
    Ok(codes.iter().enumerate().map(value).collect())
}

impl DecodeRows for Rows {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        rows.start * self.row_len / 2..(rows.end * self.row_len).div_ceil(2)
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let first = rows.start * self.row_len;
        let mut at = 0;
        // One absmax at a time.
        while at < out.len() {
            let element = first + at as u64;
            let absmax = self.absmax[(element / self.block) as usize];
            let left = (self.block - element % self.block).min((out.len() - at) as u64) as usize;
            let table = self.values.map(|value| value * absmax);
            piece(&table, element, first, codes, &mut out[at..at + left]);
            at += left;
        }
    }

    fn decode_to(&self, rows: Range<u64>, codes: &[u8], dtype: Dtype, out: &mut [u8]) -> bool {
        let (first, end) = (rows.start * self.row_len, rows.end * self.row_len);
        if first % self.block != 0 || end % self.block != 0 {
            return false;
        }
        let absmax = &self.absmax[(first / self.block) as usize..(end / self.block) as usize];
        lookup::scaled_nibbles(&self.values, absmax, self.block as usize, codes, dtype, out)
    }

    fn program(&self) -> Option<Program> {
        // The kernel counts from the start of a block on, below 2^31.
        let power = self.block.is_power_of_two().then(|| self.block.ilog2()).filter(|&power| power <= 30)?;
        let is_finite = self.values.iter().all(|value| value.is_finite());
        let kernel = Kernel::new("bnb4").floats(&self.values).floats(&self.absmax);
        Some(kernel.numbers([u64::from(power), u64::from(is_finite)]).into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(4)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        let first = rows.start * self.row_len;
        piece(&std::array::from_fn(|code| code as u16), first, first, codes, out);
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        (which == Beside::Scales).then(|| self.absmax.clone())
    }
}

/// Looks up the codes of elements, from `element` on; the bytes begin with the one that holds `first`.
fn piece<T: Copy>(table: &[T; 16], element: u64, first: u64, codes: &[u8], mut out: &mut [T]) {
    let mut byte = (element / 2 - first / 2) as usize;
    if element % 2 == 1 {
        let Some((low, rest)) = out.split_first_mut() else { return };
        *low = table[usize::from(codes[byte] & 15)];
        (byte, out) = (byte + 1, rest);
    }
    let (pairs, last) = out.as_chunks_mut::<2>();
    let bytes = &codes[byte..];
    for (pair, code) in pairs.iter_mut().zip(bytes) {
        *pair = [table[usize::from(code >> 4)], table[usize::from(code & 15)]];
    }
    if let [value] = last {
        *value = table[usize::from(bytes[pairs.len()] >> 4)];
    }
}
