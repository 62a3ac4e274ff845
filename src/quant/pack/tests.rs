//! Tests of `pack`.

use super::*;
use crate::quant::testing::words;

#[test]
fn dense_fields_straddle_words() {
    let stream = words(&[0x88fa_c688, 0xc688_fac6, 0xfac6_88fa]);
    assert_eq!(Packing::Dense.fields(stream.len(), 3), 32);
    assert!((0..32).all(|i| Packing::Dense.field(&stream, i, 3) == i as u32 % 8));
    assert_eq!(Packing::Dense.field(&stream, 32, 3), 0);
}

#[test]
fn padded_words_hold_whole_fields() {
    let stream = words(&[0x8fa_c688, 0x1a23_eb1a, 0x2c68_8fac, 0x3e]);
    assert_eq!(Packing::Padded.fields(stream.len(), 3), 40);
    assert!((0..32).all(|i| Packing::Padded.field(&stream, i, 3) == i as u32 % 8));
    assert_eq!(Packing::Padded.words(32, 3), Some(4));
}

#[test]
fn unpacking_gives_each_field() {
    for packing in [Packing::Dense, Packing::Padded, Packing::Planar] {
        for bits in [1, 2, 3, 4, 5, 6, 7, 8] {
            if packing == Packing::Planar && bits == 1 {
                continue;
            }
            let stream: Vec<u32> = (1..=3 * bits).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).collect();
            let stream = words(&stream);
            let fields = packing.fields(stream.len(), bits);
            for count in [fields, fields - 1, 33, 5, 0] {
                let mut out = vec![f32::NAN; count];
                packing.unpack(stream.as_chunks().0, bits, &mut out);
                let want = (0..count).map(|i| packing.field(&stream, i, bits) as f32);
                assert!(out.iter().copied().eq(want), "{packing:?} {bits} {count}");
                let needed = packing.words(count as u64, bits).unwrap();
                assert!(needed <= 3 * u64::from(bits));
            }
            // A stream that is too short reads as zeros behind its end.
            let mut out = vec![f32::NAN; fields + 40];
            packing.unpack(stream.as_chunks().0, bits, &mut out);
            assert_eq!(out[fields..], [0.0; 40]);
        }
    }
}

#[test]
fn planar_fields_put_their_planes_together() {
    // 3 bits: codes i % 8; low plane of 2 bits in two words, high plane of 1 bit in one.
    let (mut low, mut high) = (0u64, 0u32);
    for i in 0..32u64 {
        low |= ((i % 8) & 3) << (2 * i);
        high |= (((i % 8) >> 2) as u32) << i;
    }
    let stream = words(&[low as u32, (low >> 32) as u32, high]);
    assert_eq!(Packing::Planar.fields(stream.len(), 3), 32);
    assert!((0..32).all(|i| Packing::Planar.field(&stream, i, 3) == i as u32 % 8));
}

#[test]
fn what_is_packed_is_unpacked_again() {
    for packing in [Packing::Dense, Packing::Padded, Packing::Planar] {
        for bits in (1..=8).filter(|&bits| packing != Packing::Planar || bits > 1) {
            for count in [0, 1, 5, 31, 32, 33, 64, 100] {
                let codes: Vec<u8> = (0..count).map(|at: usize| (at * 37 + 0xa5) as u8).collect();
                let mut packed = Vec::new();
                packing.pack(&codes, bits, &mut packed);
                let words = packing.words(count as u64, bits).unwrap();
                assert_eq!(packed.len() as u64, 4 * words, "{packing:?} {bits} {count}");
                let mut out = vec![f32::NAN; count];
                packing.unpack(packed.as_chunks().0, bits, &mut out);
                let mask = ((1u32 << bits) - 1) as u8;
                assert!(out.iter().zip(&codes).all(|(&out, code)| out == f32::from(code & mask)));
            }
        }
    }
}
