//! Decoding: every layer of every sample against the hash that the reference library's result has, row by
//! row, in odd blocks and whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::side::FileSide;
use ckpt::quant::decode::Decoding;
use ckpt::quant::{Parts, Side};
use ckpt::tensor::{Dtype, values};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::sample;

/// Decodes all rows, `block` at a time, to the bytes of the dtype that the reference gives.
fn decoded(parts: &Parts<'_>, decoding: &Decoding, block: u64, dtype: Dtype) -> Vec<u8> {
    let mut bytes = Vec::new();
    let codes = parts.list.iter().find(|part| part.tensor == decoding.codes).unwrap();
    let mut start = 0;
    while start < decoding.row_count() {
        let rows = start..(start + block).min(decoding.row_count());
        let range = decoding.rows.codes(rows.clone());
        assert!(range.start <= range.end && range.end <= codes.bytes, "{range:?} of {}", codes.bytes);
        let Side::Bytes(read) = parts.data.read(codes.tensor, range.start, range.end - range.start) else {
            panic!("codes not read");
        };
        let mut out = vec![f32::NAN; ((rows.end - rows.start) * decoding.row_len()) as usize];
        decoding.rows.decode(rows.clone(), &read, &mut out);
        let at = bytes.len();
        bytes.resize(at + dtype.bytes_of(out.len() as u64).unwrap() as usize, 0);
        assert!(values::from_f32(dtype, &out, &mut bytes[at..]));
        start = rows.end;
    }
    bytes
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hashes of a case's `golden` entry whose file is `golden/{file}.safetensors`.
fn golden(case: &str, file: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(sample(case).join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    let is_it = |entry: &&Value| entry["file"] == format!("golden/{file}.safetensors");
    let entry = case["golden"].as_array().unwrap().iter().find(is_it).unwrap();
    let hashes = entry["sha256_16"].as_object().unwrap().iter();
    hashes.map(|(name, hash)| (name.clone(), hash.as_str().unwrap().to_owned())).collect()
}

/// Holds every layer of `model` that the golden names against its hash; returns how many there are.
fn check(model: &str, hashes: &BTreeMap<String, String>, dtype: Option<Dtype>) -> usize {
    let path = sample(model);
    let checkpoint = Checkpoint::open_examined(&path.display().to_string()).unwrap();
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let data = FileSide::whole(files);
    let mut left = hashes.clone();
    for layer in 0..layers.len() as u32 {
        let name = layers.name(&files.names, layer);
        let spec = layers.spec(layer);
        let Some(want) = left.remove(&format!("{name}.weight")).or_else(|| left.remove(&name)) else {
            continue;
        };
        layers.with_parts(files, layer, &data, |parts| {
            let decoding =
                spec.format.get().decode(parts, spec).unwrap_or_else(|why| panic!("{model} {name}: {why}"));
            let dtype = dtype.or(decoding.dtype).unwrap();
            for block in [u64::MAX, 1, 3] {
                assert_eq!(
                    hash(&decoded(parts, &decoding, block, dtype)),
                    want,
                    "{model} {name}, {block} rows"
                );
            }
        });
    }
    assert!(left.is_empty(), "{model}: not decoded: {left:?}");
    hashes.len()
}

/// Checks `golden/dequant_native` of each case's `model` folder; returns how many layers were checked.
fn check_native(cases: &[&str]) -> usize {
    cases.iter().map(|case| check(&format!("{case}/model"), &golden(case, "dequant_native"), None)).sum()
}

#[test]
fn bitsandbytes_4_bit() {
    let count = check_native(&["bnb-nf4-A", "bnb-nf4-dq-A", "bnb-fp4-A", "bnb-nf4-f16-B", "bnb-nf4-dq-B"]);
    assert!(count >= 60, "{count}");
}

#[test]
fn hqq() {
    let count = check("hqq-mixed-A", &golden("hqq-mixed-A", "dequant_native"), None);
    assert!(count >= 7, "{count}");
}

#[test]
fn quanto() {
    assert!(check_native(&["quanto-A"]) >= 7);
}

#[test]
fn torchao() {
    assert!(check_native(&["torchao-int8-A"]) >= 7);
}
