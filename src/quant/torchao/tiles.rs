//! Decoding `Int4TilePackedTo4dTensor`: 4-bit codes in the order of tinygemm's matrix instructions.
//!
//! `_weight_qdata` is I32 `[out / 8, in / (32 * words), 32, words]`. Lane `t` of 32 holds output `t / 4` of a
//! tile; its word `w` holds eight inputs from `32 * (tile * words + w)` on: with `j = t % 4`, the pairs at
//! `2j`, `8 + 2j`, `16 + 2j` and `24 + 2j`, the even inputs in nibbles 0 to 3, the odd in 4 to 7.
//! `_weight_scale_and_zero` is `[in / group, out, 2]`; `value = (code - 8) * scale + zero`. Outputs and inputs
//! are padded; the metadata's `shape` is the true one. Source: PyTorch `int4mm.cu`
//! (`matrix_to_m16n8k16_Bint4_layout`), torchao 0.18 `int4_tile_packed_to_4d_tensor.py`.

use std::ops::Range;

use serde_json::Value;

use super::decode::CAUTION;
use crate::quant::decode::{Beside, DecodeRows, Decoding, floats_as};
use crate::quant::kernel::{Kernel, Program, dtype_number};
use crate::quant::{Part, Parts};
use crate::tensor::values::round;
use crate::tensor::{Dtype, elements};
use crate::units;

/// Outputs of a tile.
const TILE_ROWS: u64 = 8;
/// Lanes of a tile.
const LANES: u64 = 32;
/// Inputs that a word of each of a tile's four lanes of an output hold together.
const WORD_INPUTS: u64 = 32;

/// Rows of a tile-packed weight.
struct Tiles {
    rows: u64,
    inputs: u64,
    /// Tiles along inputs.
    across: u64,
    words: u64,
    group: u64,
    /// Outputs with those that are padded.
    outputs: u64,
    /// A scale and a zero for each output, group by group.
    scales: Vec<f32>,
    dtype: Dtype,
}

/// Returns the true shape that the metadata tells.
pub(super) fn true_shape(data: &Value) -> Option<[u64; 2]> {
    let said: Option<Vec<u64>> = data.get("shape")?.as_array()?.iter().map(Value::as_u64).collect();
    <[u64; 2]>::try_from(said?).ok()
}

/// Returns the padded shape of tile-packed codes of this shape.
pub(super) fn padded_shape(codes: &[u64]) -> Option<[u64; 2]> {
    match *codes {
        [rows, tiles, _, words] => {
            Some([rows.checked_mul(TILE_ROWS)?, tiles.checked_mul(WORD_INPUTS)?.checked_mul(words)?])
        }
        _ => None,
    }
}

pub(super) fn decode(
    parts: &Parts<'_>,
    data: &Value,
    codes: &Part<'_>,
    dtype: Dtype,
) -> Result<Decoding, String> {
    let has = || format!("{} {}", codes.dtype, units::shape(codes.shape));
    let [_, across, LANES, words] = *codes.shape else { return Err(format!("_weight_qdata is {}", has())) };
    let padded = padded_shape(codes.shape).ok_or("its shape overflows")?;
    if codes.dtype != Dtype::I32 || elements(&padded).map(|n| n / 2) != Some(codes.bytes) {
        return Err(format!("_weight_qdata is {}", has()));
    }
    let [rows, inputs] = true_shape(data).ok_or("its metadata has no shape")?;
    if rows > padded[0] || inputs > padded[1] || rows == 0 || inputs == 0 {
        let (said, holds) = (units::shape(&[rows, inputs]), units::shape(&padded));
        return Err(format!("its metadata says {said}, the codes are {holds}"));
    }
    let block = data.get("block_size").and_then(Value::as_array).and_then(|block| block.last()?.as_u64());
    let group =
        block.filter(|&group| group > 0 && padded[1] % group == 0).ok_or("no block_size that fits")?;
    let scale = parts.get("_weight_scale_and_zero").ok_or("missing _weight_scale_and_zero")?;
    if scale.shape != [padded[1] / group, padded[0], 2] {
        let (has, needs) = (units::shape(scale.shape), units::shape(&[padded[1] / group, padded[0], 2]));
        return Err(format!("_weight_scale_and_zero is {has}, not {needs}"));
    }
    let scales = floats_as(parts, scale, scale.dtype)?;
    let decoder = Tiles { rows, inputs, across, words, group, outputs: padded[0], scales, dtype };
    let decoding = Decoding::weight(parts, codes, &[rows, inputs], Some(dtype), decoder);
    Ok(Decoding { caution: Some(CAUTION), ..decoding })
}

impl Tiles {
    /// Bytes of the tiles of eight outputs.
    fn stripe(&self) -> u64 {
        self.across * LANES * self.words * 4
    }

    /// Turns the row, input and code of each weight into what is wanted of it.
    fn unpack<T>(&self, rows: Range<u64>, codes: &[u8], out: &mut [T], value: impl Fn(u64, u64, u32) -> T) {
        let base = rows.start / TILE_ROWS;
        let words = codes.as_chunks::<4>().0;
        for (row, out) in rows.zip(out.chunks_exact_mut(self.inputs as usize)) {
            let stripe = (row / TILE_ROWS - base) * self.across;
            for (at, piece) in out.chunks_mut(WORD_INPUTS as usize).enumerate() {
                let (tile, word) = (at as u64 / self.words, at as u64 % self.words);
                let lane = |j: u64| {
                    let lane = (row % TILE_ROWS) * 4 + j;
                    ((stripe + tile) * LANES + lane) * self.words + word
                };
                let lanes = [0, 1, 2, 3].map(|j| u32::from_le_bytes(words[lane(j) as usize]));
                for (input, out) in piece.iter_mut().enumerate() {
                    let nibble = input / 8 + input % 2 * 4;
                    let code = lanes[input % 8 / 2] >> (4 * nibble) & 15;
                    *out = value(row, at as u64 * WORD_INPUTS + input as u64, code);
                }
            }
        }
    }
}

impl DecodeRows for Tiles {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        rows.start / TILE_ROWS * self.stripe()..rows.end.div_ceil(TILE_ROWS) * self.stripe()
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.unpack(rows, codes, out, |row, input, code| {
            let place = (input / self.group * self.outputs + row) as usize * 2;
            let [scale, zero] = [self.scales[place], self.scales[place + 1]];
            round(self.dtype, (code as f32 - 8.0) * scale) + zero
        });
    }

    fn program(&self) -> Option<Program> {
        let below = |n: u64| i32::try_from(n).ok().map(|_| n);
        // Eights of neighbors end with rows, and lie in one run of words.
        let inputs = below(self.inputs).filter(|inputs| inputs % 8 == 0)?;
        let sizes =
            [inputs, below(self.group)?, below(self.outputs)?, below(self.across)?, below(self.words)?];
        let kernel = Kernel::new("tinygemm").floats(&self.scales).numbers(sizes);
        Some(kernel.numbers([u64::from(dtype_number(self.dtype)?)]).into())
    }

    fn code_bits(&self) -> Option<u32> {
        Some(4)
    }

    fn stored_codes(&self, rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        self.unpack(rows, codes, out, |_, _, code| code as u16);
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        let at = match which {
            Beside::Scales => 0,
            Beside::Terms => 1,
            Beside::ZeroPoints => return None,
        };
        let pairs = self.scales.as_chunks::<2>().0.chunks((self.outputs as usize).max(1));
        let groups = pairs.take(self.inputs.div_ceil(self.group) as usize);
        Some(groups.flat_map(|group| group.iter().take(self.rows as usize)).map(|pair| pair[at]).collect())
    }
}
