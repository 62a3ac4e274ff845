//! Tests of `codes`.

use super::*;
use crate::quant::testing::packed;

#[test]
fn codes_of_every_width_come_low_bits_first() {
    for bits in 1..=8 {
        let codes = Codes::new(bits, f32::from);
        for count in [24, 17, 1] {
            let want: Vec<u8> = (0..24).map(|at| (at * 11 % (1u32 << bits)) as u8).collect();
            let bytes = packed(&want, bits as usize);
            let mut out = vec![0.0; count];
            codes.unpack(&bytes, &mut out);
            let mut stored = vec![u16::MAX; count];
            codes.stored(&bytes, &mut stored);
            assert!(stored.into_iter().eq(want[..count].iter().map(|&code| u16::from(code))), "{bits}");
            let want: Vec<f32> = want[..count].iter().map(|&code| f32::from(code)).collect();
            assert_eq!(out, want, "{bits}");
        }
    }
}

#[test]
fn bytes_of_a_dtype_have_its_values() {
    let mut out = [0.0; 3];
    Codes::of(Dtype::I8).unwrap().unpack(&[0xff, 0x7f, 0x80], &mut out);
    assert_eq!(out, [-1.0, 127.0, -128.0]);
    // A byte stays one, whatever it means.
    let mut stored = [0; 3];
    Codes::of(Dtype::I8).unwrap().stored(&[0xff, 0x7f, 0x80], &mut stored);
    assert_eq!(stored, [255, 127, 128]);
    assert!(Codes::of(Dtype::F16).is_err() && Codes::of(Dtype::F4).is_err());
}
