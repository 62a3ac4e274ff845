//! Blocks of known bytes, and tensors in blocks from literals.

use super::*;
use crate::quant::ggml::Ggml;
use crate::quant::testing::{Literal, f32s};

/// The CRC-32 of zlib.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn kind(name: &str) -> GgmlType {
    (0..255).filter_map(GgmlType::from_id).find(|kind| kind.name() == name).unwrap()
}

/// A block of the specification's test vectors: bytes that count by 37, halves of 0.1 at `halves`.
fn block(kind: GgmlType, halves: &[usize]) -> Vec<u8> {
    let mut block: Vec<u8> = (0..kind.block_bytes()).map(|at| (37 * at + 11) as u8).collect();
    for &at in halves {
        block[at..at + 2].copy_from_slice(&[0x66, 0x2e]);
    }
    block
}

fn decoded(layer: &Literal) -> Result<Vec<f32>, String> {
    layer.shape_and_values(&Ggml).map(|(_, values)| values)
}

fn of_block(name: &str, bytes: Vec<u8>) -> Vec<f32> {
    let kind = kind(name);
    let layer = Literal::new("x").part("weight", Dtype::Ggml(kind), &[kind.block_elements().into()], bytes);
    decoded(&layer).unwrap()
}

#[test]
fn known_blocks_have_known_values() {
    let cases: [(&str, &[usize], u32); 8] = [
        ("Q4_0", &[0], 0x2949_b547),
        ("Q8_0", &[0], 0x6d77_3c71),
        ("Q2_K", &[80, 82], 0x1885_0e77),
        ("Q3_K", &[108], 0x96a3_3182),
        ("Q4_K", &[0, 2], 0x6fd7_66ed),
        ("Q5_K", &[0, 2], 0x8292_4cc6),
        ("Q6_K", &[208], 0x2df5_e1c5),
        ("IQ4_XS", &[0], 0xac2d_624c),
    ];
    for (name, halves, want) in cases {
        let values = of_block(name, block(kind(name), halves));
        assert_eq!(crc32(&f32s(&values)), want, "{name}");
    }
    let mut mxfp4 = block(kind("MXFP4"), &[]);
    mxfp4[0] = 125;
    assert_eq!(crc32(&f32s(&of_block("MXFP4", mxfp4))), 0x22b4_b7ca);
}

#[test]
fn every_type_of_ggml_is_decoded_and_those_of_forks_are_refused() {
    let mut count = 0;
    for kind in (0..255).filter_map(GgmlType::from_id) {
        let (elements, bytes) = (kind.block_elements() as usize, kind.block_bytes() as usize);
        let layer = Literal::new("x").part(
            "weight",
            Dtype::Ggml(kind),
            &[2, elements as u64],
            block(kind, &[]).repeat(2),
        );
        if kind.name() == "I2_S" {
            let why = decoded(&layer).unwrap_err();
            assert_eq!(why, "I2_S is the type of a fork of ggml, which cannot be decoded");
            continue;
        }
        // A block that is one byte or one element off would be left as it is.
        let decode = TYPES.iter().find(|row| row.name == kind.name()).unwrap().decode;
        let mut out = vec![7e30; elements];
        decode(&vec![0; bytes], &mut out);
        assert!(out.iter().all(|&value| value != 7e30), "{kind:?}");
        decode(&vec![0; bytes - 1], &mut vec![0.0; elements]);
        assert_eq!(decoded(&layer).unwrap().len(), 2 * elements);
        count += 1;
    }
    assert_eq!(count, TYPES.len());
}

#[test]
fn types_without_a_reference_follow_the_source() {
    let one = [0x00, 0x3c];
    let bits = of_block("Q1_0", [&one[..], &[0b0000_0101], &[0; 15]].concat());
    assert_eq!((bits[..4].to_vec(), bits[127]), (vec![1.0, -1.0, 1.0, -1.0], -1.0));
    let twos = of_block("Q2_0", [&one[..], &[0b1110_0100], &[0; 15]].concat());
    assert_eq!((twos[..4].to_vec(), twos[63]), (vec![-1.0, 0.0, 1.0, 2.0], -1.0));
    let q8_1 = of_block("Q8_1", [&one[..], &[9, 9], &[0xff], &[2; 31]].concat());
    assert_eq!((q8_1[0], q8_1[31]), (-1.0, 2.0));
    let q8_k = of_block("Q8_K", [&f32s(&[0.5])[..], &[4; 256], &[9; 32]].concat());
    assert_eq!(q8_k, [2.0; 256]);
}

#[test]
fn narrow_scales_have_their_edges() {
    let with = |exponent: u8| of_block("MXFP4", [&[exponent], &[0x81; 16][..]].concat());
    assert_eq!((with(0)[0], with(1)[0]), (f32::from_bits(1 << 21), f32::from_bits(1 << 22)));
    assert_eq!((with(255)[0], with(255)[16].to_bits()), (2f32.powi(127), 0));
    let nvfp4 = of_block("NVFP4", [&[0x7f, 0x00, 0xb8, 0x01], &[0x21; 32][..]].concat());
    assert_eq!([nvfp4[0], nvfp4[16], nvfp4[32], nvfp4[40], nvfp4[48]], [0.0, 0.0, 0.5, 1.0, 2f32.powi(-10)]);
}

#[test]
fn a_scale_beside_the_tensor_multiplies() {
    let row = [&[0x00, 0x3c][..], &[1; 32]].concat();
    let experts = |scales: &[f32]| {
        Literal::new("blk.0.ffn_up_exps")
            .part("weight", Dtype::Ggml(kind("Q8_0")), &[2, 1, 32], row.repeat(2))
            .part("scale", Dtype::F32, &[scales.len() as u64], f32s(scales))
    };
    assert_eq!(decoded(&experts(&[3.0])).unwrap(), [3.0; 64]);
    let each = decoded(&experts(&[3.0, 5.0])).unwrap();
    assert_eq!((each[0], each[32]), (3.0, 5.0));
    let why = decoded(&experts(&[3.0; 3])).unwrap_err();
    assert_eq!(why, "scale has 3 values, the weight is [2, 1, 32]");
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let q8 = Dtype::Ggml(kind("Q8_0"));
    let cases = [
        (Literal::new("x").shape("weight", q8, &[32, 33]), "rows of 33 are not whole blocks of 32 Q8_0"),
        (Literal::new("x").part("*", q8, &[32], vec![0; 33]), "33 bytes are not those of Q8_0 [32]"),
        (Literal::new("x").shape("bias", q8, &[32]), "bias is Q8_0, and only weights are decoded"),
        (
            Literal::new("x").shape("weight", q8, &[32]).shape("bias", q8, &[32]),
            "bias is Q8_0, and only weights are decoded",
        ),
        (Literal::new("x").shape("weight", q8, &[u64::MAX, 32]), "0 bytes are not those of Q8_0"),
    ];
    for (layer, words) in cases {
        let why = decoded(&layer).unwrap_err();
        assert!(why.starts_with(words), "{why}");
    }
}
