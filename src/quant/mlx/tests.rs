//! Layers of MLX from literals: every mode, and with parts missing or of the wrong size.

use serde_json::json;

use super::*;
use crate::quant::testing::{Literal, bytes_as, codes, fnv, packed, some_codes, some_values};

/// 128 × 256 codes of `bits` bits in groups of `group`.
fn affine(bits: u64, group: u64) -> Literal {
    let groups = [128, 256 / group];
    let layer = Literal::new("m").shape("weight", Dtype::U32, &[128, 8 * bits]);
    layer.shape("scales", Dtype::BF16, &groups).shape("biases", Dtype::BF16, &groups)
}

#[test]
fn bits_follow_from_the_words_and_the_group() {
    for bits in [2, 3, 4, 5, 6, 8] {
        for group in [32, 64, 128] {
            let layer = affine(bits, group).block(Some("mlx"), json!({"group_size": group, "bits": bits}));
            let found = layer.recognize(&Mlx).unwrap();
            assert_eq!((found.spec.shape, found.faults.len()), (vec![128, 256], 0), "{bits} bits, {group}");
            assert_eq!((found.spec.millibits, found.spec.group_size), (bits as u32 * 1000, Some(group)));
            assert_eq!(found.spec.variant, "affine");
        }
    }
}

#[test]
fn a_modules_own_group_comes_before_the_configs() {
    let config = json!({"group_size": 64, "bits": 4, "m": {"group_size": 32, "bits": 8}});
    let found = affine(8, 32).block(Some("mlx"), config).recognize(&Mlx).unwrap();
    assert_eq!(
        (found.spec.shape, found.spec.millibits, found.spec.group_size),
        (vec![128, 256], 8000, Some(32))
    );
}

#[test]
fn without_a_config_the_default_group_is_tried_first() {
    let found = affine(4, 64).recognize(&Mlx).unwrap();
    assert_eq!((found.spec.shape.clone(), found.spec.millibits), (vec![128, 256], 4000));
    assert_eq!(codes(&found), ["Q007"]);
}

#[test]
fn words_that_no_code_width_fits_are_named() {
    for (words, groups) in [(7, 4), (1, 4), (u64::MAX, 1), (32, 0)] {
        let layer = Literal::new("m").shape("weight", Dtype::U32, &[128, words]);
        let layer = layer.shape("scales", Dtype::BF16, &[128, groups]);
        let found = layer.block(Some("mlx"), json!({"group_size": 64, "bits": 4})).recognize(&Mlx).unwrap();
        assert!(codes(&found).contains(&"Q002"), "{words} words, {groups} groups");
    }
    for part in ["scales", "biases"] {
        let rows = affine(4, 64).without(part).shape(part, Dtype::BF16, &[64, 4]);
        let found = rows.block(Some("mlx"), json!({"group_size": 64, "bits": 4})).recognize(&Mlx).unwrap();
        assert!(codes(&found).contains(&"Q002"), "{part}");
    }
}

#[test]
fn missing_scales_are_named() {
    let found = affine(4, 64).without("scales").block(Some("mlx"), json!({})).recognize(&Mlx).unwrap();
    assert_eq!(codes(&found), ["Q020"]);
    assert!(affine(4, 64).without("scales").without("biases").recognize(&Mlx).is_none());
    let affine = affine(4, 64).without("biases").block(Some("mlx"), json!({"group_size": 64, "bits": 4}));
    assert_eq!(codes(&affine.recognize(&Mlx).unwrap()), ["Q020"]);
}

#[test]
fn floating_point_modes_need_no_biases() {
    let layer =
        Literal::new("m").shape("weight", Dtype::U32, &[128, 32]).shape("scales", Dtype::U8, &[128, 8]);
    let layer = layer.block(Some("mlx"), json!({"group_size": 32, "bits": 4, "mode": "mxfp4"}));
    let found = layer.recognize(&Mlx).unwrap();
    assert_eq!((found.spec.label().as_str(), found.faults.len()), ("MXFP4", 0));
}

/// `[6, 128]` affine codes and their scales and biases; what mlx 0.32 makes of the same was hashed.
fn affine_with_values(bits: u32, dtype: Dtype) -> Literal {
    let codes = packed(&some_codes(6 * 128, 1 << bits), bits as usize);
    Literal::new("m")
        .part("weight", Dtype::U32, &[6, 4 * u64::from(bits)], codes)
        .part("scales", dtype, &[6, 2], bytes_as(dtype, &some_values(12, 0.02, dtype)))
        .part("biases", dtype, &[6, 2], bytes_as(dtype, &some_values(12, 0.1, dtype)))
        .block(Some("mlx"), json!({"group_size": 64, "bits": bits}))
}

#[test]
fn affine_codes_of_every_width_decode_as_mlx_does() {
    for (bits, dtype, want) in [
        (2, Dtype::F16, 0x382f_29d9_b8c4_2c1c),
        (2, Dtype::BF16, 0x6797_dbc2_14b9_71e2),
        (3, Dtype::F16, 0x11d6_2430_d791_786c),
        (3, Dtype::BF16, 0xf693_57ba_77d8_f82f),
        (4, Dtype::F16, 0x6f58_0e16_416e_c04e),
        (4, Dtype::BF16, 0x805e_15a1_55a4_9c44),
        (5, Dtype::F16, 0x92cb_14e2_9dc6_206f),
        (5, Dtype::BF16, 0xf4cf_c412_28fe_8e0c),
        (6, Dtype::F16, 0x5069_e791_5746_8c8e),
        (6, Dtype::BF16, 0x6714_6b51_1029_7bb3),
        (8, Dtype::F16, 0xe255_c49f_44dd_c729),
        (8, Dtype::BF16, 0x0c0f_9f1f_472e_e0eb),
    ] {
        let layer = affine_with_values(bits, dtype);
        assert_eq!(fnv(&layer.shape_and_values(&Mlx).unwrap().1), want, "{bits} bits, {dtype}");
        assert_eq!(layer.decode(&Mlx).unwrap().1, Some(Dtype::F16));
    }
}

#[test]
fn floating_point_modes_decode_as_mlx_does() {
    for (mode, bits, group, top, want) in [
        ("mxfp4", 4, 32, 140, 0x51a2_5b55_4087_b214),
        ("nvfp4", 4, 16, 127, 0xc759_f765_5d26_acfa),
        ("mxfp8", 8, 32, 140, 0x255e_43d9_e671_dcdf),
    ] {
        let mut codes = some_codes(6 * 64, 1 << bits);
        if bits == 8 {
            codes.iter_mut().filter(|code| **code & 0x7f == 0x7f).for_each(|code| *code = 0);
        }
        let layer = Literal::new("m")
            .part("weight", Dtype::U32, &[6, 2 * bits as u64], packed(&codes, bits))
            .part("scales", Dtype::U8, &[6, 64 / group], some_codes(6 * 64 / group as usize, top))
            .block(Some("mlx"), json!({"group_size": group, "bits": bits, "mode": mode}));
        assert_eq!(fnv(&layer.shape_and_values(&Mlx).unwrap().1), want, "{mode}");
        assert_eq!(layer.decode(&Mlx).unwrap().1, Some(Dtype::F16));
    }
}

#[test]
fn experts_and_transformers_names_decode_alike() {
    let want = affine_with_values(4, Dtype::F16).decode(&Mlx).unwrap().0;
    let layer = affine_with_values(4, Dtype::F16);
    let part = |suffix: &str| {
        layer.with(|parts| match parts.read(parts.get(suffix).unwrap(), u64::MAX) {
            crate::quant::Side::Bytes(bytes) => bytes,
            other => panic!("{other:?}"),
        })
    };
    let experts = Literal::new("m")
        .part("weight", Dtype::U32, &[2, 3, 16], part("weight"))
        .part("scales", Dtype::F16, &[2, 3, 2], part("scales"))
        .part("qbiases", Dtype::F16, &[2, 3, 2], part("biases"))
        .block(Some("metal"), json!({"group_size": 64, "bits": 4}));
    assert_eq!(experts.decode(&Mlx).unwrap().0, want);
    assert_eq!(experts.without("qbiases").decode(&Mlx).unwrap_err(), "missing biases");
}
