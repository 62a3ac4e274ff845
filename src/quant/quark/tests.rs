//! Layers of quark from literals, in the shapes that its packer gives each scheme.

use serde_json::{Value, json};

use super::*;
use crate::quant::testing::{Literal, codes};

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
    assert_eq!(codes(&weight.recognize(&Quark).unwrap()), ["Q001"]);
    let scale = Literal::new("x").shape("weight_scale", Dtype::F16, &[2, 128]).block(Some("quark"), config());
    assert_eq!(codes(&scale.recognize(&Quark).unwrap()), ["Q001"]);
    let other = Literal::new("x").shape("weight", Dtype::I32, &[256, 16]);
    assert!(other.shape("weight_scale", Dtype::F16, &[2, 128]).recognize(&Quark).is_none());
}
