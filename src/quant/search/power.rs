//! Power: `x^y` in f32, with the same bits on every processor and on GPUs.
//!
//! The power functions of mathematical libraries differ in their last bits, from one version to the next too. This one
//! is additions, products and one division in f64, none of them fused, which IEEE 754 rounds everywhere alike;
//! `kernels/power.cuh` is its twin. `x = 2^k m` with `m` between the roots of 1/2 and 2:
//!
//! | step           | formula                                                                        | left out, relative |
//! |----------------|--------------------------------------------------------------------------------|--------------------|
//! | logarithm      | `k ln 2 + 2 (r + r³/3 + … + r¹⁷/17)`, `r = (m - 1) / (m + 1)`                  | less than `2^-50`  |
//! | exponential    | `2^n (1 + f + f²/2 + … + f¹¹/11!)`, `n` whole, `f = t - n ln 2` at most `ln 2 / 2` | less than `2^-46`  |
//!
//! The one rounding to f32 is the last step: about one result in ten million is not the nearest f32, but the next. (Of
//! those that lie halfway between two, as squares may, more.)
//! Sources: Abramowitz and Stegun, "Handbook of Mathematical Functions", 4.1.27 and 4.2.1; special cases: IEEE 754-2019,
//! 9.2.1.

use std::f64::consts::LN_2;

/// Of the series of the logarithm: of `r^2` to the powers from 0 on.
const LOGARITHM: [f64; 9] =
    [1.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0, 1.0 / 17.0];
/// Of the series of the exponential: of `f` to the powers from 0 on.
const EXPONENTIAL: [f64; 12] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
];
/// The exponent's part of 1.
const ONE: u64 = 1023;
/// The bits of 1 less those of the root of 1/2: added, mantissas from that root on have the next exponent.
const FROM_ROOT: u64 = (ONE << 52) - 0x3fe6_a09e_667f_3bcd;
/// Where neighboring f64 are 1 apart, `1.5 * 2^52`; the low bits of a sum are those of the whole number.
const ONES: f64 = 6_755_399_441_055_744.0;
/// `e` to this is far beyond f32, to its negative far below.
const FAR: f64 = 200.0;

/// Returns `base^exponent`, of a base that is not negative; of one that is NaN, whatever the exponent is.
#[inline]
pub(super) fn power(base: f32, exponent: f32) -> f32 {
    if base == 1.0 || exponent == 0.0 {
        return 1.0;
    }
    exponential(logarithm(base) * f64::from(exponent))
}

fn logarithm(value: f32) -> f64 {
    // Negative ones and NaN; then 0 and infinity, whose exponents mean nothing.
    if value.is_nan() || value < 0.0 {
        return f64::NAN;
    }
    if value == 0.0 {
        return f64::NEG_INFINITY;
    }
    if value == f32::INFINITY {
        return f64::INFINITY;
    }
    let bits = f64::from(value).to_bits();
    let exponent = (bits + FROM_ROOT) >> 52;
    let mantissa = f64::from_bits((bits + (ONE << 52)) - (exponent << 52));
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let sum = LOGARITHM.iter().rev().fold(0.0, |sum, part| sum * square + part);
    (exponent as f64 - ONE as f64) * LN_2 + 2.0 * ratio * sum
}

/// Returns `e^value`, rounded to f32.
fn exponential(value: f64) -> f32 {
    let value = if value > FAR { FAR } else { value };
    let value = if value < -FAR { -FAR } else { value };
    let whole = value * (1.0 / LN_2) + ONES;
    let rest = value - (whole - ONES) * LN_2;
    let sum = EXPONENTIAL.iter().rev().fold(0.0, |sum, part| sum * rest + part);
    let scale = f64::from_bits(whole.to_bits().wrapping_add(ONE) << 52);
    (sum * scale) as f32
}

#[cfg(test)]
mod tests;
