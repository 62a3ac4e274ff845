//! bitsandbytes 4-bit layers written out: quant states good and bad, parts that do not fit.

use serde_json::{Value, json};

use super::{FP4, NF4, Table};
use crate::quant::QuantFormat as _;
use crate::quant::testing::{Literal, codes, f32s};
use crate::tensor::Dtype;

const STATE: &str = "weight.quant_state.bitsandbytes__nf4";

fn good_state() -> Value {
    json!({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [8, 32]})
}

fn nested_state() -> Value {
    json!({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [8, 32],
        "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.05})
}

/// An nf4 layer of 8 x 32 values in four blocks, without quant state and config.
fn stateless() -> Literal {
    Literal::new("model.q_proj")
        .part("weight", Dtype::U8, &[128, 1], vec![0x77; 128])
        .part("weight.absmax", Dtype::F32, &[4], f32s(&[0.1; 4]))
        .part("weight.quant_map", Dtype::F32, &[16], f32s(&Table::Nf4.values()))
}

fn with_state(layer: Literal, state: &Value) -> Literal {
    let text = state.to_string().into_bytes();
    layer.part(STATE, Dtype::U8, &[text.len() as u64], text)
}

fn config(layer: Literal, double: bool) -> Literal {
    layer.block(
        Some("bitsandbytes"),
        json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": double}),
    )
}

fn layer() -> Literal {
    config(with_state(stateless(), &good_state()), false)
}

fn nested() -> Literal {
    let layer = stateless()
        .without("weight.absmax")
        .part("weight.absmax", Dtype::U8, &[4], vec![200; 4])
        .part("weight.nested_absmax", Dtype::F32, &[1], f32s(&[0.5]))
        .part("weight.nested_quant_map", Dtype::F32, &[256], f32s(&[0.5; 256]));
    config(with_state(layer, &nested_state()), true)
}

fn faults(layer: &Literal) -> Vec<&'static str> {
    codes(&layer.recognize(&NF4).unwrap())
}

#[test]
fn the_quant_state_tells_shape_block_and_dtype() {
    for (layer, variant) in [(layer(), "plain"), (nested(), "nested")] {
        let found = layer.recognize(&NF4).unwrap();
        assert_eq!(codes(&found), Vec::<&str>::new());
        let spec = found.spec;
        assert_eq!((spec.variant.as_str(), spec.shape, spec.shape_known), (variant, vec![8, 32], true));
        assert_eq!((spec.group_size, spec.dtype, spec.millibits), (Some(64), Some(Dtype::BF16), 4000));
        assert_eq!(spec.parameters, 256);
        assert!(layer.recognize(&FP4).is_none());
        assert_eq!(NF4.label(&layer.recognize(&NF4).unwrap().spec), "NF4");
    }
}

#[test]
fn before_the_state_is_read_the_shape_is_not_known_and_nothing_is_wrong() {
    let found = layer().headers_only().recognize(&NF4).unwrap();
    assert!(found.spec.pending && !found.spec.shape_known && found.faults.is_empty());
}

#[test]
fn storage_in_another_dtype_holds_the_same_bytes() {
    let stored = layer().without("weight").part("weight", Dtype::BF16, &[64, 1], vec![0x77; 128]);
    assert_eq!(faults(&stored), Vec::<&str>::new());
    let odd = json!({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [17, 15]});
    let odd = with_state(stateless(), &odd);
    assert_eq!(odd.recognize(&NF4).unwrap().spec.shape, [17, 15]);
}

#[test]
fn damaged_quant_states_say_what_is_wrong() {
    let with = |state: Value| {
        let layer = config(with_state(stateless(), &state), false);
        let found = layer.recognize(&NF4).unwrap();
        let text = found.faults.iter().map(|f| f.detail.clone()).collect::<Vec<_>>().join("\n");
        (codes(&found), text, found.spec.shape_known)
    };
    let mut state = good_state();
    state["shape"] = json!([4096, 4096]);
    let (codes, text, known) = with(state);
    assert_eq!((codes, known), (vec!["Q015"], false));
    assert_eq!(text, "quant state: shape [4096, 4096] needs 8388608 packed bytes, weight has 128");
    let mut state = good_state();
    state["blocksize"] = json!(0);
    assert!(with(state).1.contains("blocksize is 0"));
    let mut state = good_state();
    state["quant_type"] = json!("fp4");
    assert!(with(state).1.contains("quant_type is fp4, its name says nf4"));
    let mut state = good_state();
    state["shape"] = json!([u64::MAX, u64::MAX]);
    assert_eq!(with(state).0, ["Q015"]);
    assert!(with(json!([1])).1.contains("not a JSON object"));
    let text = config(stateless().part(STATE, Dtype::U8, &[9], b"{not json".to_vec()), false);
    assert_eq!(faults(&text), ["Q015"]);
    let offset = with_state(nested().without(STATE), &good_state());
    assert_eq!(faults(&offset), ["Q015"]);
}

#[test]
fn missing_parts_are_named() {
    let broken = |layer: Literal| layer.recognize(&NF4).unwrap().spec.broken;
    assert_eq!(broken(layer().without(STATE)), ["missing quant state"]);
    assert_eq!(broken(layer().without("weight.absmax")), ["missing absmax"]);
    assert_eq!(broken(nested().without("weight.nested_absmax")), ["missing nested_absmax"]);
    assert_eq!(broken(layer().without("weight")), ["missing weight"]);
    let short = layer().without("weight.absmax").part("weight.absmax", Dtype::F32, &[3], f32s(&[0.1; 3]));
    assert_eq!(faults(&short), ["Q002"]);
}

#[test]
fn absmax_must_be_finite_and_the_table_known() {
    let bad = [0.1, f32::NAN, f32::INFINITY, 0.1];
    let layer = layer();
    let absmax = layer.without("weight.absmax").part("weight.absmax", Dtype::F32, &[4], f32s(&bad));
    assert_eq!(faults(&absmax), ["Q004"]);
    let mut map = Table::Nf4.values();
    map[3] = 0.0;
    let map =
        self::layer().without("weight.quant_map").part("weight.quant_map", Dtype::F32, &[16], f32s(&map));
    assert_eq!(faults(&map), ["Q019"]);
}

#[test]
fn the_tables_are_those_of_the_kernels() {
    // As bitsandbytes' source spells them.
    let long = [
        -1.0,
        -0.696_192_800_998_687_7,
        -0.525_073_051_452_636_7,
        -0.394_917_488_098_144_53,
        -0.284_441_381_692_886_35,
        -0.184_773_430_228_233_34,
        -0.091_050_036_251_544_95,
        0.0,
        0.079_580_299_556_255_34,
        0.160_930_201_411_247_25,
        0.246_112_301_945_686_34,
        0.337_915_241_718_292_24,
        0.440_709_829_330_444_34,
        0.562_617_003_917_694_1,
        0.722_956_836_223_602_3,
        1.0_f64,
    ];
    assert_eq!(Table::Nf4.values(), long.map(|value| value as f32));
    let fp4 = Table::Fp4.values();
    assert_eq!((fp4[1], fp4[3], fp4[11]), (0.0625 / 12.0, 1.0, -1.0));
}

#[test]
fn the_config_is_held_against_the_tensors() {
    assert_eq!(faults(&config(with_state(stateless(), &good_state()), true)), ["Q013"]);
    let layer = || with_state(stateless(), &good_state());
    let block = |value| faults(&layer().block(Some("bitsandbytes"), value));
    assert_eq!(block(json!({"load_in_4bit": true, "bnb_4bit_quant_type": "fp4"})), ["Q013"]);
    assert_eq!(block(json!({"load_in_8bit": true})), ["Q010"]);
    assert_eq!(faults(&layer().block(Some("gptq"), json!({}))), ["Q008"]);
    assert_eq!(faults(&layer()), Vec::<&str>::new(), "a bare file needs no config");
}

#[test]
fn gptqmodel_spells_the_parts_its_own_way() {
    let state =
        json!({"quant_type": "fp4", "blocksize": 64, "dtype": "float16", "shape": [8, 32]}).to_string();
    let layer = Literal::new("m")
        .part("weight", Dtype::U8, &[128, 1], vec![0; 128])
        .part("weight_absmax", Dtype::F32, &[4], f32s(&[0.1; 4]))
        .part("weight_quant_map", Dtype::F32, &[16], f32s(&Table::Fp4.values()))
        .part("weight_quant_state", Dtype::U8, &[state.len() as u64], state.into_bytes());
    assert!(layer.recognize(&NF4).is_none());
    let found = layer.recognize(&FP4).unwrap();
    assert_eq!((codes(&found), found.spec.shape), (vec![], vec![8, 32]));
}

#[test]
fn the_evidence_sums_up_the_quant_state() {
    let lines = nested().explain(&NF4);
    let line = |source: &str| lines.iter().find(|l| l.source == source).unwrap();
    assert_eq!(line("quant state").text, "nf4, blocks of 64, BF16, [8, 32]");
    assert_eq!(line("quant_map").text, "the table of nf4");
    assert_eq!(line("shapes").text, "128 bytes × 2 codes hold 256 values");
    assert!(lines.iter().all(|l| l.agrees != Some(false)));
}
