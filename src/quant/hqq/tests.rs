//! Layers of HQQ from literals: every width, and with parts missing or of the wrong size.

use super::*;
use crate::quant::testing::{Literal, codes};
use crate::tensor::Dtype;

fn words(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// 128 × 256 codes in groups of 64: 512 groups.
fn layer(bits: i32, packed: (Dtype, &[u64]), shape: &[i32]) -> Literal {
    Literal::new("x")
        .shape("W_q", packed.0, packed.1)
        .shape("scale", Dtype::F16, &[512, 1])
        .shape("zero", Dtype::F16, &[512, 1])
        .part("shape", Dtype::I32, &[shape.len() as u64], words(shape))
        .part("nbits", Dtype::I32, &[], words(&[bits]))
        .part("axis", Dtype::I32, &[], words(&[1]))
}

#[test]
fn each_width_has_its_shape_group_and_axis() {
    // Three-bit codes go ten to a 32-bit word, in rows padded to whole words.
    for (bits, packed) in [
        (8, (Dtype::U8, [512, 64])),
        (4, (Dtype::U8, [256, 64])),
        (3, (Dtype::I32, [52, 64])),
        (2, (Dtype::U8, [128, 64])),
        (1, (Dtype::U8, [64, 64])),
    ] {
        let found = layer(bits, (packed.0, &packed.1), &[128, 256]).recognize(&Hqq).unwrap();
        assert_eq!((found.spec.shape, found.faults.len()), (vec![128, 256], 0), "{bits} bits");
        assert_eq!((found.spec.millibits, found.spec.group_size), (bits as u32 * 1000, Some(64)));
        assert_eq!(found.spec.variant, "axis 1");
    }
}

#[test]
fn a_part_missing_is_named() {
    for part in ["scale", "zero", "shape"] {
        let found = layer(4, (Dtype::U8, &[256, 64]), &[128, 256]).without(part).recognize(&Hqq).unwrap();
        assert_eq!(found.spec.broken, [format!("missing {part}")]);
        assert_eq!(codes(&found), ["Q001"]);
    }
    assert!(layer(4, (Dtype::U8, &[256, 64]), &[128, 256]).without("W_q").recognize(&Hqq).is_none());
}

#[test]
fn codes_that_cannot_hold_the_shape_are_named() {
    let short = layer(4, (Dtype::U8, &[255, 64]), &[128, 256]).recognize(&Hqq).unwrap();
    assert_eq!(codes(&short), ["Q002"]);
    assert!(!short.spec.broken.is_empty());
    for shape in [&[128, 0][..], &[128], &[128, 256, 1], &[-128, 256]] {
        let found = layer(4, (Dtype::U8, &[256, 64]), shape).recognize(&Hqq).unwrap();
        assert!(!found.spec.shape_known && codes(&found) == ["Q002"], "{shape:?}");
    }
    // No stored width: it follows from the bytes, however absurd they are.
    let huge = layer(4, (Dtype::U8, &[1 << 40, 64]), &[1, 1]).without("nbits").recognize(&Hqq).unwrap();
    assert_eq!(huge.spec.millibits, 64_000);
}

#[test]
fn headers_alone_leave_the_shape_open() {
    let found = layer(4, (Dtype::U8, &[256, 64]), &[128, 256]).headers_only().recognize(&Hqq).unwrap();
    assert!(found.spec.pending && !found.spec.shape_known && found.faults.is_empty());
}
