//! Tests of `values`.

use super::*;

#[test]
fn narrow_floats_have_their_known_values() {
    for (byte, want) in [(0x00, 0.0), (0x01, 1.0 / 512.0), (0x38, 1.0), (0x7e, 448.0), (0xb8, -1.0)] {
        assert_eq!(e4m3(byte), want);
    }
    assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
    assert_eq!((e8m0(127), e8m0(130), e8m0(0)), (1.0, 8.0, 2f32.powi(-127)));
    assert!(e8m0(255).is_nan());
    assert_eq!((e2m3(0x1f), e2m3(1), e2m3(0x28)), (7.5, 0.125, -1.0));
    assert_eq!((e4m3fnuz(0x7f), e5m2fnuz(0x7f)), (240.0, 57344.0));
    assert!(e4m3fnuz(0x80).is_nan() && e5m2fnuz(0x80).is_nan());
    for byte in (1..=255).filter(|b| b & 0x7f != 0x7f && b & 0x7f != 0) {
        assert_eq!(e4m3fnuz(byte), e4m3(byte) / 2.0, "{byte:#x}");
    }
}

#[test]
fn every_byte_of_e5m2_is_the_upper_half_of_an_f16() {
    for byte in 0..=255u8 {
        let want = f16::from_bits(u16::from(byte) << 8).to_f32();
        assert_eq!(e5m2(byte).to_bits(), want.to_bits(), "{byte:#x}");
    }
}

#[test]
fn every_byte_of_e4m3_has_the_value_of_its_fields() {
    for byte in (0..=255u8).filter(|b| b & 0x7f != 0x7f) {
        let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f64::from(byte & 7));
        let size = match exponent {
            0 => mantissa * 2f64.powi(-9),
            _ => (8.0 + mantissa) * 2f64.powi(exponent - 10),
        };
        let want = if byte & 0x80 == 0 { size } else { -size };
        assert_eq!(f64::from(e4m3(byte)).to_bits(), want.to_bits(), "{byte:#x}");
    }
}

#[test]
fn rounding_is_to_the_nearest_and_even_at_the_middle() {
    for bits in (0..=u32::MAX).step_by(7919) {
        let value = f32::from_bits(bits);
        let want = bf16::from_f32(value);
        assert_eq!(bf16_bits(value), want.to_bits(), "{bits:#x}");
    }
    let mut out = [0; 4];
    assert!(from_f32(Dtype::F16, &[65520.0, 1.0 + 1.0 / 2048.0], &mut out));
    assert_eq!(out, [0x00, 0x7c, 0x00, 0x3c]);
    assert!(!from_f32(Dtype::I8, &[1.0], &mut [0]));
    assert!(!from_f32(Dtype::F16, &[1.0], &mut [0]));
}

#[test]
fn many_are_rounded_as_one_is() {
    let values: Vec<f32> = (0..=u32::MAX).step_by(4_000_037).map(f32::from_bits).collect();
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32] {
        let mut rounded = values.clone();
        round_all(dtype, &mut rounded);
        for (one, value) in rounded.iter().zip(&values) {
            let want = round(dtype, *value);
            assert!(one.to_bits() == want.to_bits() || one.is_nan() && want.is_nan(), "{value}");
        }
    }
}

#[test]
fn what_is_not_finite_is_counted() {
    let values = [0.0, 1.0, f32::INFINITY, -2.0, f32::NAN, f32::NEG_INFINITY, f32::MIN_POSITIVE];
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32] {
        let mut bytes = vec![0; dtype.bytes_of(7).unwrap() as usize];
        assert!(from_f32(dtype, &values, &mut bytes));
        assert_eq!(not_finite(dtype, &bytes), 3, "{dtype}");
    }
}

#[test]
fn what_has_no_values_is_not_read() {
    assert!(!is_readable(Dtype::F4) && !is_readable(Dtype::C64) && is_readable(Dtype::U8));
    let mut out = [0.0; 2];
    assert!(to_f32(Dtype::I8, &[0xff, 3], &mut out));
    assert_eq!(out, [-1.0, 3.0]);
    assert!(!to_f32(Dtype::F32, &[0; 4], &mut out), "one value for two");
}
