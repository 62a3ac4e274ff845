//! Integer codes: GPTQ, AWQ, compressed-tensors, marlin, quark, torchao's tiles, EXL2.

use std::ops::Range;

use ckpt::quant::in_memory::InMemory;
use ckpt::tensor::Dtype;
use libtest_mimic::Trial;
use serde_json::json;

use super::layers::{Random, check, compare};
use super::trial;

/// Layers of each kind.
const LAYERS: Range<u64> = 0..12;

/// The lesser sizes come first: what fails is small.
fn size(random: &mut Random, seed: u64) -> u64 {
    let most = [9, 40, 140, 300][(seed / 3) as usize % 4];
    1 + random.below(most)
}

/// Inputs and sizes of groups; of layers whose values kernels look up in tables, eights of inputs in groups of 128.
fn looked_up(inputs: u64, groups: &[u64], is_looked_up: bool) -> (u64, &[u64]) {
    if is_looked_up { (inputs.next_multiple_of(8), &[128]) } else { (inputs, groups) }
}

fn words(list: impl IntoIterator<Item = u64>) -> Vec<u8> {
    list.into_iter().flat_map(|word| (word as u32).to_le_bytes()).collect()
}

const SCALES: [Dtype; 3] = [Dtype::F16, Dtype::BF16, Dtype::F32];

/// Codes of so many bits, their groups by an index in one of three.
fn gptq(bits: u64, is_planar: bool, seed: u64) -> bool {
    let mut random = Random::new(seed * 100 + bits);
    let (outputs, sets) = (size(&mut random, seed), 1 + size(&mut random, seed) / 8);
    // Planes of zero points are of 32 outputs.
    let outputs = if is_planar { outputs.next_multiple_of(32) } else { outputs };
    // A set is 32 inputs in as many words as bits; codes that fill words end with any of them.
    let least = if 32 % bits == 0 { random.below(bits) } else { 0 };
    let rows = (sets * bits - least).max(1);
    let inputs = rows * 32 / bits;
    let group = random.one_of(&[3, 8, 20, 32, 64, 128]).min(inputs);
    let groups = inputs.div_ceil(group);
    let width = (outputs * bits).div_ceil(32);
    let dtype = random.one_of(&SCALES);
    let format = if is_planar { "gptq_p" } else { random.one_of(&["gptq", "gptq_v2"]) };
    let quantizer = random.one_of(&["gptqmodel:7.7.0", "auto-gptq"]);
    let said = json!({"bits": bits, "group_size": group, "checkpoint_format": format, "sym": false,
        "meta": {"quantizer": [quantizer]}});
    let (codes, zeros) = (random.bytes(rows * outputs * 4), random.bytes(groups * width * 4));
    let scales = random.scales(dtype, groups * outputs, true);
    let mut layer = InMemory::default()
        .part("qweight", Dtype::I32, &[rows, outputs], codes)
        .part("qzeros", Dtype::I32, &[groups, width], zeros)
        .part("scales", dtype, &[groups, outputs], scales)
        .block("config.json", "gptq", said);
    if seed.is_multiple_of(3) {
        let index = words((0..inputs).map(|_| random.below(groups)));
        layer = layer.part("g_idx", Dtype::I32, &[inputs], index);
    }
    let what = format!("{bits} bits, {format}, {outputs} × {inputs} in {group}, seed {seed}");
    check(&what, &layer, "gptq", &[])
}

fn gemm(seed: u64) -> bool {
    let mut random = Random::new(seed + 7000);
    let (wide, inputs) = (1 + size(&mut random, seed) / 2, size(&mut random, seed));
    let (inputs, groups) = looked_up(inputs, &[3, 8, 32, 64, 128], seed.is_multiple_of(2));
    let (outputs, group) = (wide * 8, random.one_of(groups).min(inputs));
    let (groups, dtype) = (inputs.div_ceil(group), random.one_of(&SCALES));
    let layer = InMemory::default()
        .part("qweight", Dtype::I32, &[inputs, wide], random.bytes(inputs * wide * 4))
        .part("qzeros", Dtype::I32, &[groups, wide], random.bytes(groups * wide * 4))
        .part("scales", dtype, &[groups, outputs], random.scales(dtype, groups * outputs, true))
        .block("config.json", "awq", json!({"bits": 4, "group_size": group, "version": "gemm"}));
    check(&format!("{outputs} × {inputs} in {group}, seed {seed}"), &layer, "awq", &[])
}

/// The words of zero points of a row.
fn zero_words(inputs: u64, group: u64) -> u64 {
    let multiple = if group < 64 { 4 } else { 1 + u64::from(group < 128) };
    inputs.div_ceil(group).div_ceil(8).div_ceil(multiple) * multiple
}

fn gemv(seed: u64) -> bool {
    let mut random = Random::new(seed + 8000);
    let (outputs, wide) = (1 + size(&mut random, seed), 1 + size(&mut random, seed) / 4);
    let (inputs, group) = (wide * 8, random.one_of(&[32, 64, 128]));
    let (zeros, dtype) = (zero_words(inputs, group), random.one_of(&SCALES));
    let layer = InMemory::default()
        .part("qweight", Dtype::I32, &[outputs, wide], random.bytes(outputs * wide * 4))
        .part("qzeros", Dtype::I32, &[outputs, zeros], random.bytes(outputs * zeros * 4))
        .part("scales", dtype, &[outputs, zeros * 8], random.scales(dtype, outputs * zeros * 8, true))
        .block("config.json", "awq", json!({"bits": 4, "group_size": group, "version": "gemv"}));
    check(&format!("{outputs} × {inputs} in {group}, seed {seed}"), &layer, "awq", &[])
}

fn gemv_fast(seed: u64) -> bool {
    let mut random = Random::new(seed + 9000);
    let (fours, inputs) = (1 + size(&mut random, seed) / 4, 64 * (1 + size(&mut random, seed) / 30));
    // Groups may end within eight inputs.
    let (outputs, group) = (fours * 4, random.one_of(&[32, 64, 128, 12, 20]).min(inputs));
    let (tall, dtype) = (zero_words(inputs, group) * 8, random.one_of(&SCALES));
    let layer = InMemory::default()
        .part("qweight", Dtype::I16, &[fours, inputs], random.bytes(fours * inputs * 2))
        .part("qzeros", dtype, &[tall, outputs], random.scales(dtype, tall * outputs, false))
        .part("scales", dtype, &[tall, outputs], random.scales(dtype, tall * outputs, true))
        .block("config.json", "awq", json!({"bits": 4, "group_size": group, "version": "gemv_fast"}));
    check(&format!("{outputs} × {inputs} in {group}, seed {seed}"), &layer, "awq", &[])
}

/// How many weights share a scale.
#[derive(Clone, Copy, Debug)]
enum Grain {
    Tensor,
    Channel,
    Group(u64),
    Block(u64, u64),
}

impl Grain {
    fn any(random: &mut Random, inputs: u64) -> Self {
        let (high, wide) = (1 + random.below(20), 1 + random.below(40));
        let group = random.one_of(&[3, 8, 24, 32, 128]).min(inputs);
        random.one_of(&[Self::Tensor, Self::Channel, Self::Group(group), Self::Block(high, wide)])
    }

    fn shape(self, outputs: u64, inputs: u64) -> Vec<u64> {
        match self {
            Self::Tensor => vec![1],
            Self::Channel => vec![outputs, 1],
            Self::Group(size) => vec![outputs, inputs.div_ceil(size)],
            Self::Block(high, wide) => vec![outputs.div_ceil(high), inputs.div_ceil(wide)],
        }
    }

    fn said(self, bits: u64) -> serde_json::Value {
        match self {
            Self::Tensor => json!({"num_bits": bits, "type": "int", "strategy": "tensor"}),
            Self::Channel => json!({"num_bits": bits, "type": "int", "strategy": "channel"}),
            Self::Group(size) => {
                json!({"num_bits": bits, "type": "int", "strategy": "group", "group_size": size})
            }
            Self::Block(high, wide) => {
                json!({"num_bits": bits, "type": "int", "strategy": "block", "block_structure": [high, wide]})
            }
        }
    }
}

fn compressed(format: &str, weights: &serde_json::Value) -> InMemory<'static> {
    let config =
        json!({"format": format, "config_groups": {"g": {"targets": ["Linear"], "weights": weights}}});
    InMemory::default().block("config.json", "compressed-tensors", config)
}

fn packed(bits: u64, is_padded: bool, seed: u64) -> bool {
    let mut random = Random::new(seed * 100 + bits + 50);
    let (outputs, inputs) = (size(&mut random, seed), size(&mut random, seed));
    let group = random.one_of(&[3, 8, 32]).min(inputs);
    let has_order = seed.is_multiple_of(3);
    let grain = if has_order { Grain::Group(group) } else { Grain::any(&mut random, inputs) };
    let width = if is_padded { inputs.div_ceil(32 / bits) } else { (inputs * bits).div_ceil(32) };
    let (dtype, shape) = (random.one_of(&SCALES), grain.shape(outputs, inputs));
    let count = shape.iter().product();
    let declared: Vec<u8> = [outputs, inputs].iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut layer = compressed("pack-quantized", &grain.said(bits))
        .part("weight_shape", Dtype::I64, &[2], declared)
        .part("weight_packed", Dtype::I32, &[outputs, width], random.bytes(outputs * width * 4))
        .part("weight_scale", dtype, &shape, random.scales(dtype, count, true));
    if random.below(2) == 0 {
        layer = layer.part("weight_zero_point", Dtype::I8, &shape, random.bytes(count));
    }
    if has_order {
        let index = words((0..inputs).map(|_| random.below(inputs.div_ceil(group))));
        layer = layer.part("weight_g_idx", Dtype::I32, &[inputs], index);
    }
    let what = format!("{bits} bits, padded {is_padded}, {outputs} × {inputs}, {grain:?}, seed {seed}");
    check(&what, &layer, "compressed-tensors", &[])
}

/// Tiles of 16 inputs and 64 outputs.
fn marlin(seed: u64) -> bool {
    let mut random = Random::new(seed + 11_000);
    let (tall, wide) = (1 + size(&mut random, seed) / 10, 1 + size(&mut random, seed) / 80);
    let (inputs, outputs) = (tall * 16, wide * 64);
    let groups = if seed.is_multiple_of(3) { 1 } else { random.one_of(&[tall, tall * 2, tall * 4]) };
    let (codes, scales) = if seed.is_multiple_of(2) { ("B", "s") } else { ("qweight", "scales") };
    let format = if seed.is_multiple_of(2) { "gptq" } else { "awq" };
    let layer = InMemory::default()
        .part(codes, Dtype::I32, &[tall, outputs * 2], random.bytes(inputs * outputs / 2))
        .part(scales, Dtype::F16, &[groups, outputs], random.scales(Dtype::F16, groups * outputs, true))
        .block("config.json", format, json!({"bits": 4, "group_size": inputs / groups}));
    check(&format!("{outputs} × {inputs} in {groups} groups, seed {seed}"), &layer, format, &[])
}

/// Words along the outputs in groups, along the inputs otherwise; signed or not, in either order.
fn quark(seed: u64) -> bool {
    let mut random = Random::new(seed + 12_000);
    let is_per_group = seed.is_multiple_of(2);
    let [inputs, outputs] = [0; 2].map(|_| size(&mut random, seed));
    let (inputs, outputs) = if is_per_group { (inputs, outputs * 8) } else { (inputs * 8, outputs) };
    // Scales whose two sides are as long have no order.
    let (inputs, groups) = looked_up(inputs, &[3, 8, 32, 128], seed.is_multiple_of(4));
    let group = random.one_of(groups).min(inputs);
    let groups = inputs.div_ceil(group);
    if is_per_group && groups == outputs {
        return false;
    }
    let dtype = random.one_of(&["int4", "uint4"]);
    let (weight, shape, qscheme) = match (is_per_group, seed % 3) {
        (true, _) => ([inputs, outputs / 8], vec![groups, outputs], "per_group"),
        (_, 0) => ([outputs, inputs / 8], vec![1], "per_tensor"),
        _ => ([outputs, inputs / 8], vec![outputs], "per_channel"),
    };
    let group_size = is_per_group.then_some(group);
    let method = random.one_of(&["order", "reorder"]);
    let said = json!({"global_quant_config": {"weight":
        {"dtype": dtype, "qscheme": qscheme, "group_size": group_size}}, "export": {"pack_method": method}});
    let (float, count) = (random.one_of(&SCALES), shape.iter().product::<u64>());
    let mut layer = InMemory::default()
        .part("weight", Dtype::I32, &weight, random.bytes(inputs * outputs / 2))
        .part("weight_scale", float, &shape, random.scales(float, count, true))
        .block("config.json", "quark", said);
    if is_per_group && seed.is_multiple_of(4) {
        let zeros = random.bytes(groups * outputs / 2);
        layer = layer.part("weight_zero_point", Dtype::I32, &[groups, outputs / 8], zeros);
    }
    let what = format!("{outputs} × {inputs}, {qscheme} of {group}, {dtype}, {method}, seed {seed}");
    check(&what, &layer, "quark", &[])
}

/// Words along the inputs whose scales are in groups, of any size.
fn along(seed: u64) -> bool {
    let mut random = Random::new(seed + 15_000);
    let (outputs, inputs) = (8 * (1 + size(&mut random, seed) / 4), 8 * size(&mut random, seed));
    let group = random.one_of(&[3, 8, 12, 20, 64]).min(inputs);
    let groups = inputs.div_ceil(group);
    // Scales whose two sides are as long have no order.
    if groups == outputs {
        return false;
    }
    let dtype = random.one_of(&["int4", "uint4"]);
    let said = json!({"global_quant_config": {"weight": {"dtype": dtype, "group_size": group}}});
    let (float, count) = (random.one_of(&SCALES), outputs * groups);
    let mut layer = InMemory::default()
        .part("weight", Dtype::I32, &[outputs, inputs / 8], random.bytes(inputs * outputs / 2))
        .part("weight_scale", float, &[outputs, groups], random.scales(float, count, true))
        .block("config.json", "quark", said);
    if seed.is_multiple_of(2) {
        layer = layer.part("weight_zero_point", Dtype::I32, &[count / 8], random.bytes(count / 2));
    }
    let what = format!("{outputs} × {inputs} in {group}, {dtype}, seed {seed}");
    check(&what, &layer, "quark", &[Dtype::F16])
}

/// Bytes of compressed-tensors: integers with zero points or without, and floats, in grids of every grain.
fn coded(seed: u64) -> bool {
    let mut random = Random::new(seed + 16_000);
    let (outputs, inputs) = (size(&mut random, seed), size(&mut random, seed));
    let grain = Grain::any(&mut random, inputs);
    let (dtype, shape) = (random.one_of(&SCALES), grain.shape(outputs, inputs));
    let count = shape.iter().product();
    let scales = random.scales(dtype, count, true);
    let is_float = seed.is_multiple_of(2);
    let (codes, format) =
        if is_float { (Dtype::F8E4M3, "float-quantized") } else { (Dtype::I8, "int-quantized") };
    let number = |byte: u8| if is_float && byte & 0x7f == 0x7f { byte ^ 1 } else { byte };
    let bytes: Vec<u8> = random.bytes(outputs * inputs).into_iter().map(number).collect();
    let mut said = grain.said(8);
    said["type"] = json!(if is_float { "float" } else { "int" });
    let mut layer = compressed(format, &said).part("weight", codes, &[outputs, inputs], bytes).part(
        "weight_scale",
        dtype,
        &shape,
        scales,
    );
    if !is_float && random.below(2) == 0 {
        layer = layer.part("weight_zero_point", Dtype::I8, &shape, random.bytes(count));
    }
    let what = format!("{format}, {outputs} × {inputs}, {grain:?}, {dtype}, seed {seed}");
    check(&what, &layer, "compressed-tensors", &[Dtype::F16])
}

/// Scales that are infinite, and such that are no numbers: the GPU makes what is infinite, of either sign side by side, and
/// leaves what has NaN to the processor, and says so.
fn infinite() {
    let (outputs, inputs, group) = (12u64, 192u64, 12u64);
    for broken in [1e6, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        // A code that is its zero point is 0, whose product with an infinite scale is NaN: none is here.
        let groups = inputs / group;
        let scales = |count: u64| -> Vec<u8> {
            let scale = |k| if k % 5 == 2 { broken } else { 0.25 };
            (0..count).flat_map(|k| scale(k).to_le_bytes()).collect()
        };
        let odd = |count: u64| -> Vec<u8> { (0..count).map(|k| (k * 34 % 256) as u8 | 0x11).collect() };
        let block = |version: &str| json!({"bits": 4, "group_size": group, "version": version});
        let tall = zero_words(inputs, group) * 8;
        let fast = InMemory::default()
            .part("qweight", Dtype::I16, &[outputs / 4, inputs], odd(outputs * inputs / 2))
            .part("qzeros", Dtype::F32, &[tall, outputs], vec![0; (tall * outputs * 4) as usize])
            .part("scales", Dtype::F32, &[tall, outputs], scales(tall * outputs))
            .block("config.json", "awq", block("gemv_fast"));
        let gemv = InMemory::default()
            .part("qweight", Dtype::I32, &[outputs, inputs / 8], odd(outputs * inputs / 2))
            .part("qzeros", Dtype::I32, &[outputs, tall / 8], vec![0x66; (outputs * tall / 2) as usize])
            .part("scales", Dtype::F32, &[outputs, tall], scales(outputs * tall))
            .block("config.json", "awq", block("gemv"));
        let said = json!({"global_quant_config": {"weight": {"dtype": "int4", "group_size": group}}});
        let along = InMemory::default()
            .part("weight", Dtype::I32, &[outputs, inputs / 8], odd(outputs * inputs / 2))
            .part("weight_scale", Dtype::F32, &[outputs, groups], scales(outputs * groups))
            .block("config.json", "quark", said);
        for (name, format, layer) in
            [("gemv_fast", "awq", fast), ("gemv", "awq", gemv), ("along", "quark", along)]
        {
            let what = format!("{name} with {broken}");
            let notes = compare(&what, &layer, format, &[Dtype::F16, Dtype::F32]);
            assert_eq!(notes.len(), usize::from(broken.is_nan()), "{what}: {notes:?}");
            assert!(notes.iter().all(|note| note.contains("NaN")), "{what}: {notes:?}");
        }
    }
}

/// Tiles of 8 outputs and 32 inputs a word, padded on both sides.
fn tinygemm(seed: u64) -> bool {
    let mut random = Random::new(seed + 13_000);
    let words = random.one_of(&[1, 2, 4]);
    let (high, across) = (1 + size(&mut random, seed) / 8, 1 + size(&mut random, seed) / 60);
    let (tall, long) = (high * 8, across * 32 * words);
    let (outputs, inputs) = (tall - random.below(tall.min(9)), long - random.below(4) * 8);
    let group = random.one_of(&[4, 32, 64, 128, 1]);
    let group = if long.is_multiple_of(group) { group } else { 32 };
    let dtype = random.one_of(&["float16", "bfloat16"]);
    let kept = if dtype == "float16" { Dtype::F16 } else { Dtype::BF16 };
    let data = json!({"block_size": [1, group], "shape": [outputs, inputs]});
    let scales = random.scales(kept, long / group * tall * 2, false);
    let layer = InMemory::default()
        .part("_weight_qdata", Dtype::I32, &[high, across, 32, words], random.bytes(tall * long / 2))
        .part("_weight_scale_and_zero", kept, &[long / group, tall, 2], scales)
        .block(
            "model.safetensors __metadata__",
            "torchao",
            json!({"layer.weight": {"_type": "Int4TilePackedTo4dTensor", "_data": data}}),
        );
    let what = format!("{outputs} × {inputs} of {tall} × {long} in {group}, {words} words, seed {seed}");
    check(&what, &layer, "torchao", &[])
}

/// Groups of every width in a random order of inputs, the last group of fewer codes than it has room for.
fn exl2(seed: u64) -> bool {
    let mut random = Random::new(seed + 14_000);
    let outputs = 8 * (1 + size(&mut random, seed) / 4);
    let (mut groups, mut rows, mut inputs) = (Vec::new(), 0u64, 0u64);
    for _ in 0..=random.below(6) {
        let (bits, tall) = (random.one_of(&[2, 3, 4, 5, 6, 8]), 1 + random.below(9));
        groups.extend([bits as i16, rows as i16]);
        (rows, inputs) = (rows + tall, inputs + tall * 32 / bits);
    }
    let count = groups.len() as u64 / 2;
    let mut order: Vec<u16> = (0..inputs as u16).collect();
    (1..inputs).rev().for_each(|at| order.swap(at as usize, random.below(at + 1) as usize));
    let order: Vec<u8> = order.iter().flat_map(|n| n.to_le_bytes()).collect();
    let groups: Vec<u8> = groups.iter().flat_map(|n| n.to_le_bytes()).collect();
    let scales = random.bytes(count * outputs / 2);
    let layer = InMemory::default()
        .part("q_weight", Dtype::I32, &[rows, outputs], random.bytes(rows * outputs * 4))
        .part("q_groups", Dtype::I16, &[count * 2], groups)
        .part("q_scale", Dtype::I32, &[count, outputs / 8], scales)
        .part("q_scale_max", Dtype::F16, &[count], random.scales(Dtype::F16, count, false))
        .part("q_invperm", Dtype::I16, &[inputs], order);
    check(&format!("{outputs} × {inputs} in {count} groups, seed {seed}"), &layer, "exl2", &[])
}

/// A layer of several pieces and tiles, as models have them.
fn large(format: &'static str) {
    let mut random = Random::new(1);
    let (outputs, inputs, groups) = (328, 1056, 33);
    let (qweight, zeros) = match format {
        "gptq" => ([inputs / 8, outputs], [groups, outputs / 8]),
        _ => ([inputs, outputs / 8], [groups, outputs / 8]),
    };
    let layer = InMemory::default()
        .part("qweight", Dtype::I32, &qweight, random.bytes(outputs * inputs / 2))
        .part("qzeros", Dtype::I32, &zeros, random.bytes(groups * outputs / 2))
        .part("scales", Dtype::F16, &[groups, outputs], random.scales(Dtype::F16, groups * outputs, true));
    assert!(check(format, &layer, format, &[]), "{format}: not encoded again");
}

/// Layers of which some codes are read alike, so that the stored ones have a say: by scales of 0, and 8 bits beside BF16.
fn alike(format: &'static str, seed: u64) {
    let mut random = Random::new(seed + 500);
    let (outputs, inputs, group) = (8 * (1 + random.below(9)), 16 * (1 + random.below(12)), 16);
    let (groups, dtype) = (inputs / group, if format == "awq" { Dtype::F16 } else { Dtype::BF16 });
    let (qweight, zeros) = match format {
        "awq" => ([inputs, outputs / 8], [groups, outputs / 8]),
        _ => ([inputs / 4, outputs], [groups, outputs / 4]),
    };
    let mut scales = random.scales(dtype, groups * outputs, false);
    scales.chunks_mut(2).step_by(5).for_each(|scale| scale.fill(0));
    let bytes = |[high, wide]: [u64; 2], random: &mut Random| random.bytes(high * wide * 4);
    let mut layer = InMemory::default()
        .part("qweight", Dtype::I32, &qweight, bytes(qweight, &mut random))
        .part("qzeros", Dtype::I32, &zeros, bytes(zeros, &mut random))
        .part("scales", dtype, &[groups, outputs], scales);
    if format == "gptq" && seed.is_multiple_of(2) {
        let index = words((0..inputs).map(|_| random.below(groups)));
        layer = layer.part("g_idx", Dtype::I32, &[inputs], index);
    }
    let encoding = layer.encoding("layer", format).unwrap();
    assert!(encoding.encoder.held_codes().is_some(), "{format}: no code has a say");
    assert!(check(&format!("{outputs} × {inputs}, seed {seed}"), &layer, format, &[]));
}

/// Runs layers of a kind that is written: kernels encode some of them again.
fn again(name: &str, run: &dyn Fn(u64) -> bool) {
    let encoded = LAYERS.filter(|&seed| run(seed)).count();
    assert!(encoded > 1, "{name}: {encoded} layers encoded again");
}

/// Checks a layer of random bits; returns true if kernels encode it again.
type Run = fn(u64) -> bool;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: String, run: fn(u64, bool, u64) -> bool, bits: u64, flag: bool| {
        let title = format!("integers::{name}");
        trials.push(trial(title, move || again(&name, &|seed| run(bits, flag, seed))));
    };
    for bits in [2, 3, 4, 8] {
        add(format!("gptq::{bits}"), gptq, bits, false);
    }
    for bits in [3, 5, 6, 7] {
        add(format!("gptq::planes_{bits}"), gptq, bits, true);
    }
    for bits in 1..=8 {
        add(format!("packed::{bits}"), packed, bits, false);
    }
    for bits in [3, 5, 6, 7] {
        add(format!("packed::padded_{bits}"), packed, bits, true);
    }
    let written: [(&str, Run); 4] =
        [("awq::gemm", gemm), ("awq::gemv", gemv), ("awq::gemv_fast", gemv_fast), ("coded", coded)];
    for (name, run) in written {
        trials.push(trial(format!("integers::{name}"), move || again(name, &run)));
    }
    let decoded: [(&str, Run); 5] = [
        ("marlin", marlin),
        ("quark", quark),
        ("quark::along", along),
        ("tinygemm", tinygemm),
        ("exl2", exl2),
    ];
    for (name, run) in decoded {
        let none = move || assert_eq!(LAYERS.filter(|&seed| run(seed)).count(), 0, "{name} is written now");
        trials.push(trial(format!("integers::{name}"), none));
    }
    for (format, seed) in
        ["gptq", "awq"].into_iter().flat_map(|format| (0..4).map(move |seed| (format, seed)))
    {
        trials.push(trial(format!("integers::alike::{format}::{seed}"), move || alike(format, seed)));
    }
    trials.push(trial("integers::infinite", infinite));
    for format in ["gptq", "awq"] {
        trials.push(trial(format!("integers::large::{format}"), move || large(format)));
    }
    trials
}
