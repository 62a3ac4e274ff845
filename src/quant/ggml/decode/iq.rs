//! The IQ types: indices into grids of eight or four magnitudes with signs, and codes of a curved table.
//!
//! All have 256 elements a block but `IQ4_NL`. A block's scale times a small scale of 16 or 32 elements times
//! a magnitude times a sign, in this order.
//! Source: ggml, `ggml-quants.c`, `dequantize_row_iq2_xxs` and on.

use half::f16;

use super::blocks::{Wanted, half, nibbles, short, word};
use super::grids::GRIDS;
use crate::quant::ggml::CURVE;

/// What the values of `IQ1_S` and `IQ1_M` are moved by, up or down.
const DELTA: f32 = 0.125;

/// Returns the signs of eight elements from seven: the eighth makes their number even.
#[inline(always)]
fn even(seven: u32) -> u8 {
    let seven = seven as u8 & 127;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// Sets a grid row's values; bit `n` of `signs` is set for a negative element `n`.
#[inline(always)]
fn signed<const N: usize>(out: &mut [f32; N], grid: &[i8; N], scale: f32, signs: u8) {
    for (bit, (out, &value)) in out.iter_mut().zip(grid).enumerate() {
        *out = scale * f32::from(value) * if signs >> bit & 1 == 0 { 1.0 } else { -1.0 };
    }
}

/// Sets two rows of four, of which the second has the upper four signs.
#[inline(always)]
fn signed_pair(out: &mut [f32; 8], grid: [&[i8; 4]; 2], scale: f32, signs: u8) {
    let [first, second] = out.as_chunks_mut::<4>().0 else { return };
    signed(first, grid[0], scale, signs);
    signed(second, grid[1], scale, signs >> 4);
}

/// Returns nibble `at` of bytes, low ones first.
#[inline(always)]
fn nibble(bytes: &[u8], at: usize) -> u8 {
    bytes[at / 2] >> (4 * (at % 2)) & 15
}

/// Returns the scale that a block's and a small one of `IQ2_XXS` to `IQ3_XXS` make.
#[inline(always)]
fn middle(d: f32, code: u8, factor: f32) -> f32 {
    d * (0.5 + f32::from(code)) * factor
}

#[inline(always)]
pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let (d, grid) = (half(block, 0), &GRIDS.iq2_xxs);
    for (out, codes) in out.as_chunks_mut::<32>().0.iter_mut().zip(block[2..].as_chunks::<8>().0) {
        let signs = word(codes, 4);
        let scale = middle(d, (signs >> 28) as u8, 0.25);
        for (at, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            signed(out, &grid[usize::from(codes[at])], scale, even(signs >> (7 * at)));
        }
    }
}

#[inline(always)]
pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let (d, grid) = (half(block, 0), &GRIDS.iq2_xs);
    let (codes, scales) = (&block[2..66], &block[66..]);
    for (at, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let code = short(codes, 2 * at);
        let scale = middle(d, nibble(scales, at / 2), 0.25);
        signed(out, &grid[usize::from(code & 511)], scale, even(u32::from(code >> 9)));
    }
}

#[inline(always)]
pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let (d, grid) = (half(block, 0), &GRIDS.iq2_s);
    let (codes, signs, high, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..]);
    for (at, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let code = usize::from(codes[at]) | usize::from(high[at / 4] >> (2 * (at % 4)) & 3) << 8;
        signed(out, &grid[code], middle(d, nibble(scales, at / 2), 0.25), signs[at]);
    }
}

#[inline(always)]
pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let (d, grid) = (half(block, 0), &GRIDS.iq3_xxs);
    let (codes, signs) = (block[2..66].as_chunks::<2>().0, &block[66..]);
    for (at, (out, codes)) in out.as_chunks_mut().0.iter_mut().zip(codes).enumerate() {
        let word = word(signs, 4 * (at / 4));
        let scale = middle(d, (word >> 28) as u8, 0.5);
        let rows = codes.map(|code| &grid[usize::from(code)]);
        signed_pair(out, rows, scale, even(word >> (7 * (at % 4))));
    }
}

#[inline(always)]
pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let (d, grid) = (half(block, 0), &GRIDS.iq3_s);
    let (codes, high) = (block[2..66].as_chunks::<2>().0, &block[66..74]);
    let (signs, scales) = (&block[74..106], &block[106..]);
    for (at, (out, codes)) in out.as_chunks_mut().0.iter_mut().zip(codes).enumerate() {
        let high = high[at / 4] >> (2 * (at % 4));
        let row = |code: u8, bit: u8| &grid[usize::from(code) | usize::from(bit & 1) << 8];
        let scale = d * f32::from(1 + 2 * nibble(scales, at / 4));
        signed_pair(out, [row(codes[0], high), row(codes[1], high >> 1)], scale, signs[at]);
    }
}

/// Sets a row of the grid of -1, 0 and 1, moved by `delta`.
#[inline(always)]
fn moved(out: &mut [f32; 8], code: usize, scale: f32, delta: f32) {
    for (out, &value) in out.iter_mut().zip(&GRIDS.iq1_s[code]) {
        *out = scale * (f32::from(value) + delta);
    }
}

#[inline(always)]
pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = half(block, 0);
    let (codes, high) = (&block[2..34], &block[34..]);
    for (at, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let high = short(high, 2 * (at / 4));
        let code = usize::from(codes[at]) | usize::from(high >> (3 * (at % 4)) & 7) << 8;
        let scale = d * f32::from(2 * (high >> 12 & 7) + 1);
        moved(out, code, scale, if high & 0x8000 == 0 { DELTA } else { -DELTA });
    }
}

/// The block's scale lies in the upper nibbles of the four words of small scales.
#[inline(always)]
pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let (codes, high, scales) = (&block[..32], &block[32..48], &block[48..]);
    let d = (0..4).fold(0, |d, at| d | (short(scales, 2 * at) >> 12) << (4 * at));
    let d = f16::from_bits(d).to_f32();
    for (at, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let high = nibble(high, at);
        let code = usize::from(codes[at]) | usize::from(high & 7) << 8;
        let scale = short(scales, 2 * (at / 8)) >> (3 * (at / 2 % 4)) & 7;
        let scale = d * f32::from(2 * scale + 1);
        moved(out, code, scale, if high & 8 == 0 { DELTA } else { -DELTA });
    }
}

#[inline(always)]
pub(super) fn iq4_nl<T: Wanted>(block: &[u8; 18], out: &mut [T; 32]) {
    nibbles(&block[2..], &CURVE, half(block, 0), out);
}

#[inline(always)]
pub(super) fn iq4_xs<T: Wanted>(block: &[u8; 136], out: &mut [T; 256]) {
    let (d, high) = (half(block, 0), short(block, 2));
    for (at, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let scale = nibble(&block[4..8], at) | ((high >> (2 * at)) as u8 & 3) << 4;
        nibbles(&block[8 + 16 * at..], &CURVE, d * (f32::from(scale) - 32.0), out);
    }
}
