//! What kernels encode is what the processor encodes, byte for byte.

use std::path::Path;
use std::sync::Arc;

use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device, Options, Proof, Resident, ToEncode, Work};
use ckpt::plan::{Attached, Merging, Order, Plan, To};
use ckpt::quant::decode::Decoding;
use ckpt::quant::dense;
use ckpt::quant::encode::{Around, Encode};
use ckpt::quant::target::{Aim, Candidate, GptqFiles, GroupSize, Search, Wishes};
use ckpt::tensor::{Dtype, values};
use libtest_mimic::Trial;

use super::samples::{Scratch, cards, carry_out, files};
use super::trial;
use super::weights::kinds;

pub(crate) const FLOATS: [Dtype; 3] = [Dtype::BF16, Dtype::F16, Dtype::F32];

/// A weight whose rows are of many kinds, in a dtype; the first row is of the kind `first`.
pub(crate) fn weight([rows, columns]: [u64; 2], dtype: Dtype, first: usize) -> Vec<f32> {
    let kinds = kinds((rows * columns) as usize);
    let row = |row: usize| {
        let at = row * columns as usize..(row + 1) * columns as usize;
        kinds[(first + row) % kinds.len()].1[at].to_vec()
    };
    let mut values: Vec<f32> = (0..rows as usize).flat_map(row).collect();
    values::round_all(dtype, &mut values);
    values
}

/// Encodes a layer of plain values on a device, in as many ranges of rows as `ranges`; `None` where the processor has to.
pub(crate) fn on_device(
    device: &Cuda,
    encoder: &dyn Encode,
    (shape, dtype, values): ([u64; 2], Dtype, &[f32]),
    (largest, ranges): (f32, u64),
) -> Option<Vec<Vec<u8>>> {
    let mut bytes = vec![0; dtype.bytes_of(values.len() as u64).unwrap() as usize];
    assert!(values::from_f32(dtype, values, &mut bytes));
    let decoding = dense::plain(0, dtype, &shape, bytes.len() as u64).unwrap();
    rows_on_device(device, encoder, (&decoding, &bytes), (largest, ranges))
}

/// Encodes the same of values that are decoded from these codes.
pub(crate) fn rows_on_device(
    device: &Cuda,
    encoder: &dyn Encode,
    (decoding, bytes): (&Decoding, &[u8]),
    (largest, ranges): (f32, u64),
) -> Option<Vec<Vec<u8>>> {
    let resident = Resident::default();
    let (count, apart) = (decoding.row_count(), encoder.rows_apart());
    let each = count.div_ceil(ranges).next_multiple_of(apart);
    let is_whole = count > 1 && decoding.rows.codes(0..1) == (0..bytes.len() as u64);
    let mut all: Vec<Vec<u8>> = Vec::new();
    for start in (0..count).step_by(each as usize) {
        let rows = start..count.min(start + each);
        let range = decoding.rows.codes(rows.clone());
        let codes = &bytes[range.start as usize..range.end as usize];
        let work = Work {
            decoding,
            rows,
            codes,
            is_whole,
            codes_start: range.start,
            native: Dtype::F32,
            dtype: Dtype::F32,
            resident: &resident,
        };
        let strands =
            device.encode(&ToEncode { work, rounded: &[], encoder, largest, stored: None }).unwrap()?;
        all.resize_with(strands.len(), Vec::new);
        all.iter_mut().zip(strands).for_each(|(all, strand)| all.extend(strand));
    }
    Some(all)
}

pub(crate) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |largest, value| largest.max(value.abs()))
}

/// Encodes layers of many kinds on both; returns how many were compared.
fn same(aim: &Aim, shapes: &[[u64; 2]]) -> usize {
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let target = aim.target(false).unwrap();
    let mut compared = 0;
    for &shape in shapes {
        for dtype in FLOATS {
            let Ok(encoding) = target.encoding(&Candidate { shape: &shape, dtype }) else { continue };
            let encoder = &*encoding.encoder;
            for first in [0, 5, 10].into_iter().take(if shape[0] < 16 { 3 } else { 1 }) {
                let values = weight(shape, dtype, first);
                let what = format!("{} {shape:?} {dtype} from kind {first}", aim.flags());
                let largest = if encoder.wants_largest() { largest(&values) } else { 0.0 };
                let should = encoder.rows(&values, Around { first_row: 0, largest });
                for ranges in [1, 3].into_iter().take(if dtype == Dtype::BF16 { 2 } else { 1 }) {
                    let is = on_device(&cuda, encoder, (shape, dtype, &values), (largest, ranges));
                    let Ok(should) = &should else {
                        assert_eq!(is, None, "{what}: the processor refuses it");
                        continue;
                    };
                    assert!(is.is_some(), "{what}: {:?}", cuda.notes());
                    let is = is.unwrap();
                    assert_eq!(is.len(), should.len(), "{what}");
                    for (strand, (is, should)) in is.iter().zip(should).enumerate() {
                        let differ = is.iter().zip(should).position(|(is, should)| is != should);
                        assert_eq!((differ, is.len()), (None, should.len()), "{what}: strand {strand}");
                    }
                    compared += 1;
                }
            }
        }
    }
    compared
}

/// Formats with kernels, with wishes.
fn aims() -> Vec<Aim> {
    let aim = |name: &str, wishes: Wishes| Aim { name: name.into(), wishes };
    let mut aims = Vec::new();
    for name in ["bnb-nf4", "bnb-fp4"] {
        for block in if name == "bnb-nf4" { &[32, 64, 256][..] } else { &[128, 4096][..] } {
            let (block_size, double_quant) = (Some(*block), *block == 64);
            aims.push(aim(name, Wishes { block_size, double_quant, ..Wishes::default() }));
        }
    }
    aims.extend(["bnb-int8", "bnb-nf4", "gptq", "fp8", "nvfp4"].map(Aim::of));
    for (bits, asymmetric, group, gptq) in [
        (4, false, 32, None),
        (4, true, 64, Some(GptqFiles::V2)),
        (8, false, 128, None),
        (8, true, 24, Some(GptqFiles::V1)),
        (3, true, 32, None),
        (2, false, 16, None),
        (2, true, 0, None),
    ] {
        let group_size = Some(if group == 0 { GroupSize::Row } else { GroupSize::Of(group) });
        aims.push(aim(
            "gptq",
            Wishes { bits: Some(bits), asymmetric, group_size, gptq, ..Wishes::default() },
        ));
    }
    for group in [32, 128] {
        aims.push(aim("awq", Wishes { group_size: Some(GroupSize::Of(group)), ..Wishes::default() }));
    }
    for (scheme, group) in [
        ("w4a16", Some(32)),
        ("w4a16-asym", Some(16)),
        ("w8a16-asym", Some(0)),
        ("w3a16", Some(32)),
        ("w5a16-asym", Some(4)),
        ("w1a16", Some(8)),
        ("w8a8", None),
        ("fp8-channel", None),
        ("fp8-tensor", None),
        ("fp8-block", None),
        ("mxfp4", None),
        ("mxfp8", None),
    ] {
        let group_size = group.map(|group| if group == 0 { GroupSize::Row } else { GroupSize::Of(group) });
        let scheme = Some(scheme.to_owned());
        aims.push(aim("compressed-tensors", Wishes { scheme, group_size, ..Wishes::default() }));
    }
    for (block, scheme) in [(16, None), (32, Some("ue8m0")), (3, Some("ue8m0"))] {
        let wishes =
            Wishes { block_size: Some(block), scheme: scheme.map(str::to_owned), ..Wishes::default() };
        aims.push(aim("fp8", wishes));
    }
    aims
}

/// Formats whose scales kernels search for.
fn searches() -> Vec<Aim> {
    [Search::Mse, Search::Hqq].into_iter().flat_map(searches_by).collect()
}

fn searches_by(search: Search) -> Vec<Aim> {
    let aim = |name: &str, wishes: Wishes| Aim { name: name.into(), wishes };
    let mut aims = Vec::new();
    for (bits, asymmetric, group, gptq) in [
        (4, false, 32, None),
        (4, true, 128, Some(GptqFiles::V2)),
        (8, true, 24, Some(GptqFiles::V1)),
        (3, false, 0, None),
        (2, true, 16, None),
    ] {
        let group_size = Some(if group == 0 { GroupSize::Row } else { GroupSize::Of(group) });
        aims.push(aim(
            "gptq",
            Wishes { bits: Some(bits), asymmetric, group_size, gptq, search, ..Wishes::default() },
        ));
    }
    aims.push(aim("awq", Wishes { group_size: Some(GroupSize::Of(32)), search, ..Wishes::default() }));
    for (scheme, group) in [
        ("w4a16", Some(32)),
        ("w4a16-asym", Some(16)),
        ("w3a16-asym", Some(32)),
        ("w8a16-asym", Some(0)),
        ("w8a8", None),
    ] {
        let group_size = group.map(|group| if group == 0 { GroupSize::Row } else { GroupSize::Of(group) });
        let scheme = Some(scheme.to_owned());
        aims.push(aim("compressed-tensors", Wishes { scheme, group_size, search, ..Wishes::default() }));
    }
    aims
}

/// Values around the bounds up to which errors are shrunken to nothing, and far above them, where sums overflow; and groups
/// so small that the last bit of each power is one of a scale.
fn shrunken() {
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let mut state = 7u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let sizes = [
        ([8, 96], Dtype::F32, 1.0),
        ([8, 64], Dtype::F32, 100.0),
        ([16, 32], Dtype::F32, 3e7),
        ([8, 48], Dtype::F32, 1e20),
        ([8, 32], Dtype::F32, 3e38),
        ([8, 288], Dtype::BF16, 20.0),
        ([8, 160], Dtype::F16, 3.0),
    ];
    let usual = searches_by(Search::Hqq).into_iter().flat_map(|aim| sizes.map(|of| (aim.clone(), of)));
    let small = ["w2a16", "w3a16", "w2a16-asym", "w3a16-asym"].into_iter().map(|scheme| {
        let (scheme, group_size, search) = (Some(scheme.into()), Some(GroupSize::Of(4)), Search::Hqq);
        let wishes = Wishes { scheme, group_size, search, ..Wishes::default() };
        (Aim { name: "compressed-tensors".into(), wishes }, ([4, 2048], Dtype::F32, 2.0))
    });
    let mut better = 0;
    for (aim, (shape, dtype, size)) in usual.chain(small) {
        // Each row is of another size, and most of its values are small.
        let row = |row: u64, random: &mut dyn FnMut() -> f32| -> Vec<f32> {
            let size = size / (1 << row) as f32;
            (0..shape[1]).map(|_| size * random() * random() * random()).collect()
        };
        let mut values: Vec<f32> = (0..shape[0]).flat_map(|at| row(at, &mut random)).collect();
        values::round_all(dtype, &mut values);
        let made = |aim: &Aim| {
            let encoding = aim.target(false).unwrap().encoding(&Candidate { shape: &shape, dtype }).ok()?;
            // Scales may be beyond their dtype.
            let should = encoding.encoder.rows(&values, Around::default()).ok();
            let is = on_device(&cuda, &*encoding.encoder, (shape, dtype, &values), (0.0, 1));
            assert_eq!(is, should, "{} {shape:?} {dtype} {size}", aim.flags());
            should
        };
        let nearest = Aim { wishes: Wishes { search: Search::None, ..aim.wishes.clone() }, ..aim.clone() };
        better += usize::from(made(&aim).is_some_and(|found| Some(found) != made(&nearest)));
    }
    assert!(better > 35, "other scales were found for {better} layers");
}

/// Sizes for searches, which take the simulator long: tails of groups, and groups of several pieces.
const SEARCHED: [[u64; 2]; 5] = [[8, 33], [16, 64], [3, 96], [1, 280], [32, 32]];

/// Rows and columns: one row, one column, tails of blocks, of words and of vectors, and rows that cross blocks.
pub(crate) const SHAPES: [[u64; 2]; 11] = [
    [1, 1],
    [3, 128],
    [16, 256],
    [7, 11],
    [33, 96],
    [64, 1],
    [2, 4608],
    [1, 9001],
    [32, 160],
    [128, 416],
    [150, 137],
];

/// Values on the bounds between two codes, and next to them: those on a bound have the code below.
fn bounds(name: &str) {
    let target = Aim::of(name).target(false).unwrap();
    let (shape, dtype) = ([1, 64], Dtype::F32);
    let encoding = target.encoding(&Candidate { shape: &shape, dtype }).unwrap();
    let encoder = &*encoding.encoder;
    let table = encoder.kernel(0.0).unwrap().tables[0].clone();
    let bounds: Vec<f32> =
        table.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).take(15).collect();
    let beside = bounds.iter().flat_map(|bound| [*bound, bound.next_up(), bound.next_down()]);
    let mut values: Vec<f32> = std::iter::once(-1.0).chain(beside).collect();
    values.resize(64, 0.25);
    let should = encoder.rows(&values, Around::default()).unwrap();
    let at = |place: usize| should[0][place / 2] >> (4 * (1 - place % 2)) & 15;
    let differ = (0..15).filter(|bound| at(1 + 3 * bound) != at(2 + 3 * bound)).count();
    assert!(differ >= 13 && (0..15).all(|bound| at(1 + 3 * bound) == at(3 + 3 * bound)), "{differ}");
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    assert_eq!(on_device(&cuda, encoder, (shape, dtype, &values), (0.0, 1)), Some(should));
}

/// Values without a code are the processor's, which says so in words.
fn refused() {
    for broken in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for aim in aims().into_iter().chain(searches()) {
            let (target, shape) = (aim.target(false).unwrap(), [32, 128]);
            let encoding = target.encoding(&Candidate { shape: &shape, dtype: Dtype::F32 }).unwrap();
            let mut values = vec![0.5; 32 * 128];
            values[3000] = broken;
            let cuda = Cuda::open(&cards(1), 1).unwrap();
            let is = on_device(&cuda, &*encoding.encoder, (shape, Dtype::F32, &values), (1.0, 1));
            assert_eq!(is, None, "{} of {broken}", aim.flags());
            assert!(cuda.notes()[0].contains("infinite or NaN"), "{:?}", cuda.notes());
        }
    }
}

/// A whole run on both: a sample, what is merged into it, and what it becomes; `None`: what it is. `is_whole`: kernels do
/// all of it. Returns the plan.
pub(crate) fn converted(sample: &str, adapter: Option<&str>, aim: Option<&Aim>, is_whole: bool) -> Plan {
    let folder = |sample: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(sample);
    let input = folder(sample);
    let input = if input.join("model").is_dir() { input.join("model") } else { input };
    let adapter = adapter.map(|adapter| folder(adapter).join("adapter"));
    let to = aim.map_or(To::Same, |aim| To::Packed(aim.clone()));
    let (plan, notes) = on_both(&input, adapter.as_deref(), &to);
    assert!(!plan.packs.is_empty(), "{sample}: nothing is packed");
    if is_whole {
        let flags = aim.map_or_else(|| "same".into(), Aim::flags);
        assert_eq!(notes, Vec::<String>::new(), "{sample} {flags}");
    }
    plan
}

/// Carries a run out on both: a model, an adapter that is merged into it, and what it becomes. Returns the plan, and what the
/// GPU's notes say.
pub(crate) fn on_both(input: &Path, adapter: Option<&Path>, to: &To) -> (Plan, Vec<String>) {
    let input = input.to_str().unwrap();
    let checkpoint = Arc::new(Checkpoint::open_examined(input).unwrap());
    let held = adapter.map(|adapter| {
        let path = adapter.to_str().unwrap().to_owned();
        (Held::open(Arc::clone(&checkpoint), &path, None).unwrap(), path)
    });
    let scratch = Scratch::new("both");
    let plan = |output: &str| {
        let merging = held.as_ref().map(|(_, path)| {
            let adapters = vec![(path.clone(), 1.0)];
            Merging { adapters, allow_partial: true, ..Merging::default() }
        });
        let order = Order { to: to.clone(), merging, ..Order::new(input, &scratch.join(output)) };
        match &held {
            Some((held, _)) => Plan::merge(&checkpoint, order, &[Attached::new(held, 1.0)]).unwrap(),
            None => Plan::convert(&checkpoint, order).unwrap(),
        }
    };
    let (on_cpu, on_gpu) = (plan("cpu"), plan("gpu"));
    let options = Options { threads: 2, slot_bytes: 60_000, proof: Proof::None, ..Options::default() };
    let adapters: Vec<&Checkpoint> = held.iter().map(|(held, _)| &*held.adapter).collect();
    carry_out(&on_cpu, (&checkpoint, &adapters), &Cpu, &options).unwrap();
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let outcome = carry_out(&on_gpu, (&checkpoint, &adapters), &cuda, &options).unwrap();
    let (is, should) = (files(&scratch.join("gpu")), files(&scratch.join("cpu")));
    assert_eq!(is.keys().collect::<Vec<_>>(), should.keys().collect::<Vec<_>>());
    for (file, bytes) in &should {
        assert!(is[file] == *bytes, "{input} to {to:?}: {file} differs");
    }
    (on_gpu, outcome.notes)
}

/// Stacks of experts, whose columns come as rows.
fn experts() {
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let target = Aim::of("mxfp4").target(false).unwrap();
    for shape in [[1, 32, 1], [3, 64, 40], [2, 96, 7], [5, 32, 33], [1, 288, 130]] {
        let encoding = target.encoding(&Candidate { shape: &shape, dtype: Dtype::BF16 }).unwrap();
        let [experts, inputs, outputs] = shape;
        let rows = [experts * inputs, outputs];
        for first in 0..16 {
            let values = weight(rows, Dtype::BF16, first);
            let should = encoding.encoder.rows(&values, Around::default()).unwrap();
            for ranges in [1, 2] {
                let is = on_device(&cuda, &*encoding.encoder, (rows, Dtype::BF16, &values), (0.0, ranges));
                assert!(is.as_ref() == Some(&should), "{shape:?} from kind {first} in {ranges}");
            }
        }
    }
}

/// Samples that are packed as they were, with an adapter of their model.
const SAME: [(&str, &str); 29] = [
    ("bnb-nf4-A", "peft-lora-all-A"),
    ("bnb-nf4-dq-A", "peft-lora-all-A"),
    ("bnb-nf4-A", "peft-dora-A"),
    ("bnb-int8-A", "peft-lora-all-A"),
    ("gptq-w2-g32-sym-v1-A", "peft-lora-all-A"),
    ("gptq-w3-g32-asym-act-v1-A", "peft-lora-all-A"),
    ("gptq-w4-asym-v1-wrap-A", "peft-lora-all-A"),
    ("gptq-w4-g128-sym-v1-A", "peft-lora-all-A"),
    ("gptq-w4-g64-asym-act-v2-B", "peft-rslora-B"),
    ("gptq-w4-gcol-sym-v1-A", "peft-lora-all-A"),
    ("gptq-w8-g128-sym-v1-A", "peft-dora-A"),
    ("awq-gemm-g128-A", "peft-lora-all-A"),
    ("awq-gemm-g64-skip-A", "peft-lora-all-A"),
    ("awq-gemv-g64-A", "peft-lora-all-A"),
    ("awq-gemvfast-g128-A", "peft-lora-all-A"),
    ("ct-fp8-block-A", "peft-lora-all-A"),
    ("ct-fp8-dynamic-channel-A", "peft-lora-all-A"),
    ("ct-fp8-tensor-A", "peft-lora-all-A"),
    ("ct-mxfp4a16-A", "peft-lora-all-A"),
    ("ct-mxfp8a16-A", "peft-lora-all-A"),
    ("ct-nvfp4a16-A", "peft-lora-all-A"),
    ("ct-w3a16-A", "peft-lora-all-A"),
    ("ct-w4a16-asym-g128-A", "peft-lora-all-A"),
    ("ct-w4a16-channel-B", "peft-rslora-B"),
    ("ct-w8a16-A", "peft-lora-all-A"),
    ("ct-w8a8-int8-A", "peft-lora-all-A"),
    ("fp8-block-partial-B", "peft-rslora-B"),
    ("fp8-block128-A", "peft-lora-all-A"),
    ("fp8-block32-ue8m0-A", "peft-lora-all-A"),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("encode::experts", experts)];
    for aim in aims() {
        let name = aim.flags().replace("--to ", "");
        let is_usual = ["bnb-int8", "bnb-nf4", "gptq", "fp8", "nvfp4"]
            .contains(&aim.flags().trim_start_matches("--to "));
        for sample in ["base-A-bf16", "base-B-bf16"].into_iter().take(if is_usual { 2 } else { 1 }) {
            let (aim, name) = (aim.clone(), format!("encode::{sample}::{name}"));
            trials.push(trial(name, move || drop(converted(sample, None, Some(&aim), true))));
        }
        trials.push(trial(format!("encode::layers::{name}"), move || {
            let compared = same(&aim, &SHAPES);
            assert!(compared > 3, "{compared} layers");
        }));
    }
    for aim in searches() {
        let name = aim.flags().replace("--to ", "");
        trials.push(trial(format!("encode::layers::{name}"), move || {
            let compared = same(&aim, &SEARCHED);
            assert!(compared > 3, "{compared} layers");
        }));
    }
    trials.push(trial("encode::shrunken", shrunken));
    trials.push(trial("encode::refused", refused));
    for name in ["bnb-nf4", "bnb-fp4"] {
        trials.push(trial(format!("encode::bounds::{name}"), move || bounds(name)));
    }
    // Decoded by one format's kernel, rounded to one dtype and then to another, encoded by another's.
    for (sample, name) in
        [("bnb-nf4-A", "gptq"), ("bnb-nf4-A", "bnb-fp4"), ("bnb-nf4-f16-B", "fp8"), ("bnb-fp4-A", "bnb-nf4")]
    {
        let run = move || drop(converted(sample, None, Some(&Aim::of(name)), true));
        trials.push(trial(format!("encode::{sample}::{name}"), run));
    }
    for (sample, name) in [("awq-gemm-g128-A", "bnb-nf4"), ("gptq-w4-g128-sym-v1-A", "nvfp4")] {
        let run = move || drop(converted(sample, None, Some(&Aim::of(name)), true));
        trials.push(trial(format!("encode::{sample}::{name}"), run));
    }
    for (sample, adapter) in SAME {
        let run = move || drop(converted(sample, Some(adapter), None, true));
        trials.push(trial(format!("encode::{sample}::{adapter}"), run));
    }
    let run = || drop(converted("base-A-bf16", Some("peft-lora-all-A"), Some(&Aim::of("bnb-nf4")), true));
    trials.push(trial("encode::base-A-bf16::peft-lora-all-A", run));
    trials
}
