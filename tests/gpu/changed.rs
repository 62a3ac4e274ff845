//! Rows in another order and columns as rows: what kernels make of them is what the processor makes, byte for byte.

use std::path::Path;
use std::sync::Arc;

use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::cuda::Cuda;
use ckpt::engine::{Device as _, Options, Proof};
use ckpt::plan::{Attached, Merging, Names, Order, Plan, Source};
use ckpt::quant::change::Change;
use ckpt::quant::decode::Decoding;
use ckpt::quant::dense;
use ckpt::quant::encode::Around;
use ckpt::quant::in_memory::InMemory;
use ckpt::quant::noise::BLOCKS;
use ckpt::quant::target::{Aim, Candidate};
use ckpt::tensor::{Dtype, GgmlType, values};
use libtest_mimic::Trial;
use serde_json::json;

use super::conv1d;
use super::encode::{FLOATS, largest, rows_on_device, weight};
use super::layers::{self, Random};
use super::merge::{Dice, Edited, SIZES, edits};
use super::samples::{Scratch, cards, carry_out, files};
use super::trial;

/// Plain values of many kinds, and how a change of them is decoded.
fn plain(shape: [u64; 2], dtype: Dtype, first: usize, change: Change) -> (Decoding, Vec<u8>) {
    let values = weight(shape, dtype, first);
    let mut bytes = vec![0; dtype.bytes_of(values.len() as u64).unwrap() as usize];
    assert!(values::from_f32(dtype, &values, &mut bytes));
    let decoding = dense::plain(0, dtype, &shape, bytes.len() as u64).unwrap();
    (change.over(decoding).unwrap(), bytes)
}

/// Nothing is left to the processor.
fn same(what: &str, (decoding, bytes): &(Decoding, Vec<u8>)) {
    assert!(decoding.rows.program().is_some(), "{what}: no kernel");
    let notes = layers::compare_rows(what, (decoding, bytes), &[Dtype::F16, Dtype::F32]);
    assert_eq!(notes, Vec::<String>::new(), "{what}");
}

/// Stored shapes: one row, one column, tails of tiles, and more than a slot holds at a time.
const TURNED: [[u64; 2]; 9] =
    [[1, 1], [1, 70], [70, 1], [32, 32], [31, 33], [96, 288], [65, 129], [7, 500], [400, 300]];

fn turned() {
    for (number, shape) in TURNED.into_iter().enumerate() {
        for dtype in FLOATS {
            let what = format!("{dtype} {shape:?} turned");
            same(&what, &plain(shape, dtype, number, Change::Turned));
        }
    }
}

/// Norms that were stored with one added.
fn less_one() {
    for (number, shape) in [[1, 1], [1, 288], [7, 500]].into_iter().enumerate() {
        for dtype in FLOATS {
            let what = format!("{dtype} {shape:?} less one");
            same(&what, &plain(shape, dtype, number, Change::MinusOne));
        }
    }
}

/// A layer in nf4.
fn nf4([outputs, inputs]: [u64; 2]) -> InMemory<'static> {
    let (mut random, count) = (Random::new(outputs * inputs), outputs * inputs);
    let state =
        json!({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [outputs, inputs]});
    let (state, blocks) = (state.to_string().into_bytes(), count.div_ceil(64));
    InMemory::default()
        .part("weight", Dtype::U8, &[count.div_ceil(2), 1], random.bytes(count.div_ceil(2)))
        .part("weight.absmax", Dtype::F32, &[blocks], random.scales(Dtype::F32, blocks, false))
        .part("weight.quant_map", Dtype::F32, &[16], random.scales(Dtype::F32, 16, false))
        .part("weight.quant_state.bitsandbytes__nf4", Dtype::U8, &[state.len() as u64], state)
}

/// A layer in int8 of bitsandbytes.
fn int8([outputs, inputs]: [u64; 2]) -> InMemory<'static> {
    let mut random = Random::new(outputs + inputs);
    InMemory::default().part("weight", Dtype::I8, &[outputs, inputs], random.bytes(outputs * inputs)).part(
        "SCB",
        Dtype::F32,
        &[outputs],
        random.scales(Dtype::F32, outputs, false),
    )
}

/// Columns of packed weights as rows, of more stored rows than a slot holds at a time: whole vectors of codes in every row,
/// in some of them, and codes that share bytes with those of the next row.
fn packed() {
    for shape in [[1, 1], [600, 131], [1500, 64], [2100, 33], [3, 30_000]] {
        for (format, layer) in [("bnb-nf4", nf4(shape)), ("bnb-int8", int8(shape))] {
            let decoding = Change::Turned.over(layer.decoding("layer", format).unwrap()).unwrap();
            let of = (&decoding, layer.bytes(decoding.codes));
            let notes = layers::compare_rows(&format!("{format} {shape:?} turned"), of, &[]);
            assert_eq!(notes, Vec::<String>::new(), "{format} {shape:?}");
        }
    }
}

/// Stored rows that do not fit a slot, or not so that their codes begin where a kernel reads them, are the processor's.
fn too_long() {
    for shape in [[2, 70_000], [4, 30_001]] {
        let layer = nf4(shape);
        let decoding = Change::Turned.over(layer.decoding("layer", "bnb-nf4").unwrap()).unwrap();
        let of = (&decoding, layer.bytes(decoding.codes));
        let notes = layers::compare_rows(&format!("{shape:?} turned"), of, &[]);
        assert!(notes.len() == 1 && notes[0].contains("more than a slot holds"), "{notes:?}");
    }
}

/// Packed columns as rows, which edits of every kind change; and these as they were stored again.
fn packed_and_edited(seed: u64) {
    let dice = &mut Dice::new(seed + 100);
    let shape = [dice.pick(&SIZES), dice.pick(&SIZES)];
    let stored = if seed.is_multiple_of(2) { nf4(shape) } else { int8(shape) };
    let format = if seed.is_multiple_of(2) { "bnb-nf4" } else { "bnb-int8" };
    let [rows, columns] = shape;
    for (name, edit) in edits(dice, [columns, rows], seed) {
        let mut decoding = stored.decoding("layer", format).unwrap();
        decoding = Change::Turned.over(decoding).unwrap();
        decoding.rows = Box::new(Edited { base: decoding.rows, edit });
        let bytes = stored.bytes(decoding.codes).to_vec();
        let what = format!("{name} on {format} {shape:?}, turned");
        let is_again = seed % 4 < 2 && !OF_ROWS.contains(&name);
        if is_again {
            decoding = Change::Turned.over(decoding).unwrap();
        }
        let what = format!("{what}{}", if is_again { " twice" } else { "" });
        assert!(decoding.rows.program().is_some(), "{what}: no kernel");
        let notes = layers::compare_rows(&what, (&decoding, &bytes), &[]);
        assert_eq!(notes, Vec::<String>::new(), "{what}");
    }
}

/// Heads of a matrix of so many rows: one for all, such of two rows, and between.
fn heads(rows: u64) -> impl Iterator<Item = u64> {
    [1, 2, 3, rows / 2].into_iter().filter(move |&heads| Change::RopeRows { heads }.fits(&[rows]))
}

fn rope_of_plain() {
    for (number, shape) in [[2, 1], [12, 33], [24, 64], [96, 7], [384, 700]].into_iter().enumerate() {
        for (dtype, heads) in FLOATS.into_iter().flat_map(|dtype| heads(shape[0]).map(move |n| (dtype, n))) {
            let what = format!("{dtype} {shape:?} in {heads} heads");
            same(&what, &plain(shape, dtype, number, Change::RopeRows { heads }));
        }
    }
}

fn rope_of_values() {
    for (number, count) in [2, 12, 36, 1026].into_iter().enumerate() {
        for (dtype, heads) in FLOATS.into_iter().flat_map(|dtype| heads(count).map(move |n| (dtype, n))) {
            let (_, bytes) = plain([1, count], dtype, number, Change::None);
            let decoding = dense::plain(0, dtype, &[count], bytes.len() as u64).unwrap();
            let decoding = Change::RopeRows { heads }.over(decoding).unwrap();
            same(&format!("{count} values of {dtype} in {heads} heads"), &(decoding, bytes));
        }
    }
}

fn rope_of_blocks((name, halves): (&str, &[usize])) {
    let kind = (0..255).filter_map(GgmlType::from_id).find(|kind| kind.name() == name).unwrap();
    for rows in [2, 12, 36] {
        let shape = [rows, 3 * u64::from(kind.block_elements())];
        let mut bytes = Random::new(rows).bytes(Dtype::Ggml(kind).bytes_of(shape[0] * shape[1]).unwrap());
        // Scales that are finite.
        for block in bytes.chunks_mut(kind.block_bytes() as usize) {
            for at in halves {
                block[at + 1] &= !0x40;
            }
        }
        let layer = InMemory::default().part("weight", Dtype::Ggml(kind), &shape, bytes.clone());
        for heads in heads(rows) {
            let decoding = layer.decoding("layer", "ggml").unwrap();
            let decoding = Change::RopeRows { heads }.over(decoding).unwrap();
            same(&format!("{name} {shape:?} in {heads} heads"), &(decoding, bytes.clone()));
        }
    }
}

/// Edits that are of rows as they lie: columns as rows are none of theirs.
const OF_ROWS: [&str; 6] = ["DoRA", "tokens", "rows", "rows of DoRA", "experts", "OFT"];

/// Columns as rows, of plain values that an edit of every kind has changed before.
fn edited(seed: u64) {
    let dice = &mut Dice::new(seed);
    let shape = [dice.pick(&SIZES), dice.pick(&SIZES)];
    let stored = dice.pick(&FLOATS);
    let mut turned = 0;
    for (name, edit) in edits(dice, shape, seed) {
        let (mut decoding, bytes) = plain(shape, stored, seed as usize, Change::None);
        decoding.rows = Box::new(Edited { base: decoding.rows, edit });
        let changed = (Change::Turned.over(decoding).unwrap(), bytes);
        let what = format!("{name} on {stored} {shape:?}, turned");
        if OF_ROWS.contains(&name) {
            assert!(changed.0.rows.program().is_none(), "{what}: a kernel of rows");
            continue;
        }
        same(&what, &changed);
        turned += 1;
    }
    assert_eq!(turned, 6, "seed {seed}");
}

/// Turned values that are encoded.
fn encoded(aim: &Aim) {
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let target = aim.target(false).unwrap();
    let mut compared = 0;
    for (number, shape) in [[64, 32], [32, 96], [96, 33], [160, 200]].into_iter().enumerate() {
        for dtype in FLOATS {
            let (decoding, bytes) = plain(shape, dtype, number, Change::Turned);
            let candidate = Candidate { shape: &decoding.shape, dtype };
            let Ok(encoding) = target.encoding(&candidate) else { continue };
            let mut values = vec![0.0; (shape[0] * shape[1]) as usize];
            decoding.rows.decode(0..shape[1], &bytes, &mut values);
            let should = encoding.encoder.rows(&values, Around { first_row: 0, largest: largest(&values) });
            let should = should.unwrap();
            for ranges in [1, 3] {
                let around = (largest(&values), ranges);
                let is = rows_on_device(&cuda, &*encoding.encoder, (&decoding, &bytes), around);
                let what = format!("{} of {dtype} {shape:?} in {ranges}", aim.flags());
                assert!(is.as_ref() == Some(&should), "{what}: {:?}", cuda.notes());
                compared += 1;
            }
        }
    }
    assert!(compared >= 12, "{compared} layers");
}

/// A GGUF that gets Hugging Face names, with an adapter or without, on both.
fn named(sample: &str, adapter: Option<&str>, dtype: Dtype) {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let input = samples.join(sample).to_str().unwrap().to_owned();
    let checkpoint = Arc::new(Checkpoint::open_examined(&input).unwrap());
    let held = adapter.map(|adapter| {
        let path = samples.join(adapter).to_str().unwrap().to_owned();
        (Held::open(Arc::clone(&checkpoint), &path, None).unwrap(), path)
    });
    let scratch = Scratch::new(&format!("named-{}", sample.replace('/', "-")));
    let plan = |output: &str| {
        let merging = held
            .as_ref()
            .map(|(_, path)| Merging { adapters: vec![(path.clone(), 1.0)], ..Merging::default() });
        let order = Order {
            dtype: Some(dtype),
            names: Names::Hf,
            merging,
            ..Order::new(&input, &scratch.join(output))
        };
        match &held {
            Some((held, _)) => Plan::merge(&checkpoint, order, &[Attached::new(held, 1.0)]).unwrap(),
            None => Plan::convert(&checkpoint, order).unwrap(),
        }
    };
    let (on_cpu, on_gpu) = (plan("cpu"), plan("gpu"));
    assert!(reordered(&on_gpu) > 0, "{sample}: no rows are in another order");
    let options = Options { threads: 2, slot_bytes: 5_000, proof: Proof::None, ..Options::default() };
    let adapters: Vec<&Checkpoint> = held.iter().map(|(held, _)| &*held.adapter).collect();
    carry_out(&on_cpu, (&checkpoint, &adapters), &Cpu, &options).unwrap();
    let cuda = Cuda::open(&cards(2), 1).unwrap();
    let outcome = carry_out(&on_gpu, (&checkpoint, &adapters), &cuda, &options).unwrap();
    let (is, should) = (files(&scratch.join("gpu")), files(&scratch.join("cpu")));
    for (file, bytes) in should.iter().filter(|(file, _)| file.ends_with(".safetensors")) {
        assert!(is[file] == *bytes, "{sample} in {dtype}: {file} differs");
    }
    assert_eq!(outcome.notes, Vec::<String>::new(), "{sample} in {dtype}");
}

/// How many tensors have rows in another order than they are stored in.
fn reordered(plan: &Plan) -> usize {
    let is_rope = |change: Change| matches!(change, Change::RopeRows { .. });
    let tensors = plan.shards.iter().flat_map(|shard| &shard.tensors);
    let is = |source: Source| match source {
        Source::Decode { change, .. } | Source::Changed { change, .. } => is_rope(change),
        Source::Merged(merge) => is_rope(plan.merges[merge as usize].change),
        _ => false,
    };
    tensors.filter(|tensor| is(tensor.source)).count()
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("changed::turned", turned),
        trial("changed::turned::packed", packed),
        trial("changed::turned::too_long", too_long),
        trial("changed::less_one", less_one),
        trial("changed::rope", rope_of_plain),
        trial("changed::rope_values", rope_of_values),
    ];
    trials.extend((1..=8).map(|seed| trial(format!("changed::turned::edits::{seed}"), move || edited(seed))));
    trials.extend((0..8).map(|seed| {
        trial(format!("changed::turned::packed::edits::{seed}"), move || packed_and_edited(seed))
    }));
    trials.extend(
        BLOCKS
            .iter()
            .map(|&of| trial(format!("changed::rope::{}", of.0.to_lowercase()), move || rope_of_blocks(of))),
    );
    for aim in conv1d::aims() {
        let name = aim.flags().replace("--to ", "");
        trials.push(trial(format!("changed::turned::{name}"), move || encoded(&aim)));
    }
    let merge = ("gguf-merge-llama/base/model.gguf", Some("gguf-merge-llama/adapter"));
    for (sample, adapter) in
        [("gguf-mixed-K/model.gguf", None), ("gguf-q4_k_m-K/model.gguf", None), (merge.0, None), merge]
    {
        for dtype in FLOATS {
            let with = adapter.map_or("", |_| "::merged");
            let name = format!("changed::named::{sample}{with}::{dtype}");
            trials.push(trial(name, move || named(sample, adapter, dtype)));
        }
    }
    trials
}
