//! Tests of `decode`.

use serde_json::json;

use super::*;
use crate::quant::awq::Awq;
use crate::quant::testing::{Literal, decode, f16s, words};

fn gemm(word: u32) -> Literal {
    Literal::new("m")
        .part("qweight", Dtype::I32, &[4, 2], words(&[word; 8]))
        .part("qzeros", Dtype::I32, &[2, 2], words(&[0x7531_6420, 0, 0x1111_1111, 0x1111_1111]))
        .part("scales", Dtype::F16, &[2, 16], f16s(&[[1.0; 16], [0.5; 16]].concat()))
        .block(Some("awq"), json!({"bits": 4, "group_size": 2, "version": "gemm"}))
}

#[test]
fn a_gemm_word_is_eight_outputs_in_their_order() {
    let layer = gemm(0x7654_3210);
    let out = decode(&layer, &Awq, 0..16).unwrap();
    let column: Vec<f32> = (8..16).map(|o| out[4 * o]).collect();
    assert_eq!(column, [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
    // The zero points of the first eight outputs are 0 to 7.
    let column: Vec<f32> = (0..8).map(|o| out[4 * o]).collect();
    assert_eq!(column, [0.0, 3.0, -1.0, 2.0, -2.0, 1.0, -3.0, 0.0]);
    assert_eq!((out[4 * 9 + 1], out[4 * 9 + 2]), (4.0, 1.5));
    assert_eq!(decode(&layer, &Awq, 5..11).unwrap(), out[20..44]);
}

#[test]
fn padding_behind_the_groups_of_gemv_is_not_used() {
    // One group in a word of eight zero points, the others junk.
    let scales: Vec<f32> = (0..16).map(|at| if at % 8 == 0 { 2.0 } else { f32::NAN }).collect();
    let layer = Literal::new("m")
        .part("qweight", Dtype::I32, &[2, 1], words(&[0x7654_3210, 0xfedc_ba98]))
        .part("qzeros", Dtype::I32, &[2, 1], words(&[0xffff_fff1, 0xffff_fff8]))
        .part("scales", Dtype::F16, &[2, 8], f16s(&scales))
        .block(Some("awq"), json!({"bits": 4, "group_size": 128, "version": "gemv"}));
    let out = decode(&layer, &Awq, 0..2).unwrap();
    assert_eq!(out[..8], [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    assert_eq!(out[8..], [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]);
    let stored = layer.stored(&Awq);
    assert!(stored.codes.into_iter().eq(0..16));
    assert_eq!((stored.scales, stored.zeros, stored.terms), (Some(vec![2.0; 2]), Some(vec![1.0, 8.0]), None));
}

#[test]
fn scaled_zeros_of_llm_awq_are_added() {
    let scaled = |name| {
        Literal::new("m")
            .part("qweight", Dtype::I16, &[1, 64], [0x10, 0x32].repeat(64))
            .part(name, Dtype::F16, &[8, 4], f16s(&[-0.75; 32]))
            .part("scales", Dtype::F16, &[8, 4], f16s(&[0.25; 32]))
            .block(Some("awq"), json!({"bits": 4, "group_size": 128, "version": "gemv_fast"}))
    };
    let out = decode(&scaled("scaled_zeros"), &Awq, 0..4).unwrap();
    for (at, value) in out.iter().enumerate() {
        assert_eq!(*value, (at / 8 % 4) as f32 * 0.25 - 0.75);
    }
    assert_eq!(decode(&scaled("qzeros"), &Awq, 1..3).unwrap(), out[64..192]);
}

#[test]
fn what_does_not_fit_is_refused_with_its_numbers() {
    let why = |layer: &Literal| decode(layer, &Awq, 0..1).unwrap_err();
    let zeros = gemm(0).without("qzeros").part("qzeros", Dtype::I32, &[1, 2], words(&[0; 2]));
    assert_eq!(why(&zeros), "qzeros is [1, 2], 2 groups need [2, 2]");
    let odd = Literal::new("m")
        .part("qweight", Dtype::I16, &[1, 32], vec![0; 64])
        .part("qzeros", Dtype::F16, &[8, 4], f16s(&[0.0; 32]))
        .part("scales", Dtype::F16, &[8, 4], f16s(&[1.0; 32]));
    assert!(why(&odd).starts_with("32 inputs are no whole number of 64"));
    assert!(why(&gemm(0).headers_only()).contains("not read"));
}
