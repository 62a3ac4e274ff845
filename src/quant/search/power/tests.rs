//! Powers against those of f64, and IEEE 754's special cases.

use super::*;

/// The exponents that searches have (of the shrinkage, and of its bound), and others.
const EXPONENTS: [f32; 11] =
    [0.7 - 1.0, -1.0 / 1.3, 1.0, -1.0, 0.333, -2.5, 7.25, 1e-3, -1e-7, 40.0, -0.012_34];

/// How far two numbers of one sign lie apart, in steps of f32.
fn apart(a: f32, b: f32) -> u32 {
    a.to_bits().abs_diff(b.to_bits())
}

/// Compares with what f64 has, rounded once; returns how many were compared, how many differ, and by how many steps at most.
fn compared(bases: impl Iterator<Item = f32>, exponents: &[f32]) -> [u32; 3] {
    let [mut count, mut differ, mut most] = [0; 3];
    for base in bases {
        for &exponent in exponents {
            let should = f64::from(base).powf(f64::from(exponent)) as f32;
            let off = apart(power(base, exponent), should);
            (count, differ, most) = (count + 1, differ + u32::from(off > 0), most.max(off));
        }
    }
    [count, differ, most]
}

#[test]
fn powers_are_the_nearest_f32_but_for_a_few() {
    // All exponents of f32, subnormal ones too, with mantissas at the ends, around the root of 2, and any.
    let mut state = 0x2545_f491u32;
    let mut any = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state & 0x7f_ffff
    };
    let mut bases = Vec::new();
    for exponent in 0..255u32 {
        let ends = [0, 1, 0x7f_ffff, 0x35_04f2, 0x35_04f3, 0x35_04f4, 0x40_0000];
        let mantissas = ends.into_iter().chain((0..400).map(|_| any())).collect::<Vec<_>>();
        bases.extend(mantissas.into_iter().map(|mantissa| f32::from_bits(exponent << 23 | mantissa)));
    }
    let [count, differ, most] = compared(bases.iter().copied(), &EXPONENTS);
    assert!(count > 1_100_000 && most <= 1 && differ <= 2, "{differ} of {count} differ, by {most} at most");
    // Squares, and roots of numbers beside a power of two, lie halfway between two f32, or as near as f64 can tell.
    let [count, differ, most] = compared(bases.into_iter(), &[2.0, 0.5]);
    assert!(count > 200_000 && most <= 1 && differ <= 200, "{differ} of {count} differ, by {most} at most");
    // Near 1, where logarithms are small, with exponents that make them large.
    let near = (0..20_000u32).map(|at| f32::from_bits(0x3f80_0000 - 10_000 + at));
    let [count, differ, most] = compared(near, &[-0.3, 1e4, -1e4, 3.7e5, -1.3e6]);
    assert!(count == 100_000 && most <= 1 && differ <= 2, "{differ} of {count} differ, by {most} at most");
}

#[test]
fn special_cases_are_those_of_ieee() {
    const INFINITY: f32 = f32::INFINITY;
    const TINY: f32 = f32::from_bits(1);
    for (base, exponent, is) in [
        (0.0, -0.3, INFINITY),
        (-0.0, -0.3, INFINITY),
        (0.0, 0.7, 0.0),
        (0.0, 0.0, 1.0),
        (0.0, INFINITY, 0.0),
        (0.0, -INFINITY, INFINITY),
        (INFINITY, -0.3, 0.0),
        (INFINITY, 0.7, INFINITY),
        (INFINITY, 0.0, 1.0),
        (1.0, INFINITY, 1.0),
        (1.0, f32::NAN, 1.0),
        (f32::NAN, 0.0, 1.0),
        (0.5, INFINITY, 0.0),
        (0.5, -INFINITY, INFINITY),
        (2.0, INFINITY, INFINITY),
        (2.0, -INFINITY, 0.0),
        (2.0, 127.0, 2f32.powi(127)),
        (2.0, 128.0, INFINITY),
        (2.0, -126.0, f32::MIN_POSITIVE),
        (2.0, -149.0, TINY),
        (2.0, -151.0, 0.0),
        (TINY, 1.0, TINY),
        (f32::MAX, 1.0, f32::MAX),
        (f32::MAX, f32::MAX, INFINITY),
        (TINY, f32::MAX, 0.0),
    ] {
        assert_eq!(power(base, exponent), is, "{base:e} to {exponent:e}");
    }
    for (base, exponent) in [
        (f32::NAN, 0.7),
        (f32::NAN, -INFINITY),
        (0.5, f32::NAN),
        (0.0, f32::NAN),
        (-1.5, 0.7),
        (-INFINITY, 0.7),
    ] {
        assert!(power(base, exponent).is_nan(), "{base} to {exponent}");
    }
}

/// Whole powers of small whole numbers are exact, and so are roots of squares.
#[test]
fn exact_results_are_exact() {
    for base in 1..=200u16 {
        let base = f32::from(base);
        for exponent in 1..4u8 {
            assert_eq!(power(base, exponent.into()), base.powi(exponent.into()));
        }
        assert_eq!(power(base * base, 0.5), base);
        assert_eq!(power(base * base, -0.5), 1.0 / base);
    }
}

/// Their last parts are too small to show in what kernels make.
#[test]
fn kernels_have_the_same_series() {
    let source = include_str!("../../../../kernels/power.cuh");
    let series = |name: &str| -> Vec<f64> {
        let start = source.split_once(&format!("CONSTANT f64 {name}[")).expect("the series is there").1;
        let (count, parts) = start.split_once("] = {").expect("it has a length");
        let parts = parts.split_once("};").expect("it ends").0;
        let number = |text: &str| text.trim().parse::<f64>().expect("a number");
        let parts: Vec<f64> = parts
            .split(',')
            .map(|part| part.split_once('/').map_or_else(|| number(part), |(a, b)| number(a) / number(b)))
            .collect();
        assert_eq!(count.parse(), Ok(parts.len()));
        parts
    };
    assert_eq!(series("LOGARITHM"), LOGARITHM);
    assert_eq!(series("EXPONENTIAL"), EXPONENTIAL);
}
