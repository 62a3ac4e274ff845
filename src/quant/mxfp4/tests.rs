//! Stacks of experts written out: shapes, faults, values.

use serde_json::json;

use super::*;
use crate::quant::testing::{Literal, codes};

fn experts(blocks: &'static str, scales: &str) -> Literal {
    Literal::new("model.layers.0.mlp.experts.gate_up_proj").shape(blocks, Dtype::U8, &[4, 192, 4, 16]).part(
        scales,
        Dtype::U8,
        &[4, 192, 4],
        vec![120; 4 * 192 * 4],
    )
}

#[test]
fn experts_have_the_shape_of_the_dense_parameter() {
    let layer = experts("*_blocks", "*_scales").shape("*_bias", Dtype::BF16, &[4, 192]);
    let layer = layer.block(Some("mxfp4"), json!({}));
    let found = layer.recognize(&Mxfp4).unwrap();
    assert_eq!((found.spec.shape.as_slice(), found.spec.millibits), (&[4, 128, 192][..], 4000));
    assert_eq!(found.spec.parameters, 4 * 128 * 192 + 4 * 192);
    assert!(codes(&found).is_empty() && !found.spec.pending);
    assert!(layer.explain(&Mxfp4).iter().any(|l| l.text == "4 blocks × 16 bytes × 2 codes = 128 inputs"));
    assert!(layer.headers_only().recognize(&Mxfp4).unwrap().spec.pending);
    let original = experts("blocks", "scales").recognize(&Mxfp4).unwrap();
    assert_eq!((original.spec.shape.as_slice(), codes(&original).len()), (&[4, 128, 192][..], 0));
}

#[test]
fn faults_are_named() {
    let with = |scales: &[u64]| {
        experts("*_blocks", "*_scales").without("*_scales").shape("*_scales", Dtype::U8, scales)
    };
    let nan = with(&[4, 192, 4]).without("*_scales");
    let cases = [
        (experts("*_blocks", "*_scales"), "Q007", "no config says"),
        (with(&[4, 192, 4]).without("*_scales").block(Some("mxfp4"), json!({})), "Q020", "missing scales"),
        (with(&[4, 192, 3]).block(Some("mxfp4"), json!({})), "Q002", "the blocks need U8 [4, 192, 4]"),
        (with(&[4, 192, 4]).block(Some("gptq"), json!({})), "Q008", "the tensors are MXFP4 of gpt-oss"),
        (
            nan.part("*_scales", Dtype::U8, &[4, 192, 4], [vec![255; 2], vec![120; 3070]].concat())
                .block(Some("mxfp4"), json!({})),
            "Q004",
            "scales: 2 of 3072 are NaN",
        ),
    ];
    for (layer, code, words) in cases {
        let found = layer.recognize(&Mxfp4).unwrap();
        assert_eq!(codes(&found), [code], "{words}");
        assert!(found.faults[0].detail.contains(words), "{}", found.faults[0].detail);
    }
}

#[test]
fn experts_are_turned_when_decoded() {
    let mut blocks = vec![0; 2 * 3 * 2 * 16];
    // Expert 1, output 2, block 1, inputs 34 and 35.
    blocks[(5 * 2 + 1) * 16 + 1] = 0xa7;
    let mut scales = vec![127; 12];
    scales[11] = 120;
    let layer = |bytes: Vec<u8>| {
        Literal::new("experts.down_proj")
            .part("*_blocks", Dtype::U8, &[2, 3, 2, 16], bytes)
            .part("*_scales", Dtype::U8, &[2, 3, 2], scales.clone())
            .part("*_bias", Dtype::BF16, &[2, 3], vec![0; 12])
    };
    let (shape, values) = layer(blocks.clone()).shape_and_values(&Mxfp4).unwrap();
    assert_eq!(shape, [2, 64, 3]);
    let at = |expert: usize, input: usize, output: usize| values[(expert * 64 + input) * 3 + output];
    assert_eq!((at(1, 34, 2), at(1, 35, 2)), (0.046_875, -0.007_812_5));
    assert_eq!(values.iter().filter(|&&value| value != 0.0).count(), 2);
    layer(blocks.clone()).with(|parts| {
        let spec = Mxfp4.recognize(parts).unwrap().spec;
        let decoding = Mxfp4.decode(parts, &spec).unwrap();
        assert_eq!((decoding.suffix, decoding.kept), ("*", vec![2]));
        assert_eq!(decoding.rows.codes(0..1), 0..96);
        assert_eq!(decoding.rows.codes(63..65), 0..192);
        assert_eq!(decoding.rows.codes(64..65), 96..192);
    });
    let why = layer(vec![0; 191]).shape_and_values(&Mxfp4).unwrap_err();
    assert_eq!(why, "blocks have 191 bytes, not those of [2, 3, 2, 16]");
    let huge = Literal::new("x").part("blocks", Dtype::U8, &[0, 1 << 40, 1 << 40, 16], vec![]);
    let why =
        huge.part("scales", Dtype::U8, &[0, 1 << 40, 1 << 40], vec![]).shape_and_values(&Mxfp4).unwrap_err();
    assert!(why.ends_with("too many"), "{why}");
}
