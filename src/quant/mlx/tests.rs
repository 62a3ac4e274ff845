//! Layers of MLX from literals: every mode, and with parts missing or of the wrong size.

use serde_json::json;

use super::*;
use crate::quant::testing::{Literal, codes};

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
    assert_eq!(codes(&found), ["Q001"]);
    assert!(affine(4, 64).without("scales").without("biases").recognize(&Mlx).is_none());
    let affine = affine(4, 64).without("biases").block(Some("mlx"), json!({"group_size": 64, "bits": 4}));
    assert_eq!(codes(&affine.recognize(&Mlx).unwrap()), ["Q001"]);
}

#[test]
fn floating_point_modes_need_no_biases() {
    let layer =
        Literal::new("m").shape("weight", Dtype::U32, &[128, 32]).shape("scales", Dtype::U8, &[128, 8]);
    let layer = layer.block(Some("mlx"), json!({"group_size": 32, "bits": 4, "mode": "mxfp4"}));
    let found = layer.recognize(&Mlx).unwrap();
    assert_eq!((found.spec.label().as_str(), found.faults.len()), ("MXFP4", 0));
}
