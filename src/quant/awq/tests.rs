//! AWQ layers written out: the four layouts, and what can be wrong with them.

use serde_json::json;

use super::Awq;
use crate::quant::QuantFormat as _;
use crate::quant::testing::{Literal, codes, f16s};
use crate::tensor::Dtype;

/// Layout word, group, and the parts' shapes, for 256 inputs and 64 outputs.
fn layer(version: &str, group: u64) -> Literal {
    let (codes, zeros, scales): ([u64; 2], [u64; 2], [u64; 2]) = match (version, group) {
        ("gemm", _) => ([256, 8], [256 / group, 8], [256 / group, 64]),
        ("gemv", 128) => ([64, 32], [64, 1], [64, 8]),
        ("gemv", 64) => ([64, 32], [64, 2], [64, 16]),
        ("gemv", _) => ([64, 32], [64, 4], [64, 32]),
        ("gemv_fast", _) => ([16, 256], [8, 64], [8, 64]),
        _ => ([16, 128], [0, 0], [256 / group, 64]),
    };
    let (word, zero) = match version {
        "gemv_fast" => (Dtype::I16, Dtype::F16),
        _ => (Dtype::I32, Dtype::I32),
    };
    let count = (scales[0] * scales[1]) as usize;
    let layer = Literal::new("llm.model.layers.0.mlp.up_proj")
        .shape("qweight", word, &codes)
        .part("scales", Dtype::F16, &scales, f16s(&vec![0.25; count]))
        .block(
            Some("awq"),
            json!({"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": true, "version": version}),
        );
    if version == "marlin" { layer } else { layer.shape("qzeros", zero, &zeros) }
}

#[test]
fn the_four_layouts_have_one_true_shape() {
    for (version, group) in [
        ("gemm", 128),
        ("gemm", 32),
        ("gemv", 128),
        ("gemv", 64),
        ("gemv", 32),
        ("gemv_fast", 128),
        ("marlin", 128),
    ] {
        let layer = layer(version, group);
        let found = layer.recognize(&Awq).unwrap();
        assert_eq!(codes(&found), Vec::<&str>::new(), "{version} {group}");
        let spec = found.spec;
        assert_eq!((spec.variant.as_str(), spec.shape.as_slice()), (version, &[64, 256][..]));
        assert_eq!((spec.group_size, spec.millibits), (Some(group), 4000), "{version}");
        assert_eq!(spec.symmetric, Some(version == "marlin"));
        assert_eq!(
            (spec.dtype, spec.parameters, spec.label().as_str()),
            (Some(Dtype::F16), 64 * 256, "AWQ4")
        );
        assert!(layer.headers_only().recognize(&Awq).unwrap().spec.pending);
    }
}

#[test]
fn llm_awq_names_its_zero_points_otherwise() {
    let layer = layer("gemv_fast", 128).without("qzeros").shape("scaled_zeros", Dtype::F16, &[8, 64]);
    let found = layer.recognize(&Awq).unwrap();
    assert_eq!((found.spec.variant.as_str(), codes(&found)), ("gemv_fast", vec![]));
}

#[test]
fn missing_and_misshapen_parts_break_the_layer() {
    let of = |layer: Literal| {
        let found = layer.recognize(&Awq).unwrap();
        (codes(&found), found.spec.broken)
    };
    assert_eq!(of(layer("gemm", 128).without("scales")), (vec!["Q020"], vec!["missing scales".into()]));
    assert_eq!(of(layer("gemm", 128).without("qzeros")).1, ["missing qzeros"]);
    assert_eq!(of(layer("gemm", 128).without("qweight")).1, ["missing qweight"]);
    let short = layer("gemm", 128).without("qzeros").shape("qzeros", Dtype::I32, &[2, 7]);
    assert_eq!(of(short), (vec!["Q002"], vec!["qzeros does not fit".into()]));
}

#[test]
fn the_config_is_held_against_the_tensors() {
    let with = |version: &str, block| {
        let bare = layer("gemm", 64);
        let found = Literal::new("m")
            .shape("qweight", Dtype::I32, &[256, 8])
            .shape("qzeros", Dtype::I32, &[4, 8])
            .shape("scales", Dtype::F16, &[4, 64])
            .block(Some(version), block)
            .recognize(&Awq)
            .unwrap();
        assert!(bare.recognize(&Awq).is_some());
        codes(&found)
    };
    assert_eq!(with("awq", json!({"w_bit": 4, "q_group_size": 64, "version": "GEMM"})), Vec::<&str>::new());
    assert_eq!(with("awq", json!({"bits": 4, "group_size": 128})), ["Q011"]);
    assert_eq!(with("awq", json!({"bits": 8, "group_size": 64})), ["Q010"]);
    assert_eq!(with("awq", json!({"version": "gemv"})), ["Q013"]);
    assert_eq!(with("gptq", json!({"bits": 4})), ["Q008"]);
}

#[test]
fn bad_scales_are_counted_and_the_evidence_says_how_codes_lie() {
    let mut values = vec![0.5; 2 * 64];
    values[7] = f32::NAN;
    let layer = layer("gemm", 128).without("scales").part("scales", Dtype::F16, &[2, 64], f16s(&values));
    assert_eq!(codes(&layer.recognize(&Awq).unwrap()), ["Q004"]);
    let lines = layer.explain(&Awq);
    assert!(lines.iter().any(|l| l.text == "256 rows = inputs, 8 words × 8 codes = 64 outputs"));
    assert!(lines.iter().any(|l| l.text == "quant_method awq, bits 4, group 128, version gemm"));
    assert!(lines.iter().any(|l| l.source == "scales" && l.agrees == Some(false)));
}

#[test]
fn hostile_shapes_never_panic() {
    let dims = [0, 1, 7, u64::MAX];
    for version in ["gemm", "gemv", "gemv_fast", "marlin"] {
        for (&a, &b) in dims.iter().flat_map(|a| dims.iter().map(move |b| (a, b))) {
            for suffix in ["qweight", "qzeros", "scales"] {
                for dtype in [Dtype::I32, Dtype::I16, Dtype::F16] {
                    let hostile =
                        layer(version, 128).without(suffix).part(suffix, dtype, &[a, b], vec![1; 7]);
                    if let Some(found) = hostile.recognize(&Awq) {
                        Awq.label(&found.spec);
                        hostile.explain(&Awq);
                    }
                }
            }
        }
    }
}
