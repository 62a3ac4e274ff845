//! Ternary codes, and 4-bit floats in blocks that share a power of two.
//!
//! Source: ggml, `ggml-quants.c`, `quantize_row_tq1_0_ref`, `quantize_row_tq2_0_ref`, `quantize_row_mxfp4_ref`.

use super::legacy::{cut_off, magnitude, nibbles, put};

/// Twice the values of E2M1 in the order of their codes, as `kvalues_mxfp4`.
const DOUBLED: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// Returns the digits 0, 1 and 2 of values that are -1, 0 and 1 times their largest magnitude, and puts that at `at`.
#[inline(always)]
fn digits(values: &[f32; 256], block: &mut [u8], at: usize) -> [u8; 256] {
    let scale = magnitude(values);
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    put(block, at, scale);
    values.map(|value| {
        let digit = (value * inverse).round();
        // What is no number of 64 bits has no lower ones, in ggml: it counts as 0.
        (if digit.is_finite() { digit as i32 } else { 0 } + 1) as u8
    })
}

/// Returns the byte of five digits to base 3: a fraction of 256, rounded up.
#[inline(always)]
fn fraction(digits: [u8; 5]) -> u8 {
    let number = digits.iter().fold(0u8, |number, &digit| number.wrapping_mul(3).wrapping_add(digit));
    ((u16::from(number) * 256).wrapping_add(242) / 243) as u8
}

#[inline(always)]
pub(super) fn tq1_0(values: &[f32; 256], block: &mut [u8; 54]) {
    let digits = digits(values, block, 52);
    for at in 0..32 {
        block[at] = fraction(std::array::from_fn(|n| digits[32 * n + at]));
    }
    for at in 0..16 {
        block[32 + at] = fraction(std::array::from_fn(|n| digits[160 + 16 * n + at]));
    }
    for at in 0..4 {
        block[48 + at] = fraction(std::array::from_fn(|n| if n < 4 { digits[240 + 4 * n + at] } else { 0 }));
    }
}

#[inline(always)]
pub(super) fn tq2_0(values: &[f32; 256], block: &mut [u8; 66]) {
    let digits = digits(values, block, 64);
    for (half, digits) in digits.as_chunks::<128>().0.iter().enumerate() {
        for at in 0..32 {
            block[32 * half + at] =
                (0..4).fold(0, |bits, plane| bits | (digits[32 * plane + at] & 3) << (2 * plane));
        }
    }
}

/// Returns the power of two of a block whose largest magnitude is not 0, as `log2` has it.
#[inline(always)]
fn power(largest: f32) -> f32 {
    largest.log2().floor()
}

/// Returns, of each power of two from the smallest f32 on, how many of the last numbers below the next power `log2` rounds
/// up to that: what a kernel needs to know of this machine's logarithm to take the same power.
pub(super) fn rounded_up() -> Vec<u8> {
    let up = |exponent: i32| {
        let next = if exponent < -127 {
            f32::from_bits(1 << (exponent + 150))
        } else {
            f32::from_bits(((exponent + 128) as u32) << 23)
        };
        let mut below = next.next_down();
        let mut count = 0;
        while count < u8::MAX && power(below) > exponent as f32 {
            below = below.next_down();
            count += 1;
        }
        count
    };
    (-149..=127).map(up).collect()
}

#[inline(always)]
pub(super) fn mxfp4(values: &[f32; 32], block: &mut [u8; 17]) {
    let largest = magnitude(values);
    let exponent = if largest > 0.0 { cut_off(power(largest) - 2.0 + 127.0) as u8 } else { 0 };
    let scale = match exponent {
        low @ 0..2 => f32::from_bits(0x0020_0000 << low),
        exponent => f32::from_bits(u32::from(exponent - 1) << 23),
    };
    let mut codes = [0u8; 32];
    let mut errors = values.map(|value| (DOUBLED[0] * scale - value).abs());
    for (code, doubled) in (0u8..).zip(DOUBLED).skip(1) {
        for at in 0..32 {
            let error = (doubled * scale - values[at]).abs();
            let is_nearer = error < errors[at];
            codes[at] = if is_nearer { code } else { codes[at] };
            errors[at] = if is_nearer { error } else { errors[at] };
        }
    }
    block[0] = exponent;
    nibbles(block, 1, &codes);
}
