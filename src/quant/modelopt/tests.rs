//! Layers of modelopt from literals.

use serde_json::{Value, json};

use super::Modelopt;
use crate::quant::Recognized;
use crate::quant::testing::{Literal, codes, f16s, f32s};
use crate::tensor::Dtype;

fn hf_quant(layer: Literal, quantization: &Value) -> Literal {
    let value = json!({"producer": {"name": "modelopt"}, "quantization": quantization});
    layer.block_of("hf_quant_config.json", "", Some("modelopt"), value)
}

fn layer(weight: Dtype, shape: &[u64], scale: Dtype, scales: &[u64]) -> Literal {
    Literal::new("model.layers.0.q_proj").shape("weight", weight, shape).shape("weight_scale", scale, scales)
}

fn nvfp4() -> Literal {
    layer(Dtype::U8, &[64, 64], Dtype::F8E4M3, &[64, 8])
        .part("weight_scale_2", Dtype::F32, &[], f32s(&[0.001]))
        .shape("input_scale", Dtype::F32, &[])
}

fn found(layer: &Literal) -> Recognized {
    layer.recognize(&Modelopt).expect("recognized")
}

#[test]
fn algorithms_are_told_apart_by_dtypes() {
    let fp8 = |scales: &[u64]| layer(Dtype::F8E4M3, &[128, 256], Dtype::F32, scales);
    let int4 =
        layer(Dtype::U8, &[32, 256], Dtype::BF16, &[64, 2]).shape("pre_quant_scale", Dtype::F16, &[256]);
    let cases = [
        (fp8(&[]), "FP8", "fp8", [128, 256], 8000, None),
        (fp8(&[128]), "FP8_PC_PT", "fp8", [128, 256], 8000, None),
        (fp8(&[1, 1, 2, 1]), "FP8_PB_WO", "fp8", [128, 256], 8000, Some(128)),
        (nvfp4(), "NVFP4", "nvfp4", [64, 128], 4000, Some(16)),
        (int4, "W4A16_AWQ", "int4", [64, 256], 4000, Some(128)),
        (layer(Dtype::U8, &[64, 64], Dtype::U8, &[64, 4]), "MXFP4", "mxfp4", [64, 128], 4000, Some(32)),
        (layer(Dtype::F8E4M3, &[64, 64], Dtype::U8, &[64, 2]), "MXFP8", "mxfp8", [64, 64], 8000, Some(32)),
    ];
    for (layer, algorithm, variant, shape, bits, group) in cases {
        let found = found(&hf_quant(layer, &json!({"quant_algo": algorithm})));
        assert!(codes(&found).is_empty(), "{algorithm}: {:?}", found.faults);
        assert_eq!((found.spec.variant.as_str(), found.spec.millibits), (variant, bits));
        assert_eq!(found.spec.label(), variant.to_uppercase());
        assert_eq!((found.spec.shape, found.spec.group_size), (shape.to_vec(), group), "{algorithm}");
    }
}

#[test]
fn faults_are_named() {
    let said = |algorithm: &str, group: u64| json!({"quant_algo": algorithm, "group_size": group});
    let cases = [
        (nvfp4(), "Q007", "no config says"),
        (nvfp4().block(Some("gptq"), json!({})), "Q008", "says gptq, the tensors are modelopt"),
        (hf_quant(nvfp4(), &said("FP8", 16)), "Q010", "quant_algo FP8, the tensors are nvfp4"),
        (hf_quant(nvfp4(), &said("W4A16_AWQ", 16)), "Q013", "quant_algo W4A16_AWQ, the tensors are nvfp4"),
        (hf_quant(nvfp4(), &said("NVFP4", 32)), "Q011", "group_size 32, the tensors have 16"),
        (hf_quant(nvfp4().without("weight_scale_2"), &said("NVFP4", 16)), "Q020", "missing weight_scale_2"),
        (hf_quant(nvfp4().without("weight_scale"), &said("NVFP4", 16)), "Q020", "missing weight_scale"),
        (hf_quant(nvfp4().without("weight"), &said("NVFP4", 16)), "Q020", "missing weight"),
        (
            hf_quant(layer(Dtype::F8E4M3, &[64, 64], Dtype::F32, &[63]), &said("FP8", 0)),
            "Q002",
            "weight_scale is [63], the weight is [64, 64]",
        ),
    ];
    for (layer, code, words) in cases {
        let found = found(&layer);
        assert_eq!(codes(&found), [code], "{words}");
        assert!(found.faults[0].detail.contains(words), "{}", found.faults[0].detail);
    }
}

#[test]
fn mixed_precision_is_looked_up_by_name() {
    let value = json!({"quant_algo": "MIXED_PRECISION", "quantized_layers": {
        "model.layers.0.q_proj": {"quant_algo": "NVFP4", "group_size": 16}}});
    assert!(codes(&found(&hf_quant(nvfp4(), &value))).is_empty());
    let value = json!({"quant_algo": "MIXED_PRECISION", "quantized_layers": {
        "model.layers.0.q_proj": {"quant_algo": "FP8"}}});
    assert_eq!(codes(&found(&hf_quant(nvfp4(), &value))), ["Q010"]);
}

#[test]
fn nan_scales_of_fp8_are_counted() {
    let bad = nvfp4().without("weight_scale").part("weight_scale", Dtype::F8E4M3, &[64, 8], {
        let mut bytes = vec![0x38; 512];
        bytes[7] = 0x7f;
        bytes[9] = 0xff;
        bytes
    });
    let found = found(&hf_quant(bad, &json!({"quant_algo": "NVFP4"})));
    assert_eq!(codes(&found), ["Q004"]);
    assert_eq!(found.faults[0].detail, "weight_scale: 2 of 512 are NaN");
}

/// A layer of an algorithm whose weight and scales can be read.
fn stored(
    algorithm: &str,
    (weight, shape, codes): (Dtype, &[u64], Vec<u8>),
    (scale, grid, scales): (Dtype, &[u64], Vec<u8>),
) -> Literal {
    let layer = Literal::new("q").part("weight", weight, shape, codes);
    hf_quant(layer.part("weight_scale", scale, grid, scales), &json!({"quant_algo": algorithm}))
}

fn decoded(layer: &Literal) -> (Vec<u64>, Vec<f32>) {
    layer.shape_and_values(&Modelopt).unwrap()
}

#[test]
fn fp8_is_scaled_by_tensor_channel_and_block() {
    let of = |algorithm: &str, grid: &[u64], scales: &[f32]| {
        let weight = (Dtype::F8E4M3, &[2, 130][..], vec![0x38; 260]);
        let (shape, values) = decoded(&stored(algorithm, weight, (Dtype::F32, grid, f32s(scales))));
        assert_eq!(shape, [2, 130]);
        [values[0], values[129], values[130], values[259]]
    };
    assert_eq!(of("FP8", &[], &[3.0]), [3.0; 4]);
    assert_eq!(of("FP8_PC_PT", &[2], &[3.0, 5.0]), [3.0, 3.0, 5.0, 5.0]);
    assert_eq!(of("FP8_PB_WO", &[1, 1, 2, 1], &[3.0, 5.0]), [3.0, 5.0, 3.0, 5.0]);
}

#[test]
fn the_second_scale_of_nvfp4_multiplies() {
    let codes = [vec![0xa5], vec![0; 15]].concat();
    let second = f32s(&[1.0 / 1234.5]);
    for (dtype, shape) in [(Dtype::U8, [1, 16]), (Dtype::F4, [1, 32])] {
        let layer =
            stored("NVFP4", (dtype, &shape, codes.clone()), (Dtype::F8E4M3, &[1, 2], vec![0x5a, 0x38]));
        let layer = layer.part("weight_scale_2", Dtype::F32, &[], second.clone());
        let (shape, values) = decoded(&layer);
        let scale = 20.0 * (1.0 / 1234.5f32);
        assert_eq!((shape, &values[..3]), (vec![1, 32], &[3.0 * scale, -scale, 0.0][..]));
    }
}

#[test]
fn rows_of_int4_share_bytes_and_columns_are_scaled_at_last() {
    let weight = (Dtype::U8, &[1, 4][..], vec![0x71, 0x8f, 0x00, 0x20]);
    let layer = stored("W4A16_AWQ", weight, (Dtype::F32, &[2, 2], f32s(&[1.0, 2.0, 10.0, 20.0])));
    assert_eq!(decoded(&layer), (vec![2, 4], vec![1.0, -1.0, 0.0, 0.0, 70.0, -80.0, 0.0, 40.0]));
    let layer = layer.part("pre_quant_scale", Dtype::F16, &[4], f16s(&[1.0, 0.5, 1.0, 2.0]));
    assert_eq!(decoded(&layer).1, [1.0, -0.5, 0.0, 0.0, 70.0, -40.0, 0.0, 80.0]);
    let short = layer.without("pre_quant_scale").part("pre_quant_scale", Dtype::F16, &[3], f16s(&[1.0; 3]));
    assert_eq!(short.shape_and_values(&Modelopt).unwrap_err(), "pre_quant_scale has 3 values for 4 inputs");
}

#[test]
fn mx_formats_have_powers_of_two() {
    let mxfp4 = stored("MXFP4", (Dtype::U8, &[1, 32], vec![0xa7; 32]), (Dtype::U8, &[1, 2], vec![120, 127]));
    assert_eq!(decoded(&mxfp4).1[..2], [0.046_875, -0.007_812_5]);
    assert_eq!(decoded(&mxfp4).1[62..], [6.0, -1.0]);
    let mxfp8 =
        stored("MXFP8", (Dtype::F8E4M3, &[1, 40], vec![0x38; 40]), (Dtype::U8, &[1, 2], vec![128, 126]));
    assert_eq!((decoded(&mxfp8).1[31], decoded(&mxfp8).1[32]), (2.0, 0.5));
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    let nvfp4 = |second: &[f32]| {
        let layer = Literal::new("q").part("weight", Dtype::U8, &[2, 8], vec![0; 16]).part(
            "weight_scale",
            Dtype::F8E4M3,
            &[2, 1],
            vec![0; 2],
        );
        layer.part("weight_scale_2", Dtype::F32, &[second.len() as u64], f32s(second))
    };
    assert!(nvfp4(&[1.0]).shape_and_values(&Modelopt).is_ok());
    let cases = [
        (nvfp4(&[1.0, 2.0]), "weight_scale_2 has 2 values for 2 scales"),
        (nvfp4(&[1.0]).shape("svdquant_lora_a", Dtype::BF16, &[4, 16]), "its low-rank part"),
        (nvfp4(&[1.0]).without("weight_scale"), "missing weight_scale"),
        (
            nvfp4(&[1.0]).without("weight_scale").part("weight_scale", Dtype::F8E4M3, &[2, 2], vec![0; 4]),
            "weight_scale is [2, 2], the weight is [2, 16]",
        ),
    ];
    for (layer, words) in cases {
        let why = layer.shape_and_values(&Modelopt).unwrap_err();
        assert!(why.starts_with(words), "{why}");
    }
}
