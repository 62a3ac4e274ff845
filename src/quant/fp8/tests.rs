//! Layers of the fp8 family from literals.

use serde_json::{Value, json};

use super::{Fp8, scales_divide};
use crate::quant::testing::{Literal, codes, f32s};
use crate::quant::{QuantFormat as _, Recognized};
use crate::tensor::Dtype;
use crate::tensor::values::bf16_bits;

const F8: Dtype = Dtype::F8E4M3;

fn layer(weight: &[u64], suffix: &str, dtype: Dtype, scales: &[u64]) -> Literal {
    Literal::new("model.layers.0.q_proj").shape("weight", F8, weight).shape(suffix, dtype, scales)
}

fn found(layer: &Literal) -> Recognized {
    layer.recognize(&Fp8).expect("recognized")
}

fn blocks(size: u64) -> Value {
    json!({"quant_method": "fp8", "weight_block_size": [size, size]})
}

#[test]
fn dialects_are_told_apart() {
    let cases = [
        (layer(&[576, 192], "weight_scale_inv", Dtype::F32, &[5, 2]), "fp8", blocks(128), "block", Some(128)),
        (
            layer(&[128, 256], "weight_scale_inv", Dtype::F8E8M0, &[4, 8]),
            "fp8",
            blocks(32),
            "block",
            Some(32),
        ),
        (layer(&[128, 256], "scale", Dtype::F8E8M0, &[1, 2]), "fp8", blocks(128), "block", Some(128)),
        (layer(&[128, 256], "weight_scale", Dtype::F32, &[]), "fp8", json!({}), "tensor", None),
        (layer(&[128, 256], "weight_scale_inv", Dtype::BF16, &[]), "fp8", json!({}), "tensor", None),
        (layer(&[128, 256], "qscale_weight", Dtype::F32, &[]), "fp8", json!({}), "tensor", None),
        (layer(&[128, 256], "weight_scale", Dtype::F32, &[128, 1]), "fp8", json!({}), "channel", None),
        (layer(&[128, 256], "weight_scale", Dtype::F32, &[128, 1]), "fbgemm_fp8", json!({}), "fbgemm", None),
        (layer(&[128, 256], "weight_scale_inv", Dtype::U8, &[128, 8]), "mxfp8", json!({}), "mx", Some(32)),
        (
            layer(&[4, 128, 256], "weight_scale_inv", Dtype::F32, &[4, 1, 2]),
            "fp8",
            blocks(128),
            "block",
            Some(128),
        ),
    ];
    for (layer, method, config, variant, group) in cases {
        let found = found(&layer.block(Some(method), config));
        assert!(codes(&found).is_empty(), "{variant}: {:?}", found.faults);
        assert_eq!((found.spec.variant.as_str(), found.spec.group_size), (variant, group));
        assert_eq!((found.spec.millibits, found.spec.dtype), (8000, Some(Dtype::BF16)));
        assert!(found.spec.broken.is_empty());
    }
}

#[test]
fn experts_of_llama_4_keep_their_stored_shape() {
    let layer = Literal::new("model.layers.0.experts.gate_up_proj")
        .shape("*", F8, &[4, 64, 96])
        .shape("*_scale", Dtype::F32, &[4, 1, 96])
        .block(Some("fbgemm_fp8"), json!({}));
    let found = found(&layer);
    assert_eq!((found.spec.variant.as_str(), found.spec.shape.as_slice()), ("fbgemm", &[4, 64, 96][..]));
    assert_eq!(found.spec.parameters, 4 * 64 * 96);
    assert!(codes(&found).is_empty());
}

#[test]
fn packed_4_bit_experts_of_deepseek_have_twice_the_inputs() {
    let layer = Literal::new("layers.0.ffn.experts.0.w1")
        .shape("weight", Dtype::I8, &[64, 64])
        .shape("scale", Dtype::F8E8M0, &[64, 4])
        .block(Some("fp8"), blocks(128));
    let spec = found(&layer).spec;
    assert_eq!((spec.shape.as_slice(), spec.millibits, spec.variant.as_str()), (&[64, 128][..], 4000, "mx"));
    assert_eq!(spec.label(), "MXFP4");
}

#[test]
fn blocks_are_never_derived_from_the_grid() {
    let ragged = || layer(&[192, 128], "weight_scale_inv", Dtype::F32, &[2, 1]);
    assert_eq!(found(&ragged().block(Some("fp8"), blocks(128))).spec.group_size, Some(128));
    let wrong = found(&ragged().block(Some("fp8"), blocks(64)));
    assert_eq!(codes(&wrong), ["Q002"]);
    assert_eq!(
        wrong.faults[0].detail,
        "weight_scale_inv is [2, 1], blocks of 64 × 64 of [192, 128] need [3, 2]"
    );
    assert_eq!(wrong.spec.broken, ["weight_scale_inv does not fit"]);
    // Without a config, 128 × 128 if it fits, and else nothing.
    let silent = found(&ragged());
    assert_eq!((codes(&silent), silent.spec.group_size), (vec!["Q007"], Some(128)));
    let unknown = found(&layer(&[192, 128], "weight_scale_inv", Dtype::F32, &[6, 4]));
    assert_eq!((codes(&unknown), unknown.spec.group_size), (vec!["Q007"], None));
    let lines = layer(&[192, 128], "weight_scale_inv", Dtype::F32, &[6, 4]).explain(&Fp8);
    assert!(lines.iter().any(|line| line.text == "[6, 4]: blocks, and no config says of which size"));
}

#[test]
fn faults_of_parts_and_configs_are_named() {
    let whole = || layer(&[128, 256], "weight_scale_inv", Dtype::F32, &[1, 2]);
    let cases = [
        (
            whole().without("weight_scale_inv").block(Some("fp8"), blocks(128)),
            "Q020",
            "missing weight_scale_inv",
        ),
        (whole().without("weight").block(Some("fp8"), blocks(128)), "Q020", "missing weight"),
        (whole().block(Some("gptq"), json!({})), "Q008", "says gptq, the tensors are fp8 with scales"),
        (whole().shape("bias", Dtype::BF16, &[5]).block(Some("fp8"), blocks(128)), "Q002", "bias is [5]"),
        (
            layer(&[128, 256], "weight_scale", Dtype::F32, &[127]).block(Some("fp8"), json!({})),
            "Q002",
            "weight_scale is [127], the weight is [128, 256]",
        ),
    ];
    for (layer, code, words) in cases {
        let found = found(&layer);
        assert_eq!(codes(&found), [code], "{words}");
        assert!(found.faults[0].detail.contains(words), "{}", found.faults[0].detail);
    }
}

#[test]
fn bad_scales_are_counted_in_every_dtype() {
    let with = |dtype, data: Vec<u8>, count: u64| {
        let layer = Literal::new("q").shape("weight", F8, &[count, 128]);
        layer
            .part("weight_scale_inv", dtype, &[count, 1], data)
            .block(Some("fp8"), json!({"weight_block_size": [1, 128]}))
    };
    let cases = [
        (with(Dtype::F32, f32s(&[1.0, f32::NAN]), 2), "weight_scale_inv: 1 of 2 are NaN"),
        (with(Dtype::BF16, vec![0x80, 0x7f, 0x80, 0x3f], 2), "weight_scale_inv: 1 of 2 are infinite"),
        (with(Dtype::F8E8M0, vec![255, 255, 127], 3), "weight_scale_inv: 2 of 3 are NaN"),
    ];
    for (layer, words) in cases {
        let found = found(&layer);
        assert_eq!(codes(&found), ["Q004"]);
        assert_eq!(found.faults[0].detail, words);
        let first = layer.headers_only().recognize(&Fp8).unwrap();
        assert!(first.spec.pending && first.faults.is_empty());
    }
}

#[test]
fn inverse_scales_are_those_of_the_config() {
    let with = |semantics: &str, scale: f32| {
        layer(&[128, 256], "weight_scale_inv", Dtype::F32, &[])
            .without("weight_scale_inv")
            .part("weight_scale_inv", Dtype::F32, &[], f32s(&[scale]))
            .block(Some("fp8"), json!({"weight_scale_semantics": semantics}))
    };
    let line = |layer: &Literal| layer.explain(&Fp8).pop().unwrap();
    assert!(with("inverse", 900.0).with(|parts| scales_divide(parts.config)));
    assert_eq!(line(&with("inverse", 900.0)).agrees, Some(true));
    assert_eq!(line(&with("multiply", 900.0)).agrees, None);
    assert_eq!(codes(&found(&with("inverse", 0.0))), ["Q004"]);
}

#[test]
fn plain_weights_with_runtime_scales_are_dense() {
    let dense = Literal::new("k_proj")
        .shape("weight", Dtype::BF16, &[64, 64])
        .shape("bias", Dtype::BF16, &[64])
        .shape("k_scale", Dtype::F32, &[]);
    let found = dense.recognize(&Fp8).unwrap();
    assert_eq!(found.spec.format.get().name(), "dense");
    assert_eq!((found.spec.parameters, found.spec.bias), (64 * 64 + 64, true));
    assert!(found.faults.is_empty());
    let alone = Literal::new("k_proj").shape("weight", Dtype::BF16, &[64, 64]);
    assert!(alone.recognize(&Fp8).is_none());
    // Casts without scales and without a config mean nothing by themselves.
    assert!(Literal::new("q").shape("weight", F8, &[64, 64]).recognize(&Fp8).is_none());
}

/// A weight of 0x38 (1.0) but for its first byte, 0x7e (448).
fn ones(weight: &[u64]) -> Literal {
    let mut bytes = vec![0x38; weight.iter().product::<u64>() as usize];
    bytes[0] = 0x7e;
    Literal::new("q").part("weight", F8, weight, bytes)
}

fn decoded(layer: &Literal) -> Vec<f32> {
    layer.shape_and_values(&Fp8).unwrap().1
}

#[test]
fn products_are_those_of_the_specification() {
    let layer = Literal::new("q")
        .part("weight", F8, &[1, 3], vec![0x7e, 0x01, 0xc5])
        .part("weight_scale", Dtype::F32, &[], f32s(&[0.0003]))
        .block(Some("fp8"), json!({}));
    let bits: Vec<u16> = decoded(&layer).into_iter().map(bf16_bits).collect();
    assert_eq!(bits, [0x3e0a, 0x351d, 0xba80]);
}

#[test]
fn blocks_at_the_edges_are_partial() {
    let scales: Vec<f32> = (1..=6).map(|at| at as f32).collect();
    let layer = ones(&[5, 6])
        .part("weight_scale_inv", Dtype::F32, &[3, 2], f32s(&scales))
        .block(Some("fp8"), json!({"weight_block_size": [2, 4]}));
    let values = decoded(&layer);
    assert_eq!(values[..12], [448.0, 1.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
    assert_eq!(values[24..], [5.0, 5.0, 5.0, 5.0, 6.0, 6.0]);
    // A stack has a grid for each matrix.
    let stack = ones(&[2, 2, 4])
        .part("weight_scale_inv", Dtype::F32, &[2, 1, 1], f32s(&[3.0, 5.0]))
        .block(Some("fp8"), json!({"weight_block_size": [2, 4]}));
    assert_eq!(decoded(&stack)[7..9], [3.0, 5.0]);
}

#[test]
fn powers_of_two_and_scales_of_rows() {
    let with = |dtype, shape: &[u64], data: Vec<u8>, block: [u64; 2]| {
        let layer = ones(&[2, 64]).part("weight_scale_inv", dtype, shape, data);
        decoded(&layer.block(Some("fp8"), json!({"weight_block_size": block})))
    };
    // MXFP8, its scales as U8 and as F8_E8M0; blocks of 1 x 64 with one exponent each.
    for dtype in [Dtype::U8, Dtype::F8E8M0] {
        let values = with(dtype, &[2, 2], vec![127, 128, 129, 0], [1, 32]);
        assert_eq!((values[1], values[32], values[64]), (1.0, 2.0, 4.0));
        assert_eq!(values[96].to_bits(), 1 << 22);
        let values = with(dtype, &[2, 1], vec![130, 126], [1, 64]);
        assert_eq!((values[1], values[64]), (8.0, 0.5));
    }
    let rows = ones(&[2, 3]).part("weight_scale", Dtype::BF16, &[2, 1], vec![0, 0x40, 0x40, 0x40]);
    assert_eq!(decoded(&rows.block(Some("fp8"), json!({}))), [896.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
}

#[test]
fn other_floats_have_their_own_values() {
    let of = |dtype, byte: u8| {
        let layer = Literal::new("q").part("weight", dtype, &[1, 2], vec![byte, 0x80]);
        let layer = layer.part("weight_scale", Dtype::F32, &[1], f32s(&[2.0]));
        decoded(&layer.block(Some("fp8"), json!({})))
    };
    assert_eq!((of(Dtype::F8E5M2, 0x3c)[0], of(Dtype::F8E4M3Fnuz, 0x40)[0]), (2.0, 2.0));
    assert_eq!((of(Dtype::F8E5M2Fnuz, 0x40)[0], of(F8, 0x7f)[0].is_nan()), (2.0, true));
    assert!(of(Dtype::F8E4M3Fnuz, 0)[1].is_nan() && of(F8, 0)[1].is_sign_negative());
}

#[test]
fn inverse_scales_divide() {
    let layer = |semantics: &str| {
        let layer = ones(&[2, 2]).part("weight_scale_inv", Dtype::F32, &[2], f32s(&[3.0, 4.0]));
        layer.block(Some("fp8"), json!({"weight_scale_semantics": semantics, "weight_scale_method": "row"}))
    };
    assert_eq!(decoded(&layer("inverse")), [448.0 / 3.0, 1.0 / 3.0, 0.25, 0.25]);
    assert_eq!(decoded(&layer("factor")), [1344.0, 3.0, 4.0, 4.0]);
}

#[test]
fn experts_of_llama_4_are_scaled_by_columns() {
    let layer = Literal::new("experts.gate_up_proj")
        .part("*", F8, &[2, 3, 2], vec![0x38; 12])
        .part("*_scale", Dtype::F32, &[2, 1, 2], f32s(&[1.0, 2.0, 3.0, 4.0]))
        .block(Some("fbgemm_fp8"), json!({}));
    let want = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0];
    assert_eq!(layer.shape_and_values(&Fp8).unwrap(), (vec![2, 3, 2], want.to_vec()));
    layer.with(|parts| {
        let spec = Fp8.recognize(parts).unwrap().spec;
        assert_eq!(Fp8.decode(parts, &spec).unwrap().suffix, "*");
    });
}

#[test]
fn packed_4_bit_experts_are_low_nibble_first() {
    let layer = Literal::new("layers.0.ffn.experts.0.w1")
        .part("weight", Dtype::I8, &[1, 32], [vec![0x9a, 0x07], vec![0; 30]].concat())
        .part("scale", Dtype::F8E8M0, &[1, 2], vec![128, 127])
        .part("bias", Dtype::F32, &[1], f32s(&[1.0]))
        .block(Some("fp8"), blocks(128));
    let (shape, values) = layer.shape_and_values(&Fp8).unwrap();
    assert_eq!((shape, &values[..4]), (vec![1, 64], &[-2.0, -1.0, 12.0, 0.0][..]));
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    let scale = |shape: &[u64]| {
        let count = shape.iter().product::<u64>() as usize;
        ones(&[192, 128]).part("weight_scale_inv", Dtype::F32, shape, f32s(&vec![1.0; count]))
    };
    let short = Literal::new("q").part("weight", F8, &[2, 2], vec![0; 3]);
    let cases = [
        (scale(&[6, 4]), "weight_scale_inv is [6, 4] and no config gives the block of [192, 128]"),
        (
            scale(&[2, 1]).block(Some("fp8"), blocks(64)),
            "weight_scale_inv is [2, 1], not that of [192, 128] in",
        ),
        (
            short.part("weight_scale", Dtype::F32, &[], f32s(&[1.0])),
            "weight has 3 bytes, which are not those",
        ),
        (ones(&[2, 2]).shape("weight_scale", Dtype::F32, &[]), "weight_scale: not given"),
        (
            ones(&[2, 2]).part("weight_scale", Dtype::I64, &[], vec![0; 8]),
            "weight is F8_E4M3 and weight_scale I64",
        ),
        (ones(&[2, 2]).block(Some("fp8"), json!({})), "missing weight_scale"),
    ];
    for (layer, words) in cases {
        let why = layer.shape_and_values(&Fp8).unwrap_err();
        assert!(why.starts_with(words), "{why}");
    }
}

#[test]
fn layers_of_every_dialect_are_made_again_and_follow_what_changes() {
    let codes: Vec<u8> = crate::quant::testing::some_codes(6 * 64, 120);
    let layer = |suffix: &str, scales: &[u64], dtype: Dtype, bytes: Vec<u8>| {
        Literal::new("model.layers.0.q_proj")
            .part("weight", F8, &[6, 64], codes.clone())
            .part(suffix, dtype, scales, bytes)
    };
    let bf16 =
        [0.011f32, 0.013, 0.017, 0.019].map(bf16_bits).iter().flat_map(|half| half.to_le_bytes()).collect();
    let semantics = json!({"quant_method": "fp8", "weight_scale_semantics": "inverse"});
    let rows = [0.011, 0.02, 0.03, 0.05, 0.01, 0.07];
    let cases = [
        ("tensor", layer("weight_scale", &[], Dtype::F32, f32s(&[0.013])), json!({})),
        ("rows", layer("weight_scale", &[6, 1], Dtype::F32, f32s(&rows)), json!({})),
        (
            "blocks in BF16",
            layer("weight_scale_inv", &[2, 2], Dtype::BF16, bf16),
            json!({"weight_block_size": [4, 32]}),
        ),
        (
            "powers",
            layer("weight_scale_inv", &[2, 2], Dtype::U8, vec![120, 119, 121, 110]),
            json!({"weight_block_size": [4, 32]}),
        ),
        (
            "inverse",
            layer("weight_scale_inv", &[6, 1], Dtype::F32, f32s(&rows.map(|scale| 1.0 / scale))),
            semantics,
        ),
    ];
    for (what, layer, config) in cases {
        let layer = layer.block(Some("fp8"), config);
        let (before, _) = layer.decode(&Fp8).unwrap();
        let (before, dtype) = (before, Dtype::BF16);
        let again = |values: &[f32]| {
            layer.with(|parts| {
                let spec = Fp8.recognize(parts).unwrap().spec;
                let encoding = Fp8.encode(parts, &spec).unwrap();
                let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                let at = crate::quant::encode::Around { first_row: 0, largest };
                encoding.encoder.finish(encoding.encoder.rows(values, at).unwrap(), largest)
            })
        };
        let mut rounded = before.clone();
        crate::tensor::values::round_all(dtype, &mut rounded);
        let same = again(&rounded);
        let scale = layer.with(|parts| parts.read(&parts.list[1], 64));
        assert_eq!((&same[0], crate::quant::Side::Bytes(same[1].clone())), (&codes, scale), "{what}");
        let moved: Vec<f32> = rounded.iter().map(|value| value * 40.0).collect();
        let new = again(&moved);
        assert_ne!(new[1], same[1], "{what}: the scales stayed");
        let part = layer.with(|parts| {
            (parts.list[1].suffix.to_owned(), parts.list[1].dtype, parts.list[1].shape.to_vec())
        });
        let layer = layer.without("weight").without(&part.0);
        let layer =
            layer.part("weight", F8, &[6, 64], new[0].clone()).part(&part.0, part.1, &part.2, new[1].clone());
        let (after, _) = layer.decode(&Fp8).unwrap();
        let largest = moved.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        for (want, got) in moved.iter().zip(&after) {
            assert!((want - got).abs() <= want.abs() / 14.0 + largest / 200_000.0, "{what}: {want} {got}");
        }
    }
}
