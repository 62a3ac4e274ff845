//! Layouts that nobody writes any more, encoded as they are: act-order, zero points in bytes, words with gaps, stacks,
//! scales of 0.

use serde_json::json;

use crate::quant::QuantFormat as _;
use crate::quant::compressed::CompressedTensors;
use crate::quant::encode::{Around, Place};
use crate::quant::pack::Packing;
use crate::quant::testing::{Literal, bf16s, f32s, some_codes, some_values, words};
use crate::tensor::{Dtype, values};

fn config(bits: u32, symmetric: bool) -> serde_json::Value {
    json!({"format": "pack-quantized", "config_groups": {"group_0": {"targets": ["Linear"],
        "weights": {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": 16}}}})
}

/// A packed layer of 6 × 64 codes in groups of 16.
fn packed(bits: u32, packing: Packing) -> Literal {
    let codes = some_codes(6 * 64, 1 << bits);
    let mut bytes = Vec::new();
    for row in codes.chunks(64) {
        packing.pack(row, bits, &mut bytes);
    }
    let width = packing.words(64, bits).unwrap();
    // Scales that are not powers of two, none near another.
    let scales: Vec<f32> = (0..24).map(|at| 0.011 * (at % 5 + 1) as f32).collect();
    let shape = [6u64, 64].iter().flat_map(|dim| dim.to_le_bytes()).collect();
    Literal::new("model.layers.0.mlp.up_proj")
        .part("weight_packed", Dtype::I32, &[6, width], bytes)
        .part("weight_scale", Dtype::BF16, &[6, 4], bf16s(&scales))
        .part("weight_shape", Dtype::I64, &[2], shape)
}

fn with_config(layer: Literal, bits: u32, symmetric: bool) -> Literal {
    layer.block(Some("compressed-tensors"), config(bits, symmetric))
}

/// Encodes values on a layer's grid, a few rows at a time; returns its new tensors by their names.
fn again(layer: &Literal, rows: &[f32]) -> Result<Vec<(String, Vec<u8>)>, String> {
    layer.with(|parts| {
        let spec = CompressedTensors.recognize(parts).unwrap().spec;
        let encoding = CompressedTensors.encode(parts, &spec)?;
        let encoder = &encoding.encoder;
        let row_len = *spec.shape.last().unwrap();
        let largest = rows.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let apart = encoder.rows_apart();
        let mut strands: Vec<Vec<u8>> = Vec::new();
        for (cut, rows) in (0u64..).zip(rows.chunks((apart * row_len) as usize)) {
            let made = encoder.rows(rows, Around { first_row: cut * apart, largest })?;
            strands.resize(made.len(), Vec::new());
            strands.iter_mut().zip(made).for_each(|(strand, made)| strand.extend(made));
        }
        let made = encoder.finish(strands, largest);
        let name = |place: Place| {
            let Place::Of(number) = place else { panic!("a new tensor") };
            parts.list.iter().find(|part| part.tensor == number).unwrap().suffix.to_owned()
        };
        Ok(encoding.tensors.iter().map(|tensor| name(tensor.place)).zip(made).collect())
    })
}

/// Puts new tensors into a layer.
fn replaced(layer: Literal, made: &[(String, Vec<u8>)]) -> Literal {
    made.iter().fold(layer, |layer, (name, bytes)| {
        let part = layer.with(|parts| parts.get(name).map(|part| (part.dtype, part.shape.to_vec()))).unwrap();
        layer.without(name).part(name, part.0, &part.1, bytes.clone())
    })
}

fn decoded(layer: &Literal) -> Vec<f32> {
    layer.decode(&CompressedTensors).unwrap().0
}

/// A layer is made again of its own values; forty times those get new scales, on which they are as near.
fn holds(make: &dyn Fn() -> Literal, what: &str, step: f32) {
    let layer = make();
    let before = decoded(&layer);
    let same = again(&layer, &before).unwrap();
    for (name, bytes) in &same {
        let stored = layer.with(|parts| parts.read(parts.get(name).unwrap(), u64::MAX));
        assert!(stored == crate::quant::Side::Bytes(bytes.clone()), "{what}: {name}");
    }
    let mut moved: Vec<f32> = before.iter().map(|value| value * 40.0).collect();
    values::round_all(Dtype::BF16, &mut moved);
    let new = again(&layer, &moved).unwrap();
    assert_ne!(new[1].1, same[1].1, "{what}: the scales stayed");
    let after = decoded(&replaced(make(), &new));
    for (at, (want, got)) in moved.iter().zip(&after).enumerate() {
        assert!((want - got).abs() <= 40.0 * step, "{what} at {at}: {want} {got}");
    }
}

#[test]
fn layouts_of_old_writers_stay_what_they_are() {
    // Half a step of the largest scale, of as many steps as codes span, and BF16's roundings.
    for bits in [2, 3, 4, 5, 8] {
        let largest = 0.055 * 2f32.powi(bits as i32 - 1);
        let step = largest / (2f32.powi(bits as i32) - 1.0) + largest / 32.0;
        for packing in [Packing::Dense, Packing::Padded] {
            let make = || with_config(packed(bits, packing), bits, true);
            holds(&make, &format!("{bits} bits {packing:?}"), step);
        }
    }
    let index: Vec<u32> = (0..64).map(|column| column * 5 % 64 / 16).collect();
    let strewn = || packed(4, Packing::Dense).part("weight_g_idx", Dtype::I32, &[64], words(&index));
    holds(&|| with_config(strewn(), 4, true), "act-order", 0.05);
    let zeros: Vec<u8> = some_codes(24, 8).iter().map(|code| code.wrapping_sub(4)).collect();
    let in_bytes = || packed(4, Packing::Dense).part("weight_zero_point", Dtype::I8, &[6, 4], zeros.clone());
    holds(&|| with_config(in_bytes(), 4, false), "zero points in bytes", 0.12);
    let in_words = words(&[0x0075_3a86; 4]);
    let asym = || packed(4, Packing::Dense).part("weight_zero_point", Dtype::I32, &[1, 4], in_words.clone());
    holds(&|| with_config(asym(), 4, false), "zero points in words", 0.12);
}

#[test]
fn stacks_of_experts_have_blocks_of_their_own() {
    let config = json!({"format": "float-quantized", "config_groups": {"group_0": {"targets": ["Linear"],
        "weights": {"num_bits": 8, "type": "float", "symmetric": true, "strategy": "block",
            "block_structure": [2, 4]}}}});
    // Two matrices of 3 × 6 codes, none of them NaN, in blocks of 2 × 4: the last ones are smaller.
    let make = || {
        Literal::new("model.layers.0.mlp.experts.down_proj")
            .part("weight", Dtype::F8E4M3, &[2, 3, 6], some_codes(36, 120))
            .part("weight_scale", Dtype::BF16, &[2, 2, 2], bf16s(&some_values(8, 0.01, Dtype::BF16)))
            .block(Some("compressed-tensors"), config.clone())
    };
    holds(&make, "a stack", 0.4);
}

#[test]
fn what_has_no_grid_is_refused_or_stays_zero() {
    let index: Vec<u32> = (0..64).map(|column| u32::from(column > 0) + 2 * u32::from(column > 20)).collect();
    let uneven = packed(4, Packing::Dense).part("weight_g_idx", Dtype::I32, &[64], words(&index));
    let why = again(&with_config(uneven, 4, true), &[]).unwrap_err();
    assert_eq!(why, "groups of its index have different sizes");
    let scales = |value: f32| {
        let mut scales = vec![0.01; 24];
        scales[4] = value;
        let layer = packed(4, Packing::Dense).without("weight_scale");
        with_config(layer.part("weight_scale", Dtype::F32, &[6, 4], f32s(&scales)), 4, true)
    };
    for value in [f32::NAN, f32::INFINITY] {
        let why = again(&scales(value), &[]).unwrap_err();
        assert_eq!(why, "1 of 24 weight_scale are infinite or NaN");
    }
    // A group whose scale is 0 is 0, whatever its codes were.
    let layer = scales(0.0);
    let before = decoded(&layer);
    let after = decoded(&replaced(scales(0.0), &again(&layer, &before).unwrap()));
    assert!(before[64..80].iter().all(|&value| value == 0.0) && before == after);
}
