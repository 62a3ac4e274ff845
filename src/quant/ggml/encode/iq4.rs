//! Four-bit codes of a curved table: for each 32 values the scale is searched for, with squares as weights.
//!
//! Sixteen scales are tried side by side; each sums through the values in ggml's order.
//! Source: ggml, `ggml-quants.c`, `quantize_row_iq4_nl_impl` as `quantize_iq4_nl` and `quantize_iq4_xs` call it,
//! `best_index_int8`.

use std::array::from_fn;

use half::f16;

use super::legacy::{nibbles, put};
use super::search::{NOTHING, nearest};
use crate::quant::ggml::CURVE;

/// Scales that are tried: one by the largest value, and 15 around it.
const TRIES: usize = 16;

/// Returns what the kernels look up: the values of the codes, and behind them the middle of each and the next.
pub(super) fn table() -> Vec<f32> {
    let middles = CURVE.windows(2).map(|pair| f32::midpoint(pair[0].into(), pair[1].into()));
    CURVE.iter().map(|&value| f32::from(value)).chain(middles).collect()
}

/// Returns the code whose value is nearest; of two the upper one. What is no number gets the last code.
#[inline(always)]
fn code(value: f32) -> u8 {
    let mut code = CURVE.len() as u8 - 1;
    for pair in CURVE.windows(2) {
        let middle = f32::midpoint(pair[0].into(), pair[1].into());
        code -= u8::from(value < middle);
    }
    code
}

/// Returns the value of the code that is nearest.
#[inline(always)]
fn curved(value: f32) -> f32 {
    let mut curved = f32::from(CURVE[0]);
    for pair in CURVE.windows(2) {
        let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
        curved += if value < f32::midpoint(low, high) { 0.0 } else { high - low };
    }
    curved
}

/// Returns the scale with the least error.
#[inline(always)]
fn scale(values: &[f32; 32]) -> f32 {
    let (largest, magnitude) = values.iter().fold((0.0, 0.0), |(largest, magnitude), &value| {
        if value.abs() > magnitude { (value, value.abs()) } else { (largest, magnitude) }
    });
    if magnitude < NOTHING {
        return 0.0;
    }
    let end = f32::from(CURVE[0]);
    let inverse: [f32; TRIES] = from_fn(|at| match at {
        0 => 1.0 / (-largest / end),
        at => (at as f32 - 8.0 + end) / largest,
    });
    let (mut products, mut squares) = ([0f32; TRIES], [0f32; TRIES]);
    for &value in values {
        let weight = value * value;
        for lane in 0..TRIES {
            let near = curved(inverse[lane] * value);
            products[lane] += weight * near * value;
            squares[lane] += weight * near * near;
        }
    }
    let mut scale = if squares[0] > 0.0 { products[0] / squares[0] } else { 0.0 };
    let mut best = scale * products[0];
    for (&product, &square) in products.iter().zip(&squares).skip(1) {
        if square > 0.0 && product * product > best * square {
            scale = product / square;
            best = scale * product;
        }
    }
    scale
}

/// Returns the codes of 32 values at a scale.
#[inline(always)]
fn codes(values: &[f32; 32], scale: f32) -> [u8; 32] {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    values.map(|value| code(inverse * value))
}

#[inline(always)]
pub(super) fn iq4_nl(values: &[f32; 32], block: &mut [u8; 18]) {
    let scale = scale(values);
    put(block, 0, scale);
    nibbles(block, 2, &codes(values, scale));
}

#[inline(always)]
pub(super) fn iq4_xs(values: &[f32; 256], block: &mut [u8; 136]) {
    let values = values.as_chunks::<32>().0;
    let scales: [f32; 8] = from_fn(|at| scale(&values[at]));
    let (widest, _) = scales.iter().fold((0.0f32, 0.0f32), |(widest, magnitude), &scale| {
        if scale.abs() > magnitude { (scale, scale.abs()) } else { (widest, magnitude) }
    });
    let whole = -widest / 32.0;
    let inverse = if whole == 0.0 { 0.0 } else { 1.0 / whole };
    let (mut low, mut high) = ([0u8; 4], 0u16);
    for (at, (values, scale)) in values.iter().zip(scales).enumerate() {
        let code = nearest(inverse * scale).clamp(-32, 31);
        nibbles(block, 8 + 16 * at, &codes(values, whole * code as f32));
        let code = (code + 32) as u16;
        low[at / 2] |= (code as u8 & 15) << (4 * (at % 2));
        high |= (code >> 4) << (2 * at);
    }
    // The scale itself is not rounded before the codes are found, only as it is stored.
    block[..2].copy_from_slice(&f16::from_f32(whole).to_le_bytes());
    block[2..4].copy_from_slice(&high.to_le_bytes());
    block[4..8].copy_from_slice(&low);
}
