//! Blocks of ggml: every value is what the code, and the scales in the block, give by `ggml-quants.c`.

use ckpt::quant::ggml::Ggml;
use ckpt::quant::{Module, Part, Parts, QuantConfig, QuantFormat, Side, SideData};
use ckpt::tensor::{Dtype, GgmlType};
use half::f16;

use super::{e2m1, seen, small_float};

/// The values that the codes of IQ4 mean.
const CURVE: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
];

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// `get_scale_min_k4`: the scale and the minimum of a sub-block.
fn scale_and_minimum(scales: &[u8], at: usize) -> (f32, f32) {
    let (scale, minimum) = if at < 4 {
        (scales[at] & 63, scales[at + 4] & 63)
    } else {
        let (low, high) = (scales[at + 4] & 15, scales[at + 4] >> 4);
        (low | scales[at - 4] >> 6 << 4, high | scales[at] >> 6 << 4)
    };
    (scale.into(), minimum.into())
}

/// The value of weight `at` of a block, of its code.
pub(super) fn value(kind: &str, block: &[u8], at: usize, code: u16) -> f32 {
    let number = f32::from(code);
    let signed = f32::from(code as u8 as i8);
    match kind {
        "Q4_0" => half(block, 0) * (number - 8.0),
        "Q4_1" | "Q5_1" => half(block, 0) * number + half(block, 2),
        "Q5_0" => half(block, 0) * (number - 16.0),
        "Q8_0" | "Q8_1" => half(block, 0) * signed,
        "Q8_K" => f32::from_le_bytes(block[..4].try_into().unwrap()) * signed,
        "Q1_0" if code == 1 => half(block, 0),
        "Q1_0" => -half(block, 0),
        "Q2_0" => half(block, 0) * (number - 1.0),
        "Q2_K" => {
            let scale = block[at / 16];
            let (d, dmin) = (half(block, 80), half(block, 82));
            d * f32::from(scale & 15) * number - dmin * f32::from(scale >> 4)
        }
        "Q3_K" => {
            let (scales, group) = (&block[96..108], at / 16);
            let low = if group < 8 { scales[group] & 15 } else { scales[group - 8] >> 4 };
            let high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
            half(block, 108) * (f32::from(low | high << 4) - 32.0) * (number - 4.0)
        }
        "Q4_K" | "Q5_K" => {
            let (scale, minimum) = scale_and_minimum(&block[4..16], at / 32);
            half(block, 0) * scale * number - half(block, 2) * minimum
        }
        "Q6_K" => half(block, 208) * f32::from(block[192 + at / 16] as i8) * (number - 32.0),
        "IQ4_NL" => half(block, 0) * CURVE[usize::from(code)],
        "IQ4_XS" => {
            let group = at / 32;
            let low = block[4 + group / 2] >> (4 * (group % 2)) & 15;
            let high = u16::from_le_bytes([block[2], block[3]]) >> (2 * group) & 3;
            half(block, 0) * (f32::from(u16::from(low) | high << 4) - 32.0) * CURVE[usize::from(code)]
        }
        "TQ1_0" => half(block, 52) * (number - 1.0),
        "TQ2_0" => half(block, 64) * (number - 1.0),
        // There is no -0: the values are whole numbers times half the scale.
        "MXFP4" => (e2m1(code) + 0.0) * 2f32.powi(i32::from(block[0]) - 127),
        "NVFP4" => (e2m1(code) + 0.0) * small_float(u16::from(block[at / 16]) & 0x7f, 4, 3, 7),
        other => panic!("no formula of {other}"),
    }
}

/// One tensor in memory.
struct Held(Vec<u8>);

impl SideData for Held {
    fn read(&self, _tensor: u32, offset: u64, count: u64) -> Side {
        Side::Bytes(self.0[offset as usize..(offset + count) as usize].to_vec())
    }
}

/// Bytes in no order, with scales of a usual size: `halves` are those of F16.
fn blocks(kind: GgmlType, count: usize, halves: &[usize]) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    };
    let each = kind.block_bytes() as usize;
    let mut bytes: Vec<u8> = (0..each * count).map(|_| random()).collect();
    for (number, block) in bytes.chunks_mut(each).enumerate() {
        for &at in halves {
            let scale = f16::from_f32(0.013 * (number + at + 1) as f32);
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

#[test]
fn codes_of_every_block_type_give_its_values() {
    let kinds: [(&str, u32, &[usize]); 20] = [
        ("Q4_0", 4, &[0]),
        ("Q4_1", 4, &[0, 2]),
        ("Q5_0", 5, &[0]),
        ("Q5_1", 5, &[0, 2]),
        ("Q8_0", 8, &[0]),
        ("Q8_1", 8, &[0]),
        // A float: its upper half of those bits is a usual one too.
        ("Q8_K", 8, &[0, 2]),
        ("Q1_0", 1, &[0]),
        ("Q2_0", 2, &[0]),
        ("Q2_K", 2, &[80, 82]),
        ("Q3_K", 3, &[108]),
        ("Q4_K", 4, &[0, 2]),
        ("Q5_K", 5, &[0, 2]),
        ("Q6_K", 6, &[208]),
        ("IQ4_NL", 4, &[0]),
        ("IQ4_XS", 4, &[0]),
        ("TQ1_0", 2, &[52]),
        ("TQ2_0", 2, &[64]),
        ("MXFP4", 4, &[]),
        ("NVFP4", 4, &[]),
    ];
    let mut without = Vec::new();
    for kind in (0..=255).filter_map(GgmlType::from_id).filter(|kind| kind.name() != "I2_S") {
        let known = kinds.iter().find(|(name, ..)| *name == kind.name());
        let mut bytes = blocks(kind, 8, known.map_or(&[], |(_, _, halves)| halves));
        // An exponent that two to its power has in f32, and a scale that is a number.
        for block in bytes.chunks_mut(kind.block_bytes() as usize) {
            match kind.name() {
                "MXFP4" => block[0] = 100 + block[0] / 8,
                "NVFP4" => block[..4]
                    .iter_mut()
                    .for_each(|scale| *scale = *scale & 0x7f ^ u8::from(*scale & 0x7f == 0x7f)),
                _ => {}
            }
        }
        let elements = kind.block_elements() as usize;
        let shape = [4, 2 * elements as u64];
        let part = Part {
            suffix: "*",
            dtype: Dtype::Ggml(kind),
            shape: &shape,
            bytes: bytes.len() as u64,
            tensor: 0,
        };
        let (spell, config, data) = (|| "x".to_owned(), QuantConfig::default(), Held(bytes.clone()));
        let parts = Parts { module: &Module::new(&spell), list: &[part], config: &config, data: &data };
        let decoding = Ggml.decode(&parts, &Ggml.recognize(&parts).unwrap().spec).unwrap();
        let Some((name, bits, _)) = known else {
            assert_eq!(decoding.rows.code_bits(), None, "{}", kind.name());
            without.push(kind.name());
            continue;
        };
        assert_eq!(decoding.rows.code_bits(), Some(*bits), "{name}");
        let seen = seen(&parts, &decoding);
        let mut different: Vec<u16> = seen.codes.clone();
        different.sort_unstable();
        different.dedup();
        let of_type = if *name == "TQ1_0" { 3 } else { 1 << bits };
        assert!(different.len() > of_type / 2 && *different.last().unwrap() < of_type as u16, "{name}");
        for (at, (&code, &have)) in seen.codes.iter().zip(&seen.values).enumerate() {
            let block = &bytes[at / elements * kind.block_bytes() as usize..];
            let want = value(name, block, at % elements, code);
            assert_eq!(have, want, "{name}: weight {at} of code {code}");
        }
    }
    without.sort_unstable();
    let grids = ["IQ1_M", "IQ1_S", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_S", "IQ3_XXS"];
    assert_eq!(without, grids);
}
