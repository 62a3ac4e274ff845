//! Layers of quanto from literals: whole, and with parts missing or of the wrong size.

use super::*;
use crate::quant::testing::{Literal, bytes_as, codes, some_codes, some_values};
use crate::tensor::Dtype;
use crate::tensor::values::{e4m3, round};

fn packed(rows: u64) -> Literal {
    Literal::new("model.q_proj")
        .shape("weight._data._data", Dtype::U8, &[rows, 128])
        .shape("weight._scale", Dtype::BF16, &[256, 1])
        .shape("weight._shift", Dtype::BF16, &[256, 1])
}

#[test]
fn bits_follow_from_the_packed_rows_and_the_shape_from_the_architecture() {
    for (rows, bits) in [(128, 4), (64, 2)] {
        let found = packed(rows).recognize(&Quanto).unwrap();
        assert_eq!((found.spec.millibits, found.spec.variant), (bits * 1000, format!("qint{bits}")));
        assert!(!found.spec.shape_known && found.spec.parameters == 128 * 256);
    }
    let known = packed(128).config_shape("q_proj", &[128, 256]).recognize(&Quanto).unwrap();
    assert_eq!((known.spec.shape, known.spec.group_size), (vec![128, 256], Some(128)));
    // Another architecture's shape is not taken.
    assert!(!packed(128).config_shape("q_proj", &[64, 64]).recognize(&Quanto).unwrap().spec.shape_known);
}

#[test]
fn few_groups_fit_both_widths_and_the_config_decides() {
    let few = |rows, groups| {
        Literal::new("q_proj")
            .shape("weight._data._data", Dtype::U8, &[rows, 128])
            .shape("weight._scale", Dtype::BF16, &[groups, 1])
            .shape("weight._shift", Dtype::BF16, &[groups, 1])
    };
    for (rows, groups, bits) in [(2, 3, 4), (1, 3, 2), (3, 5, 4), (2, 5, 2), (2, 7, 2), (4, 7, 4)] {
        let found = few(rows, groups).recognize(&Quanto).unwrap();
        assert_eq!(
            (found.spec.millibits, codes(&found).len()),
            (bits * 1000, 0),
            "{rows} rows, {groups} groups"
        );
    }
    for groups in [1, 2] {
        assert_eq!(codes(&few(1, groups).recognize(&Quanto).unwrap()), ["Q002"], "{groups} groups");
        for (word, bits) in [("qint2", 2), ("qint4", 4)] {
            let map = serde_json::json!({"q_proj": {"weights": word, "activations": "none"}});
            let found = few(1, groups).block(Some("quanto"), map).recognize(&Quanto).unwrap();
            assert_eq!((found.spec.millibits, codes(&found).len()), (bits * 1000, 0), "{groups} {word}");
            let map = serde_json::json!({"quant_method": "quanto", "weights": word.trim_start_matches('q')});
            let found = few(1, groups).block(Some("quanto"), map).recognize(&Quanto).unwrap();
            assert_eq!(found.spec.millibits, bits * 1000, "{groups} {word}");
        }
    }
}

#[test]
fn eight_bit_layers_have_their_shape() {
    for (dtype, variant) in [(Dtype::I8, "qint8"), (Dtype::F8E4M3, "qfloat8")] {
        let layer = Literal::new("x").shape("weight._data", dtype, &[128, 256]);
        let found = layer.shape("weight._scale", Dtype::BF16, &[128, 1]).recognize(&Quanto).unwrap();
        assert_eq!((found.spec.shape, found.spec.variant.as_str()), (vec![128, 256], variant));
    }
}

#[test]
fn a_part_missing_or_of_the_wrong_size_is_named() {
    for part in ["weight._scale", "weight._shift"] {
        let found = packed(128).without(part).recognize(&Quanto).unwrap();
        assert_eq!(found.spec.broken, [format!("missing {part}")]);
        assert_eq!(codes(&found), ["Q020"]);
    }
    for rows in [0, 100, 1 << 40] {
        assert_eq!(codes(&packed(rows).recognize(&Quanto).unwrap()), ["Q002"], "{rows} rows");
    }
    let shift = packed(128).without("weight._shift").shape("weight._shift", Dtype::BF16, &[255, 1]);
    assert_eq!(codes(&shift.recognize(&Quanto).unwrap()), ["Q002"]);
    let layer = Literal::new("x").shape("weight._data", Dtype::I8, &[128, 256]);
    let found = layer.shape("weight._scale", Dtype::BF16, &[64, 1]).recognize(&Quanto).unwrap();
    assert_eq!(codes(&found), ["Q002"]);
}

#[test]
fn packed_codes_decode_with_float_shifts_and_with_zero_points() {
    for (bits, dtype) in
        [2, 4].into_iter().flat_map(|b| [Dtype::F16, Dtype::BF16, Dtype::F32].map(|d| (b, d)))
    {
        // 10 × 24 codes in groups of 16: 15 groups, which are no whole bytes.
        let (groups, group) = (15, 16);
        let matrix = some_codes(groups * group, 1 << bits);
        let step = groups.div_ceil(8 / bits);
        let mut bytes = vec![0; step * group];
        for (at, code) in matrix.iter().enumerate() {
            let (row, column) = (at / group, at % group);
            bytes[row % step * group + column] |= code << (bits * (row / step));
        }
        let scales = some_values(groups, 0.03, dtype);
        let shape = [groups as u64, 1];
        let layer = Literal::new("model.q_proj")
            .part("weight._data._data", Dtype::U8, &[step as u64, group as u64], bytes)
            .part("weight._scale", dtype, &shape, bytes_as(dtype, &scales))
            .config_shape("q_proj", &[10, 24]);
        let shifts = some_values(groups, 0.1, dtype);
        let float = |(at, &code): (usize, &u8)| {
            round(dtype, round(dtype, scales[at / group] * f32::from(code)) - shifts[at / group])
        };
        let want: Vec<f32> = matrix.iter().enumerate().map(float).collect();
        let found = layer.part("weight._shift", dtype, &shape, bytes_as(dtype, &shifts));
        assert_eq!(found.decode(&Quanto).unwrap(), (want, Some(dtype)), "{bits} bits, {dtype}");
        let stored = found.stored(&Quanto);
        let terms = shifts.iter().map(|&shift| -shift).collect();
        assert!(stored.codes.into_iter().eq(matrix.iter().map(|&code| u16::from(code))));
        assert_eq!((stored.scales, stored.zeros, stored.terms), (Some(scales.clone()), None, Some(terms)));
        let integers = some_codes(groups, 1 << bits);
        let integer = |(at, &code): (usize, &u8)| {
            round(dtype, scales[at / group] * (f32::from(code) - f32::from(integers[at / group])))
        };
        let want: Vec<f32> = matrix.iter().enumerate().map(integer).collect();
        let found = found.without("weight._shift").part("weight._shift", Dtype::U8, &shape, integers.clone());
        assert_eq!(found.decode(&Quanto).unwrap().0, want, "{bits} bits, {dtype}");
        let zeros = integers.iter().map(|&zero| f32::from(zero)).collect();
        let stored = found.stored(&Quanto);
        assert_eq!((stored.zeros, stored.terms), (Some(zeros), None));
    }
}

#[test]
fn bytes_decode_with_a_scale_an_output() {
    let bytes = some_codes(24, 0x7f);
    let scales = [0.013, -2.5, 1.0];
    for (of, dtype) in [(Dtype::I8, Dtype::BF16), (Dtype::F8E4M3, Dtype::F16)] {
        let layer = Literal::new("x")
            .part("weight._data", of, &[3, 8], bytes.clone())
            .part("weight._scale", dtype, &[3, 1], bytes_as(dtype, &scales))
            .shape("input_scale", dtype, &[]);
        let mean = |byte: u8| if of == Dtype::I8 { f32::from(byte as i8) } else { e4m3(byte) };
        let value = |(at, &byte): (usize, &u8)| round(dtype, round(dtype, scales[at / 8]) * mean(byte));
        let want: Vec<f32> = bytes.iter().enumerate().map(value).collect();
        assert_eq!(layer.decode(&Quanto).unwrap(), (want, Some(dtype)));
    }
}

#[test]
fn without_a_shape_it_is_refused() {
    let why = packed(128).decode(&Quanto).unwrap_err();
    assert_eq!(why, "neither tensors nor config tell its shape: 32768 weights in all");
}
