//! `ckpt convert --to compressed-tensors`, `fp8`, `nvfp4`, `mxfp4`: what the libraries themselves store, byte for byte;
//! and `merge --to same` on layers of these formats.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::side::FileSide;
use ckpt::quant::decode::Decoding;
use ckpt::quant::encode::{Around, Place};
use ckpt::quant::{LayerSpec, Parts, QuantFormat, Side};
use ckpt::tensor::{Dtype, values};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::convert::{Scratch, done, tensors};
use crate::merge::{merge, model, refused};
use crate::references::{Tensor, folder};
use crate::sample;

fn convert(input: &Path, out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("convert").arg(input).arg("-o").arg(out).arg("-q").args(more);
    command.output().unwrap()
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// A stored sample, the base that it was made of, and how.
const SAMPLES: [(&str, &str, &[&str]); 15] = [
    ("ct-w4a16-sym-g128-A", "base-A-bf16", &["compressed-tensors", "--scheme", "w4a16"]),
    ("ct-w4a16-asym-g128-A", "base-A-bf16", &["compressed-tensors", "--scheme", "w4a16-asym"]),
    ("ct-w3a16-A", "base-A-bf16", &["compressed-tensors", "--bits", "3"]),
    ("ct-w8a16-A", "base-A-bf16", &["compressed-tensors", "--scheme", "w8a16"]),
    ("ct-w4a16-channel-B", "base-B-bf16", &["compressed-tensors", "--group-size", "-1"]),
    ("ct-w8a8-int8-A", "base-A-bf16", &["compressed-tensors", "--scheme", "w8a8"]),
    ("ct-fp8-dynamic-channel-A", "base-A-bf16", &["compressed-tensors", "--scheme", "fp8-channel"]),
    ("ct-fp8-tensor-A", "base-A-bf16", &["compressed-tensors", "--scheme", "fp8-tensor"]),
    ("ct-fp8-block-A", "base-A-bf16", &["compressed-tensors", "--scheme", "fp8-block"]),
    ("ct-nvfp4a16-A", "base-A-bf16", &["nvfp4"]),
    ("ct-mxfp4a16-A", "base-A-bf16", &["compressed-tensors", "--scheme", "mxfp4"]),
    ("ct-mxfp8a16-A", "base-A-bf16", &["compressed-tensors", "--scheme", "mxfp8"]),
    ("fp8-block128-A", "base-A-bf16", &["fp8"]),
    ("fp8-block32-ue8m0-A", "base-A-bf16", &["fp8", "--block-size", "32", "--scheme", "ue8m0"]),
    ("fp8-block-partial-B", "base-B-bf16", &["fp8"]),
];

#[test]
fn samples_are_made_again_byte_for_byte() {
    let scratch = Scratch::new("requantize-ct");
    let mut compared = 0;
    for (sample, base, flags) in SAMPLES {
        let out = scratch.join(sample);
        let more = [&["--to"], flags, &["--verify", "full"]].concat();
        done(&convert(&model(base), &out, &more));
        let (made, stored) = (tensors(&out), tensors(&model(sample)));
        // Bases have two blocks, some samples one: of another seed what comes behind it is other too.
        for (name, want) in stored.iter().filter(|(name, _)| name.contains("_proj.")) {
            assert_eq!(made.get(name), Some(want), "{sample}: {name}");
            compared += 1;
        }
        let (made, stored) = (config(&out), config(&model(sample)));
        let (made, stored) = (&made["quantization_config"], &stored["quantization_config"]);
        if sample.starts_with("ct-") {
            assert_eq!(made.to_string(), stored.to_string(), "{sample}: keys and their order too");
        } else {
            for (key, value) in stored.as_object().unwrap() {
                assert_eq!(&made[key], value, "{sample}: {key}");
            }
            assert_eq!(made["modules_to_not_convert"], json!(["lm_head"]));
        }
    }
    assert!(compared >= 250, "{compared}");
}

#[test]
fn experts_of_gpt_oss_are_packed_to_what_they_were() {
    let scratch = Scratch::new("requantize-gptoss");
    let (dense, out) = (scratch.join("dense"), scratch.join("out"));
    done(&convert(&model("mxfp4-gptoss"), &dense, &["--to", "dense"]));
    let told = done(&convert(&dense, &out, &["--to", "mxfp4", "--verify", "full"]));
    assert!(told.contains("2 of 2 packed layers made again"), "{told}");
    assert_eq!(tensors(&out), tensors(&model("mxfp4-gptoss")));
    let mut stored = config(&model("mxfp4-gptoss"))["quantization_config"].take();
    let plain = stored["modules_to_not_convert"].as_array_mut().unwrap();
    plain.sort_by_key(|name| name.as_str().unwrap().to_owned());
    assert_eq!(config(&out)["quantization_config"], stored);
}

/// A matrix that breaks quantizers, by its number and kind; each value is exact in f32.
fn matrix(number: usize, [rows, columns]: [usize; 2], kind: usize) -> Vec<f32> {
    let mut state = 12345 + number as u32;
    let value = |at: usize, noise: f32| match kind {
        1 if at % 97 == 5 => noise * 256.0,
        2 if at < columns => 0.0,
        2 if at.is_multiple_of(3) => -0.0,
        3 => noise / 1024.0,
        4 => 0.07,
        5 => noise.abs() + 0.5,
        _ => noise,
    };
    (0..rows * columns)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            value(at, ((state >> 8) as f32 - (1 << 23) as f32) / (1 << 26) as f32)
        })
        .collect()
}

/// Writes a folder of such matrices, two a kind.
fn matrices(path: &Path, shapes: [[usize; 2]; 2], dtype: &'static str, skipped: Option<usize>) {
    let bytes = |value: f32| match dtype {
        "BF16" => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        "F16" => half::f16::from_f32(value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let mut list: Vec<Tensor> = Vec::new();
    for number in (0..12).filter(|number| Some(number / 2) != skipped) {
        let shape = shapes[number % 2];
        let values = matrix(number, shape, number / 2).into_iter().flat_map(bytes).collect();
        let name = format!("model.layers.{number}.self_attn.o_proj.weight");
        list.push((name, shape.to_vec(), dtype, values));
    }
    folder(path, &json!({"model_type": "x", "dtype": "bfloat16"}), json!({"format": "pt"}), &list);
}

/// Hash of all tensors' bytes, in the order of their names.
fn hash(folder: &Path) -> String {
    let mut hash = Sha256::new();
    for (.., bytes) in tensors(folder).values() {
        hash.update(bytes);
    }
    format!("{:016x}", u64::from_be_bytes(*hash.finalize().first_chunk().unwrap()))
}

const DTYPES: [&str; 3] = ["BF16", "F16", "F32"];

/// Scheme, group size, hash of what `calculate_qparams`, `generate_gparam` and the compressors of compressed-tensors 0.20
/// make of the matrices, in BF16, F16 and F32.
const REFERENCES: [(&str, &str, [&str; 3]); 17] = [
    ("w4a16", "128", ["9c1a0f4570b458c5", "0fbcf2d890b3d8f5", "84befe234d9e1102"]),
    ("w4a16", "32", ["0ebb3f2b557e53c0", "9a1e9db766b86c00", "eb01ccbd480f6cdd"]),
    ("w4a16", "-1", ["3dc9283a97d2c4ef", "9dc80b248f995802", "61877d571abf684a"]),
    ("w4a16-asym", "128", ["c12ee2d5d2c2112d", "0c4e317bb34e08cf", "a7d6d1419bb676ce"]),
    ("w4a16-asym", "-1", ["ebc9b0e45b95985b", "96c1c1417f6962db", "8cc4d3164e2427c3"]),
    ("w3a16-asym", "32", ["7c5aadd40fdae8cd", "2ff033559e8664a3", "52333a924c96e4f2"]),
    ("w2a16", "128", ["cb310ba3d45f7717", "96f438525a103f5f", "4edff77cbc73cd9e"]),
    ("w5a16", "-1", ["e3c8315e1f2fbff2", "6e80e84c110f706a", "5bfa6f8de3e8b9ed"]),
    ("w8a16", "128", ["8a16c9c7b21ad7d1", "49c8e668c4b2a91c", "d697b567205d1395"]),
    ("w8a16-asym", "32", ["fd6f286e6d50cb0b", "96088d9d9a7e0308", "54881a8c578ab492"]),
    ("w8a8", "", ["d3095c8a287a287e", "a9a75d613f953e80", "971c1ee0c33671a0"]),
    ("fp8-channel", "", ["078b836f6b186acf", "1bc71bfa9a65ba0a", "a177b2d18db1054a"]),
    ("fp8-tensor", "", ["c0da2471ccff7d38", "8f8e58ebfbdb0503", "e50872b4e5990ff7"]),
    ("fp8-block", "", ["40156053fec34a87", "150c620d817d63fd", "8d37d977bad88cab"]),
    // In F16 without small weights, whose global scale overflows there: the library falls back to 1, this does not.
    ("nvfp4a16", "", ["ae2f93fce63f2eab", "e985c461cd40d38b", "90101d9f301a3bbf"]),
    ("mxfp4", "", ["21bdb77b6f4ea610", "4930f0987e54006f", "3fe470d69bff34b5"]),
    ("mxfp8", "", ["da40dcc976dbfab4", "e76c64757aee1263", "f9da54792a634989"]),
];

#[test]
fn odd_matrices_of_every_dtype_are_what_compressed_tensors_makes_of_them() {
    let scratch = Scratch::new("requantize-odd");
    for (number, dtype) in DTYPES.into_iter().enumerate() {
        for (scheme, group, hashes) in REFERENCES {
            let is_small = scheme == "nvfp4a16" && dtype == "F16";
            let base = scratch.join(&format!("{dtype}-{is_small}"));
            if !base.exists() {
                matrices(&base, [[5, 256], [130, 128]], dtype, is_small.then_some(3));
            }
            let out = scratch.join(&format!("{dtype}-{scheme}{group}"));
            let mut more = vec!["--to", "compressed-tensors", "--scheme", scheme];
            if !group.is_empty() {
                more.extend(["--group-size", group]);
            }
            done(&convert(&base, &out, &more));
            assert_eq!(hash(&out), hashes[number], "{scheme} {group} {dtype}");
        }
    }
}

#[test]
fn odd_matrices_are_what_transformers_makes_of_them_in_fp8() {
    let scratch = Scratch::new("requantize-fp8");
    // `Fp8Quantize` of transformers 5.23.
    let cases: [(&[&str], [&str; 3]); 2] = [
        (&["--to", "fp8"], ["ee21236becd3788c", "73c15cac744323d3", "2e6c0bffd4d3fb80"]),
        (
            &["--to", "fp8", "--block-size", "32", "--scheme", "ue8m0"],
            ["f7c86d6356fdc979", "cc7d675798d0f496", "07a7c9723b3f15db"],
        ),
    ];
    for (number, dtype) in DTYPES.into_iter().enumerate() {
        let base = scratch.join(dtype);
        matrices(&base, [[256, 128], [128, 384]], dtype, None);
        for (more, hashes) in cases {
            let out = scratch.join(&format!("{dtype}-{}", more.len()));
            done(&convert(&base, &out, more));
            assert_eq!(hash(&out), hashes[number], "{more:?} {dtype}");
        }
    }
}

#[test]
fn what_a_scheme_has_not_is_refused_in_words() {
    let scratch = Scratch::new("requantize-refused");
    let base = model("base-A-bf16");
    let cases: [(&[&str], &str); 9] = [
        (&["--scheme", "w9a16"], "--scheme w9a16: there are w1a16 to w8a16"),
        (&["--scheme", "w04a16"], "--scheme w04a16: there are"),
        (&["--scheme", "w4a16", "--bits", "8"], "--bits 8: the scheme has 4"),
        (&["--bits", "9"], "--bits 9: compressed-tensors packs 1 to 8"),
        (
            &["--scheme", "fp8-block", "--group-size", "64"],
            "--group-size: scheme fp8-block has no such choice",
        ),
        (&["--scheme", "nvfp4a16", "--asym"], "--asym: scheme nvfp4a16 has no such choice"),
        (&["--scheme", "mxfp4", "--search", "mse"], "--search: scheme mxfp4 has no such choice"),
        (&["--block-size", "64"], "--block-size: compressed-tensors has only"),
        (&["--group-size", "96"], "its rows of 128 are not whole groups of 96"),
    ];
    for (more, words) in cases {
        let more = [&["--to", "compressed-tensors"], more].concat();
        let told = refused(&convert(&base, &scratch.join("out"), &more));
        assert!(told.contains(words), "{told}");
    }
    let told = refused(&convert(&base, &scratch.join("out"), &["--to", "fp8", "--scheme", "e5m2"]));
    assert!(told.contains("--scheme e5m2: fp8 has only ue8m0"), "{told}");
    let told = refused(&convert(&base, &scratch.join("out"), &["--to", "mxfp4"]));
    assert!(told.contains("the format packs experts"), "{told}");
}

/// Returns the values of a folder's matrices, after decoding.
fn decoded(scratch: &Scratch, folder: &Path, name: &str) -> Vec<(String, Vec<f32>)> {
    let out = scratch.join(name);
    done(&convert(folder, &out, &["--to", "dense", "--dtype", "f32"]));
    let values = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let list = tensors(&out).into_iter().filter(|(name, _)| name.contains("_proj."));
    list.map(|(name, (.., bytes))| (name, values(&bytes))).collect()
}

/// Base, how much larger the errors may be than the values, in root mean squares.
const MERGED: [(&str, f64); 13] = [
    ("ct-w4a16-sym-g128-A", 0.15),
    ("ct-w4a16-asym-g128-A", 0.15),
    ("ct-w3a16-A", 0.35),
    ("ct-w8a16-A", 0.02),
    ("ct-w8a8-int8-A", 0.02),
    ("ct-fp8-dynamic-channel-A", 0.04),
    ("ct-fp8-tensor-A", 0.04),
    ("ct-fp8-block-A", 0.04),
    ("ct-nvfp4a16-A", 0.15),
    ("ct-mxfp4a16-A", 0.2),
    ("ct-mxfp8a16-A", 0.04),
    ("fp8-block128-A", 0.04),
    ("fp8-block32-ue8m0-A", 0.04),
];

/// Merges the adapter into what of it a sample has: those of one block lack the second.
fn merged(base: &Path, out: &Path, more: &[&str]) {
    let adapter = sample("peft-lora-all-A").join("adapter");
    let told = merge(base, &[&adapter], out, &[&["--allow-partial"], more].concat());
    let text = String::from_utf8_lossy(&told.stderr);
    assert!(matches!(told.status.code(), Some(0 | 3)), "{}: {text}", base.display());
}

#[test]
fn adapters_are_merged_into_layers_as_they_are_stored() {
    let scratch = Scratch::new("requantize-ct-merge");
    let (mut kept, mut scales) = (0, 0);
    for (case, most) in MERGED {
        let base = model(case);
        let (same, plain) = (scratch.join(&format!("{case}-same")), scratch.join(&format!("{case}-plain")));
        merged(&base, &same, &["--to", "same", "--verify", "full"]);
        merged(&base, &plain, &["--to", "dense", "--dtype", "f32"]);
        assert_eq!(config(&same), config(&base), "{case}");
        let (before, after) = (tensors(&base), tensors(&same));
        assert_eq!(before.len(), after.len());
        for (name, (dtype, shape, bytes)) in &after {
            let (was, was_shape, was_bytes) = &before[name];
            assert_eq!((dtype, shape), (was, was_shape), "{case}: {name}");
            let is_scale = name.contains("scale");
            scales += usize::from(is_scale);
            kept += usize::from(is_scale && bytes == was_bytes);
        }
        let got = decoded(&scratch, &same, &format!("{case}-back"));
        let want = decoded(&scratch, &plain, &format!("{case}-want"));
        assert!(got.len() >= 7 && got.len() == want.len(), "{case}");
        for ((name, got), (_, want)) in got.iter().zip(&want) {
            let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
            let error = sum(&mut got.iter().zip(want).map(|(a, b)| f64::from(a - b)));
            let share = (error / sum(&mut want.iter().map(|&value| f64::from(value)))).sqrt();
            assert!(share < most, "{case}: {name}: {share}");
        }
    }
    // Most layers stay on their scales; an adapter this strong moves some.
    assert!(kept * 2 > scales, "{kept} of {scales}");
}

/// All rows of a layer, as its decoder gives them, rounded to its own dtype.
fn rows_of(parts: &Parts<'_>, decoding: &Decoding) -> Vec<f32> {
    let codes = parts.list.iter().find(|part| part.tensor == decoding.codes).unwrap();
    let Side::Bytes(read) = parts.data.read(codes.tensor, 0, codes.bytes) else { panic!("codes not read") };
    let mut rows = vec![f32::NAN; (decoding.row_count() * decoding.row_len()) as usize];
    decoding.rows.decode(0..decoding.row_count(), &read, &mut rows);
    values::round_all(decoding.dtype.unwrap_or(Dtype::BF16), &mut rows);
    rows
}

/// Encodes the decoded layer as it is stored, in cuts of the fewest rows; says if its bytes are those of the file.
fn is_made_again(parts: &Parts<'_>, format: &dyn QuantFormat, spec: &LayerSpec) -> Result<bool, String> {
    let decoding = format.decode(parts, spec)?;
    let encoding = format.encode(parts, spec)?;
    let rows = rows_of(parts, &decoding);
    let encoder = &encoding.encoder;
    let largest = rows.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let apart = encoder.rows_apart();
    let mut strands: Vec<Vec<u8>> = Vec::new();
    for (cut, values) in (0u64..).zip(rows.chunks((apart * decoding.row_len()) as usize)) {
        let made = encoder.rows(values, Around { first_row: cut * apart, largest })?;
        strands.resize(made.len(), Vec::new());
        strands.iter_mut().zip(made).for_each(|(strand, made)| strand.extend(made));
    }
    let tensors = encoder.finish(strands, largest);
    assert_eq!(tensors.len(), encoding.tensors.len());
    Ok(encoding.tensors.iter().zip(tensors).all(|(tensor, made)| {
        let Place::Of(number) = tensor.place else { panic!("a new tensor") };
        assert_eq!(made.len() as u64, tensor.bytes);
        parts.data.read(number, 0, tensor.bytes) == Side::Bytes(made)
    }))
}

#[test]
fn layers_of_samples_are_made_again_of_what_they_decode_to() {
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    let mut refused = BTreeMap::new();
    let mut cases: Vec<_> = fs::read_dir(sample("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let is_one = ["ct-", "fp8-", "mxfp4-", "layout-"].iter().any(|start| name.starts_with(start));
        let folder = case.join("model");
        if !is_one || !folder.is_dir() {
            continue;
        }
        let checkpoint = Checkpoint::open_examined(&folder.display().to_string()).unwrap();
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let data = FileSide::whole(files);
        for layer in 0..layers.len() as u32 {
            let spec = layers.spec(layer);
            let format = spec.format.get();
            if !["compressed-tensors", "fp8", "mxfp4", "modelopt"].contains(&format.name()) {
                continue;
            }
            match layers.with_parts(files, layer, &data, |parts| is_made_again(parts, format, spec)) {
                Ok(is_same) => {
                    assert!(is_same, "{name}: {}", layers.name(&files.names, layer));
                    *made.entry(format!("{} {}", format.name(), spec.variant)).or_default() += 1;
                }
                Err(why) => {
                    refused.insert(format!("{name}: {}", layers.name(&files.names, layer)), why);
                }
            }
        }
    }
    // Two rows a byte, behind a scale a column.
    assert!(refused.keys().all(|layer| layer.starts_with("layout-modelopt-int4-awq")), "{refused:?}");
    assert_eq!(refused.len(), 3);
    assert!(made.len() >= 14 && made.values().sum::<usize>() >= 140, "{made:?}");
}
