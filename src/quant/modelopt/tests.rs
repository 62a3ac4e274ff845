//! Layers of modelopt from literals.

use serde_json::{Value, json};

use super::Modelopt;
use crate::quant::Recognized;
use crate::quant::testing::{Literal, codes, f32s};
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
        (hf_quant(nvfp4().without("weight_scale_2"), &said("NVFP4", 16)), "Q001", "missing weight_scale_2"),
        (hf_quant(nvfp4().without("weight_scale"), &said("NVFP4", 16)), "Q001", "missing weight_scale"),
        (hf_quant(nvfp4().without("weight"), &said("NVFP4", 16)), "Q001", "missing weight"),
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
