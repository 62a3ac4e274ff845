//! Blocks of ggml that kernels encode, against the processor's, byte for byte; and GGUF files that are made of others.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device, Options, Proof, Scratch as Buffers, Tally, ToEncode, Work};
use ckpt::error::Result;
use ckpt::plan::{Attached, Merging, Order, Plan, Source, To};
use ckpt::quant::encode::{Around, Encode, Encoding};
use ckpt::quant::ggml::encode::{encoding, kind};
use ckpt::quant::target::Aim;
use ckpt::tensor::Dtype;
use libtest_mimic::Trial;
use serde_json::{Map, Value, json};

use super::encode::{FLOATS, on_device, weight};
use super::layers::Random;
use super::samples::{Scratch, cards, carry_out};
use super::trial;

/// Types that are written.
const TYPES: [&str; 15] = [
    "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
    "TQ1_0", "TQ2_0", "MXFP4",
];

fn to_blocks(name: &str, shape: [u64; 2]) -> Encoding {
    encoding(kind(name).unwrap(), &shape).unwrap()
}

/// Encodes values on both.
fn compare(
    cuda: &Cuda,
    (name, what): (&str, &str),
    (shape, dtype, values): ([u64; 2], Dtype, &[f32]),
    ranges: u64,
) {
    let encoding = to_blocks(name, shape);
    let encoder = &*encoding.encoder;
    let should = encoder.rows(values, Around::default()).unwrap();
    let is = on_device(cuda, encoder, (shape, dtype, values), (0.0, ranges));
    let is = is.unwrap_or_else(|| panic!("{name} {shape:?} {dtype} {what}: {:?}", cuda.notes()));
    assert_eq!(is.len(), 1);
    let [block, bytes] = block_of(name);
    let differ = is[0].iter().zip(&should[0]).position(|(is, should)| is != should);
    let differ = differ.map(|at| {
        let number = at / bytes;
        let of = |blocks: &[u8]| blocks[number * bytes..][..bytes].to_vec();
        (number, at % bytes, of(&is[0]), of(&should[0]), values[number * block..][..block].to_vec())
    });
    assert_eq!((differ, is[0].len()), (None, should[0].len()), "{name} {shape:?} {dtype} {what}");
}

/// Values and bytes of a block.
fn block_of(name: &str) -> [usize; 2] {
    let kind = kind(name).unwrap();
    [kind.block_elements() as usize, kind.block_bytes() as usize]
}

/// Rows of many kinds, in blocks of one, of more than a block of threads has, and of tails.
fn every_kind(name: &str) {
    let cuda = Cuda::open(&cards(2), 1 << 17).unwrap();
    let block = block_of(name)[0] as u64;
    for (shape, starts) in [
        ([1, block], 0..16),
        ([16, block], 0..1),
        ([16, 3 * block], 0..1),
        ([33, 5 * block], 0..2),
        ([1, 300 * block], 0..1),
    ] {
        for dtype in FLOATS {
            for first in starts.clone() {
                let values = weight(shape, dtype, first);
                let ranges = if dtype == Dtype::BF16 && shape[0] > 2 { 3 } else { 1 };
                let what = format!("from kind {first}");
                compare(&cuda, (name, &what), (shape, dtype, &values), ranges);
            }
        }
    }
    assert_eq!(cuda.notes(), Vec::<String>::new());
}

/// Values that lie in the middle between two codes, or next to it; values of all sizes; and of all signs of 0.
fn blocks_of_chance(name: &str) {
    let [block, _] = block_of(name);
    let shape = [64, 4 * block as u64];
    let mut random = Random::new(name.bytes().map(u64::from).sum());
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    for times in 0..6 {
        let mut values = Vec::new();
        for _ in 0..shape[0] * shape[1] / 16 {
            values.extend(sixteen(&mut random));
        }
        compare(&cuda, (name, &format!("of chance {times}")), (shape, Dtype::F32, &values), 1);
    }
    assert_eq!(cuda.notes(), Vec::<String>::new());
}

/// Sixteen values of one of several kinds.
fn sixteen(random: &mut Random) -> [f32; 16] {
    let scale = 2f32.powi(random.below(24) as i32 - 20) * random.one_of(&[1.0, 0.37, 1.7]);
    let kind = random.below(9);
    std::array::from_fn(|_| {
        let (code, sign) = (random.below(64) as f32 - 32.0, random.one_of(&[1.0, -1.0]));
        let middle = (code + 0.5) * scale;
        match kind {
            0 => middle,
            1 => random.one_of(&[middle, middle.next_up(), middle.next_down()]),
            2 => code * scale,
            3 => code.abs() * scale,
            4 => sign * 0.0,
            5 => sign * f32::from_bits(random.below(1 << 23) as u32),
            6 => sign * f32::from_bits(random.below(0x4400_0000) as u32),
            7 => sign * 1e-15 * random.one_of(&[1.0, 1.0f32.next_down(), 0.5, 2.0]),
            _ => (random.below(1 << 24) as f32 / 8_388_608.0 - 1.0) * scale,
        }
    })
}

/// Values that are no numbers, and scales beyond F16, are the processor's, which says so in words.
fn refused(name: &str) {
    let block = block_of(name)[0];
    let shape = [5, 4 * block as u64];
    for (broken, is_left) in
        [(f32::INFINITY, true), (f32::NEG_INFINITY, true), (f32::NAN, true), (1e9, name != "MXFP4")]
    {
        let mut values = vec![0.5; 20 * block];
        values[17 * block - 3] = broken;
        let encoding = to_blocks(name, shape);
        let encoder = &*encoding.encoder;
        let cuda = Cuda::open(&cards(1), 1).unwrap();
        let is = on_device(&cuda, encoder, (shape, Dtype::F32, &values), (0.0, 1));
        assert_eq!(is.is_none(), is_left, "{name} of {broken}");
        if is_left {
            assert!(cuda.notes()[0].contains("beyond what the format holds"), "{:?}", cuda.notes());
        }
        if broken == 1e9 {
            assert_eq!(encoder.rows(&values, Around::default()).is_err(), is_left, "{name}");
        }
    }
}

/// Magnitudes just below, at and above every power of two: the logarithm of the last ones below is rounded up.
fn powers() {
    let power = |exponent: i32| 2f64.powi(exponent) as f32;
    let around = |power: f32| [0, 1, 2, 3, 5, 9, 30, 60].map(|less| f32::from_bits(power.to_bits() - less));
    let largest = (-140..=127).flat_map(|exponent| around(power(exponent)));
    let largest: Vec<f32> = (1..200).map(f32::from_bits).chain(largest).chain(around(f32::MAX)).collect();
    let values: Vec<f32> =
        largest.iter().flat_map(|&largest| (0..32).map(move |at| largest * (at as f32 / 31.0))).collect();
    let cuda = Cuda::open(&cards(1), 1 << 17).unwrap();
    let shape = [largest.len() as u64, 32];
    compare(&cuda, ("MXFP4", "of powers of two"), (shape, Dtype::F32, &values), 1);
    // The processor's own logarithm does round up: else this would test nothing.
    let below = |at: i32| power(at).next_down().log2();
    assert!((-120..120).filter(|&at| below(at).floor() >= at as f32).count() > 200);
}

/// Codes of `Q8_0` in the middle between two: they go away from zero.
fn middles() {
    let values: Vec<f32> = (0..32).map(|at| if at == 9 { -127.0 } else { at as f32 * 7.0 - 111.5 }).collect();
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    compare(&cuda, ("Q8_0", "in the middle"), ([1, 32], Dtype::F32, &values), 1);
    let made = to_blocks("Q8_0", [1, 32]).encoder.rows(&values, Around::default()).unwrap();
    assert_eq!(made[0][2].cast_signed(), -112);
}

/// The largest magnitude that has a scale in F16 or just none, which both find: sums on the way are infinite, some NaN;
/// and the smallest that is searched for.
fn largest(name: &str) {
    let block = block_of(name)[0];
    let shape = [1, block as u64];
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    let (mut made, mut left) = (0, 0);
    for power in (-54..-46).chain(10..=127) {
        for kind in 0..4 {
            let mut values: Vec<f32> = (0..block).map(|at| (at as f32 - 11.0) / 77.0).collect();
            let big = 2f32.powi(power) * 1.37;
            match kind {
                0 => values[block - 5] = big,
                1 => values.iter_mut().for_each(|value| *value *= big),
                2 => values.iter_mut().step_by(2).for_each(|value| *value = -big),
                _ => values.iter_mut().take(16).for_each(|value| *value = big),
            }
            for value in &mut values {
                *value = value.clamp(f32::MIN, f32::MAX);
            }
            let encoding = to_blocks(name, shape);
            let encoder = &*encoding.encoder;
            let should = encoder.rows(&values, Around::default());
            let is = on_device(&cuda, encoder, (shape, Dtype::F32, &values), (0.0, 1));
            made += usize::from(should.is_ok());
            left += usize::from(should.is_err());
            assert_eq!(is, should.ok(), "{name}: 2^{power}, {kind}");
        }
    }
    assert!(made > 4 && (left > 4) == (name != "MXFP4"), "{name}: {made} made, {left} left");
}

/// GPUs that count the values which they encode.
struct Counted {
    cuda: Cuda,
    values: AtomicU64,
}

impl Device for Counted {
    fn name(&self) -> String {
        self.cuda.name()
    }

    fn at_once(&self, threads: usize) -> usize {
        self.cuda.at_once(threads)
    }

    fn decode(&self, work: &Work<'_>, scratch: &mut Buffers, out: &mut [u8]) -> Result<Tally> {
        self.cuda.decode(work, scratch, out)
    }

    fn values_at_once(&self, encoder: &dyn Encode, largest: f32) -> u64 {
        self.cuda.values_at_once(encoder, largest)
    }

    fn encode(&self, work: &ToEncode<'_>) -> Result<Option<Vec<Vec<u8>>>> {
        let made = self.cuda.encode(work)?;
        if made.is_some() {
            let rows = work.work.rows.end - work.work.rows.start;
            self.values.fetch_add(rows * work.work.decoding.row_len(), Ordering::Relaxed);
        }
        Ok(made)
    }

    fn notes(&self) -> Vec<String> {
        self.cuda.notes()
    }
}

/// A GGUF file made of another on both, with an adapter merged into it or none: the same file, of which the GPUs encode
/// every value of every tensor that is packed.
fn made(input: &Path, adapter: Option<&Path>, to: Option<&str>) {
    let what = format!("{} {to:?}", input.display());
    let checkpoint = Arc::new(Checkpoint::open_examined(input.to_str().unwrap()).unwrap());
    let held = adapter.map(|adapter| {
        let path = adapter.to_str().unwrap().to_owned();
        (Held::open(Arc::clone(&checkpoint), &path, None).unwrap(), path)
    });
    let scratch = Scratch::new("ggml-encode");
    let plan = |output: &str| {
        let to = to.map_or(To::Same, |to| To::Packed(Aim::of(to)));
        let merging = held.as_ref().map(|(_, path)| {
            let adapters = vec![(path.clone(), 1.0)];
            Merging { adapters, ..Merging::default() }
        });
        let order = Order { to, merging, ..Order::new(input.to_str().unwrap(), &scratch.join(output)) };
        match &held {
            Some((held, _)) => Plan::merge(&checkpoint, order, &[Attached::new(held, 1.0)]).unwrap(),
            None => Plan::convert(&checkpoint, order).unwrap(),
        }
    };
    let (on_cpu, on_gpu) = (plan("cpu.gguf"), plan("gpu.gguf"));
    let options = Options { threads: 2, slot_bytes: 60_000, proof: Proof::None, ..Options::default() };
    let adapters: Vec<&Checkpoint> = held.iter().map(|(held, _)| &*held.adapter).collect();
    carry_out(&on_cpu, (&checkpoint, &adapters), &Cpu, &options).unwrap();
    let cuda = Counted { cuda: Cuda::open(&cards(2), 1).unwrap(), values: AtomicU64::new(0) };
    let outcome = carry_out(&on_gpu, (&checkpoint, &adapters), &cuda, &options).unwrap();
    let file = |name: &str| std::fs::read(scratch.join(name)).unwrap();
    assert!(file("gpu.gguf") == file("cpu.gguf"), "{what}");
    // Biases whose values lie in another order than their adapter has them are the processor's.
    let biases = if what.contains("gguf-merge-llama") { 2 } else { 0 };
    let notes = [format!("{biases} pieces computed on the cpu: no kernel does that with this format")];
    assert_eq!(outcome.notes, notes[usize::from(biases == 0)..], "{what}");
    let tensors = on_gpu.shards.iter().flat_map(|shard| &shard.tensors);
    let packed = tensors.filter(|tensor| matches!(tensor.source, Source::Encoded { .. }));
    let packed: u64 = packed.map(|tensor| tensor.shape.iter().product::<u64>()).sum();
    assert!(packed > 0, "{what}: nothing is packed");
    assert_eq!(cuda.values.into_inner(), packed, "{what}: values that GPUs encoded");
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

/// Blocks that no adapter changes keep their bytes, which encoding them anew would not: an adapter of all layers whose
/// every second row of `lora_B` is zero, and all of one; of some layers one column changes.
fn blocks_stay(name: &str) {
    let scratch = Scratch::new("kept-blocks");
    let adapter = scratch.join("adapter");
    let (mut header, mut data, mut random) = (Map::new(), Vec::new(), Random::new(7));
    let mut put = |name: String, shape: [usize; 2], size: &dyn Fn(usize, usize) -> f32| {
        let at = data.len();
        for element in 0..shape[0] * shape[1] {
            let noise = random.below(1 << 20) as f32 / 1_048_576.0 - 0.5;
            data.extend((noise * size(element / shape[1], element % shape[1])).to_le_bytes());
        }
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [at, data.len()]}));
    };
    let modules = ["q", "k", "v", "o"].map(|of| format!("self_attn.{of}_proj")).into_iter();
    for module in modules.chain(["gate", "up", "down"].map(|of| format!("mlp.{of}_proj"))) {
        let outputs = if module.contains(['k', 'v']) { 128 } else { 256 };
        let key = |which: &str| format!("base_model.model.model.layers.0.{module}.lora_{which}.weight");
        let is_one = module.contains("attn");
        put(key("A"), [4, 256], &|_, column| if is_one && column != 77 { 0.0 } else { 0.1 });
        let is_zero = module.contains("up");
        put(key("B"), [outputs, 4], &|row, _| if is_zero || row % 2 == 1 { 0.0 } else { 0.3 });
    }
    std::fs::create_dir(&adapter).unwrap();
    let header = Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::File::create_new(adapter.join(name)).unwrap().write_all(bytes).unwrap();
    };
    write("adapter_model.safetensors", &file);
    let targets = "all-linear";
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": targets}).to_string();
    write("adapter_config.json", config.as_bytes());
    made(&sample(name), Some(&adapter), None);
}

pub(crate) fn trials() -> Vec<Trial> {
    let all = TYPES.into_iter().flat_map(|name| {
        let what = format!("ggml_encode::{}", name.to_lowercase());
        [
            trial(format!("{what}::kinds"), move || every_kind(name)),
            trial(format!("{what}::chance"), move || blocks_of_chance(name)),
            trial(format!("{what}::refused"), move || refused(name)),
            trial(format!("{what}::largest"), move || largest(name)),
        ]
    });
    let edges = [trial("ggml_encode::mxfp4::powers", powers), trial("ggml_encode::q8_0::middles", middles)];
    let made_of = |sample: &'static str, adapter: Option<&'static str>, to: Option<&'static str>| {
        let name = format!("ggml_encode::{sample}::{}", to.or(adapter).unwrap_or("same"));
        trial(name, move || made(&self::sample(sample), adapter.map(self::sample).as_deref(), to))
    };
    let converted = ["q4_k_m", "q8_0", "q5_k_s", "q2_k", "q3_k_m", "iq4_xs", "mxfp4", "tq1_0"].into_iter();
    let converted = converted.map(|to| made_of("gguf-mixed-K/model.gguf", None, Some(to)));
    let mixture = made_of("gguf-q4_k_m-K/model.gguf", None, Some("q6_k"));
    let merged = made_of("gguf-merge-llama/base/model.gguf", Some("gguf-merge-llama/adapter"), Some("q8_0"));
    let kept = ["gguf-mixed-K/model.gguf", "gguf-q4_k_m-K/model.gguf"]
        .map(|name| trial(format!("ggml_encode::{name}::blocks stay"), move || blocks_stay(name)));
    all.chain(edges).chain(converted).chain([mixture, merged]).chain(kept).collect()
}
