//! Layers of parts, dtypes, shapes, bytes and configs thrown together: no format panics on any, each
//! layer is somebody's, and is decoded or refused in words.

use serde_json::{Value, json};

use super::decode::Decoding;
use super::testing::Literal;
use super::{FORMATS, FormatId, Parts, Side};
use crate::tensor::{Dtype, GgmlType, elements};

/// A small generator of numbers (xorshift), seeded so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

const DTYPES: [Dtype; 14] = [
    Dtype::F8E4M3,
    Dtype::U8,
    Dtype::I32,
    Dtype::I8,
    Dtype::BF16,
    Dtype::F16,
    Dtype::F32,
    Dtype::F8E8M0,
    Dtype::I64,
    Dtype::F4,
    Dtype::F8E5M2,
    Dtype::I16,
    Dtype::U32,
    Dtype::Bool,
];
const METHODS: [&str; 8] =
    ["compressed-tensors", "fp8", "modelopt", "mxfp4", "fbgemm_fp8", "gptq", "quark", "unheard-of"];
const DIMS: [u64; 12] = [0, 1, 2, 3, 16, 32, 64, 100, 128, 4096, 1 << 40, u64::MAX];

fn config(dice: &mut Dice) -> Value {
    const NUMBERS: [u64; 8] = [0, 1, 3, 4, 8, 128, 1 << 40, u64::MAX];
    let number = |dice: &mut Dice| dice.pick(&NUMBERS);
    let group = json!({"targets": ["Linear", "re:.*"], "format": "pack-quantized", "weights": {
        "num_bits": number(dice), "group_size": number(dice),
        "block_structure": [number(dice), number(dice)],
        "strategy": dice.pick(&["tensor", "channel", "group", "block"]),
        "symmetric": dice.roll(2) == 0, "type": dice.pick(&["int", "float"])}});
    json!({"config_groups": {"a": group}, "bits": number(dice), "group_size": number(dice),
           "weight_block_size": [number(dice), number(dice)],
           "weight_scale_semantics": dice.pick(&["inverse", "multiply"]),
           "quant_algo": dice.pick(&["FP8", "NVFP4", "W4A16_AWQ", "MXFP4"])})
}

fn layer(dice: &mut Dice, names: &[&'static str]) -> Literal {
    let mut layer = Literal::new("model.layers.0.q_proj");
    let mut used: Vec<&str> = Vec::new();
    for _ in 0..=dice.roll(5) {
        let name = dice.pick(names);
        if used.contains(&name) {
            continue;
        }
        used.push(name);
        let dtype = match dice.roll(20) {
            0 => GgmlType::from_id(12).map_or(Dtype::U8, Dtype::Ggml),
            1 => Dtype::parse("Q9_X"),
            _ => dice.pick(&DTYPES),
        };
        let shape: Vec<u64> = (0..dice.roll(5)).map(|_| dice.pick(&DIMS)).collect();
        layer = if dice.roll(3) == 0 {
            layer.shape(name, dtype, &shape)
        } else {
            let bytes = (0..dice.roll(40)).map(|_| dice.roll(256) as u8).collect();
            layer.part(name, dtype, &shape, bytes)
        };
    }
    match dice.roll(4) {
        0 => layer,
        _ => layer.block(Some(dice.pick(&METHODS)), config(dice)),
    }
}

/// Decodes all rows, where they are few and their codes are there.
fn decode(decoding: Result<Decoding, String>, parts: &Parts<'_>) {
    const VALUES_MAX: u64 = 1 << 16;
    let decoding = match decoding {
        Ok(decoding) => decoding,
        Err(why) => return assert!(!why.is_empty() && !why.contains('\n'), "{why}"),
    };
    if elements(&decoding.shape).is_none_or(|count| count > VALUES_MAX) {
        return;
    }
    let range = decoding.rows.codes(0..decoding.row_count());
    let Side::Bytes(codes) = parts.data.read(decoding.codes, range.start, range.end - range.start) else {
        return;
    };
    if codes.len() as u64 == range.end - range.start {
        let mut out = vec![0.0; (decoding.row_count() * decoding.row_len()) as usize];
        decoding.rows.decode(0..decoding.row_count(), &codes, &mut out);
    }
}

#[test]
fn no_format_panics_on_layers_thrown_together() {
    const LAYERS: usize = 20_000;
    let signatures = FORMATS.iter().map(|format| format.signature());
    let names: Vec<&str> = signatures.flat_map(|s| s.anchors.iter().chain(s.parts).copied()).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut seen = vec![0usize; FORMATS.len()];
    for _ in 0..LAYERS {
        let layer = layer(&mut dice, &names);
        let claims = |layer: &Literal| {
            layer.with(|parts| {
                let at = FORMATS.iter().position(|format| format.recognize(parts).is_some()).unwrap();
                let spec = FORMATS[at].recognize(parts).unwrap().spec;
                let lines = FORMATS[at].explain(parts, &spec);
                assert!(lines.len() < 20 && !spec.label().is_empty());
                decode(FORMATS[at].decode(parts, &spec), parts);
                at
            })
        };
        seen[claims(&layer)] += 1;
        claims(&layer.headers_only());
    }
    for name in ["compressed-tensors", "fp8", "modelopt", "mxfp4", "ggml"] {
        let at = FORMATS.iter().position(|format| format.name() == name).unwrap();
        assert!(FormatId::find(name).is_some() && seen[at] > 0, "{name} never came up: {seen:?}");
    }
}
