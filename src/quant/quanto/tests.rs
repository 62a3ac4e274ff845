//! Layers of quanto from literals: whole, and with parts missing or of the wrong size.

use super::*;
use crate::quant::testing::{Literal, codes};
use crate::tensor::Dtype;

fn packed(rows: u64) -> Literal {
    Literal::new("model.q_proj")
        .shape("weight._data._data", Dtype::U8, &[rows, 128])
        .shape("weight._scale", Dtype::BF16, &[256, 1])
        .shape("weight._shift", Dtype::BF16, &[256, 1])
}

#[test]
fn bits_follow_from_the_packed_rows_and_the_shape_from_the_architecture() {
    for (rows, bits) in [(128, 4), (64, 2)] {
        let found = packed(rows).recognize(&Quanto).unwrap();
        assert_eq!((found.spec.millibits, found.spec.variant), (bits * 1000, format!("qint{bits}")));
        assert!(!found.spec.shape_known && found.spec.parameters == 128 * 256);
    }
    let known = packed(128).config_shape("q_proj", &[128, 256]).recognize(&Quanto).unwrap();
    assert_eq!((known.spec.shape, known.spec.group_size), (vec![128, 256], Some(128)));
    // Another architecture's shape is not taken.
    assert!(!packed(128).config_shape("q_proj", &[64, 64]).recognize(&Quanto).unwrap().spec.shape_known);
}

#[test]
fn eight_bit_layers_have_their_shape() {
    for (dtype, variant) in [(Dtype::I8, "qint8"), (Dtype::F8E4M3, "qfloat8")] {
        let layer = Literal::new("x").shape("weight._data", dtype, &[128, 256]);
        let found = layer.shape("weight._scale", Dtype::BF16, &[128, 1]).recognize(&Quanto).unwrap();
        assert_eq!((found.spec.shape, found.spec.variant.as_str()), (vec![128, 256], variant));
    }
}

#[test]
fn a_part_missing_or_of_the_wrong_size_is_named() {
    for part in ["weight._scale", "weight._shift"] {
        let found = packed(128).without(part).recognize(&Quanto).unwrap();
        assert_eq!(found.spec.broken, [format!("missing {part}")]);
        assert_eq!(codes(&found), ["Q001"]);
    }
    for rows in [0, 100, 1 << 40] {
        assert_eq!(codes(&packed(rows).recognize(&Quanto).unwrap()), ["Q002"], "{rows} rows");
    }
    let shift = packed(128).without("weight._shift").shape("weight._shift", Dtype::BF16, &[255, 1]);
    assert_eq!(codes(&shift.recognize(&Quanto).unwrap()), ["Q002"]);
    let layer = Literal::new("x").shape("weight._data", Dtype::I8, &[128, 256]);
    let found = layer.shape("weight._scale", Dtype::BF16, &[64, 1]).recognize(&Quanto).unwrap();
    assert_eq!(codes(&found), ["Q002"]);
}
