//! Narrow floats: the E4M3 and E2M1 codes that are nearest to values, ties to even.
//!
//! | code | layout                                       | beyond the largest | negative values that round to 0 |
//! |------|----------------------------------------------|--------------------|---------------------------------|
//! | E4M3 | sign, 4 exponent bits of bias 7, 3 mantissa  | 448                | keep their sign                 |
//! | E2M1 | sign, 2 exponent bits of bias 1, 1 mantissa  | 6                  | keep their sign                 |
//!
//! Without branches, so that loops over many values are compiled for the vectors of each processor. Sources: torch,
//! `c10/util/Float8_e4m3fn.h`; compressed-tensors 0.20, `quantization/utils/fp4_utils.py` (`cast_to_fp4`).

use multiversion::multiversion;

/// The largest E4M3.
pub const E4M3_MAX: f32 = 448.0;
/// The largest E2M1.
pub const E2M1_MAX: f32 = 6.0;

/// Returns the E4M3 code nearest to a value; what is larger than 448 is 448, NaN stays one.
#[must_use]
#[inline]
pub fn e4m3_code(value: f32) -> u8 {
    /// Its last bit is that of the smallest E4M3: a sum is rounded there.
    const LAST_BIT: f32 = 16384.0;
    /// The bits of the smallest normal E4M3, `2^-6`.
    const NORMAL: u32 = 121 << 23;
    let bits = value.to_bits();
    let size = (bits & 0x7fff_ffff).min(E4M3_MAX.to_bits());
    let normal = (size + 0x7_ffff + (size >> 20 & 1)) >> 20;
    let subnormal = (f32::from_bits(size) + LAST_BIT).to_bits() - LAST_BIT.to_bits();
    let code = if size < NORMAL { subnormal } else { normal - (120 << 3) };
    let code = if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7f } else { code };
    (code | bits >> 24 & 0x80) as u8
}

/// Returns the E2M1 code nearest to a value; what is larger than 6 is 6. A zero has code 0, whatever its sign.
#[must_use]
#[inline]
pub fn e2m1_code(value: f32) -> u8 {
    let size = value.abs();
    let above = u8::from(size > 0.25) + u8::from(size > 1.25) + u8::from(size > 2.5) + u8::from(size > 5.0);
    let from = u8::from(size >= 0.75) + u8::from(size >= 1.75) + u8::from(size >= 3.5);
    above + from + (u8::from(value < 0.0) << 3)
}

/// Writes the E4M3 code of each value.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub fn to_e4m3(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out) {
        *out = e4m3_code(*value);
    }
}

/// Writes the E2M1 code of each value, one a byte.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub fn to_e2m1(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out) {
        *out = e2m1_code(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::values::{e2m1, e4m3};

    /// Checks codes against a search through all values; the even code wins a tie.
    fn nearest(value: f32, codes: u8, decoded: fn(u8) -> f32) -> u8 {
        // Far beyond the largest all are equally far in f64.
        let size = f64::from(value.abs().min(1e4));
        let distance = |code: u8| (f64::from(decoded(code)) - size).abs();
        (0..codes)
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))))
            .unwrap_or(0)
    }

    #[test]
    fn codes_are_the_nearest_and_even_at_ties() {
        let edges = (0..126u8).flat_map(|code| {
            let middle = f32::midpoint(e4m3(code), e4m3(code + 1));
            [e4m3(code), middle, middle.next_up(), middle.next_down()]
        });
        let strewn = (0..=u32::MAX).step_by(7_000_003).map(f32::from_bits);
        let quarters = (0..64).map(|step| step as f32 / 8.0);
        let mut seen = 0;
        for value in edges.chain(strewn).chain(quarters).filter(|value| value.is_finite()) {
            for value in [value, -value] {
                let sign = u8::from(value.is_sign_negative());
                assert_eq!(e4m3_code(value), nearest(value, 127, e4m3) | sign << 7, "{value}");
                let sign = u8::from(value < 0.0);
                assert_eq!(e2m1_code(value), nearest(value, 8, e2m1) | sign << 3, "{value}");
                seen += 1;
            }
        }
        assert!(seen > 1500, "{seen}");
        assert_eq!((e4m3_code(f32::INFINITY), e4m3_code(f32::NAN)), (0x7e, 0x7f));
        assert_eq!((e2m1_code(-0.0), e2m1_code(-0.1), e4m3_code(-0.0)), (0, 8, 0x80));
    }

    #[test]
    fn many_have_the_codes_of_each() {
        let values: Vec<f32> = (0..1000).map(|at| (at as f32 - 500.0) * 1.01f32.powi(at - 500)).collect();
        let (mut wide, mut small) = (vec![0; 1000], vec![0; 1000]);
        to_e4m3(&values, &mut wide);
        to_e2m1(&values, &mut small);
        for (at, value) in values.iter().enumerate() {
            assert_eq!((wide[at], small[at]), (e4m3_code(*value), e2m1_code(*value)), "{value}");
        }
    }
}
