//! Blocks with one scale: of 32 codes of 4, 5 or 8 bits, with or without a minimum, and the newest ones of
//! 1 and 2 bits. Codes of 4 bits are the first half of a block in low nibbles, the second in high ones.
//!
//! Source: ggml, `ggml-quants.c`, `dequantize_row_q4_0` and on.

use super::blocks::{float, half, word};

/// Sets the values of 32 codes from their nibbles and, from bit 4 on, the bits of `high`.
#[inline(always)]
fn five(codes: &[u8], high: u32, out: &mut [f32; 32], value: impl Fn(f32) -> f32) {
    let (first, second) = out.split_at_mut(16);
    for (at, ((first, second), &byte)) in first.iter_mut().zip(second).zip(codes).enumerate() {
        let bit = |at: usize| (high >> at) as u8 & 1;
        *first = value(f32::from(byte & 15 | bit(at) << 4));
        *second = value(f32::from(byte >> 4 | bit(at + 16) << 4));
    }
}

#[inline(always)]
fn bytes(codes: &[u8], out: &mut [f32], scale: f32) {
    for (out, &code) in out.iter_mut().zip(codes) {
        *out = scale * f32::from(code as i8);
    }
}

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    five(&block[2..], 0, out, |code| d * (code - 8.0));
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, min) = (half(block, 0), half(block, 2));
    five(&block[4..], 0, out, |code| d * code + min);
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half(block, 0);
    five(&block[6..], word(block, 2), out, |code| d * (code - 16.0));
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, min) = (half(block, 0), half(block, 2));
    five(&block[8..], word(block, 4), out, |code| d * code + min);
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    bytes(&block[2..], out, half(block, 0));
}

/// The half after the scale is the sum of the values, which products use.
#[inline(always)]
pub(super) fn q8_1(block: &[u8; 36], out: &mut [f32; 32]) {
    bytes(&block[4..], out, half(block, 0));
}

/// The 32 bytes after the codes are their sums by 16.
#[inline(always)]
pub(super) fn q8_k(block: &[u8; 292], out: &mut [f32; 256]) {
    bytes(&block[4..260], out, float(block, 0));
}

#[inline(always)]
pub(super) fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = half(block, 0);
    for (out, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(&block[2..]) {
        *out = std::array::from_fn(|bit| if byte >> bit & 1 == 1 { d } else { -d });
    }
}

#[inline(always)]
pub(super) fn q2_0(block: &[u8; 18], out: &mut [f32; 64]) {
    let d = half(block, 0);
    for (out, byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
        *out = std::array::from_fn(|at| d * (f32::from(byte >> (2 * at) & 3) - 1.0));
    }
}
