//! Layers packed and read again: within half a step; and layers packed as they were: to their own bytes.

use serde_json::{Value, json};

use super::*;
use crate::quant::awq::Awq;
use crate::quant::encode::{Encoding, Place};
use crate::quant::gptq::Gptq;
use crate::quant::pack::Packing;
use crate::quant::target::{Aim, Candidate, GptqFiles, GroupSize, Target, Wishes};
use crate::quant::testing::{Literal, f16s};
use crate::quant::{QuantFormat, trial};
use crate::tensor::values;

/// Numbers that repeat from run to run.
struct Random(u64);

impl Random {
    fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    fn below(&mut self, end: u32) -> u32 {
        self.word() % end
    }

    /// About normal, with deviation 1.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.word() as f32 / 4_294_967_296.0 - 0.5).sum()
    }

    fn bytes(&mut self, words: usize) -> Vec<u8> {
        (0..words).flat_map(|_| self.word().to_le_bytes()).collect()
    }
}

/// Encodes in cuts of `cut` rows, in an order of their own.
fn encoded(encoding: &Encoding, values: &[f32], inputs: usize, cut: usize) -> Result<Vec<Vec<u8>>, String> {
    let encoder = &encoding.encoder;
    let cut = cut.next_multiple_of(encoder.rows_apart() as usize);
    let mut cuts: Vec<(usize, &[f32])> = values.chunks(cut * inputs).enumerate().collect();
    cuts.reverse();
    let rows = |&(number, values): &(usize, &[f32])| {
        encoder.rows(values, Around { first_row: (number * cut) as u64, largest: 0.0 })
    };
    let mut strands: Vec<Vec<Vec<u8>>> = cuts.iter().map(rows).collect::<Result<_, _>>()?;
    strands.reverse();
    let count = strands.first().map_or(0, Vec::len);
    let joined = (0..count).map(|at| strands.iter().flat_map(|cut| cut[at].clone()).collect()).collect();
    Ok(encoder.finish(joined, 0.0))
}

fn target(name: &str, wishes: Wishes) -> Box<dyn Target> {
    Aim { name: name.into(), wishes }.target(false).unwrap()
}

/// Packs a matrix and reads it again; every way to cut it gives the same bytes.
fn trip(target: &dyn Target, shape: [usize; 2], values: &[f32]) -> Vec<f32> {
    let of = [shape[0] as u64, shape[1] as u64];
    let encoding = target.encoding(&Candidate { shape: &of, dtype: Dtype::F16 }).unwrap();
    let tensors = encoded(&encoding, values, shape[1], 1).unwrap();
    assert_eq!(tensors, encoded(&encoding, values, shape[1], shape[0]).unwrap());
    let sizes = encoding.tensors.iter().map(|tensor| tensor.bytes);
    assert!(sizes.eq(tensors.iter().map(|bytes| bytes.len() as u64)));
    let decoding = trial::decoding(target, ("layers.0.q_proj", Dtype::F16), &encoding, &tensors).unwrap();
    assert_eq!(decoding.shape, of);
    let mut out = vec![f32::NAN; values.len()];
    let codes = &tensors[decoding.codes as usize];
    let range = decoding.rows.codes(0..of[0]);
    decoding.rows.decode(0..of[0], &codes[range.start as usize..range.end as usize], &mut out);
    values::round_all(decoding.dtype.unwrap(), &mut out);
    out
}

/// Matrices good and bad.
fn matrices([rows, columns]: [usize; 2]) -> Vec<(&'static str, Vec<f32>)> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut noise = |scale: f32| -> Vec<f32> {
        (0..rows * columns).map(|_| values::round(Dtype::F16, random.normal() * scale)).collect()
    };
    let mut outliers = noise(0.02);
    outliers.iter_mut().step_by(97).for_each(|value| *value *= 400.0);
    let mut holes = noise(0.1);
    holes.chunks_mut(columns).step_by(2).for_each(|row| row.fill(-0.0));
    let mut alternating = vec![0.5; rows * columns];
    alternating.iter_mut().step_by(2).for_each(|value| *value = -0.5);
    vec![
        ("noise", noise(0.02)),
        ("outliers", outliers),
        ("rows of zeros", holes),
        ("alternating", alternating),
        ("all alike", vec![-0.125; rows * columns]),
        ("large", noise(9000.0)),
        ("small", noise(3e-5)),
        ("positive", noise(0.02).into_iter().map(|value| value.abs() + 0.01).collect()),
    ]
}

#[test]
fn what_is_packed_is_read_within_half_a_step() {
    let gptq = |bits, group, asymmetric, files| {
        let wishes = Wishes {
            bits: Some(bits),
            group_size: Some(group),
            asymmetric,
            gptq: files,
            ..Wishes::default()
        };
        (bits, !asymmetric, group, target("gptq", wishes))
    };
    let awq = |group| {
        let wishes = Wishes { group_size: Some(group), ..Wishes::default() };
        (4, false, group, target("awq", wishes))
    };
    let (v1, v2) = (Some(GptqFiles::V1), Some(GptqFiles::V2));
    let targets = [
        gptq(2, GroupSize::Of(32), false, None),
        gptq(3, GroupSize::Of(48), true, v1),
        gptq(3, GroupSize::Of(32), false, v2),
        gptq(4, GroupSize::Of(128), false, None),
        gptq(4, GroupSize::Of(32), true, v1),
        gptq(4, GroupSize::Row, true, v2),
        gptq(8, GroupSize::Of(50), true, v1),
        gptq(8, GroupSize::Of(1000), false, None),
        awq(GroupSize::Of(32)),
        awq(GroupSize::Row),
    ];
    let mut checked = 0;
    for shape in [[32, 96], [64, 32], [32, 352]] {
        for (name, matrix) in matrices(shape) {
            for (bits, is_symmetric, group, target) in &targets {
                let out = trip(&**target, shape, &matrix);
                let size = match group {
                    GroupSize::Of(size) => *size as usize,
                    GroupSize::Row => shape[1],
                };
                let label = target.label();
                for (row, out) in matrix.chunks(shape[1]).zip(out.chunks(shape[1])) {
                    for (values, out) in row.chunks(size).zip(out.chunks(size)) {
                        within_half_a_step(values, out, (*bits, *is_symmetric), &format!("{name} {label}"));
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(checked > 10_000, "{checked} groups");
}

/// A value is half a step away from what is read at most, but for what the roundings of the scale and of the product
/// take, and at the upper end of a symmetric range, which has no code for it.
fn within_half_a_step(values: &[f32], out: &[f32], (bits, is_symmetric): (u32, bool), what: &str) {
    let top = f64::from((1u32 << bits) - 1);
    let [least, largest] = search::range(values).map(f64::from);
    let magnitude = largest.max(-least);
    let range = if is_symmetric { 2.0 * magnitude } else { largest - least };
    let step = range / top;
    // F16 has 11 bits, and no finer unit than 2^-24; AWQ takes a range of 1e-5 at least.
    let unit = 2f64.powi(-24);
    let slack = magnitude * 2f64.powi(-9) + 2.0 * unit * top + unit;
    for (&value, &read) in values.iter().zip(out) {
        if is_symmetric && least >= 0.0 {
            // No negative value: the library's scale is half as wide, and clips.
            assert!(read <= value + (step / 2.0 + slack) as f32, "{what}: {value} is read as {read}");
            continue;
        }
        let far = (f64::from(value) - f64::from(read)).abs();
        assert!(far <= step / 2.0 + slack, "{what}: {value} is read as {read}, a step is {step}");
    }
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let why = |name: &str, wishes: Wishes, shape: &[u64]| {
        let candidate = Candidate { shape, dtype: Dtype::F16 };
        target(name, wishes).encoding(&candidate).err().unwrap_or_default()
    };
    let of = |bits, group| Wishes { bits: Some(bits), group_size: Some(group), ..Wishes::default() };
    let whole = GroupSize::Of(32);
    assert_eq!(why("gptq", of(4, whole), &[64, 36]), "36 inputs of 4 bits do not fill words: 8 do");
    assert_eq!(why("gptq", of(4, whole), &[36, 64]), "36 outputs of 4 bits do not fill words: 8 do");
    assert_eq!(why("gptq", of(3, whole), &[64, 48]), "48 inputs of 3 bits do not fill words: 32 do");
    assert_eq!(why("gptq", of(4, whole), &[2, 64, 64]), "its shape [2, 64, 64] is no matrix");
    assert_eq!(why("gptq", of(2, whole), &[64, 0]), "0 inputs of 2 bits do not fill words: 16 do");
    assert_eq!(why("gptq", of(4, whole), &[64, 40]), "");
    assert_eq!(why("awq", of(4, whole), &[64, 40]), "40 inputs are no whole number of groups of 32");
    assert_eq!(why("awq", of(4, GroupSize::Row), &[60, 40]), "60 outputs: 8 share a word");
    assert_eq!(why("awq", of(4, GroupSize::Row), &[64, 40]), "");
    let settled = |name: &str, wishes| Aim { name: name.into(), wishes }.target(false).err().unwrap();
    assert_eq!(settled("gptq", of(5, whole)), "--bits 5: gptq has 2, 3, 4 and 8");
    assert_eq!(settled("awq", of(3, whole)), "--bits 3: awq has only 4");
    assert_eq!(settled("awq", of(4, GroupSize::Of(0))), "--group-size 0: no columns share a scale");
}

#[test]
fn a_range_wider_than_a_half_has_a_scale() {
    let mut values = vec![0.0; 8 * 64];
    (values[3], values[4]) = (60_000.0, -60_000.0);
    let awq = target("awq", Wishes { group_size: Some(GroupSize::Row), ..Wishes::default() });
    let out = trip(&*awq, [8, 64], &values);
    assert!((out[3] - 60_000.0).abs() <= 4000.0 && (out[4] + 60_000.0).abs() <= 4000.0, "{:?}", &out[..8]);
}

#[test]
fn a_range_beyond_the_scales_is_refused() {
    let mut values = vec![0.0; 8 * 64];
    (values[3], values[4]) = (3e6, -3e6);
    for (name, bits) in [("gptq", 4), ("gptq", 8), ("awq", 4)] {
        let wishes = Wishes { bits: Some(bits), ..Wishes::default() };
        let encoding = target(name, Wishes { group_size: Some(GroupSize::Row), ..wishes });
        let encoding = encoding.encoding(&Candidate { shape: &[8, 64], dtype: Dtype::F32 }).unwrap();
        let made = encoded(&encoding, &values, 64, 8);
        if (name, bits) == ("gptq", 8) {
            // 6e6 / 255 is still an F16.
            assert!(made.is_ok());
        } else {
            assert!(made.unwrap_err().contains("reaches from -3000000 to 3000000"), "{name}");
        }
    }
}

/// Encodes what a layer is decoded to, on its own grid. Returns the tensors, by their part.
fn again(layer: &Literal, format: &dyn QuantFormat) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let (values, _) = layer.decode(format).unwrap();
    layer.with(|parts| {
        let spec = format.recognize(parts).unwrap().spec;
        let encoding = format.encode(parts, &spec).unwrap();
        let inputs = *spec.shape.last().unwrap() as usize;
        let tensors = encoded(&encoding, &values, inputs, 4).unwrap();
        let stored = |place: Place| match place {
            Place::Of(tensor) => parts.list.iter().find(|part| part.tensor == tensor).unwrap(),
            Place::New(suffix) => panic!("{suffix} is new"),
        };
        let list = encoding.tensors.iter().zip(tensors);
        list.map(|(encoded, bytes)| {
            let part = stored(encoded.place);
            let crate::quant::Side::Bytes(before) = parts.read(part, part.bytes) else { panic!() };
            (part.suffix.to_owned(), before, bytes)
        })
        .collect()
    })
}

fn config(bits: u32, group: i64, format: &str, writer: &str) -> Value {
    json!({"bits": bits, "group_size": group, "sym": false, "checkpoint_format": format,
        "meta": {"quantizer": [writer]}})
}

#[test]
fn a_gptq_layer_is_packed_to_its_own_bytes() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let (mut checked, [inputs, outputs]) = (0, [96u64, 32u64]);
    for (bits, format) in
        [(2, "gptq"), (3, "gptq"), (4, "gptq"), (8, "gptq"), (3, "gptq_p"), (5, "gptq_p"), (6, "gptq_p")]
    {
        for (size, dtype) in
            [(32, Dtype::F16), (40, Dtype::F16), (96, Dtype::F16), (32, Dtype::BF16), (32, Dtype::F32)]
        {
            for (format, writer) in [(format, "gptqmodel:7"), (format, "other:1"), ("gptq_v2", "other:1")] {
                if format == "gptq_v2" && matches!(bits, 5 | 6) {
                    continue;
                }
                let groups = inputs.div_ceil(size);
                let scale = |random: &mut Random| match random.below(12) {
                    0 if writer != "gptqmodel:7" => 0.0,
                    1 => -0.25,
                    _ => 0.01 + random.below(1000) as f32 / 1000.0,
                };
                let scales: Vec<f32> = (0..groups * outputs).map(|_| scale(&mut random)).collect();
                let mut stored = vec![0; dtype.bytes_of(scales.len() as u64).unwrap() as usize];
                values::from_f32(dtype, &scales, &mut stored);
                // Groups lie strewn; a negative entry counts from the end.
                let group = |random: &mut Random| {
                    let group = random.below(groups as u32) as i32;
                    if random.below(3) == 0 { group - groups as i32 } else { group }
                };
                let index: Vec<u8> = (0..inputs).flat_map(|_| group(&mut random).to_le_bytes()).collect();
                let words = |count: u64| Packing::Dense.words(count, bits).unwrap();
                let [height, width] = [words(inputs), words(outputs)];
                let layer = Literal::new("m")
                    .part(
                        "qweight",
                        Dtype::I32,
                        &[height, outputs],
                        random.bytes((height * outputs) as usize),
                    )
                    .part("qzeros", Dtype::I32, &[groups, width], random.bytes((groups * width) as usize))
                    .part("scales", dtype, &[groups, outputs], stored)
                    .part("g_idx", Dtype::I32, &[inputs], index)
                    .block(Some("gptq"), config(bits, size as i64, format, writer));
                for (part, before, after) in again(&layer, &Gptq) {
                    assert!(before == after, "{part}: {bits} bits {format} {writer} {size} {dtype}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 250, "{checked}");
}

fn awq(version: &str, random: &mut Random) -> Literal {
    let [inputs, outputs, size] = [128u64, 32u64, 64u64];
    let is_fast = version == "gemv_fast";
    let mut floats = |count: u64| -> Vec<u8> {
        let scale = |random: &mut Random| match random.below(12) {
            0 if !is_fast => 0.0,
            _ => 0.01 + random.below(1000) as f32 / 1000.0,
        };
        f16s(&(0..count).map(|_| scale(random)).collect::<Vec<f32>>())
    };
    let layer = Literal::new("m")
        .block(Some("awq"), json!({"bits": 4, "group_size": size, "version": version, "zero_point": true}));
    let scales = floats(512);
    let layer = match version {
        "gemm" => layer.part("scales", Dtype::F16, &[2, outputs], scales[..128].to_vec()),
        "gemv" => layer.part("scales", Dtype::F16, &[outputs, 16], scales),
        _ => layer.part("scales", Dtype::F16, &[16, outputs], scales).part(
            "qzeros",
            Dtype::F16,
            &[16, outputs],
            floats(512),
        ),
    };
    let words = random.bytes(512);
    match version {
        "gemm" => layer.part("qweight", Dtype::I32, &[inputs, 4], words).part(
            "qzeros",
            Dtype::I32,
            &[2, 4],
            random.bytes(8),
        ),
        "gemv" => layer.part("qweight", Dtype::I32, &[outputs, 16], words).part(
            "qzeros",
            Dtype::I32,
            &[outputs, 2],
            random.bytes(64),
        ),
        _ => layer.part("qweight", Dtype::I16, &[8, inputs], words),
    }
}

#[test]
fn an_awq_layer_is_packed_to_its_own_bytes() {
    let mut random = Random(0x0fed_cba9_8765_4321);
    for version in ["gemm", "gemv", "gemv_fast"] {
        for _ in 0..4 {
            let layer = awq(version, &mut random);
            for (part, before, after) in again(&layer, &Awq) {
                assert!(before == after, "{version} {part}");
            }
        }
    }
}

/// A 4-bit layer of 8 outputs and 64 inputs in groups of 32, all scales 0.1.
fn plain_layer() -> Literal {
    let scales = [0.1f32; 16];
    Literal::new("m")
        .part("qweight", Dtype::I32, &[8, 8], 0x7654_3210u32.to_le_bytes().repeat(64))
        .part("qzeros", Dtype::I32, &[2, 1], 0x7777_7777u32.to_le_bytes().repeat(2))
        .part("scales", Dtype::F16, &[2, 8], f16s(&scales))
        .part("g_idx", Dtype::I32, &[64], (0..64).flat_map(|i| (i / 32i32).to_le_bytes()).collect())
        .block(Some("gptq"), json!({"bits": 4, "group_size": 32, "checkpoint_format": "gptq"}))
}

#[test]
fn a_layer_is_regrouped_where_its_grid_does_not_fit() {
    let layer = plain_layer();
    let (values, _) = layer.decode(&Gptq).unwrap();
    let encode = |values: &[f32]| {
        layer.with(|parts| {
            let spec = Gptq.recognize(parts).unwrap().spec;
            encoded(&Gptq.encode(parts, &spec).unwrap(), values, 64, 3).unwrap()
        })
    };
    let own = encode(&values);
    // One code up in one place: the grid stays, and all other codes.
    let mut changed = values.clone();
    changed[64 * 3 + 5] += 0.1;
    let near = encode(&changed);
    assert_eq!(near[1..], own[1..]);
    let differ: u32 = near[0].iter().zip(&own[0]).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert!((1..=4).contains(&differ), "{differ} bits");
    // A little noise is lost on either grid: the stored one is kept.
    let mut random = Random(77);
    let noise: Vec<f32> = values.iter().map(|value| value + random.normal() * 0.02).collect();
    assert_eq!(encode(&noise)[1..], own[1..]);
    // Ten times as large: it is clipped, and new scales are ten times as large.
    let large: Vec<f32> = values.iter().map(|value| value * 10.0).collect();
    let far = encode(&large);
    assert_ne!(far[2], own[2]);
    assert_eq!(far[1], own[1], "zero points of a symmetric layer are the middle still");
    assert!(far[2].as_chunks::<2>().0.iter().all(|&half| {
        let scale = half::f16::from_le_bytes(half).to_f32();
        (1.0..1.2).contains(&scale)
    }));
    // A hundredth: all codes would be 0.
    let small: Vec<f32> = values.iter().map(|value| value * 0.01).collect();
    assert_ne!(encode(&small)[2], own[2]);
}

#[test]
fn spans_are_the_inputs_of_each_group() {
    let runs = Spans::new(&Groups::Runs(4), 10, 3);
    assert_eq!(runs, Spans { spans: vec![0..4, 4..8, 8..10], order: vec![] });
    let strewn = Spans::new(&Groups::Strewn(vec![2, 0, 2, 0, 0]), 5, 4);
    assert_eq!(strewn, Spans { spans: vec![0..3, 3..3, 3..5, 5..5], order: vec![1, 3, 4, 0, 2] });
}

#[test]
fn no_search_raises_what_a_group_loses() {
    let shape = [32, 128];
    let wishes = |bits, group, asymmetric, search| Wishes {
        bits: Some(bits),
        group_size: Some(GroupSize::Of(group)),
        asymmetric,
        search,
        ..Wishes::default()
    };
    let (mut lower, mut groups) = (0, 0);
    for (name, bits, group, asymmetric) in [
        ("gptq", 2, 32, false),
        ("gptq", 3, 64, true),
        ("gptq", 4, 128, false),
        ("gptq", 8, 32, true),
        ("awq", 4, 64, false),
    ] {
        for (what, matrix) in matrices(shape) {
            let lost = |search| -> Vec<f64> {
                let out = trip(&*target(name, wishes(bits, group, asymmetric, search)), shape, &matrix);
                let pairs = matrix.chunks(group as usize).zip(out.chunks(group as usize));
                let square = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).powi(2);
                pairs.map(|(values, out)| values.iter().zip(out).map(square).sum()).collect()
            };
            let nearest = lost(Search::None);
            for search in [Search::Mse, Search::Hqq] {
                for (found, nearest) in lost(search).into_iter().zip(&nearest) {
                    assert!(
                        found <= nearest * (1.0 + 1e-12),
                        "{name} {bits} {what} {search:?}: {nearest} to {found}"
                    );
                    lower += u32::from(found < *nearest);
                    groups += 1;
                }
            }
        }
    }
    assert!(lower * 2 > groups, "{lower} of {groups} groups lose less");
}
