//! bitsandbytes int8 layers written out.

use serde_json::{Value, json};

use super::Int8;
use crate::quant::QuantFormat as _;
use crate::quant::testing::{Literal, codes, f32s};
use crate::tensor::Dtype;

fn layer(block: Value) -> Literal {
    Literal::new("m.k_proj")
        .shape("weight", Dtype::I8, &[4, 6])
        .part("SCB", Dtype::F32, &[4], f32s(&[1.0; 4]))
        .part("weight_format", Dtype::U8, &[], vec![0])
        .block(Some("bitsandbytes"), block)
}

fn int8() -> Literal {
    layer(json!({"load_in_8bit": true, "load_in_4bit": false, "bnb_4bit_quant_type": "fp4"}))
}

#[test]
fn a_row_layer_has_its_shape_and_the_fp4_word_is_noise() {
    let layer = int8().shape("bias", Dtype::F16, &[4]);
    let found = layer.recognize(&Int8).unwrap();
    assert_eq!(codes(&found), Vec::<&str>::new());
    let spec = found.spec;
    assert_eq!((spec.shape, spec.variant.as_str(), spec.parameters), (vec![4, 6], "row", 28));
    assert_eq!((spec.millibits, spec.group_size), (8000, None));
    assert_eq!(Int8.label(&layer.recognize(&Int8).unwrap().spec), "INT8");
    assert!(layer.explain(&Int8).iter().all(|line| line.agrees != Some(false)));
}

#[test]
fn column_layouts_are_refused_by_name() {
    for (code, name) in [(1, "col32"), (2, "col_turing"), (3, "col_ampere"), (9, "unknown")] {
        let layer = int8().without("weight_format").part("weight_format", Dtype::U8, &[], vec![code]);
        let found = layer.recognize(&Int8).unwrap();
        assert_eq!((found.spec.variant.as_str(), codes(&found)), (name, vec!["Q015"]));
    }
}

#[test]
fn missing_misshapen_and_bad_scales_are_faults() {
    let of = |layer: Literal| {
        let found = layer.recognize(&Int8).unwrap();
        (codes(&found), found.spec.broken)
    };
    let bare = int8().without("weight_format");
    assert_eq!(of(bare.without("SCB")), (vec!["Q020"], vec!["missing SCB".into()]));
    assert_eq!(of(int8().without("weight")).1, ["missing weight"]);
    let scales =
        |values: &[f32]| int8().without("SCB").part("SCB", Dtype::F32, &[values.len() as u64], f32s(values));
    assert_eq!(of(scales(&[1.0; 3])).0, ["Q002"]);
    assert_eq!(of(scales(&[1.0, f32::NAN, 1.0, 1.0])).0, ["Q004"]);
    assert_eq!(of(layer(json!({"load_in_4bit": true}))).0, ["Q010"]);
}

#[test]
fn bytes_alone_are_int8_only_where_the_config_says_so() {
    let bytes = |value| {
        let layer = Literal::new("m").shape("weight", Dtype::I8, &[4, 6]);
        layer.block(Some("bitsandbytes"), value).recognize(&Int8).is_some()
    };
    assert!(bytes(json!({"load_in_8bit": true})));
    assert!(!bytes(json!({"load_in_4bit": true})));
}

#[test]
fn gptqmodel_spells_the_scales_its_own_way() {
    let layer = int8().without("SCB").part("weight_scb", Dtype::F32, &[4], f32s(&[1.0; 4]));
    assert_eq!(codes(&layer.recognize(&Int8).unwrap()), Vec::<&str>::new());
}

#[test]
fn codes_are_scaled_in_two_roundings() {
    let layer = |codes: &[i8], scales: &[f32]| {
        let codes = codes.iter().map(|&code| code as u8).collect::<Vec<_>>();
        let shape = [scales.len() as u64, (codes.len() / scales.len()) as u64];
        Literal::new("q").part("weight", Dtype::I8, &shape, codes).part(
            "SCB",
            Dtype::F32,
            &shape[..1],
            f32s(scales),
        )
    };
    let (shape, values) = layer(&[-77, 127, 0, 1], &[0.8125, 2.0]).shape_and_values(&Int8).unwrap();
    assert_eq!((shape, values[0].to_bits(), values[2]), (vec![2, 2], 0xbefc_3871, 0.0));
    let whole = || layer(&[1, 2, 3, 4], &[1.0, 2.0]);
    assert!(whole().part("weight_format", Dtype::U8, &[], vec![0]).shape_and_values(&Int8).is_ok());
    let cases = [
        (whole().part("weight_format", Dtype::U8, &[], vec![1]), "codes in col32 order cannot be decoded"),
        (whole().without("SCB").part("SCB", Dtype::F32, &[3], f32s(&[1.0; 3])), "SCB has 3 values for 2"),
        (whole().without("SCB").shape("SCB", Dtype::F32, &[2]), "SCB: not given"),
        (whole().without("weight").part("weight", Dtype::I8, &[2, 2], vec![1; 3]), "weight has 3 bytes"),
    ];
    for (layer, words) in cases {
        let why = layer.shape_and_values(&Int8).unwrap_err();
        assert!(why.starts_with(words), "{why}");
    }
}
