//! Layers of compressed-tensors from literals: numbers, faults, and what a config says differently.

use serde_json::{Value, json};

use super::CompressedTensors;
use crate::quant::testing::{Literal, codes, f32s, words};
use crate::quant::{LayerSpec, Recognized};
use crate::tensor::Dtype;

fn config(weights: &Value) -> Value {
    json!({"format": "pack-quantized", "quant_method": "compressed-tensors",
           "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}})
}

fn shape_bytes(outputs: u64, inputs: u64) -> Vec<u8> {
    [outputs, inputs].iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// 64 outputs, 256 inputs, 4 bits, groups of 128, symmetric.
fn packed() -> Literal {
    Literal::new("model.layers.0.q_proj")
        .shape("weight_packed", Dtype::I32, &[64, 32])
        .part("weight_shape", Dtype::I64, &[2], shape_bytes(64, 256))
        .part("weight_scale", Dtype::BF16, &[64, 2], [0x80, 0x3f].repeat(128))
}

fn four_bits() -> Value {
    config(&json!({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": true}))
}

fn found(layer: &Literal) -> Recognized {
    layer.recognize(&CompressedTensors).expect("recognized")
}

fn numbers(spec: &LayerSpec) -> (&str, &[u64], u32, Option<u64>, Option<bool>) {
    (&spec.variant, &spec.shape, spec.millibits, spec.group_size, spec.symmetric)
}

#[test]
fn packed_codes_have_the_declared_shape_and_wait_for_it() {
    let layer = packed().block(Some("compressed-tensors"), four_bits());
    let complete = found(&layer);
    assert_eq!(numbers(&complete.spec), ("pack-quantized", &[64, 256][..], 4000, Some(128), Some(true)));
    assert_eq!(complete.spec.parameters, 64 * 256);
    assert_eq!((complete.spec.act_order, complete.spec.dtype), (Some(false), Some(Dtype::BF16)));
    assert!(codes(&complete).is_empty() && !complete.spec.pending);
    let first = found(&layer.headers_only());
    assert!(first.spec.pending && codes(&first).is_empty());
    assert_eq!(numbers(&first.spec), numbers(&complete.spec));
}

#[test]
fn a_config_that_says_other_numbers_is_named_with_both() {
    let cases = [
        (
            json!({"num_bits": 8, "group_size": 128, "strategy": "group"}),
            "Q010",
            "num_bits is 8, the tensors have 4",
        ),
        (json!({"num_bits": 4, "group_size": 64, "strategy": "group"}), "Q011", "one a row and 128 inputs"),
        (
            json!({"num_bits": 4, "strategy": "channel"}),
            "Q011",
            "means scales of one a row, the tensors have",
        ),
        (json!({"num_bits": 4, "group_size": 128, "symmetric": false}), "Q020", "missing weight_zero_point"),
        (
            json!({"num_bits": 4, "group_size": 128, "type": "float"}),
            "Q013",
            "type is float, the tensors are",
        ),
    ];
    for (weights, code, words) in cases {
        let layer = packed().block(Some("compressed-tensors"), config(&weights));
        let complete = found(&layer);
        assert_eq!(codes(&complete), [code], "{weights}");
        assert!(complete.faults[0].detail.contains(words), "{}", complete.faults[0].detail);
        assert_eq!(complete.spec.millibits, 4000);
        assert_eq!(complete.spec.group_size, Some(128));
        // On opening, nothing is claimed from a provisional shape.
        assert!(codes(&found(&layer.headers_only())).is_empty(), "{weights}");
    }
}

#[test]
fn silent_and_foreign_configs_are_named() {
    assert_eq!(codes(&found(&packed())), ["Q007"]);
    let foreign = found(&packed().block(Some("gptq"), json!({"bits": 4})));
    assert_eq!(codes(&foreign), ["Q008"]);
    assert!(foreign.faults[0].detail.contains("says gptq, the tensors are compressed-tensors"));
    assert_eq!(foreign.spec.shape, [64, 256]);
}

#[test]
fn missing_and_misfitting_parts_break_the_layer() {
    let base = || packed().block(Some("compressed-tensors"), four_bits());
    let scale = |shape: &[u64]| base().without("weight_scale").shape("weight_scale", Dtype::BF16, shape);
    let zeros = |dtype, shape: &[u64]| base().shape("weight_zero_point", dtype, shape);
    let cases = [
        (base().without("weight_scale"), "Q020", "missing weight_scale"),
        (base().without("weight_packed"), "Q020", "missing weight_packed"),
        (base().without("weight_shape"), "Q020", "missing weight_shape"),
        (scale(&[63, 2]), "Q002", "weight_scale is [63, 2], the weight is [64, 256]"),
        (scale(&[64, 3]), "Q002", "weight_scale is [64, 3]"),
        (
            base().without("weight_packed").shape("weight_packed", Dtype::I32, &[64, 31]),
            "Q002",
            "weight_packed is [64, 31], weight_shape says [64, 256]",
        ),
        (base().shape("bias", Dtype::BF16, &[63]), "Q002", "bias is [63], the weight needs [64]"),
        (zeros(Dtype::I32, &[9, 2]), "Q002", "weight_zero_point is I32 [9, 2], the scales need [8, 2]"),
        (base().shape("weight_g_idx", Dtype::I32, &[255]), "Q002", "weight_g_idx is I32 [255]"),
    ];
    for (layer, code, words) in cases {
        let found = found(&layer);
        let fault = found.faults.iter().find(|fault| fault.kind.code == code);
        let fault = fault.unwrap_or_else(|| panic!("{code} {words}: {:?}", found.faults));
        assert!(fault.detail.contains(words), "{}", fault.detail);
        assert!(!found.spec.broken.is_empty(), "{words}");
    }
}

#[test]
fn scales_that_are_not_finite_are_counted() {
    let scales = f32s(&[1.0, f32::NAN, f32::INFINITY, 2.0]);
    let layer = Literal::new("q")
        .shape("weight", Dtype::I8, &[4, 8])
        .part("weight_scale", Dtype::F32, &[4, 1], scales)
        .block(Some("compressed-tensors"), json!({}));
    let found = found(&layer);
    assert_eq!(codes(&found), ["Q004"]);
    assert_eq!(found.faults[0].detail, "weight_scale: 1 of 4 are NaN, 1 infinite");
    assert!(found.spec.broken.is_empty());
}

#[test]
fn group_indices_tell_act_order() {
    let group = |index: &[u32]| {
        Literal::new("q")
            .shape("weight_packed", Dtype::I32, &[2, 2])
            .part("weight_shape", Dtype::I64, &[2], shape_bytes(2, 8))
            .shape("weight_scale", Dtype::F16, &[2, 2])
            .part("weight_g_idx", Dtype::I32, &[8], words(index))
            .block(Some("compressed-tensors"), config(&json!({"num_bits": 8, "group_size": 4})))
    };
    let act_order = |index| found(&group(index)).spec.act_order;
    assert_eq!(act_order(&[0, 0, 0, 0, 1, 1, 1, 1]), Some(false));
    assert_eq!(act_order(&[0, 1, 0, 1, 0, 1, 0, 1]), Some(true));
    assert_eq!(act_order(&[u32::MAX; 8]), Some(false));
    let outside = found(&group(&[0, 0, 0, 0, 1, 1, 1, 2]));
    assert_eq!(codes(&outside), ["Q005"]);
    assert!(outside.faults[0].detail.contains("1 of 8 point outside the 2 groups"));
}

#[test]
fn old_symmetric_zero_points_of_zero_are_no_contradiction() {
    let with = |zero: u8| {
        Literal::new("q")
            .shape("weight", Dtype::I8, &[4, 8])
            .shape("weight_scale", Dtype::F32, &[4, 1])
            .part("weight_zero_point", Dtype::I8, &[4, 1], vec![zero; 4])
            .block(Some("compressed-tensors"), config(&json!({"num_bits": 8, "symmetric": true})))
    };
    let even = found(&with(0));
    assert_eq!(even.spec.symmetric, Some(true));
    assert!(!codes(&even).contains(&"Q013") || even.faults[0].detail.contains("format"));
    let odd = found(&with(3));
    assert_eq!(odd.spec.symmetric, Some(false));
    assert!(odd.faults.iter().any(|fault| fault.detail.contains("symmetric is true")));
}

#[test]
fn mixed_precision_takes_the_group_of_each_module() {
    let value = json!({"format": "mixed-precision", "config_groups": {
        "a": {"targets": ["re:.*mlp.*"], "format": "nvfp4-pack-quantized",
              "weights": {"num_bits": 4, "group_size": 16, "type": "float", "strategy": "tensor_group"}},
        "b": {"targets": ["Linear"], "format": "float-quantized",
              "weights": {"num_bits": 8, "strategy": "channel", "type": "float"}}}});
    let mlp = Literal::new("model.layers.0.mlp.up_proj")
        .shape("weight_packed", Dtype::U8, &[64, 32])
        .part("weight_scale", Dtype::F8E4M3, &[64, 4], vec![0x38; 256])
        .part("weight_global_scale", Dtype::F32, &[1], f32s(&[0.0]))
        .block(Some("compressed-tensors"), value.clone());
    let mlp = found(&mlp);
    assert_eq!(numbers(&mlp.spec), ("nvfp4-pack-quantized", &[64, 64][..], 4000, Some(16), Some(true)));
    assert_eq!(mlp.faults[0].detail, "weight_global_scale is 0, and scales are divided by it");
    let attention = Literal::new("model.layers.0.self_attn.q_proj")
        .shape("weight", Dtype::F8E4M3, &[64, 64])
        .shape("weight_scale", Dtype::BF16, &[64, 1])
        .block(Some("compressed-tensors"), value);
    let attention = found(&attention);
    assert_eq!(numbers(&attention.spec), ("float-quantized", &[64, 64][..], 8000, None, Some(true)));
    assert!(codes(&attention).is_empty());
}

#[test]
fn mx_formats_are_told_apart_by_codes_a_scale() {
    for (bytes, variant, bits) in [(64, "mxfp4-pack-quantized", 4000), (96, "mxfp6-pack-quantized", 6000)] {
        let layer = Literal::new("q")
            .shape("weight_packed", Dtype::U8, &[8, bytes])
            .part("weight_scale", Dtype::U8, &[8, 4], vec![127; 32])
            .block(Some("compressed-tensors"), json!({}));
        let found = found(&layer);
        assert_eq!(numbers(&found.spec), (variant, &[8, 128][..], bits, Some(32), Some(true)));
        assert!(codes(&found).is_empty());
    }
}

#[test]
fn foreign_scaled_weights_are_left_to_others() {
    let fp8 = || {
        Literal::new("q").shape("weight", Dtype::F8E4M3, &[64, 64]).shape("weight_scale", Dtype::F32, &[1])
    };
    assert!(fp8().recognize(&CompressedTensors).is_none());
    assert!(fp8().block(Some("fp8"), json!({})).recognize(&CompressedTensors).is_none());
    let plain = Literal::new("q").shape("weight", Dtype::BF16, &[64, 64]).shape("k_scale", Dtype::F32, &[1]);
    let plain = plain.block(Some("compressed-tensors"), json!({}));
    assert!(plain.recognize(&CompressedTensors).is_none());
}

#[test]
fn evidence_shows_the_arithmetic() {
    let lines = packed().block(Some("compressed-tensors"), four_bits()).explain(&CompressedTensors);
    let text: Vec<_> = lines.iter().map(|line| format!("{}: {}", line.source, line.text)).collect();
    assert_eq!(
        text,
        [
            "config.json: group_0, target Linear, pack-quantized, 4 bits, group 128, by group, symmetric",
            "shapes: 32 words × 8 codes = 256 inputs",
            "weight_shape: [64, 256]",
            "weight_scale: BF16 [64, 2], one a row and 128 inputs: 128 values, 1 … 1, all finite",
        ]
    );
    assert!(lines.iter().all(|line| line.agrees != Some(false)));
}
