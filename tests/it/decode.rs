//! Decoding: every layer of every sample against the hash that the reference library's result has, row by
//! row, in odd blocks and whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::side::FileSide;
use ckpt::quant::decode::Decoding;
use ckpt::quant::ggml::Ggml;
use ckpt::quant::{Module, Part, Parts, QuantConfig, QuantFormat, Side, SideData};
use ckpt::tensor::{Dtype, GgmlType, elements, values};
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

/// The weight of a layer that is not quantized, in another dtype.
fn plain(parts: &Parts<'_>, dtype: Option<Dtype>) -> Vec<u8> {
    let part = parts.get("weight").unwrap();
    let Side::Bytes(read) = parts.read(part, u64::MAX) else { panic!("weight not read") };
    let dtype = dtype.unwrap_or(part.dtype);
    let mut values = vec![f32::NAN; elements(part.shape).unwrap() as usize];
    assert!(values::to_f32(part.dtype, &read, &mut values));
    let mut bytes = vec![0; dtype.bytes_of(values.len() as u64).unwrap() as usize];
    assert!(values::from_f32(dtype, &values, &mut bytes));
    bytes
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hashes of a case's `golden` entry whose file is `golden/{file}.safetensors`.
pub(crate) fn golden(case: &str, file: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(sample(case).join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    let is_it = |entry: &&Value| entry["file"] == format!("golden/{file}.safetensors");
    let entry = case["golden"].as_array().unwrap().iter().find(is_it).unwrap();
    let hashes = entry["sha256_16"].as_object().unwrap().iter();
    hashes.map(|(name, hash)| (name.clone(), hash.as_str().unwrap().to_owned())).collect()
}

/// The hashes of a case's result in f32, which has no file.
fn golden_f32(case: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(sample(case).join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    let entry = case["hash_only"].as_array().unwrap().iter().find(|entry| entry["name"] == "dequant_f32");
    let hashes = entry.unwrap()["sha256_16"].as_object().unwrap().iter();
    hashes.map(|(name, hash)| (name.clone(), hash.as_str().unwrap().to_owned())).collect()
}

/// The dtype that a model's config gives its weights.
fn model_dtype(case: &str) -> Option<Dtype> {
    let text = fs::read_to_string(sample(case).join("model/config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let name = config["dtype"].as_str().or_else(|| config["torch_dtype"].as_str())?;
    [("float16", Dtype::F16), ("bfloat16", Dtype::BF16)]
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|it| it.1)
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
            if !spec.is_quantized() {
                return assert_eq!(hash(&plain(parts, dtype)), want, "{model} {name}");
            }
            let decoding =
                spec.format.get().decode(parts, spec).unwrap_or_else(|why| panic!("{model} {name}: {why}"));
            // The configs of all samples whose config decides say BF16.
            let dtype = dtype.or(decoding.dtype).unwrap_or(Dtype::BF16);
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
fn gptq() {
    let count = check_native(&[
        "gptq-dynamic-mixed-bits",
        "gptq-legacy-autogptq-layout",
        "gptq-w2-g32-sym-v1-A",
        "gptq-w3-g32-asym-act-v1-A",
        "gptq-w4-asym-v1-wrap-A",
        "gptq-w4-g128-sym-v1-A",
        "gptq-w4-g64-asym-act-v2-B",
        "gptq-w4-gcol-sym-v1-A",
        "gptq-w4-sharded",
        "gptq-w8-g128-sym-v1-A",
        "story-1-qwenvl-autogptq",
    ]);
    assert!(count >= 98, "{count}");
}

#[test]
fn awq() {
    let native = ["awq-gemm-g128-A", "awq-gemm-g64-skip-A", "awq-gemv-g64-A", "story-0-minicpmv-awq"];
    // gemv_fast stores rounded products of zero point and scale: what the file says is not quite what was packed.
    let fast = "awq-gemvfast-g128-A";
    let count =
        check_native(&native) + check(&format!("{fast}/model"), &golden(fast, "dequant_stored"), None);
    assert!(count >= 48, "{count}");
}

#[test]
fn compressed_tensors() {
    let count = check_native(&[
        "ct-fp8-block-A",
        "ct-fp8-dynamic-channel-A",
        "ct-fp8-tensor-A",
        "ct-mxfp4a16-A",
        "ct-mxfp8a16-A",
        "ct-nvfp4a16-A",
        "ct-w3a16-A",
        "ct-w4a16-asym-g128-A",
        "ct-w4a16-channel-B",
        "ct-w4a16-sym-g128-A",
        "ct-w8a16-A",
        "ct-w8a8-int8-A",
    ]);
    assert!(count >= 98, "{count}");
}

#[test]
fn bitsandbytes_4_bit_of_every_block_size() {
    let mut golden = tensors("bnb-bare-tensors/golden/dequant_native.safetensors");
    // Code 8 of fp4 is -0 on the library's generic path, which takes rows of no whole number of blocks, and 0
    // on the others: 0 is what we give.
    for (_, (bytes, _)) in golden.iter_mut().filter(|(name, _)| name.starts_with("fp4")) {
        bytes
            .as_chunks_mut()
            .0
            .iter_mut()
            .filter(|value| **value == [0, 0x80])
            .for_each(|value| *value = [0, 0]);
    }
    let hashes = golden.into_iter().map(|(name, (bytes, _))| (name, hash(&bytes))).collect();
    assert_eq!(check("bnb-bare-tensors/tensors.safetensors", &hashes, None), 57);
}

/// Checks a case whose dtype its model's config gives, in that and in f32; returns how many layers.
fn check_both(case: &str) -> usize {
    let model = format!("{case}/model");
    check(&model, &golden_f32(case), Some(Dtype::F32));
    check(&model, &golden(case, "dequant_native"), model_dtype(case))
}

#[test]
fn bitsandbytes_int8() {
    let count: usize = ["bnb-int8-A", "bnb-int8-B"].into_iter().map(check_both).sum();
    assert!(count >= 28, "{count}");
}

#[test]
fn fp8_in_blocks() {
    let cases = ["fp8-block128-A", "fp8-block-partial-B", "fp8-block32-ue8m0-A"];
    let count: usize = cases.into_iter().map(check_both).sum();
    assert!(count >= 21, "{count}");
}

#[test]
fn mxfp4_of_gpt_oss() {
    let hashes = golden("mxfp4-gptoss", "dequant_native");
    assert_eq!(check("mxfp4-gptoss/model", &hashes, Some(Dtype::BF16)), 2);
}

/// One tensor in memory.
struct Held(Vec<u8>);

impl SideData for Held {
    fn read(&self, _tensor: u32, offset: u64, count: u64) -> Side {
        Side::Bytes(self.0[offset as usize..(offset + count) as usize].to_vec())
    }
}

/// The tensors of a safetensors file, by name: bytes and shape.
fn tensors(path: &str) -> BTreeMap<String, (Vec<u8>, Vec<u64>)> {
    let bytes = fs::read(sample(path)).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let entries = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let one = |entry: &Value| {
        let number = |value: &Value| value.as_u64().unwrap();
        let at = |end: usize| 8 + header_len + number(&entry["data_offsets"][end]) as usize;
        let shape = entry["shape"].as_array().unwrap().iter().map(number).collect();
        (bytes[at(0)..at(1)].to_vec(), shape)
    };
    entries.map(|(name, entry)| (name.clone(), one(entry))).collect()
}

#[test]
fn ggml_files() {
    let count: usize = ["gguf-q4_k_m-K", "gguf-mixed-K"]
        .iter()
        .map(|case| check(&format!("{case}/model.gguf"), &golden(case, "dequant_f32"), Some(Dtype::F32)))
        .sum();
    assert!(count >= 24, "{count}");
}

#[test]
fn every_ggml_type_of_gguf_py() {
    let (hashes, rows) =
        (golden("gguf-bare-types", "dequant_f32"), tensors("gguf-bare-types/tensors.safetensors"));
    for (name, want) in &hashes {
        let (bytes, shape) = &rows[name];
        let kind = (0..=255).filter_map(GgmlType::from_id).find(|kind| kind.name() == name).unwrap();
        let row_len = shape[1] / u64::from(kind.block_bytes()) * u64::from(kind.block_elements());
        let shape = [shape[0], row_len];
        let part = Part {
            suffix: "*",
            dtype: Dtype::Ggml(kind),
            shape: &shape,
            bytes: bytes.len() as u64,
            tensor: 0,
        };
        let (spell, data, config) = (|| name.clone(), Held(bytes.clone()), QuantConfig::default());
        let parts = Parts { module: &Module::new(&spell), list: &[part], config: &config, data: &data };
        let spec = Ggml.recognize(&parts).unwrap().spec;
        let decoding = Ggml.decode(&parts, &spec).unwrap();
        for block in [u64::MAX, 1, 4] {
            assert_eq!(&hash(&decoded(&parts, &decoding, block, Dtype::F32)), want, "{name}, {block} rows");
        }
    }
    assert_eq!(hashes.len(), 23);
}

/// Formats of which no library here writes a file: every row of every layer is decoded, to the shape that the
/// layer is shown with.
#[test]
fn layouts_without_a_reference() {
    let ids = [
        "layout-deepseek-ue8m0",
        "layout-fbgemm-fp8",
        "layout-fp8-tensor",
        "layout-gpt-oss-original",
        "layout-mistral-consolidated",
        "layout-modelopt-fp8",
        "layout-modelopt-int4-awq",
        "layout-modelopt-nvfp4",
        "layout-mxfp8",
    ];
    let mut count = 0;
    for id in ids {
        let path = sample(id).join("model");
        let checkpoint = Checkpoint::open_examined(&path.display().to_string()).unwrap();
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let data = FileSide::whole(files);
        for layer in (0..layers.len() as u32).filter(|&layer| layers.spec(layer).is_quantized()) {
            let spec = layers.spec(layer);
            layers.with_parts(files, layer, &data, |parts| {
                let decoding = spec.format.get().decode(parts, spec).unwrap();
                assert_eq!(decoding.shape, spec.shape);
                let whole = decoded(parts, &decoding, u64::MAX, Dtype::BF16);
                assert_eq!(whole, decoded(parts, &decoding, 3, Dtype::BF16), "{id}");
                assert!(whole.iter().any(|&byte| byte != 0));
            });
            count += 1;
        }
    }
    assert_eq!(count, 26);
}

/// Damaged layers and files: what says that it can be decoded is decoded, and nothing panics.
#[test]
fn damaged_layers_are_decoded_or_refused() {
    let entries = ["bad-quantized", "bad-gguf"].map(|folder| fs::read_dir(sample(folder)).unwrap());
    let paths = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    let (mut decodes, mut refusals) = (0, 0);
    for path in paths.filter(|path| path.extension().is_none_or(|ending| ending != "json")) {
        let Ok(checkpoint) = Checkpoint::open_examined(&path.display().to_string()) else { continue };
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let data = FileSide::whole(files);
        for layer in (0..layers.len() as u32).filter(|&layer| layers.spec(layer).is_quantized()) {
            let spec = layers.spec(layer);
            layers.with_parts(files, layer, &data, |parts| match spec.format.get().decode(parts, spec) {
                Ok(decoding) => {
                    decoded(parts, &decoding, 7, Dtype::F32);
                    decodes += 1;
                }
                Err(why) => {
                    assert!(!why.is_empty() && !why.contains('\n'), "{why}");
                    refusals += 1;
                }
            });
        }
    }
    assert!(decodes + refusals >= 17, "{decodes} {refusals}");
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
