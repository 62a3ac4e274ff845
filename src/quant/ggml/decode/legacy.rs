//! Blocks with one scale: of 32 codes of 4, 5 or 8 bits, with or without a minimum, and the newest ones of
//! 1 and 2 bits. Codes of 4 bits are the first half of a block in low nibbles, the second in high ones.
//!
//! Source: ggml, `ggml-quants.c`, `dequantize_row_q4_0` and on.

use super::blocks::{Wanted, float, half, word};

/// Sets the values of 32 codes from their nibbles and, from bit 4 on, the bits of `high`.
#[inline(always)]
fn five<T: Wanted>(codes: &[u8], high: u32, out: &mut [T; 32], value: impl Fn(f32) -> f32) {
    let (first, second) = out.split_at_mut(16);
    for (at, ((first, second), &byte)) in first.iter_mut().zip(second).zip(codes).enumerate() {
        let bit = |at: usize| (high >> at) as u8 & 1;
        let (low, upper) = (byte & 15 | bit(at) << 4, byte >> 4 | bit(at + 16) << 4);
        *first = T::of(low, || value(f32::from(low)));
        *second = T::of(upper, || value(f32::from(upper)));
    }
}

#[inline(always)]
fn bytes<T: Wanted>(codes: &[u8], out: &mut [T], scale: f32) {
    for (out, &code) in out.iter_mut().zip(codes) {
        *out = T::of(code, || scale * f32::from(code as i8));
    }
}

#[inline(always)]
pub(super) fn q4_0<T: Wanted>(block: &[u8; 18], out: &mut [T; 32]) {
    let d = half(block, 0);
    five(&block[2..], 0, out, |code| d * (code - 8.0));
}

#[inline(always)]
pub(super) fn q4_1<T: Wanted>(block: &[u8; 20], out: &mut [T; 32]) {
    let (d, min) = (half(block, 0), half(block, 2));
    five(&block[4..], 0, out, |code| d * code + min);
}

#[inline(always)]
pub(super) fn q5_0<T: Wanted>(block: &[u8; 22], out: &mut [T; 32]) {
    let d = half(block, 0);
    five(&block[6..], word(block, 2), out, |code| d * (code - 16.0));
}

#[inline(always)]
pub(super) fn q5_1<T: Wanted>(block: &[u8; 24], out: &mut [T; 32]) {
    let (d, min) = (half(block, 0), half(block, 2));
    five(&block[8..], word(block, 4), out, |code| d * code + min);
}

#[inline(always)]
pub(super) fn q8_0<T: Wanted>(block: &[u8; 34], out: &mut [T; 32]) {
    bytes(&block[2..], out, half(block, 0));
}

/// The half after the scale is the sum of the values, which products use.
#[inline(always)]
pub(super) fn q8_1<T: Wanted>(block: &[u8; 36], out: &mut [T; 32]) {
    bytes(&block[4..], out, half(block, 0));
}

/// The 32 bytes after the codes are their sums by 16.
#[inline(always)]
pub(super) fn q8_k<T: Wanted>(block: &[u8; 292], out: &mut [T; 256]) {
    bytes(&block[4..260], out, float(block, 0));
}

#[inline(always)]
pub(super) fn q1_0<T: Wanted>(block: &[u8; 18], out: &mut [T; 128]) {
    let d = half(block, 0);
    for (out, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(&block[2..]) {
        *out = std::array::from_fn(|bit| {
            let code = byte >> bit & 1;
            T::of(code, || if code == 1 { d } else { -d })
        });
    }
}

#[inline(always)]
pub(super) fn q2_0<T: Wanted>(block: &[u8; 18], out: &mut [T; 64]) {
    let d = half(block, 0);
    for (out, byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
        *out = std::array::from_fn(|at| {
            let code = byte >> (2 * at) & 3;
            T::of(code, || d * (f32::from(code) - 1.0))
        });
    }
}
