//! What kernels encode is what the processor encodes, byte for byte.

use std::path::Path;

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device, Options, Proof, Resident, ToEncode, Work};
use ckpt::plan::{Order, Plan, To};
use ckpt::quant::dense;
use ckpt::quant::encode::{Around, Encode};
use ckpt::quant::target::{Aim, Candidate, GptqFiles, GroupSize, Wishes};
use ckpt::tensor::{Dtype, values};
use libtest_mimic::Trial;

use super::samples::{Scratch, cards, carry_out, files};
use super::trial;

const FLOATS: [Dtype; 3] = [Dtype::BF16, Dtype::F16, Dtype::F32];

/// A weight whose rows are of many kinds, in a dtype; the first row is of the kind `first`.
fn weight([rows, columns]: [u64; 2], dtype: Dtype, first: usize) -> Vec<f32> {
    let kinds = kinds((rows * columns) as usize);
    let row = |row: usize| {
        let at = row * columns as usize..(row + 1) * columns as usize;
        kinds[(first + row) % kinds.len()][at].to_vec()
    };
    let mut values: Vec<f32> = (0..rows as usize).flat_map(row).collect();
    values::round_all(dtype, &mut values);
    values
}

/// Values of many kinds.
fn kinds(count: usize) -> Vec<Vec<f32>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 0.05
    };
    let strewn: Vec<f32> = (0..count).map(|_| random()).collect();
    let with = |change: fn(usize, f32) -> f32| -> Vec<f32> {
        strewn.iter().enumerate().map(|(at, &value)| change(at, value)).collect()
    };
    vec![
        strewn.clone(),                                                                 // strewn
        vec![0.0; count],                                                               // zeros
        vec![0.03; count],                                                              // all equal
        vec![-0.03; count],                                                             // all equal below 0
        vec![-0.0; count],                                                              // negative zeros
        with(|at, value| if at % 3 == 0 { 0.0f32.copysign(value) } else { value }),     // zeros of both signs
        with(|at, value| if at / 16 % 3 == 0 { 0.0 } else { value }),                   // groups of zeros
        with(|at, value| if at % 97 == 13 { value * 4000.0 } else { value }),           // outliers
        with(|_, value| value.abs() + 0.1),                                             // on one side
        with(|_, value| -value.abs() - 0.1),                                            // on the other side
        with(|_, value| value * 1e-6),                                                  // tiny
        with(|at, value| if at / 32 % 2 == 0 { value * 1e-37 } else { value * 1e-39 }), // subnormal
        with(|at, value| value * 10f32.powi((at % 60) as i32 / 8 - 5)),                 // of all sizes
        with(|at, value| 2f32.powi(at as i32 * 7 % 23 - 14).copysign(value)),           // powers of two
        with(|_, value| (value * 800.0).round() / 8.0),                                 // steps of eighths
        with(|at, _| if at == 0 { -1.5 } else { 0.0 }),                                 // one value
    ]
}

/// Encodes a layer of plain values on a device, in as many ranges of rows as `ranges`; `None` where the processor has to.
fn on_device(
    device: &Cuda,
    encoder: &dyn Encode,
    (shape, dtype, values): ([u64; 2], Dtype, &[f32]),
    (largest, ranges): (f32, u64),
) -> Option<Vec<Vec<u8>>> {
    let mut bytes = vec![0; dtype.bytes_of(values.len() as u64).unwrap() as usize];
    assert!(values::from_f32(dtype, values, &mut bytes));
    let decoding = dense::plain(0, dtype, &shape, bytes.len() as u64).unwrap();
    let resident = Resident::default();
    let apart = encoder.rows_apart();
    let each = shape[0].div_ceil(ranges).next_multiple_of(apart);
    let mut all: Vec<Vec<u8>> = Vec::new();
    for start in (0..shape[0]).step_by(each as usize) {
        let rows = start..shape[0].min(start + each);
        let range = decoding.rows.codes(rows.clone());
        let codes = &bytes[range.start as usize..range.end as usize];
        let work = Work {
            decoding: &decoding,
            rows,
            codes,
            is_whole: false,
            codes_start: range.start,
            native: Dtype::F32,
            dtype: Dtype::F32,
            resident: &resident,
        };
        let strands = device.encode(&ToEncode { work, rounded: &[], encoder, largest }).unwrap()?;
        all.resize_with(strands.len(), Vec::new);
        all.iter_mut().zip(strands).for_each(|(all, strand)| all.extend(strand));
    }
    Some(all)
}

fn largest(values: &[f32]) -> f32 {
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
                    let is = is.unwrap_or_else(|| panic!("{what}: {:?}", cuda.notes()));
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
        for block in if name == "bnb-nf4" { &[32, 64, 256, 512][..] } else { &[64, 128, 4096][..] } {
            let (block_size, double_quant) = (Some(*block), *block == 64);
            aims.push(aim(name, Wishes { block_size, double_quant, ..Wishes::default() }));
        }
    }
    aims
}

/// Rows and columns: one row, one column, tails of blocks, of words and of vectors, and rows that cross blocks.
const SHAPES: [[u64; 2]; 8] = [[1, 1], [3, 128], [16, 256], [7, 11], [33, 96], [64, 1], [2, 4608], [1, 9001]];

/// Values without a code are the processor's, which says so in words.
fn refused() {
    for broken in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for aim in aims() {
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

/// A whole run, on both.
fn converted(sample: &str, aim: Option<&Aim>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(sample).join("model");
    let input = folder.to_str().unwrap();
    let checkpoint = Checkpoint::open_examined(input).unwrap();
    let flags = aim.map_or_else(|| "same".into(), Aim::flags);
    let scratch = Scratch::new(&format!("encode-{sample}-{}", flags.replace([' ', '/'], "-")));
    let plan = |output: &str| {
        let to = aim.map_or(To::Same, |aim| To::Packed(aim.clone()));
        Plan::convert(&checkpoint, Order { to, ..Order::new(input, &scratch.join(output)) }).unwrap()
    };
    let (on_cpu, on_gpu) = (plan("cpu"), plan("gpu"));
    assert!(!on_gpu.packs.is_empty(), "{sample}: nothing is packed");
    let options = Options { threads: 2, slot_bytes: 60_000, proof: Proof::None, ..Options::default() };
    carry_out(&on_cpu, (&checkpoint, &[]), &Cpu, &options).unwrap();
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let outcome = carry_out(&on_gpu, (&checkpoint, &[]), &cuda, &options).unwrap();
    let (is, should) = (files(&scratch.join("gpu")), files(&scratch.join("cpu")));
    assert_eq!(is.keys().collect::<Vec<_>>(), should.keys().collect::<Vec<_>>());
    for (file, bytes) in &should {
        assert!(is[file] == *bytes, "{sample} {flags}: {file} differs");
    }
    assert_eq!(outcome.notes, Vec::<String>::new(), "{sample} {flags}");
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for aim in aims() {
        let name = aim.flags().replace("--to ", "");
        for sample in ["base-A-bf16", "base-B-bf16"] {
            let aim = aim.clone();
            trials.push(trial(format!("encode::{sample}::{name}"), move || converted(sample, Some(&aim))));
        }
        trials.push(trial(format!("encode::layers::{name}"), move || {
            let compared = same(&aim, &SHAPES);
            assert!(compared > 20, "{compared} layers");
        }));
    }
    trials.push(trial("encode::refused", refused));
    trials
}
