//! Layers of parts, dtypes, shapes, bytes and configs thrown together: no format panics on any, and
//! each layer is somebody's. What says that it can be decoded decodes without a panic.

use serde_json::{Value, json};

use super::decode::Decoding;
use super::encode::Around;
use super::testing::Literal;
use super::{FORMATS, FormatId, LayerSpec, Parts, QuantFormat, Side};
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
        let fitting = elements(&shape).and_then(|count| dtype.bytes_of(count)).filter(|&size| size <= 4096);
        let size = match (dice.roll(3), fitting) {
            (0, _) => None,
            (1, Some(size)) => Some(size as usize),
            _ => Some(dice.roll(40)),
        };
        layer = match size {
            None => layer.shape(name, dtype, &shape),
            Some(size) => {
                let bytes = (0..size).map(|_| dice.roll(256) as u8).collect();
                layer.part(name, dtype, &shape, bytes)
            }
        };
    }
    match dice.roll(4) {
        0 => layer,
        _ => layer.block(Some(dice.pick(&METHODS)), config(dice)),
    }
}

/// Decodes the first and the last rows, from the bytes that they need and from others.
fn decode(parts: &Parts<'_>, decoding: &Decoding) {
    let (count, row_len) = (decoding.row_count(), decoding.row_len());
    assert_eq!(elements(&decoding.shape), count.checked_mul(row_len));
    // Codes that are said to be there and cannot be read may be of any size.
    if row_len > 1 << 16 {
        return;
    }
    for rows in [0..count.min(3), count.saturating_sub(1)..count] {
        let range = decoding.rows.codes(rows.clone());
        let mut out = vec![0.0; ((rows.end - rows.start) * row_len) as usize];
        let Side::Bytes(mut codes) = parts.data.read(decoding.codes, range.start, range.end - range.start)
        else {
            continue;
        };
        decoding.rows.decode(rows.clone(), &codes, &mut out);
        for byte in &mut codes {
            *byte ^= 0xff;
        }
        decoding.rows.decode(rows, &codes, &mut out);
    }
}

/// Encodes other values where the format can be written: the tensors are as large as said, in any cut alike.
fn encode(format: &dyn QuantFormat, parts: &Parts<'_>, spec: &LayerSpec, decoding: &Decoding) {
    let Ok(encoding) = format.encode(parts, spec) else { return };
    let (rows, row_len) = (decoding.row_count() as usize, decoding.row_len() as usize);
    if rows == 0 || row_len == 0 || rows.saturating_mul(row_len) > 1 << 16 {
        return;
    }
    let values: Vec<f32> = (0..rows * row_len).map(|at| (at % 7) as f32 - 3.0).collect();
    let in_cuts_of = |rows: u64| {
        let mut joined: Vec<Vec<u8>> = Vec::new();
        for (at, cut) in values.chunks(rows as usize * row_len).enumerate() {
            let around = Around { first_row: at as u64 * rows, largest: 3.0 };
            let strands = encoding.encoder.rows(cut, around).expect("whole rows of finite values");
            joined.resize_with(strands.len(), Vec::new);
            joined.iter_mut().zip(strands).for_each(|(all, strand)| all.extend(strand));
        }
        encoding.encoder.finish(joined, 3.0)
    };
    let tensors = in_cuts_of(u64::from(u32::MAX));
    let sizes: Vec<u64> = tensors.iter().map(|bytes| bytes.len() as u64).collect();
    assert_eq!(
        sizes,
        encoding.tensors.iter().map(|tensor| tensor.bytes).collect::<Vec<_>>(),
        "{}",
        spec.label()
    );
    assert_eq!(in_cuts_of(encoding.encoder.rows_apart()), tensors, "{}", spec.label());
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
                let mut found = FORMATS.iter().map(|format| format.recognize(parts)).enumerate();
                let (at, spec) = found
                    .find_map(|(at, found)| Some((at, found?.spec)))
                    .expect("the last row takes what no other knows");
                let lines = FORMATS[at].explain(parts, &spec);
                assert!(lines.len() < 20 && !spec.label().is_empty());
                if let Ok(decoding) = FORMATS[at].decode(parts, &spec) {
                    decode(parts, &decoding);
                    encode(FORMATS[at], parts, &spec, &decoding);
                }
                at
            })
        };
        seen[claims(&layer)] += 1;
        claims(&layer.headers_only());
    }
    for name in ["compressed-tensors", "fp8", "modelopt", "mxfp4", "ggml"] {
        let at = FORMATS.iter().position(|format| format.name() == name).expect("a row of FORMATS");
        assert!(FormatId::find(name).is_some() && seen[at] > 0, "{name} never came up: {seen:?}");
    }
}

/// A layer that can be decoded: its tensors, the method of its config.
type Whole<'a> = (&'a [(&'static str, Dtype, &'a [u64])], &'static str);

fn ggml(id: u32) -> Dtype {
    GgmlType::from_id(id).map_or(Dtype::U8, Dtype::Ggml)
}

#[test]
fn layers_that_nearly_fit_are_decoded_or_refused() {
    const ROUNDS: usize = 20_000;
    let whole: [Whole; 12] = [
        (&[("weight", Dtype::I8, &[4, 6]), ("SCB", Dtype::F32, &[4])], "bitsandbytes"),
        (&[("weight", Dtype::F8E4M3, &[5, 130]), ("weight_scale_inv", Dtype::F32, &[1, 2])], "fp8"),
        (&[("weight", Dtype::F8E4M3, &[4, 64]), ("weight_scale_inv", Dtype::U8, &[4, 2])], "fp8"),
        (&[("weight", Dtype::I8, &[4, 32]), ("scale", Dtype::F8E8M0, &[4, 2])], "fp8"),
        (&[("*", Dtype::F8E4M3, &[2, 4, 6]), ("*_scale", Dtype::F32, &[2, 1, 6])], "fbgemm_fp8"),
        (&[("weight", Dtype::F8E4M3, &[4, 6]), ("weight_scale", Dtype::F32, &[4])], "modelopt"),
        (
            &[
                ("weight", Dtype::U8, &[4, 16]),
                ("weight_scale", Dtype::F8E4M3, &[4, 2]),
                ("weight_scale_2", Dtype::F32, &[]),
            ],
            "modelopt",
        ),
        (
            &[
                ("weight", Dtype::U8, &[2, 32]),
                ("weight_scale", Dtype::BF16, &[4, 2]),
                ("pre_quant_scale", Dtype::F16, &[32]),
            ],
            "modelopt",
        ),
        (&[("weight", Dtype::U8, &[4, 32]), ("weight_scale", Dtype::U8, &[4, 2])], "modelopt"),
        (&[("*_blocks", Dtype::U8, &[2, 3, 2, 16]), ("*_scales", Dtype::U8, &[2, 3, 2])], "mxfp4"),
        (&[("weight", ggml(12), &[2, 256]), ("scale", Dtype::F32, &[])], "gguf"),
        (&[("*", ggml(8), &[2, 2, 64]), ("scale", Dtype::F32, &[2])], "gguf"),
    ];
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut decodes = vec![0usize; whole.len()];
    for _ in 0..ROUNDS {
        let at = dice.roll(whole.len());
        let mut layer = Literal::new("model.layers.0.q_proj");
        for &(name, dtype, shape) in whole[at].0 {
            let mut shape = shape.to_vec();
            let mut dtype = dtype;
            match dice.roll(12) {
                0 if !shape.is_empty() => {
                    let dim = dice.roll(shape.len());
                    shape[dim] = dice.pick(&DIMS);
                }
                1 => shape.insert(0, dice.pick(&DIMS)),
                2 => drop(shape.pop()),
                3 => dtype = dice.pick(&DTYPES),
                _ => {}
            }
            let size = elements(&shape).and_then(|count| dtype.bytes_of(count));
            layer = match size.filter(|&size| size <= 4096) {
                Some(size) => {
                    let size = size as usize + usize::from(dice.roll(20) == 0);
                    layer.part(name, dtype, &shape, (0..size).map(|_| dice.roll(256) as u8).collect())
                }
                None => layer.shape(name, dtype, &shape),
            };
        }
        let layer = if dice.roll(10) == 0 {
            layer.block(Some(whole[at].1), config(&mut dice))
        } else {
            layer.block(Some(whole[at].1), json!({}))
        };
        layer.with(|parts| {
            let found = FORMATS.iter().find_map(|format| Some((format, format.recognize(parts)?)));
            let found = found.expect("the last row takes what no other knows");
            if let Ok(decoding) = found.0.decode(parts, &found.1.spec) {
                decode(parts, &decoding);
                encode(*found.0, parts, &found.1.spec, &decoding);
                decodes[at] += 1;
            }
        });
    }
    assert!(decodes.iter().all(|&count| count > ROUNDS / 40), "{decodes:?}");
}
