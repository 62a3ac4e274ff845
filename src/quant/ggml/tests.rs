//! Tests of `ggml`.

use super::*;
use crate::quant::testing::{Literal, codes};

fn of(id: u32) -> Dtype {
    Dtype::Ggml(GgmlType::from_id(id).unwrap())
}

#[test]
fn block_types_give_name_bits_and_block() {
    let cases = [
        (12, "q4_k", "Q4_K", 4000, Some(256)),
        (16, "iq2_xxs", "IQ2_XXS", 2000, Some(256)),
        (39, "mxfp4", "MXFP4", 4000, Some(32)),
        (36, "i2_s", "I2_S", 2000, None),
    ];
    for (id, variant, label, bits, group) in cases {
        let layer = Literal::new("blk.0.ffn_up").shape("weight", of(id), &[64, 512]);
        let found = layer.shape("bias", Dtype::F32, &[64]).recognize(&Ggml).unwrap();
        assert_eq!((found.spec.variant.as_str(), found.spec.label().as_str()), (variant, label));
        assert_eq!((found.spec.millibits, found.spec.group_size), (bits, group));
        assert_eq!((found.spec.shape, found.spec.parameters), (vec![64, 512], 64 * 512 + 64));
    }
}

#[test]
fn plain_tensors_are_not_ours_and_a_wrong_bias_is_named() {
    let plain = Literal::new("blk.0.ffn_up").shape("weight", Dtype::F32, &[64, 512]);
    assert!(plain.recognize(&Ggml).is_none());
    let layer = Literal::new("blk.0.ffn_up").shape("weight", of(12), &[64, 512]);
    let found = layer.shape("bias", Dtype::F32, &[512]).recognize(&Ggml).unwrap();
    assert_eq!(codes(&found), ["Q002"]);
}

#[test]
fn evidence_shows_what_a_weight_costs() {
    let lines = Literal::new("x").shape("weight", of(12), &[64, 512]).explain(&Ggml);
    assert_eq!(lines[0].text, "Q4_K: 256 weights in 144 bytes, 4.5000 bit each");
    assert_eq!(lines[1].text, "512 inputs = 2 blocks × 256");
}
