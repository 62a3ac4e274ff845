//! Layers of compressed-tensors whose weights are known, for what no sample holds.

use half::bf16;
use serde_json::{Value, json};

use super::Packing;
use crate::quant::compressed::CompressedTensors;
use crate::quant::testing::{Literal, decode, f16s, f32s, words};
use crate::tensor::Dtype;
use crate::tensor::values::{self, bf16_bits, e2m1, e2m3};

fn layer(format: &str, weights: &Value) -> Literal {
    let config =
        json!({"format": format, "config_groups": {"g": {"targets": ["Linear"], "weights": weights}}});
    Literal::new("model.q_proj").block(Some("compressed-tensors"), config)
}

fn shaped(outputs: u64, inputs: u64, bits: u32, group: u64) -> Literal {
    let weights = json!({"num_bits": bits, "type": "int", "strategy": "group", "group_size": group});
    let shape = [outputs, inputs].iter().flat_map(|n| n.to_le_bytes()).collect();
    layer("pack-quantized", &weights).part("weight_shape", Dtype::I64, &[2], shape)
}

fn all(layer: &Literal, outputs: u64) -> Vec<f32> {
    decode(layer, &CompressedTensors, 0..outputs).unwrap()
}

fn why(layer: &Literal) -> String {
    decode(layer, &CompressedTensors, 0..1).unwrap_err()
}

#[test]
fn words_of_three_bits_are_dense_or_padded() {
    let want: Vec<f32> = (0..32).map(|i| ((i % 8) - 4) as f32 * 0.5).collect();
    for stream in
        [&[0x88fa_c688, 0xc688_fac6, 0xfac6_88fa][..], &[0x8fa_c688, 0x1a23_eb1a, 0x2c68_8fac, 0x3e]]
    {
        let layer = shaped(1, 32, 3, 32)
            .part("weight_packed", Dtype::I32, &[1, stream.len() as u64], words(stream))
            .part("weight_scale", Dtype::F16, &[1, 1], f16s(&[0.5]));
        assert_eq!(all(&layer, 1), want);
    }
}

#[test]
fn zero_points_are_packed_along_the_outputs_or_plain() {
    // Two outputs, two groups of 8 inputs; every code is 9, which stands for 1.
    let codes = || {
        shaped(2, 16, 4, 8).part("weight_packed", Dtype::I32, &[2, 2], words(&[0x9999_9999; 4])).part(
            "weight_scale",
            Dtype::F16,
            &[2, 2],
            f16s(&[1.0, 2.0, 4.0, 8.0]),
        )
    };
    let firsts = |layer: &Literal| all(layer, 2).chunks(8).map(|eight| eight[0]).collect::<Vec<_>>();
    assert_eq!(firsts(&codes()), [1.0, 2.0, 4.0, 8.0]);
    // Group 0 has 10 and 7 (2 and -1) for the two outputs, group 1 has 8 and 15.
    let packed = codes().part("weight_zero_point", Dtype::I32, &[1, 2], words(&[0x7a, 0xf8]));
    assert_eq!(firsts(&packed), [-1.0, 2.0, 8.0, -48.0]);
    let plain = codes().part("weight_zero_point", Dtype::I8, &[2, 2], vec![2, 0, 255, 7]);
    assert_eq!(firsts(&plain), firsts(&packed));
    let short = codes().part("weight_zero_point", Dtype::I32, &[1, 1], words(&[0]));
    assert!(why(&short).starts_with("weight_zero_point is [1, 1]"), "{}", why(&short));
}

#[test]
fn a_group_index_picks_the_scale_unless_it_was_never_filled() {
    let with = |index: [i32; 8]| {
        shaped(1, 8, 4, 4)
            .part("weight_packed", Dtype::I32, &[1, 1], words(&[0x9999_9999]))
            .part("weight_scale", Dtype::F16, &[1, 2], f16s(&[1.0, 2.0]))
            .part("weight_g_idx", Dtype::I32, &[8], words(&index.map(i32::cast_unsigned)))
    };
    assert_eq!(all(&with([1, 0, 0, 1, 1, 0, 1, 0]), 1), [2.0, 1.0, 1.0, 2.0, 2.0, 1.0, 2.0, 1.0]);
    assert_eq!(all(&with([-1; 8]), 1), [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    assert_eq!(why(&with([0, 0, 0, 0, 1, 1, 1, -1])), "weight_g_idx is -1 at input 7, there are 2 groups");
    assert_eq!(why(&with([0, 2, 0, 0, 1, 1, 1, 1])), "weight_g_idx is 2 at input 1, there are 2 groups");
}

#[test]
fn every_width_is_unpacked_in_both_packings() {
    for bits in [1, 2, 3, 4, 5, 6, 7, 8] {
        for packing in [Packing::Dense, Packing::Padded] {
            let width = packing.words(136, bits).unwrap();
            let stream: Vec<u32> = (1..=2 * width as u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
            let layer = shaped(2, 136, bits, 136)
                .part("weight_packed", Dtype::I32, &[2, width], words(&stream))
                .part("weight_scale", Dtype::F32, &[2, 1], f32s(&[1.0, 0.5]));
            let rows = stream.chunks(width as usize).zip([1.0, 0.5]);
            let value =
                |row: &[u32], i| packing.field(&words(row), i, bits) as f32 - 2f32.powi(bits as i32 - 1);
            let want: Vec<f32> =
                rows.flat_map(|(row, scale)| (0..136).map(move |i| value(row, i) * scale)).collect();
            assert_eq!(all(&layer, 2), want, "{packing:?} {bits}");
        }
    }
}

#[test]
fn bytes_have_zero_points_and_ragged_blocks() {
    let int = layer("int-quantized", &json!({"num_bits": 8, "type": "int", "strategy": "channel"}))
        .part("weight", Dtype::I8, &[2, 2], vec![0x80, 0x7f, 1, 0xff])
        .part("weight_scale", Dtype::F32, &[2, 1], f32s(&[0.5, 2.0]))
        .part("weight_zero_point", Dtype::I8, &[2, 1], vec![127, 0]);
    assert_eq!(all(&int, 2), [-127.5, 0.0, 2.0, -2.0]);
    let stored = int.stored(&CompressedTensors);
    assert_eq!(stored.codes, [128, 127, 1, 255]);
    assert_eq!(
        (stored.scales, stored.zeros, stored.terms),
        (Some(vec![0.5, 2.0]), Some(vec![127.0, 0.0]), None)
    );
    // 3 x 5 in blocks of 2 x 4: the scales are 2 x 2.
    let weights = json!({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [2, 4]});
    let block = layer("float-quantized", &weights)
        .part("weight", Dtype::F8E4M3, &[3, 5], vec![0x38; 15])
        .part("weight_scale", Dtype::F32, &[2, 2], f32s(&[1.0, 2.0, 3.0, 4.0]));
    let want = [1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 4.0];
    assert_eq!(all(&block, 3), want);
    assert_eq!(decode(&block, &CompressedTensors, 1..3).unwrap(), want[5..]);
}

#[test]
fn fp8_is_rounded_in_the_dtype_of_its_scales() {
    // 1.125 * 1.0078125 has more bits than BF16.
    let weights = json!({"num_bits": 8, "type": "float", "strategy": "tensor"});
    let fp8 = layer("float-quantized", &weights)
        .part("weight", Dtype::F8E4M3, &[1, 2], vec![0x39, 0x80])
        .part("weight_scale", Dtype::BF16, &[1], vec![0x81, 0x3f]);
    let out = all(&fp8, 1);
    assert_eq!(out[0], bf16::from_f32(1.125 * 1.007_812_5).to_f32());
    assert!(out[0] != 1.125 * 1.007_812_5 && out[1] == 0.0 && out[1].is_sign_negative());
}

#[test]
fn a_stack_of_experts_has_scales_of_each() {
    let weights = json!({"num_bits": 8, "type": "int", "strategy": "channel"});
    let stack = |shape: &[u64], scales: &[f32]| {
        let codes = vec![1; 2 * 2 * 2];
        let layer = layer("int-quantized", &weights).part("weight", Dtype::I8, &[2, 2, 2], codes);
        let found = all(&layer.part("weight_scale", Dtype::F32, shape, f32s(scales)), 4);
        found.chunks(2).map(|row| row[1]).collect::<Vec<_>>()
    };
    assert_eq!(stack(&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0]), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(stack(&[2, 1, 1], &[1.0, 2.0]), [1.0, 1.0, 2.0, 2.0]);
    assert_eq!(stack(&[1], &[3.0]), [3.0; 4]);
}

#[test]
fn nvfp4_divides_by_the_global_scale() {
    let nvfp4 = |global: f32| {
        layer("nvfp4-pack-quantized", &json!({"num_bits": 4, "type": "float", "group_size": 16}))
            .part("weight_packed", Dtype::U8, &[1, 8], vec![0xa5; 8])
            .part("weight_scale", Dtype::F8E4M3, &[1, 1], vec![0x5a])
            .part("weight_global_scale", Dtype::F32, &[1], f32s(&[global]))
    };
    let out = all(&nvfp4(1234.5), 1);
    assert_eq!(bf16_bits(out[0]), 0x3d47);
    assert_eq!((bf16_bits(out[1]), out[14]), (bf16_bits(-(20.0 / 1234.5)), out[0]));
    assert_eq!(
        out[1],
        values::round(Dtype::BF16, out[1]),
        "the library rounds to BF16 whatever the model is"
    );
    assert!(all(&nvfp4(0.0), 1)[0].is_infinite());
    let other = nvfp4(1.0).without("weight_scale").part("weight_scale", Dtype::BF16, &[1, 1], vec![0, 0]);
    assert_eq!(why(&other), "weight_scale is BF16, not F8_E4M3");
    assert_eq!(why(&nvfp4(1.0).without("weight_global_scale")), "missing weight_global_scale");
}

#[test]
fn mx_scales_are_powers_of_two() {
    let six: Vec<u8> = (0..24u32).map(|i| i.wrapping_mul(77) as u8).collect();
    let mx6 = layer("mxfp6-pack-quantized", &json!({"num_bits": 6, "type": "float", "group_size": 32}))
        .part("weight_packed", Dtype::U8, &[1, 24], six.clone())
        .part("weight_scale", Dtype::U8, &[1, 1], vec![125]);
    for (i, value) in all(&mx6, 1).into_iter().enumerate() {
        let field = Packing::Dense.field(&six, i, 6) as u8;
        assert_eq!(value, e2m3(field) * 0.25, "{i}");
    }
    let mx4 = layer("mxfp4-pack-quantized", &json!({"num_bits": 4, "type": "float", "group_size": 32}))
        .part("weight_packed", Dtype::U8, &[1, 16], vec![0xa7; 16])
        .part("weight_scale", Dtype::U8, &[1, 1], vec![120]);
    let out = all(&mx4, 1);
    assert_eq!((out[0], out[1], e2m1(7)), (0.046_875, -0.007_812_5, 6.0));
    let mx8 = layer("mxfp8-quantized", &json!({"num_bits": 8, "type": "float", "group_size": 32}))
        .part("weight", Dtype::F8E4M3, &[1, 32], vec![0x38; 32])
        .part("weight_scale", Dtype::U8, &[1, 1], vec![255]);
    assert!(all(&mx8, 1).iter().all(|value| value.is_nan()));
}

#[test]
fn what_does_not_fit_is_refused_with_its_numbers() {
    let good = || {
        shaped(1, 8, 4, 4).part("weight_packed", Dtype::I32, &[1, 1], words(&[0])).part(
            "weight_scale",
            Dtype::F16,
            &[1, 2],
            f16s(&[1.0, 2.0]),
        )
    };
    assert_eq!(all(&good(), 1), [-8.0, -8.0, -8.0, -8.0, -16.0, -16.0, -16.0, -16.0]);
    assert_eq!(why(&good().without("weight_shape")), "missing weight_shape");
    assert_eq!(why(&good().without("weight_packed")), "missing weight_packed");
    assert_eq!(why(&good().without("weight_scale")), "missing weight_scale");
    assert!(why(&good().headers_only()).contains("not read"));
    let wide = good().without("weight_scale").part("weight_scale", Dtype::F16, &[1, 3], f16s(&[1.0; 3]));
    assert_eq!(why(&wide), "weight_scale is [1, 3], the weight is [1, 8]");
    let marlin = good().part("scale_packed", Dtype::F16, &[1, 2], f16s(&[1.0; 2]));
    assert_eq!(why(&marlin), "marlin-24 holds 2:4 sparse weights, which are not decoded");
}
