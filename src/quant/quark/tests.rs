//! Layers of quark from literals, in the shapes that its packer gives each scheme.

use serde_json::{Value, json};

use super::*;
use crate::quant::testing::{Literal, codes, f16s, f32s, packed, some_codes, some_values, words};
use crate::tensor::values::{e2m1, e4m3, e8m0, round};

/// Weight, scales, config; and the variant, bits and group that they mean.
type Case<'a> = (Stored<'a>, Stored<'a>, Value, &'a str, u32, Option<u64>);
type Stored<'a> = (Dtype, &'a [u64]);

fn scheme(dtype: &str, qscheme: &str, group: Option<u64>) -> Value {
    json!({"global_quant_config": {"weight": {"dtype": dtype, "qscheme": qscheme, "group_size": group}}})
}

fn layer(weight: (Dtype, &[u64]), scale: (Dtype, &[u64]), config: Value) -> Recognized {
    let layer = Literal::new("model.q_proj").shape("weight", weight.0, weight.1);
    layer.shape("weight_scale", scale.0, scale.1).block(Some("quark"), config).recognize(&Quark).unwrap()
}

#[test]
fn each_scheme_gives_its_shape_bits_and_group() {
    use Dtype::{F8E4M3, F16, F32, I8, I32, U8};
    let cases: [Case<'_>; 9] = [
        ((I32, &[256, 16]), (F16, &[2, 128]), scheme("uint4", "per_group", Some(128)), "int4", 4, Some(128)),
        ((I32, &[256, 16]), (F16, &[128, 2]), scheme("uint4", "per_group", Some(128)), "int4", 4, Some(128)),
        ((I32, &[256, 16]), (F16, &[1, 128]), scheme("int4", "per_group", Some(256)), "int4", 4, Some(256)),
        ((I32, &[128, 32]), (F16, &[128]), scheme("int4", "per_channel", None), "int4", 4, None),
        ((I8, &[256, 128]), (F16, &[128, 2]), scheme("int8", "per_group", Some(128)), "int8", 8, Some(128)),
        ((I8, &[128, 256]), (F16, &[128]), scheme("int8", "per_channel", None), "int8", 8, None),
        ((F8E4M3, &[128, 256]), (F32, &[]), scheme("fp8_e4m3", "per_tensor", None), "fp8", 8, None),
        ((U8, &[128, 128]), (U8, &[128, 8]), scheme("fp4", "per_group", Some(32)), "mxfp4", 4, Some(32)),
        ((U8, &[128, 192]), (U8, &[128, 8]), scheme("fp6_e3m2", "per_group", Some(32)), "mxfp6", 6, Some(32)),
    ];
    for (weight, scale, config, variant, bits, group) in cases {
        let found = layer(weight, scale, config.clone());
        assert!(found.faults.is_empty(), "{config}: {found:?}");
        let spec = found.spec;
        assert_eq!((spec.shape.as_slice(), spec.variant.as_str()), (&[128, 256][..], variant), "{config}");
        assert_eq!((spec.millibits, spec.group_size), (bits * 1000, group), "{config}");
    }
}

#[test]
fn a_layers_own_scheme_comes_before_the_global_one() {
    let mut config = scheme("uint4", "per_group", Some(128));
    config["layer_quant_config"] = json!({"model.q_proj": {"weight": [{"dtype": "int8", "qscheme": "per_group",
        "group_size": 64}]}});
    let found = layer((Dtype::I8, &[256, 128]), (Dtype::F16, &[4, 128]), config);
    assert_eq!((found.spec.variant.as_str(), found.spec.group_size), ("int8", Some(64)));
}

#[test]
fn scales_of_the_wrong_size_and_missing_parts_are_named() {
    let config = || scheme("uint4", "per_group", Some(128));
    assert_eq!(codes(&layer((Dtype::I32, &[256, 16]), (Dtype::F16, &[3, 128]), config())), ["Q002"]);
    assert_eq!(codes(&layer((Dtype::I32, &[256, 16]), (Dtype::F16, &[77]), config())), ["Q002"]);
    let weight = Literal::new("x").shape("weight", Dtype::I32, &[256, 16]).block(Some("quark"), config());
    assert_eq!(codes(&weight.recognize(&Quark).unwrap()), ["Q020"]);
    let scale = Literal::new("x").shape("weight_scale", Dtype::F16, &[2, 128]).block(Some("quark"), config());
    assert_eq!(codes(&scale.recognize(&Quark).unwrap()), ["Q020"]);
    let other = Literal::new("x").shape("weight", Dtype::I32, &[256, 16]);
    assert!(other.shape("weight_scale", Dtype::F16, &[2, 128]).recognize(&Quark).is_none());
}

/// Packs the rows of a matrix as quark does, eight codes a word.
fn in_words(codes: &[u8], is_reordered: bool) -> Vec<u8> {
    let order = if is_reordered { [0, 2, 4, 6, 1, 3, 5, 7] } else { [0, 1, 2, 3, 4, 5, 6, 7] };
    let word = |eight: &[u8]| {
        order.iter().enumerate().fold(0u32, |word, (i, &from)| word | u32::from(eight[from] & 15) << (4 * i))
    };
    words(&codes.chunks(8).map(word).collect::<Vec<u32>>())
}

fn flipped<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

#[test]
fn four_bit_codes_decode_in_groups_and_by_channel() {
    let (outputs, inputs) = (16, 64);
    for (dtype, is_per_group, is_reordered) in
        [("uint4", true, true), ("int4", true, false), ("uint4", false, true), ("int4", false, false)]
    {
        let all = some_codes(outputs * inputs, 16);
        let groups = if is_per_group { 2 } else { 1 };
        let scales = some_values(outputs * groups, 0.02, Dtype::F16);
        let zeros = some_codes(outputs * groups, 16);
        let mean =
            |code: u8| if dtype == "int4" && code > 7 { f32::from(code) - 16.0 } else { f32::from(code) };
        let value = |(at, &code): (usize, &u8)| {
            let place = at / inputs * groups + at % inputs / (inputs / groups);
            round(Dtype::F16, (mean(code) - mean(zeros[place])) * scales[place])
        };
        let want: Vec<f32> = all.iter().enumerate().map(value).collect();
        let mut config = scheme(dtype, "per_channel", None);
        if is_per_group {
            config = scheme(dtype, "per_group", Some(32));
        }
        config["export"] = json!({"pack_method": if is_reordered { "reorder" } else { "order" }});
        let layer = Literal::new("model.q_proj").block(Some("quark"), config);
        let layer = if is_per_group {
            layer
                .part("weight", Dtype::I32, &[64, 2], in_words(&flipped(&all, inputs), is_reordered))
                .part("weight_scale", Dtype::F16, &[2, 16], f16s(&flipped(&scales, 2)))
                .part("weight_zero_point", Dtype::I32, &[2, 2], in_words(&flipped(&zeros, 2), is_reordered))
        } else {
            layer
                .part("weight", Dtype::I32, &[16, 8], in_words(&all, is_reordered))
                .part("weight_scale", Dtype::F16, &[16], f16s(&scales))
                .part("weight_zero_point", Dtype::I32, &[2], in_words(&zeros, is_reordered))
        };
        assert_eq!(layer.decode(&Quark).unwrap(), (want, Some(Dtype::F16)), "{dtype} {is_per_group}");
        let stored = layer.stored(&Quark);
        assert!(stored.codes.into_iter().eq(all.iter().map(|&code| u16::from(code))), "{dtype}");
        let zeros = zeros.iter().map(|&zero| mean(zero)).collect();
        assert_eq!((stored.scales, stored.zeros, stored.terms), (Some(scales), Some(zeros), None));
    }
}

#[test]
fn floats_decode_with_a_scale_a_tensor_a_channel_and_a_group() {
    let bytes = some_codes(4 * 64, 0x7f);
    for scales in [vec![0.013], vec![0.5, 0.25, -3.0, 0.01]] {
        let shape: &[u64] = if scales.len() == 1 { &[] } else { &[4] };
        let layer = Literal::new("m")
            .part("weight", Dtype::F8E4M3, &[4, 64], bytes.clone())
            .part("weight_scale", Dtype::F32, shape, f32s(&scales))
            .block(Some("quark"), scheme("fp8_e4m3", "per_channel", None));
        let value = |(at, &code): (usize, &u8)| e4m3(code) * scales[at / 64 % scales.len()];
        let want: Vec<f32> = bytes.iter().enumerate().map(value).collect();
        assert_eq!(layer.decode(&Quark).unwrap(), (want, None));
    }
    let all = some_codes(4 * 64, 16);
    let scales = some_codes(8, 140);
    let layer = |config: Value| {
        Literal::new("m")
            .part("weight", Dtype::U8, &[4, 32], packed(&all, 4))
            .part("weight_scale", Dtype::U8, &[4, 2], scales.clone())
            .block(Some("quark"), config)
    };
    let value = |(at, &code): (usize, &u8)| e2m1(code) * e8m0(scales[at / 32]);
    let want: Vec<f32> = all.iter().enumerate().map(value).collect();
    let mut config = scheme("fp4", "per_group", Some(32));
    assert_eq!(layer(config.clone()).decode(&Quark).unwrap(), (want, None));
    config["global_quant_config"]["weight"]["scale_format"] = json!("e5m3");
    assert_eq!(layer(config).decode(&Quark).unwrap_err(), "scale_format e5m3");
}

#[test]
fn six_bit_floats_decode_four_in_three_bytes() {
    let all: Vec<u8> = (0..64).collect();
    for (dtype, known) in [
        ("fp6_e2m3", [(1, 0.125), (8, 1.0), (31, 7.5), (40, -1.0)]),
        ("fp6_e3m2", [(1, 0.0625), (12, 1.0), (31, 28.0), (44, -1.0)]),
    ] {
        let layer = Literal::new("m")
            .part("weight", Dtype::U8, &[1, 48], packed(&all, 6))
            .part("weight_scale", Dtype::U8, &[1, 2], vec![127, 130])
            .block(Some("quark"), scheme(dtype, "per_group", Some(32)));
        let found = layer.decode(&Quark).unwrap().0;
        for (code, value) in known {
            assert_eq!(found[code], if code < 32 { value } else { 8.0 * value }, "{dtype} {code}");
        }
    }
}
