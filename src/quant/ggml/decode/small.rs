//! Ternary codes, and 4-bit floats in blocks that share a power of two or an 8-bit float.
//!
//! Source: ggml, `ggml-quants.c`, `dequantize_row_tq1_0`, `dequantize_row_mxfp4` and on.

use super::blocks::{Wanted, half, nibbles};

/// Twice the values of E2M1, as whole numbers: there is no -0.
pub(super) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Five codes a byte, as the digits of a fraction to base 3; 4 in each of the last four bytes.
#[inline(always)]
pub(super) fn tq1_0<T: Wanted>(block: &[u8; 54], out: &mut [T; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let d = half(block, 52);
    let mut out = out.iter_mut();
    for (codes, powers) in
        [(&block[..32], &POWERS[..]), (&block[32..48], &POWERS), (&block[48..52], &POWERS[..4])]
    {
        let codes = powers.iter().flat_map(|power| codes.iter().map(|byte| byte.wrapping_mul(*power)));
        for (digits, out) in codes.zip(&mut out) {
            let code = ((u16::from(digits) * 3) >> 8) as u8;
            *out = T::of(code, || d * (f32::from(code) - 1.0));
        }
    }
}

/// Codes lie in planes: byte `l` of 32 holds elements `l`, `l + 32`, `l + 64` and `l + 96`.
#[inline(always)]
pub(super) fn tq2_0<T: Wanted>(block: &[u8; 66], out: &mut [T; 256]) {
    let d = half(block, 64);
    for (at, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (out, byte) in out.iter_mut().zip(&block[32 * (at / 4)..]) {
            let code = byte >> (2 * (at % 4)) & 3;
            *out = T::of(code, || d * (f32::from(code) - 1.0));
        }
    }
}

/// The scale is half of what E8M0 means, as the values are doubled; 255 is `2^127`, no NaN.
#[inline(always)]
pub(super) fn mxfp4<T: Wanted>(block: &[u8; 17], out: &mut [T; 32]) {
    let scale = match block[0] {
        low @ 0..2 => 0x0020_0000 << low,
        exponent => u32::from(exponent - 1) << 23,
    };
    nibbles(&block[1..], &DOUBLED, f32::from_bits(scale), out);
}

/// Four scales of 16 elements, E4M3 of which the sign does not count and 0x7f is 0.
#[inline(always)]
pub(super) fn nvfp4<T: Wanted>(block: &[u8; 36], out: &mut [T; 64]) {
    let (scales, codes) = (&block[..4], block[4..].as_chunks::<8>().0);
    for ((out, codes), &scale) in out.as_chunks_mut::<16>().0.iter_mut().zip(codes).zip(scales) {
        nibbles(codes, &DOUBLED, half_of_e4m3(scale), out);
    }
}

#[inline(always)]
fn half_of_e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    match (byte, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => mantissa * 2f32.powi(-10),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 11),
    }
}
