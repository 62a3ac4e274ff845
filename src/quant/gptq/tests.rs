//! GPTQ layers written out: what they are, what is wrong with them, why we think so.

use serde_json::{Value, json};

use super::Gptq;
use crate::quant::testing::{Literal, codes, f16s, words};
use crate::quant::{LayerSpec, QuantFormat as _};
use crate::tensor::Dtype;

const INPUTS: u64 = 128;
const OUTPUTS: u64 = 32;

/// A 4-bit layer of 4 groups of 32 inputs, every zero-point word being `zero`, without any config.
fn bare(zero: u32) -> Literal {
    let index: Vec<u32> = (0..INPUTS as u32).map(|i| i / 32).collect();
    Literal::new("model.layers.0.mlp.down_proj")
        .part("qweight", Dtype::I32, &[16, OUTPUTS], words(&[0; 16 * 32]))
        .part("qzeros", Dtype::I32, &[4, 4], words(&[zero; 16]))
        .part("scales", Dtype::F16, &[4, OUTPUTS], f16s(&[0.5; 128]))
        .part("g_idx", Dtype::I32, &[INPUTS], words(&index))
}

/// The same with a config that agrees, but for what `extra` says.
fn layer(zero: u32, extra: Value) -> Literal {
    let mut block =
        json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": true, "desc_act": false});
    if let (Some(block), Value::Object(extra)) = (block.as_object_mut(), extra) {
        block.extend(extra);
    }
    bare(zero).block(Some("gptq"), block)
}

const SEVENS: u32 = 0x7777_7777;
const EIGHTS: u32 = 0x8888_8888;

fn spec(layer: &Literal) -> LayerSpec {
    layer.recognize(&Gptq).unwrap().spec
}

fn faults(layer: &Literal) -> Vec<&'static str> {
    codes(&layer.recognize(&Gptq).unwrap())
}

fn details(layer: &Literal) -> String {
    let found = layer.recognize(&Gptq).unwrap();
    found.faults.iter().map(|f| f.detail.clone()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_good_layer_has_its_true_shape_and_no_fault() {
    let layer = layer(SEVENS, json!({})).part("bias", Dtype::F16, &[OUTPUTS], f16s(&[0.0; 32]));
    let spec = spec(&layer);
    assert_eq!(faults(&layer), Vec::<&str>::new());
    assert_eq!(spec.shape, [OUTPUTS, INPUTS]);
    assert_eq!((spec.millibits, spec.group_size), (4000, Some(32)));
    assert_eq!((spec.symmetric, spec.act_order), (Some(true), Some(false)));
    assert_eq!((spec.variant.as_str(), spec.label().as_str()), ("v1", "GPTQ4"));
    assert_eq!(spec.parameters, OUTPUTS * INPUTS + OUTPUTS);
    assert!(spec.bias && !spec.pending && spec.broken.is_empty());
    assert_eq!(spec.dtype, Some(Dtype::F16));
}

#[test]
fn headers_alone_give_the_config_s_word_until_the_side_data_come() {
    let spec = spec(&layer(EIGHTS, json!({"desc_act": true})).headers_only());
    assert!(spec.pending);
    assert_eq!((spec.symmetric, spec.act_order, spec.variant.as_str()), (Some(true), Some(true), "v1"));
    assert_eq!(faults(&layer(EIGHTS, json!({})).headers_only()), Vec::<&str>::new());
}

#[test]
fn bits_follow_from_the_index_else_the_zero_points_else_the_config() {
    for (bits, rows, zeros) in [(2, 8, 2), (3, 12, 3), (4, 16, 4), (5, 20, 5), (6, 24, 6), (8, 32, 8)] {
        let with_index = Literal::new("m")
            .shape("qweight", Dtype::I32, &[rows, OUTPUTS])
            .shape("qzeros", Dtype::I32, &[4, zeros])
            .shape("scales", Dtype::F16, &[4, OUTPUTS])
            .shape("g_idx", Dtype::I32, &[INPUTS])
            .block(Some("gptq"), json!({"bits": f64::from(bits), "group_size": 32}));
        assert_eq!((spec(&with_index).millibits, faults(&with_index).len()), (bits * 1000, 0));
        let without = with_index.without("g_idx");
        assert_eq!((spec(&without).millibits, spec(&without).shape), (bits * 1000, vec![OUTPUTS, INPUTS]));
        let by_config = without.without("qzeros");
        assert_eq!(spec(&by_config).millibits, bits * 1000);
    }
}

#[test]
fn zero_points_tell_the_version_whatever_the_config_says() {
    let version = |zero, format: &str| {
        let layer = layer(zero, json!({"checkpoint_format": format}));
        (spec(&layer).variant, faults(&layer))
    };
    assert_eq!(version(SEVENS, "gptq"), ("v1".into(), vec![]));
    assert_eq!(version(EIGHTS, "gptq_v2"), ("v2".into(), vec![]));
    assert_eq!(version(EIGHTS, "gptq"), ("v2".into(), vec!["Q018"]));
    assert_eq!(version(SEVENS, "gptq_v2"), ("v1".into(), vec!["Q018"]));
    let silent = layer(EIGHTS, json!({}));
    assert!(details(&silent).contains("the zero points are all 8: stored as they are, so v2"));
    let asymmetric = layer(EIGHTS, json!({"sym": false}));
    assert_eq!((spec(&asymmetric).variant.as_str(), faults(&asymmetric)), ("v1", vec![]));
}

#[test]
fn wraps_and_a_wrong_symmetric_flag_are_warned_about() {
    let asymmetric = layer(0x0123_fff7, json!({"sym": false}));
    assert_eq!(faults(&asymmetric), ["Q016"]);
    assert!(details(&asymmetric).contains("48 of 128 zero points are 15"), "{}", details(&asymmetric));
    let v2 = layer(0x0123_fff7, json!({"sym": false, "checkpoint_format": "gptq_v2"}));
    assert_eq!(faults(&v2), Vec::<&str>::new());
    let claimed = layer(0x0123_4567, json!({}));
    assert_eq!(faults(&claimed), ["Q013"]);
    assert_eq!(spec(&claimed).symmetric, Some(false));
}

#[test]
fn the_index_is_checked_against_the_groups() {
    let with = |at: usize, value: u32| {
        let mut index: Vec<u32> = (0..INPUTS as u32).map(|i| i / 32).collect();
        index[at] = value;
        layer(SEVENS, json!({})).without("g_idx").part("g_idx", Dtype::I32, &[INPUTS], words(&index))
    };
    assert_eq!(faults(&with(5, 999)), ["Q005"]);
    assert_eq!(spec(&with(5, 999)).broken, ["g_idx out of range"]);
    assert_eq!(faults(&with(5, (-5i32) as u32)), ["Q005"]);
    assert_eq!(faults(&with(5, (-1i32) as u32)), ["Q006"]);
    assert!(spec(&with(5, (-1i32) as u32)).broken.is_empty());
    let permuted = with(5, 3);
    assert_eq!((spec(&permuted).act_order, faults(&permuted)), (Some(true), vec!["Q013"]));
    let told_only = layer(SEVENS, json!({"desc_act": true}));
    assert_eq!((spec(&told_only).act_order, faults(&told_only)), (Some(false), vec![]));
    let gone = layer(SEVENS, json!({"desc_act": true})).without("g_idx");
    assert_eq!(faults(&gone), ["Q013"]);
}

#[test]
fn missing_and_misshapen_parts_break_the_layer_with_numbers() {
    let broken = |layer: &Literal| (spec(layer).broken, faults(layer));
    assert_eq!(
        broken(&layer(SEVENS, json!({})).without("scales")),
        (vec!["missing scales".into()], vec!["Q020"])
    );
    let short =
        layer(SEVENS, json!({})).without("qzeros").part("qzeros", Dtype::I32, &[4, 3], words(&[SEVENS; 12]));
    assert_eq!(broken(&short), (vec!["qzeros does not fit".into()], vec!["Q002"]));
    assert!(details(&short).contains("qzeros is [4, 3], 4 groups of 32 outputs in 4 bits need [4, 4]"));
    let index = layer(SEVENS, json!({})).without("g_idx").shape("g_idx", Dtype::I32, &[100]);
    assert_eq!(broken(&index), (vec!["g_idx does not fit".into()], vec!["Q002"]));
    let lost = layer(SEVENS, json!({})).without("qweight");
    assert_eq!(broken(&lost), (vec!["missing qweight".into()], vec!["Q020"]));
    let bias = layer(SEVENS, json!({})).shape("bias", Dtype::F16, &[31]);
    assert_eq!(broken(&bias).1, ["Q002"]);
}

#[test]
fn scales_that_are_not_finite_are_counted() {
    let mut values = [0.5; 128];
    (values[3], values[9]) = (f32::NAN, f32::INFINITY);
    let layer =
        layer(SEVENS, json!({})).without("scales").part("scales", Dtype::F16, &[4, OUTPUTS], f16s(&values));
    assert_eq!(faults(&layer), ["Q004"]);
    assert!(details(&layer).contains("scales: 1 of 128 are NaN, 1 infinite"));
    let zeros = bare(SEVENS).without("scales").part("scales", Dtype::F16, &[4, OUTPUTS], f16s(&[0.0; 128]));
    assert_eq!(faults(&zeros), ["Q007"], "scales of zero are legal");
}

#[test]
fn configs_that_contradict_the_tensors_are_faults_of_the_config() {
    assert_eq!(faults(&bare(SEVENS)), ["Q007"]);
    assert_eq!(faults(&bare(SEVENS).block(Some("frobnicate"), json!({"bits": 4}))), ["Q009"]);
    assert_eq!(faults(&bare(SEVENS).block(Some("awq"), json!({"bits": 4}))), ["Q008"]);
    let bnb = json!({"quant_method": "gptq", "load_in_4bit": true});
    assert!(details(&bare(SEVENS).block(Some("bitsandbytes"), bnb)).contains("load_in_4bit outweighs"));
    let bits = layer(SEVENS, json!({"bits": 8}));
    assert_eq!(details(&bits), "config.json quantization_config.bits is 8, the tensors have 4");
    assert_eq!(bits.recognize(&Gptq).unwrap().faults[0].file.as_deref(), Some("config.json"));
    let group = layer(SEVENS, json!({"group_size": 128}));
    assert_eq!(details(&group), "config.json quantization_config.group_size is 128, the tensors have 32");
    assert_eq!(spec(&group).group_size, Some(32));
    let second =
        layer(SEVENS, json!({})).block_of("quantize_config.json", "", Some("gptq"), json!({"bits": 3}));
    assert_eq!(faults(&second), ["Q003"]);
}

#[test]
fn rules_for_single_modules_count_for_theirs_alone() {
    let rules = json!({"bits": 8, "group_size": 64, "dynamic": {
        "-:.*q_proj": {}, "+:.*down_proj": {"bits": 4, "group_size": 32}}});
    assert_eq!(faults(&layer(SEVENS, rules)), Vec::<&str>::new());
    let skipped = layer(SEVENS, json!({"dynamic": {"-:.*down.*": {}}}));
    assert_eq!(faults(&skipped), ["Q013"]);
    let unread = layer(SEVENS, json!({"bits": 8, "dynamic": {"+:(?!x).*": {"bits": 4}}}));
    assert_eq!(faults(&unread), Vec::<&str>::new());
}

#[test]
fn auto_round_packings_say_how_zero_points_are_stored() {
    let packed = |packing: &str, zero| {
        let block = json!({"bits": 4, "group_size": 32, "sym": true, "packing_format": packing});
        let layer = bare(zero).without("g_idx").block(Some("auto-round"), block);
        (spec(&layer).variant, faults(&layer))
    };
    assert_eq!(packed("auto_round:auto_gptq", SEVENS), ("v1".into(), vec![]));
    assert_eq!(packed("auto_round:gptqmodel", EIGHTS), ("v2".into(), vec![]));
    assert_eq!(packed("auto_round", EIGHTS), ("v2".into(), vec![]));
    assert_eq!(packed("auto_round:auto_gptq", EIGHTS), ("v2".into(), vec!["Q018"]));
}

#[test]
fn marlin_is_symmetric_4_bit_in_tiles() {
    let layer = Literal::new("m")
        .shape("B", Dtype::I32, &[8, 64])
        .part("s", Dtype::F16, &[1, 32], f16s(&[1.0; 32]))
        .block(Some("gptq"), json!({"bits": 4, "group_size": 128, "checkpoint_format": "marlin"}));
    let spec = spec(&layer);
    assert_eq!((spec.shape, spec.variant.as_str(), spec.group_size), (vec![32, 128], "marlin", Some(128)));
    assert_eq!(faults(&layer), Vec::<&str>::new());
    assert_eq!(faults(&layer.without("s")), ["Q020"]);
}

#[test]
fn the_evidence_has_config_words_zero_points_and_order() {
    let lines = layer(SEVENS, json!({})).explain(&Gptq);
    let line = |source: &str| {
        let line = lines.iter().find(|line| line.source == source).unwrap();
        (line.text.as_str(), line.agrees)
    };
    assert_eq!(line("config.json"), ("quant_method gptq, bits 4, group 32", None));
    assert_eq!(line("shapes"), ("16 words × 8 codes = 128 inputs", Some(true)));
    assert_eq!(line("qzeros"), ("all 7: stored minus one, so v1", Some(true)));
    assert_eq!(line("g_idx"), ("0 0 0 … 3 3 3: no act-order", Some(true)));
    assert_eq!(line("scales").1, Some(true));
    let three = Literal::new("m").shape("qweight", Dtype::I32, &[12, 32]).shape("g_idx", Dtype::I32, &[128]);
    let lines = three.explain(&Gptq);
    assert!(
        lines.iter().any(|l| l.text == "12 words × 32 bits / 3 = 128 inputs; missing qzeros, missing scales")
    );
}

#[test]
fn hostile_shapes_never_panic() {
    let dims = [0, 1, 3, 31, u64::MAX, u64::MAX / 2 + 1];
    for (&a, &b) in dims.iter().flat_map(|a| dims.iter().map(move |b| (a, b))) {
        for suffix in ["qweight", "qzeros", "scales", "B", "g_idx"] {
            for dtype in [Dtype::I32, Dtype::F16, Dtype::I64] {
                let base = layer(SEVENS, json!({})).without(suffix);
                let hostile = base.part(suffix, dtype, &[a, b], words(&[SEVENS; 3]));
                if let Some(found) = hostile.recognize(&Gptq) {
                    Gptq.label(&found.spec);
                    hostile.explain(&Gptq);
                }
            }
        }
    }
}
