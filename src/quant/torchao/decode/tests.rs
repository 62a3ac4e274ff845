//! Values of each class of torchao from literals, and what is refused.

use serde_json::{Value, json};

use crate::quant::testing::{Literal, bf16s, bytes_as, f32s, packed, some_codes, some_values};
use crate::quant::torchao::Torchao;
use crate::tensor::Dtype;
use crate::tensor::values::{e2m1, e4m3, e8m0, round};

fn layer(class: &str, data: &Value) -> Literal {
    let meta = json!({"m.weight": {"_type": class, "_data": data}});
    Literal::new("m").block_of("model.safetensors __metadata__", "", Some("torchao"), meta)
}

fn of(name: &str) -> Value {
    json!({"_type": "torch.dtype", "_data": name})
}

#[test]
fn int8_decodes_by_rows_groups_blocks_and_in_one() {
    let codes = some_codes(4 * 6, 256);
    for (block, columns) in [([1, 6], 1), ([1, 2], 3), ([2, 3], 2), ([4, 6], 1)] {
        let count = 4 / block[0] * columns;
        let scales = some_values(count, 0.02, Dtype::F32);
        let zeros = some_codes(count, 256);
        let grid = [4 / block[0] as u64, columns as u64];
        let plain = layer("Int8Tensor", &json!({"block_size": block, "dtype": of("bfloat16")}))
            .part("_weight_qdata", Dtype::I8, &[4, 6], codes.clone())
            .part("_weight_scale", Dtype::F32, &grid, f32s(&scales));
        let value = |is_shifted: bool| {
            let at = |at: usize| at / 6 / block[0] * columns + at % 6 / block[1];
            let zero = |at: usize| if is_shifted { f32::from(zeros[at] as i8) } else { 0.0 };
            let value = |(i, &code): (usize, &u8)| {
                round(Dtype::BF16, (f32::from(code as i8) - zero(at(i))) * scales[at(i)])
            };
            codes.iter().enumerate().map(value).collect::<Vec<f32>>()
        };
        assert_eq!(plain.decode(&Torchao).unwrap(), (value(false), Some(Dtype::BF16)), "{block:?}");
        let shifted = plain.part("_weight_zero_point", Dtype::I8, &grid, zeros.clone());
        assert_eq!(shifted.decode(&Torchao).unwrap().0, value(true), "{block:?}");
        let stored = shifted.stored(&Torchao);
        let zeros = zeros.iter().map(|&zero| f32::from(zero as i8)).collect();
        assert_eq!((stored.scales, stored.zeros, stored.terms), (Some(scales), Some(zeros), None));
        assert!(stored.codes.iter().copied().eq(codes.iter().map(|&code| u16::from(code))));
    }
}

#[test]
fn float8_decodes_by_rows_blocks_and_in_one() {
    let codes = some_codes(4 * 6, 0x7f);
    for grid in [[4u64, 1], [2, 3], [1, 1]] {
        let scales = some_values((grid[0] * grid[1]) as usize, 0.3, Dtype::F32);
        let found = layer("Float8Tensor", &json!({"dtype": of("float16")}))
            .part("_weight_qdata", Dtype::F8E4M3, &[4, 6], codes.clone())
            .part("_weight_scale", Dtype::F32, &grid, f32s(&scales));
        let [rows, columns] = [4 / grid[0] as usize, 6 / grid[1] as usize];
        let value = |(i, &code): (usize, &u8)| {
            let scale = scales[i / 6 / rows * grid[1] as usize + i % 6 / columns];
            round(Dtype::F16, e4m3(code) * scale)
        };
        let want = codes.iter().enumerate().map(value).collect();
        assert_eq!(found.decode(&Torchao).unwrap(), (want, Some(Dtype::F16)), "{grid:?}");
    }
    let odd = layer("Float8Tensor", &json!({"dtype": of("float16")}))
        .part("_weight_qdata", Dtype::F8E4M3, &[4, 6], codes)
        .part("_weight_scale", Dtype::F32, &[3, 1], f32s(&[1.0; 3]));
    assert!(odd.decode(&Torchao).unwrap_err().contains("no blocks fit"));
}

#[test]
fn four_bit_floats_decode_with_their_two_kinds_of_scales() {
    let codes = some_codes(3 * 32, 16);
    let nvfp4 = json!({"block_size": 16, "orig_dtype": of("bfloat16"), "is_swizzled_scales": false});
    let scales = some_codes(6, 0x7f);
    let found = layer("NVFP4Tensor", &nvfp4)
        .part("_weight_qdata", Dtype::U8, &[3, 16], packed(&codes, 4))
        .part("_weight_scale", Dtype::F8E4M3, &[3, 2], scales.clone())
        .part("_weight_per_tensor_scale", Dtype::F32, &[], f32s(&[0.0137]));
    let value = |(i, &code): (usize, &u8)| round(Dtype::BF16, e2m1(code) * (0.0137 * e4m3(scales[i / 16])));
    let want: Vec<f32> = codes.iter().enumerate().map(value).collect();
    assert_eq!(found.decode(&Torchao).unwrap(), (want, Some(Dtype::BF16)));

    let mx = json!({"block_size": 32, "orig_dtype": of("bfloat16"), "elem_dtype": of("float4_e2m1fn_x2")});
    let scales = [120, 0, 130];
    let found = layer("MXTensor", &mx).part("_weight_qdata", Dtype::U8, &[3, 16], packed(&codes, 4)).part(
        "_weight_scale",
        Dtype::F8E8M0,
        &[3, 1],
        scales.to_vec(),
    );
    let value = |(i, &code): (usize, &u8)| round(Dtype::BF16, e2m1(code) * e8m0(scales[i / 32]));
    let want: Vec<f32> = codes.iter().enumerate().map(value).collect();
    assert_eq!(found.decode(&Torchao).unwrap().0, want);
}

#[test]
fn plain_int4_has_its_scales_transposed() {
    let codes = some_codes(3 * 8, 16);
    let [scales, zeros] = [0.1, 0.7].map(|size| some_values(6, size, Dtype::BF16));
    let found = layer("Int4Tensor", &json!({"block_size": [1, 4], "shape": [3, 8]}))
        .part("_weight_qdata", Dtype::I8, &[3, 4], packed(&codes, 4))
        .part("_weight_scale", Dtype::BF16, &[2, 3], bf16s(&scales))
        .part("_weight_zero_point", Dtype::BF16, &[2, 3], bf16s(&zeros));
    let value = |(i, &code): (usize, &u8)| {
        let at = i % 8 / 4 * 3 + i / 8;
        let code = if code < 8 { f32::from(code) } else { f32::from(code) - 16.0 };
        round(Dtype::BF16, code * scales[at] + zeros[at])
    };
    let want: Vec<f32> = codes.iter().enumerate().map(value).collect();
    assert_eq!(found.decode(&Torchao).unwrap(), (want, Some(Dtype::BF16)));
}

/// Packs `[rows, inputs]` codes as PyTorch's kernel does, from bytes with even inputs in the high nibble.
fn tiles(codes: &[u8], rows: usize, inputs: usize, words: usize) -> Vec<u8> {
    let byte =
        |row: usize, pair: usize| codes[row * inputs + 2 * pair] << 4 | codes[row * inputs + 2 * pair + 1];
    let mut out = Vec::new();
    for tile in 0..rows / 8 {
        for outer in 0..inputs / (32 * words) {
            for lane in 0..32 {
                for word in 0..words {
                    let base = (outer * words * 2 + word * 2) * 16 / 2 + lane % 4;
                    let v = [0, 4, 8, 12].map(|k| u32::from(byte(tile * 8 + lane / 4, base + k)));
                    let high = v.iter().enumerate().map(|(i, v)| (v >> 4) << (4 * i));
                    let low = v.iter().enumerate().map(|(i, v)| (v & 15) << (16 + 4 * i));
                    out.extend(high.chain(low).fold(0u32, |a, b| a | b).to_le_bytes());
                }
            }
        }
    }
    out
}

#[test]
fn tiles_are_put_back_in_rows_without_their_padding() {
    for words in [1, 2, 4] {
        let (rows, inputs) = (16, 256);
        let codes = some_codes(rows * inputs, 16);
        let values = some_values(4 * rows * 2, 0.3, Dtype::BF16);
        let data = json!({"block_size": [1, 64], "shape": [13, 200]});
        let found = layer("Int4TilePackedTo4dTensor", &data)
            .part(
                "_weight_qdata",
                Dtype::I32,
                &[2, 8 / words as u64, 32, words as u64],
                tiles(&codes, rows, inputs, words),
            )
            .part("_weight_scale_and_zero", Dtype::BF16, &[4, 16, 2], bf16s(&values));
        let mut want = Vec::new();
        for (row, input) in (0..13).flat_map(|row| (0..200).map(move |input| (row, input))) {
            let at = (input / 64 * rows + row) * 2;
            let scaled = round(Dtype::BF16, (f32::from(codes[row * inputs + input]) - 8.0) * values[at]);
            want.push(round(Dtype::BF16, scaled + values[at + 1]));
        }
        assert_eq!(found.decode(&Torchao).unwrap(), (want, Some(Dtype::BF16)), "{words} words");
        assert_eq!(found.recognize(&Torchao).unwrap().spec.shape, [13, 200]);
        let stored = found.stored(&Torchao);
        let of_weight = |row: usize| codes[row * inputs..][..200].iter().map(|&code| u16::from(code));
        assert!(stored.codes.into_iter().eq((0..13).flat_map(of_weight)), "{words} words");
        // Those of the 13 outputs, of 16 that are stored.
        let beside = |at: usize| {
            let of_group = |group: usize| (0..13).map(move |row| (group * rows + row) * 2 + at);
            Some((0..4).flat_map(of_group).map(|place| values[place]).collect::<Vec<f32>>())
        };
        assert_eq!((stored.scales, stored.zeros, stored.terms), (beside(0), None, beside(1)));
    }
}

#[test]
fn orders_made_for_one_kernel_are_refused_by_name() {
    let base = |class: &str, data: Value| {
        layer(class, &data).part("_weight_qdata", Dtype::U8, &[3, 16], vec![0; 48]).part(
            "_weight_scale",
            Dtype::BF16,
            &[3, 2],
            bytes_as(Dtype::BF16, &[1.0; 6]),
        )
    };
    let why = base("Int4PreshuffledTensor", json!({})).decode(&Torchao).unwrap_err();
    assert_eq!(why, "torchao's Int4PreshuffledTensor cannot be decoded");
    let scaled = base("Int8Tensor", json!({})).part("_weight_act_pre_scale", Dtype::BF16, &[], vec![0, 0]);
    assert!(scaled.decode(&Torchao).unwrap_err().contains("act_pre_scale"));
}

/// torchao 0.18: `from_blocked(torch.arange(n), rows, columns)`, folded.
#[test]
fn swizzled_scales_come_in_rows_as_from_the_library() {
    for (rows, columns, count, fold) in
        [(3, 2, 512, 0x0015_a143u32), (130, 5, 2048, 0x81b3_56d0), (300, 9, 4608, 0x2759_1160)]
    {
        let stored: Vec<f32> = (0..count).map(|at: u16| f32::from(at)).collect();
        let found = super::unswizzled(&stored, rows, columns).unwrap();
        let folded = found.iter().fold(0u32, |sum, &at| sum.wrapping_mul(31).wrapping_add(at as u32));
        assert_eq!((found.len() as u64, folded), (rows * columns, fold), "{rows} × {columns}");
        assert_eq!(super::unswizzled(&stored[1..], rows, columns), None);
    }
    assert_eq!(super::unswizzled(&[], u64::MAX, u64::MAX), None);

    let codes = some_codes(3 * 32, 16);
    let (mut stored, scales) = (vec![0; 512], some_codes(6, 0x7f));
    for (at, &scale) in [0, 1, 16, 17, 32, 33].into_iter().zip(&scales) {
        stored[at] = scale;
    }
    let swizzled = json!({"block_size": 16, "orig_dtype": of("bfloat16"), "is_swizzled_scales": true});
    let found = layer("NVFP4Tensor", &swizzled)
        .part("_weight_qdata", Dtype::U8, &[3, 16], packed(&codes, 4))
        .part("_weight_scale", Dtype::F8E4M3, &[32, 16], stored);
    let value = |(i, &code): (usize, &u8)| round(Dtype::BF16, e2m1(code) * e4m3(scales[i / 16]));
    let want: Vec<f32> = codes.iter().enumerate().map(value).collect();
    assert_eq!(found.decode(&Torchao).unwrap(), (want, Some(Dtype::BF16)));
    let short = found
        .without("_weight_scale")
        .part("_weight_scale", Dtype::F8E4M3, &[32], vec![0; 32])
        .decode(&Torchao)
        .unwrap_err();
    assert!(short.starts_with("32 swizzled scales"), "{short}");
}
