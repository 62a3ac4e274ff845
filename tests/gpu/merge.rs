//! Merges: the adapters of the samples on the simulated GPU and on the processor, and every kind of edit on weights of odd
//! sizes: the same bytes, and nothing left to the processor.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ckpt::adapter::delta::{
    Combine, Dora, Edit, Factors, Hadamard, Kronecker, LowRank, Oft, Recipe, Reordered, Rotation, RowOrder,
    Rows, Scale, Stack, Within,
};
use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device as _, Options, Proof, Resident, Work};
use ckpt::plan::{Attached, Merging, Order, Plan};
use ckpt::quant::decode::{DecodeRows, Decoding};
use ckpt::quant::dense;
use ckpt::quant::kernel::{Program, Step};
use ckpt::tensor::{Dtype, values};
use libtest_mimic::Trial;

use super::samples::{Scratch, cards, carry_out, files};
use super::trial;

/// Adapters and their bases, in samples/.
const MERGES: [(&str, &[&str]); 27] = [
    ("base-A-bf16/model", &["peft-lora-all-A/adapter"]),
    ("bnb-nf4-A/model", &["peft-lora-all-A/adapter"]),
    ("base-A-bf16/model", &["peft-lora-bf16weights-A/adapter"]),
    ("base-A-bf16/model", &["peft-lora-embedding-A/adapter"]),
    ("base-A-bf16/model", &["peft-lora-trainable-tokens-A/adapter"]),
    ("base-B-bf16/model", &["peft-lora-modules-to-save-B/adapter"]),
    ("base-B-bf16/model", &["peft-lora-bias-all-B/adapter"]),
    ("base-B-bf16/model", &["peft-lora-lorabias-B/adapter"]),
    ("base-B-bf16/model", &["peft-rslora-B/adapter"]),
    ("peft-lora-conv1d-gpt2/base", &["peft-lora-conv1d-gpt2/adapter"]),
    ("peft-lora-moe-target-parameters/base", &["peft-lora-moe-target-parameters/adapter"]),
    ("base-A-bf16/model", &["peft-dora-A/adapter"]),
    ("base-A-bf16/model", &["peft-adalora-A/adapter"]),
    ("base-A-bf16/model", &["peft-ia3-A/adapter"]),
    ("base-A-bf16/model", &["peft-loha-A/adapter"]),
    ("base-A-bf16/model", &["peft-lokr-A/adapter"]),
    ("base-A-bf16/model", &["peft-vera-A/adapter"]),
    ("base-A-bf16/model", &["peft-oft-A/adapter"]),
    ("base-A-bf16/model", &["peft-oft-A/shared"]),
    ("base-A-bf16/model", &["peft-two-adapters-A/adapter_a", "peft-two-adapters-A/adapter_b"]),
    ("peft-conv/base", &["peft-conv/lora"]),
    ("peft-conv/base", &["peft-conv/dora"]),
    ("peft-conv/base", &["peft-conv/loha"]),
    ("peft-conv/base", &["peft-conv/loha-cp"]),
    ("peft-conv/base", &["peft-conv/lokr"]),
    ("peft-conv/base", &["peft-conv/lokr-cp"]),
    ("peft-conv/base", &["peft-conv/lokr-full"]),
];

fn merge(base: &str, adapters: &[&str], recipe: Recipe, combine: Combine, dtype: Option<Dtype>) {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let name = format!("{base}-{}-{recipe:?}-{combine:?}-{dtype:?}", adapters.join("-"));
    let scratch = Scratch::new(&name.replace('/', "-"));
    let folder = samples.join(base);
    let base = Arc::new(Checkpoint::open_examined(folder.to_str().unwrap()).unwrap());
    let adapters: Vec<String> =
        adapters.iter().map(|name| samples.join(name).to_str().unwrap().to_owned()).collect();
    let held: Vec<Held> =
        adapters.iter().map(|path| Held::open(Arc::clone(&base), path, None).unwrap()).collect();
    let plan = |output: &str| {
        let merging = Merging {
            adapters: adapters.iter().map(|path| (path.clone(), 1.0)).collect(),
            recipe,
            combine,
            ..Merging::default()
        };
        let order = Order {
            dtype,
            merging: Some(merging),
            ..Order::new(folder.to_str().unwrap(), &scratch.join(output))
        };
        let attached: Vec<_> = held.iter().map(|held| Attached::new(held, 1.0)).collect();
        Plan::merge(&base, order, &attached).unwrap()
    };
    let options = Options { threads: 2, slot_bytes: 60_000, proof: Proof::None, ..Options::default() };
    let lists: Vec<&Checkpoint> = held.iter().map(|held| &*held.adapter).collect();
    carry_out(&plan("cpu"), (&base, &lists), &Cpu, &options).unwrap();
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let outcome = carry_out(&plan("gpu"), (&base, &lists), &cuda, &options).unwrap();
    let (is, should) = (files(&scratch.join("gpu")), files(&scratch.join("cpu")));
    for (file, bytes) in should.iter().filter(|(file, _)| file.ends_with(".safetensors")) {
        assert!(is[file] == *bytes, "{name}: {file} differs");
    }
    assert_eq!(outcome.notes, Vec::<String>::new(), "{name}");
}

/// Rows that an edit changes.
pub(crate) struct Edited {
    pub(crate) base: Box<dyn DecodeRows>,
    pub(crate) edit: Box<dyn Edit>,
}

impl DecodeRows for Edited {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        self.base.codes(rows)
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        self.base.decode(rows.clone(), codes, out);
        self.edit.apply(rows, out);
    }

    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        self.base.runs(rows)
    }

    fn columns(&self) -> Option<&dyn DecodeRows> {
        self.base.columns()
    }

    fn program(&self) -> Option<Program> {
        let mut program = self.base.program()?;
        program.steps.push(Step::Round(Dtype::F32));
        program.steps.extend(self.edit.steps()?);
        Some(program)
    }
}

/// A small generator of numbers (xorshift), seeded so that a failure repeats.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn roll(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll() as usize % from.len()]
    }

    /// Values of either sign with all bits of their mantissas.
    pub(crate) fn values(&mut self, count: u64) -> Vec<f32> {
        (0..count).map(|_| (self.roll() as f32 / 2f32.powi(31) - 1.0) * 0.7).collect()
    }
}

pub(crate) const SIZES: [u64; 9] = [1, 2, 3, 16, 33, 64, 65, 130, 300];

fn factors(dice: &mut Dice, [rows, columns]: [u64; 2]) -> Factors {
    let rank = dice.pick(&[1, 2, 8, 16, 17, 40]);
    Factors::new(dice.values(rows * rank), dice.values(rank * columns), [rows, columns]).unwrap()
}

fn low_rank(dice: &mut Dice, shape: [u64; 2], rounded: Option<Dtype>) -> LowRank {
    LowRank::new(factors(dice, shape), 0.37, rounded)
}

/// Returns an edit of each kind, and what it is.
pub(crate) fn edits(dice: &mut Dice, shape: [u64; 2], turn: u64) -> Vec<(&'static str, Box<dyn Edit>)> {
    let [rows, columns] = shape;
    let rounded = dice.pick(&[None, Some(Dtype::BF16), Some(Dtype::F16)]);
    let by_columns = Dora::by_columns(low_rank(dice, shape, None), &dice.values(columns), rows, |_, out| {
        out.fill(0.3);
        Ok::<(), String>(())
    });
    let (first, second) = (factors(dice, shape), factors(dice, shape));
    let [high, wide] = [rows, columns].map(|size| if size % 2 == 0 { 2 } else { 1 });
    let kronecker = Kronecker::new(
        (dice.values(rows / high * (columns / wide)), [rows / high, columns / wide]),
        (dice.values(high * wide), [high, wide]),
        shape,
        0.7,
        rounded,
    );
    let tokens: Vec<u64> = [rows - 1, rows / 2, 0].into_iter().take(rows.min(3) as usize).collect();
    let tokens: Vec<u64> = if rows == 2 { vec![1] } else { tokens };
    let replaced = Rows::new(&tokens, dice.values(tokens.len() as u64 * columns), shape).unwrap();
    let part = rows / 3..(rows / 3 + 1 + rows / 2).min(rows);
    let inside = low_rank(dice, [part.end - part.start, columns], rounded);
    let normed = Dora::by_rows(
        low_rank(dice, [part.end - part.start, columns], None),
        dice.values(part.end - part.start),
        part.end - part.start,
    );
    // Matrices of a stack, the last rows in none of them.
    let each = (rows / 3).max(1);
    let stack: Vec<Box<dyn Edit>> = (0..rows / each)
        .map(|_| Box::new(low_rank(dice, [each, columns], rounded)) as Box<dyn Edit>)
        .collect();
    let mut all: Vec<(&'static str, Box<dyn Edit>)> = vec![
        ("LoRA", Box::new(low_rank(dice, shape, rounded))),
        ("DoRA", Box::new(Dora::by_rows(low_rank(dice, shape, None), dice.values(rows), rows).unwrap())),
        ("DoRA by columns", Box::new(by_columns.unwrap().unwrap())),
        ("LoHa", Box::new(Hadamard::new(first, second, -1.3, rounded).unwrap())),
        ("LoKr", Box::new(kronecker.unwrap())),
        ("IA3 by rows", Box::new(Scale::new(dice.values(rows), true, shape).unwrap())),
        ("IA3 by columns", Box::new(Scale::new(dice.values(columns), false, shape).unwrap())),
        ("tokens", Box::new(replaced)),
        ("rows", Box::new(Within::new(Box::new(inside), part.clone(), columns))),
        ("rows of DoRA", Box::new(Within::new(Box::new(normed.unwrap()), part, columns))),
        ("experts", Box::new(Stack::new(stack, [each, columns]))),
    ];
    for size in [2u64, 5, 13].into_iter().filter(|size| columns.is_multiple_of(*size)) {
        let blocks = if turn.is_multiple_of(2) { 1 } else { columns / size };
        let angles = dice.values(blocks * size * (size - 1) / 2);
        let oft = Oft { series: None, longest: None };
        all.push(("OFT", Box::new(Rotation::new(&angles, blocks, columns, oft).unwrap())));
    }
    all
}

/// Edits that kernels make of rows in another order too.
const IN_ORDER: [&str; 7] =
    ["LoRA", "DoRA", "DoRA by columns", "LoHa", "IA3 by rows", "IA3 by columns", "OFT"];

/// Decodes all rows, some and single ones on both devices.
fn edited(seed: u64) {
    let dice = &mut Dice::new(seed);
    let shape = [dice.pick(&SIZES), dice.pick(&SIZES)];
    let stored = dice.pick(&[Dtype::F32, Dtype::F16, Dtype::BF16]);
    let mut base = dice.values(shape[0] * shape[1]);
    // Zeros of either sign.
    base.iter_mut().step_by(7).for_each(|value| *value *= 0.0);
    let mut bytes = vec![0; stored.bytes_of(base.len() as u64).unwrap() as usize];
    assert!(values::from_f32(stored, &base, &mut bytes));
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    let mut all = edits(dice, shape, seed);
    if shape[0].is_multiple_of(2) {
        // Rows of heads in the order of a GGUF, where an edit does not go by their numbers.
        let heads = if shape[0].is_multiple_of(4) { 2 } else { 1 };
        let order = dice.pick(&[RowOrder::Interleaved { heads }, RowOrder::Halves { heads }]);
        let ordered = edits(dice, shape, seed).into_iter().filter(|(what, _)| IN_ORDER.contains(what));
        let ordered = ordered.map(|(what, edit)| -> (_, Box<dyn Edit>) {
            (what, Box::new(Reordered::new(edit, order, &shape).unwrap()))
        });
        all.extend(ordered);
    }
    for (what, edit) in all {
        let mut decoding: Decoding = dense::plain(0, stored, &shape, bytes.len() as u64).unwrap();
        decoding.rows = Box::new(Edited { base: decoding.rows, edit });
        assert!(decoding.rows.program().is_some(), "{what}");
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let resident = Resident::default();
            for rows in [0..shape[0], 0..1, shape[0] - 1..shape[0], shape[0] / 2..shape[0]] {
                let range = decoding.rows.codes(rows.clone());
                let mut outs = [0x55, 0xaa].map(|byte| {
                    vec![byte; (dtype.bytes_of((rows.end - rows.start) * shape[1]).unwrap()) as usize]
                });
                let work = |resident| Work {
                    decoding: &decoding,
                    rows: rows.clone(),
                    codes: &bytes[range.start as usize..range.end as usize],
                    is_whole: false,
                    codes_start: range.start,
                    native: dtype,
                    dtype,
                    resident,
                };
                let mut scratch = ckpt::engine::Scratch::default();
                let [is, should] = &mut outs;
                let a = cuda.decode(&work(&resident), &mut scratch, is).unwrap();
                let b = Cpu.decode(&work(&Resident::default()), &mut scratch, should).unwrap();
                assert!(is == should, "{what} on {stored} {shape:?} to {dtype}: rows {rows:?} differ");
                assert_eq!(a, b, "{what}");
                assert_eq!(cuda.notes(), Vec::<String>::new(), "{what} on {stored} {shape:?} to {dtype}");
            }
        }
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    /// Weights, each with edits of every kind.
    const WEIGHTS: u64 = 16;
    let samples = MERGES.into_iter().flat_map(|(base, adapters)| {
        let ways =
            [(Recipe::Peft, None), (Recipe::PeftSafe, Some(Dtype::F16)), (Recipe::Peft011, Some(Dtype::F32))];
        ways.into_iter().flat_map(move |(recipe, dtype)| {
            let combine = if adapters.len() > 1 {
                &[Combine::Sequential, Combine::Cat][..]
            } else {
                &[Combine::Sequential]
            };
            combine.iter().map(move |&combine| {
                let name = format!("merge::{}::{recipe:?}::{combine:?}", adapters.join("+"));
                trial(format!("{name} on {base}"), move || merge(base, adapters, recipe, combine, dtype))
            })
        })
    });
    let random = (1..=WEIGHTS).map(|seed| trial(format!("merge::edits::{seed}"), move || edited(seed)));
    samples.chain(random).collect()
}
