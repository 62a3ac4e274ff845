//! Tests of `decode`.

use half::f16;
use serde_json::{Value, json};

use super::*;
use crate::quant::QuantFormat as _;
use crate::quant::gptq::Gptq;
use crate::quant::testing::{Literal, decode, f16s, words};
use crate::tensor::Dtype;

/// Words of 4-bit codes for 16 inputs and 8 outputs: input `i` of output `o` has code `(i + o) % 16`.
fn codes() -> Vec<u8> {
    let word = |row: u32, o: u32| (0..8).fold(0, |w, k| w | ((8 * row + k + o) % 16) << (4 * k));
    words(&(0..16).map(|at| word(at / 8, at % 8)).collect::<Vec<_>>())
}

fn bare(zeros: [u32; 2], index: &[i32; 16]) -> Literal {
    let scales: Vec<f32> = (0..16).map(|at| if at < 8 { 0.5 } else { 0.25 }).collect();
    let index: Vec<u32> = index.iter().map(|&i| i as u32).collect();
    Literal::new("m")
        .part("qweight", Dtype::I32, &[2, 8], codes())
        .part("qzeros", Dtype::I32, &[2, 1], words(&zeros))
        .part("scales", Dtype::F16, &[2, 8], f16s(&scales))
        .part("g_idx", Dtype::I32, &[16], words(&index))
}

fn layer(zeros: [u32; 2], index: &[i32; 16], config: Value) -> Literal {
    bare(zeros, index).block(Some("gptq"), config)
}

const ORDERED: [i32; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

fn v2() -> Value {
    json!({"bits": 4, "group_size": 8, "checkpoint_format": "gptq_v2"})
}

#[test]
fn a_product_is_rounded_as_the_vector_has_it() {
    let product = (13.0 - 8.0) * f16::from_f32(0.0123).to_f32();
    assert_eq!(f16::from_f32(product).to_bits(), 0x2bdf);
}

#[test]
fn act_order_counts_negative_groups_from_the_end() {
    let index = [0, 1, -1, -2, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
    let out = decode(&layer([0x1111_1111, 0x3333_3333], &index, v2()), &Gptq, 0..8).unwrap();
    let group = |i: usize| usize::from(i >= 8 || i == 1 || i == 2);
    for (at, value) in out.into_iter().enumerate() {
        let (o, i) = (at / 16, at % 16);
        let code = ((i + o) % 16) as f32;
        assert_eq!(value, [(code - 1.0) * 0.5, (code - 3.0) * 0.25][group(i)], "{o} {i}");
    }
}

#[test]
fn without_an_index_groups_follow_each_other() {
    let scales: Vec<f32> = (0..16).map(|at| if at < 8 { 0.5 } else { 0.25 }).collect();
    let layer = Literal::new("m")
        .part("qweight", Dtype::I32, &[4, 8], codes().repeat(2))
        .part("qzeros", Dtype::I32, &[2, 1], words(&[0x8888_8888; 2]))
        .part("scales", Dtype::F16, &[2, 8], f16s(&scales));
    let out = decode(&layer, &Gptq, 0..8).unwrap();
    for (at, value) in out.into_iter().enumerate() {
        let (o, i) = (at / 32, at % 32);
        assert_eq!(value, (((i + o) % 16) as f32 - 8.0) * if i < 16 { 0.5 } else { 0.25 });
    }
}

#[test]
fn rows_are_decoded_alone() {
    let layer = layer([0x7777_7777; 2], &ORDERED, v2());
    let all = decode(&layer, &Gptq, 0..8).unwrap();
    assert_eq!(decode(&layer, &Gptq, 3..5).unwrap(), all[48..80]);
}

#[test]
fn zero_points_of_v1_wrap_in_the_word_for_gptqmodel_and_in_the_field_for_others() {
    // Zero points 0 8 0 8 8 8 8 8 minus 0x11111111: borrows.
    let stored = 0x8888_8080u32.wrapping_sub(0x1111_1111);
    let zeros = |config: Value| {
        let out = decode(&layer([stored; 2], &ORDERED, config), &Gptq, 0..8).unwrap();
        let zero = |o: usize| o as f32 - out[16 * o] / 0.5;
        (0..8).map(zero).collect::<Vec<_>>()
    };
    let config = |meta: Value| json!({"bits": 4, "group_size": 8, "sym": false, "meta": meta});
    let gptqmodel = zeros(config(json!({"quantizer": ["gptqmodel:7.7.0"]})));
    assert_eq!(gptqmodel, [0.0, 8.0, 0.0, 8.0, 8.0, 8.0, 8.0, 8.0]);
    let other = zeros(config(json!({"quantizer": "optimum"})));
    assert_eq!(other, [0.0, 7.0, 0.0, 7.0, 8.0, 8.0, 8.0, 8.0]);
}

#[test]
fn a_version_that_nothing_tells_is_a_caution() {
    let caution = |zeros: u32, method: &str, config: Value| {
        bare([zeros; 2], &ORDERED).block(Some(method), config).with(|parts| {
            let spec = Gptq.recognize(parts).unwrap().spec;
            Gptq.decode(parts, &spec).unwrap().caution.is_some()
        })
    };
    let either_way = json!({"bits": 4, "group_size": 8, "packing_format": "auto_round"});
    assert!(caution(0x1234_5678, "auto-round", either_way.clone()));
    assert!(!caution(0x7777_7777, "auto-round", either_way));
    assert!(!caution(0x1234_5678, "gptq", json!({"bits": 4})), "without a word it is v1");
    assert!(!caution(0x1234_5678, "gptq", v2()));
}

#[test]
fn planes_and_straddling_fields_are_unpacked() {
    for (bits, planar) in [(3u32, false), (3, true), (5, true), (6, true), (7, true)] {
        let packing = if planar { Packing::Planar } else { Packing::Dense };
        let height = bits as usize;
        let qweight: Vec<u32> = (1..=32 * bits).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).collect();
        let zeros: Vec<u32> = (1..=bits).map(|i: u32| i.wrapping_mul(0x1234_5679)).collect();
        let format = if planar { "gptq_p" } else { "gptq_v2" };
        let layer = Literal::new("m")
            .part("qweight", Dtype::I32, &[u64::from(bits), 32], words(&qweight))
            .part("qzeros", Dtype::I32, &[1, u64::from(bits)], words(&zeros))
            .part("scales", Dtype::BF16, &[1, 32], [0x00, 0x3f].repeat(32))
            .block(Some("gptq"), json!({"bits": bits, "group_size": -1, "format": format}));
        let out = decode(&layer, &Gptq, 0..32).unwrap();
        let stored = layer.stored(&Gptq);
        let zeros_used = stored.zeros.unwrap();
        assert_eq!((stored.scales, stored.terms), (Some(vec![0.5; 32]), None));
        for (at, value) in out.into_iter().enumerate() {
            let (o, i) = (at / 32, at % 32);
            let column: Vec<u32> = (0..height).map(|row| qweight[32 * row + o]).collect();
            let code = packing.field(&words(&column), i, bits) as f32;
            let zero = packing.field(&words(&zeros), o, bits) as f32;
            assert_eq!(value, (code - zero) * 0.5, "{bits} {o} {i}");
            assert_eq!((f32::from(stored.codes[at]), zeros_used[o]), (code, zero), "{bits} {o} {i}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_numbers() {
    let good = || layer([0x7777_7777; 2], &ORDERED, v2());
    let why = |layer: &Literal| decode(layer, &Gptq, 0..8).unwrap_err();
    let mut outside = ORDERED;
    outside[5] = 2;
    let layer_outside = layer([0; 2], &outside, v2());
    assert_eq!(why(&layer_outside), "g_idx is 2 at input 5, there are 2 groups");
    outside[5] = -3;
    assert_eq!(why(&layer([0; 2], &outside, v2())), "g_idx is -3 at input 5, there are 2 groups");
    let short = good().without("qzeros").part("qzeros", Dtype::I32, &[1, 1], words(&[0]));
    assert!(why(&short).starts_with("qzeros has 1 rows of 1 words"), "{}", why(&short));
    let double = good().without("scales").part("scales", Dtype::F64, &[2, 8], vec![0; 128]);
    assert_eq!(why(&double), "scales is F64, not F16, BF16 or F32");
    assert!(why(&good().without("scales")).starts_with("missing scales"));
    assert!(why(&good().headers_only()).contains("read"));
    let unread = good().without("qzeros").shape("qzeros", Dtype::I32, &[2, 1]);
    assert_eq!(why(&unread), "qzeros: not given in this test");
    let narrow = Literal::new("m")
        .part("qweight", Dtype::I16, &[4, 8], vec![0; 64])
        .part("qzeros", Dtype::I16, &[1, 2], vec![0; 4])
        .part("scales", Dtype::F16, &[1, 8], f16s(&[1.0; 8]))
        .block(Some("gptq"), json!({"bits": 4, "group_size": -1}));
    assert!(narrow.recognize(&Gptq).is_some() && why(&narrow).contains("I16"));
}
