//! GGUF files made of GGUF files, with the real binary: blocks of ggml's C code, metadata byte for byte, types by
//! llama-quantize's rules, and refusals that write nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ckpt::container::Container as _;
use ckpt::container::bytes::SourceFile;
use ckpt::container::gguf::Gguf;
use ckpt::container::gguf::written::pairs;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::convert::{Scratch, done, put};
use crate::gguf_file::{GgufFile, Size};
use crate::sample;

/// Types with the number that llama.cpp has for a file of them.
const TYPES: [(&str, u32); 15] = [
    ("q8_0", 7),
    ("q6_k", 18),
    ("q5_k", 16),
    ("q4_k", 14),
    ("q3_k", 11),
    ("q2_k", 10),
    ("q5_1", 9),
    ("q5_0", 8),
    ("q4_1", 3),
    ("q4_0", 2),
    ("iq4_xs", 30),
    ("iq4_nl", 25),
    ("tq2_0", 37),
    ("tq1_0", 36),
    ("mxfp4", 38),
];

pub(crate) fn quantize(input: &Path, to: &str, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.args(["convert", "--to", to, "-o"]).arg(output).arg(input).args(more);
    command.output().unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Type, shape and bytes of tensors by their names.
pub(crate) type Tensors = BTreeMap<String, (String, Vec<u64>, Vec<u8>)>;

/// The tensors of a file: type, shape and bytes by name; they must please the reader.
pub(crate) fn tensors(path: &Path) -> Tensors {
    let header = Gguf.read_header(&SourceFile::open(path, "made.gguf").unwrap());
    assert!(header.problems.is_empty(), "{:?}", header.problems);
    let bytes = fs::read(path).unwrap();
    let tensor = |entry: &ckpt::container::Entry| {
        let data = bytes[entry.begin as usize..entry.end as usize].to_vec();
        let value = (entry.dtype.name().to_owned(), header.shape(entry).to_vec(), data);
        (header.name(entry).to_owned(), value)
    };
    header.entries().iter().map(tensor).collect()
}

pub(crate) fn types(path: &Path) -> BTreeMap<String, String> {
    tensors(path).into_iter().map(|(name, (dtype, ..))| (name, dtype)).collect()
}

/// The bytes of the key-values, by their keys, in their order.
pub(crate) fn metadata(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let list = pairs(&SourceFile::open(path, "made.gguf").unwrap()).unwrap();
    let pair = |pair: ckpt::container::gguf::written::Pair| {
        (pair.key, bytes[pair.bytes.start as usize..pair.bytes.end as usize].to_vec())
    };
    list.into_iter().map(pair).collect()
}

/// Holds the key-values of a result against those of its input; what is set stands where it stood, or at the end.
pub(crate) fn check_metadata(input: &Path, output: &Path, file_type: u32) {
    let set = [("general.file_type", file_type), ("general.quantization_version", 2)];
    let mut should = metadata(input);
    should.retain(|(key, _)| !key.starts_with("split."));
    for (key, number) in set {
        let head = [&(key.len() as u64).to_le_bytes(), key.as_bytes()].concat();
        let bytes = [&head[..], &4u32.to_le_bytes(), &number.to_le_bytes()].concat();
        match should.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = bytes,
            None => should.push((key.to_owned(), bytes)),
        }
    }
    assert!(metadata(output) == should, "{}", output.display());
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ggml").join(name)).unwrap()
}

/// A model with all that metadata can be: an array of texts, one of arrays, a type seen nowhere else.
fn odd() -> GgufFile {
    let rows = golden("rows.f32");
    GgufFile::new("llama")
        .raw("general.file_type", 5, &1i32.to_le_bytes())
        .texts("tokenizer.ggml.tokens", &["a", "ö", "", "<0x00>"])
        .raw("own.flags", 9, &[&7u32.to_le_bytes()[..], &3u64.to_le_bytes(), &[1, 0, 1]].concat())
        .raw("own.long", 10, &u64::MAX.to_le_bytes())
        .raw("own.double", 12, &1.5f64.to_le_bytes())
        .bytes_of("blk.0.ffn_up.weight", &[44, 256], 0, &rows)
        .bytes_of("blk.0.ffn_gate_exps.weight", &[2, 11, 512], 0, &rows)
        .bytes_of("blk.0.ffn_up.bias", &[44], 0, &rows[..176])
        .tensor("blk.0.attn_norm.weight", &[37])
        .tensor("token_embd.weight", &[8, 256])
        .tensor("output.weight", &[8, 256])
}

#[test]
fn blocks_are_those_of_the_c_code_and_metadata_stay() {
    let scratch = Scratch::new("gguf-golden");
    let input = scratch.join("in.gguf");
    put(&input, &odd().bytes());
    let before = tensors(&input);
    for (to, file_type) in TYPES {
        let output = scratch.join(&format!("{to}.gguf"));
        let words = done(&quantize(&input, to, &output, &["--verify", "full", "--threads", "3"]));
        assert!(words.contains("4 of 4 packed layers made again"), "{words}");
        let made = tensors(&output);
        for name in ["blk.0.ffn_up.weight", "blk.0.ffn_gate_exps.weight"] {
            let (dtype, shape, bytes) = &made[name];
            assert_eq!((dtype.to_lowercase().as_str(), shape), (to, &before[name].1));
            assert!(*bytes == golden(&format!("{to}.bin")), "{to} {name}");
        }
        for name in ["blk.0.ffn_up.bias", "blk.0.attn_norm.weight"] {
            assert!(made[name] == before[name], "{to} {name}");
        }
        let head = if matches!(to, "q8_0" | "mxfp4") { "Q8_0" } else { "Q6_K" };
        assert_eq!(made["output.weight"].0, head);
        check_metadata(&input, &output, file_type);
        let order = |path: &Path| {
            let header = Gguf.read_header(&SourceFile::open(path, "").unwrap());
            header.entries().iter().map(|entry| header.name(entry).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(order(&input), order(&output));
    }
    let left: Vec<_> = fs::read_dir(scratch.join("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1 + TYPES.len(), "{left:?}");
}

/// The rows of the sample and their blocks, both of ggml's own code, by another build of it.
#[test]
fn rows_of_the_sample_become_its_blocks() {
    let scratch = Scratch::new("gguf-bare");
    let bytes = fs::read(sample("gguf-bare-types/tensors.safetensors")).unwrap();
    let blocks = SafeTensors::deserialize(&bytes).unwrap();
    let rows = blocks.tensor("src").unwrap();
    let input = scratch.join("in.gguf");
    let name = "blk.0.ffn_up.weight";
    put(&input, &GgufFile::new("llama").bytes_of(name, &[6, 512], 0, rows.data()).bytes());
    for (to, _) in TYPES {
        let output = scratch.join(&format!("{to}.gguf"));
        done(&quantize(&input, to, &output, &[]));
        let should = blocks.tensor(&to.to_uppercase()).unwrap();
        assert!(tensors(&output)[name].2 == should.data(), "{to}");
    }
}

#[test]
fn mixtures_give_some_tensors_more_bits() {
    let scratch = Scratch::new("gguf-mix");
    let input = scratch.join("in.gguf");
    let size = Size { hidden: 256, inner: 256, heads: 4, kv_heads: 1, head: 64, vocab: 40, blocks: 9 };
    put(&input, &GgufFile::new("llama").model(&size, &["attn_norm"], false).bytes());
    let output = scratch.join("out.gguf");
    done(&quantize(&input, "q4_k_m", &output, &["--keep", "blk.1.attn_v", "--verify", "none"]));
    check_metadata(&input, &output, 15);
    let is = types(&output);
    let row = |leaf: &str| (0..9).map(|n| is[&format!("blk.{n}.{leaf}.weight")].as_str()).collect::<Vec<_>>();
    // Nine blocks: the first, from the eighth on, and every third after the first. What is kept counts all the same.
    let downs = ["Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q6_K", "Q6_K"];
    assert_eq!(row("ffn_down"), downs);
    assert_eq!(row("attn_v"), [&downs[..1], &["F16"], &downs[2..]].concat());
    assert_eq!(row("ffn_up"), ["Q4_K"; 9]);
    assert_eq!((is["token_embd.weight"].as_str(), is["blk.0.attn_norm.weight"].as_str()), ("Q6_K", "F32"));
}

#[test]
fn plain_types_are_rounded_once() {
    let scratch = Scratch::new("gguf-plain");
    let input = scratch.join("in.gguf");
    put(&input, &odd().bytes());
    let name = "blk.0.ffn_up.weight";
    let rows = golden("rows.f32");
    let rows: Vec<f32> = rows.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let f16s: Vec<u8> = rows.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect();
    let bf16s: Vec<u8> = rows.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect();
    for (to, dtype, file_type, should) in
        [("gguf-f16", "F16", 1, f16s.clone()), ("gguf-bf16", "BF16", 32, bf16s)]
    {
        let output = scratch.join(&format!("{to}.gguf"));
        done(&quantize(&input, to, &output, &["--verify", "full"]));
        let made = tensors(&output);
        assert!(made[name] == (dtype.to_owned(), vec![44, 256], should), "{to}");
        // Rows need no blocks here, and norms stay.
        assert_eq!(
            (made["output.weight"].0.as_str(), made["blk.0.attn_norm.weight"].0.as_str()),
            (dtype, "F32")
        );
        check_metadata(&input, &output, file_type);
    }
    // From blocks to plain values, which are then those of decoding them.
    let (packed, plain) = (scratch.join("q8.gguf"), scratch.join("f32.gguf"));
    done(&quantize(&input, "q8_0", &packed, &[]));
    done(&quantize(&packed, "gguf-f32", &plain, &["--verify", "full"]));
    let (blocks, values) = (tensors(&packed)[name].2.clone(), tensors(&plain)[name].2.clone());
    for (block, values) in blocks.as_chunks::<34>().0.iter().zip(values.as_chunks::<128>().0) {
        let scale = half::f16::from_le_bytes([block[0], block[1]]).to_f32();
        for (code, value) in block[2..].iter().zip(values.as_chunks::<4>().0) {
            assert_eq!(f32::from_le_bytes(*value).to_bits(), (scale * f32::from(*code as i8)).to_bits());
        }
    }
}

#[test]
fn quantized_files_are_quantized_again_and_told_so() {
    let scratch = Scratch::new("gguf-again");
    for case in ["gguf-mixed-K", "gguf-q4_k_m-K"] {
        let input = sample(case).join("model.gguf");
        let output = scratch.join(&format!("{case}.gguf"));
        let made = quantize(&input, "q4_k", &output, &["--verify", "full"]);
        let words = String::from_utf8_lossy(&made.stderr).into_owned();
        done(&made);
        let again = if case == "gguf-mixed-K" { 7 } else { 2 };
        assert!(words.contains(&format!("{again} layers of the input are quantized already")), "{words}");
        check_metadata(&input, &output, 14);
        let (before, after) = (tensors(&input), tensors(&output));
        let mut kept = 0;
        for (name, (dtype, shape, bytes)) in &after {
            assert_eq!(shape, &before[name].1);
            if *dtype == before[name].0 {
                assert!(*bytes == before[name].2, "{name}");
                kept += usize::from(dtype.ends_with('K'));
            }
        }
        assert_eq!(kept, if case == "gguf-mixed-K" { 0 } else { 7 });
    }
    // What the file holds becomes what it holds: nothing is left to do.
    let input = scratch.join("gguf-q4_k_m-K.gguf");
    let words = refused(&quantize(&input, "q4_k", &scratch.join("x.gguf"), &[]));
    assert!(words.contains("8 layers are Q4_K already; nothing is left to pack"), "{words}");
}

/// A Qwen-like model whose rows are no whole blocks.
fn uneven() -> GgufFile {
    let size = Size { hidden: 96, inner: 256, heads: 2, kv_heads: 1, head: 40, vocab: 50, blocks: 1 };
    GgufFile::new("qwen2").model(&size, &["attn_norm", "ffn_norm"], false)
}

#[test]
fn rows_that_are_no_whole_blocks_become_what_llama_cpp_takes() {
    let scratch = Scratch::new("gguf-uneven");
    let input = scratch.join("in.gguf");
    put(&input, &uneven().bytes());
    let output = scratch.join("out");
    let planned = done(&quantize(&input, "q4_k", &output, &["--dry-run", "--json"]));
    let plan: Value = serde_json::from_str(&planned).unwrap();
    let step = |layer: &str| {
        let steps = plan["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["layer"] == layer).unwrap();
        (step["action"].as_str().unwrap().to_owned(), step["to"].clone(), step["note"].clone())
    };
    let (action, to, note) = step("blk.0.attn_q");
    assert_eq!((action.as_str(), to), ("quantize", "q5_0".into()));
    assert_eq!(note, "rows of 96 are not whole blocks of 256 Q4_K: Q5_0 instead");
    // Rows of 80 fit no block at all.
    let (action, to, note) = step("blk.0.attn_output");
    assert_eq!((action.as_str(), to), ("copy", "f16".into()));
    assert_eq!(note, "rows of 80 are not whole blocks of 256 Q4_K: F16 instead");
    assert_eq!(step("blk.0.ffn_norm").0, "copy");
    let warnings = plan["warnings"].to_string();
    assert!(
        warnings.contains("5 layers: rows of 96 are not whole blocks of 256 Q4_K: Q5_0 instead"),
        "{warnings}"
    );
    done(&quantize(&input, "q4_k", &output, &[]));
    let made = output.join("in-Q4_K.gguf");
    let is = types(&made);
    // Without a head of its own the embeddings are the head.
    for (name, dtype) in [
        ("token_embd.weight", "Q8_0"),
        ("blk.0.attn_q.weight", "Q5_0"),
        ("blk.0.attn_output.weight", "F16"),
        ("blk.0.ffn_down.weight", "Q4_K"),
        ("blk.0.attn_norm.weight", "F32"),
    ] {
        assert_eq!(is[name], dtype, "{name}");
    }
    // The model card says what was made of what.
    assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
    assert!(fs::read_to_string(output.join("README.md")).unwrap().contains("Q4_K"));
}

#[test]
fn layers_are_kept_taken_too_and_chosen() {
    let scratch = Scratch::new("gguf-chosen");
    let input = scratch.join("in.gguf");
    put(&input, &odd().tensor("blk.0.ffn_gate_inp.weight", &[2, 256]).bytes());
    let some = |more: &[&str], name: &str| {
        let output = scratch.join(name);
        done(&quantize(&input, "q8_0", &output, more));
        let is = types(&output);
        ["blk.0.ffn_up.weight", "blk.0.ffn_gate_inp.weight", "output.weight"].map(|name| is[name].clone())
    };
    assert_eq!(some(&[], "a.gguf"), ["Q8_0", "F16", "Q8_0"]);
    assert_eq!(some(&["--keep", "*ffn_up"], "b.gguf"), ["F32", "F16", "Q8_0"]);
    assert_eq!(some(&["--also", "*gate_inp"], "c.gguf"), ["Q8_0", "Q8_0", "Q8_0"]);
    assert_eq!(some(&["--only", "blk.*"], "d.gguf"), ["Q8_0", "F16", "F16"]);
    assert_eq!(some(&["--skip", "blk.*"], "e.gguf"), ["F32", "F16", "Q8_0"]);
}

/// Writes a model in two parts.
pub(crate) fn in_parts(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let part = |number: u16| {
        let file = GgufFile::new("llama").raw("split.no", 2, &number.to_le_bytes());
        let file = file.raw("split.count", 2, &2u16.to_le_bytes());
        let file = file.raw("split.tensors.count", 5, &3i32.to_le_bytes());
        match number {
            0 => file.text("general.name", "parts").tensor("token_embd.weight", &[8, 256]),
            _ => file.tensor("output.weight", &[8, 256]).tensor("output_norm.weight", &[256]),
        }
    };
    let path = |number: usize| folder.join(format!("m-f16-{:05}-of-00002.gguf", number + 1));
    for number in [0u16, 1] {
        put(&path(number.into()), &part(number).bytes());
    }
    path(0)
}

#[test]
fn parts_become_one_file_without_the_keys_of_parts() {
    let scratch = Scratch::new("gguf-parts");
    let folder = scratch.join("in");
    let first = in_parts(&folder);
    let output = scratch.join("out");
    done(&quantize(&folder, "q4_k", &output, &["--verify", "full"]));
    // The type of the input is no part of the name.
    let made = output.join("m-Q4_K.gguf");
    check_metadata(&first, &made, 14);
    assert!(!metadata(&made).iter().any(|(key, _)| key.starts_with("split.")));
    let is = types(&made);
    let is: Vec<_> = is.iter().map(|(name, dtype)| (name.as_str(), dtype.as_str())).collect();
    assert_eq!(is, [("output.weight", "Q6_K"), ("output_norm.weight", "F32"), ("token_embd.weight", "Q4_K")]);
    // A part of the input is never replaced.
    let words = refused(&quantize(&folder, "q4_k", &first, &["--force"]));
    assert!(words.contains("input"), "{words}");
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let scratch = Scratch::new("gguf-refused");
    let input = scratch.join("in.gguf");
    put(&input, &uneven().bytes());
    let output = scratch.join("out.gguf");
    let says = |input: &Path, more: &[&str], words: &str| {
        let said = refused(&quantize(input, "q8_0", &output, more));
        assert!(said.contains(words), "{said}");
        assert!(!output.exists() && !scratch.join(".out.gguf.ckpt-partial").exists());
    };
    says(&input, &["--dtype", "f16"], "--dtype: the types of its tensors are what --to says");
    says(&input, &["--names", "hf"], "--names hf: a GGUF has llama.cpp's names");
    says(&input, &["--max-shard-size", "1GB"], "--max-shard-size: it is written as one file");
    says(&input, &["--bits", "4"], "--bits: q8_0 has no options");
    says(&input, &["--resume"], "--resume: an output that is one file is written from its start");
    says(&sample("bnb-nf4-A/model"), &[], "a GGUF is made of a GGUF input; this is safetensors");
    says(&input, &["--keep", "*"], "nothing of it would become Q8_0");
    // What no scale in F16 holds, and what no code stands for, is named.
    let rows = |value: f32| [[value; 32].map(f32::to_le_bytes).concat(), vec![0; 128]].concat();
    for (value, words) in [
        (1e9, "blk.0.ffn_up.weight: 1 block of a piece of it have a scale beyond F16"),
        (f32::NAN, "blk.0.ffn_up.weight: 32 values of a piece of it are infinite or NaN"),
    ] {
        let broken = scratch.join("broken.gguf");
        put(
            &broken,
            &GgufFile::new("llama").bytes_of("blk.0.ffn_up.weight", &[2, 32], 0, &rows(value)).bytes(),
        );
        says(&broken, &[], words);
        fs::remove_file(&broken).unwrap();
    }
    let mut swapped = uneven().bytes();
    swapped[4..8].reverse();
    let big = scratch.join("big.gguf");
    put(&big, &swapped);
    says(&big, &[], "big-endian");
    let wide = scratch.join("wide.gguf");
    put(&wide, &uneven().raw("general.alignment", 4, &(1u32 << 30).to_le_bytes()).bytes());
    refused(&quantize(&wide, "q8_0", &output, &[]));
    assert!(!output.exists());
}

#[test]
fn a_file_that_is_there_is_replaced_only_if_asked_and_only_by_its_kind() {
    let scratch = Scratch::new("gguf-force");
    let input = scratch.join("in.gguf");
    put(&input, &uneven().bytes());
    let output = scratch.join("out.gguf");
    done(&quantize(&input, "q8_0", &output, &[]));
    let first = fs::read(&output).unwrap();
    assert!(refused(&quantize(&input, "q4_0", &output, &[])).contains("is there already"));
    assert!(fs::read(&output).unwrap() == first);
    done(&quantize(&input, "q4_0", &output, &["--force"]));
    assert_eq!(types(&output)["blk.0.ffn_down.weight"], "Q4_0");
    let other = scratch.join("notes.gguf");
    put(&other, b"not a model at all");
    assert!(refused(&quantize(&input, "q4_0", &other, &["--force"])).contains("no GGUF"));
    assert_eq!(fs::read(&other).unwrap(), b"not a model at all");
    assert!(refused(&quantize(&input, "q4_0", &input, &["--force"])).contains("the input"));
    assert!(fs::read(&input).unwrap() == uneven().bytes());
}

#[test]
fn a_saved_plan_writes_the_same_file() {
    let scratch = Scratch::new("gguf-saved");
    let input = scratch.join("in.gguf");
    put(&input, &uneven().bytes());
    let (one, two, plan) = (scratch.join("one.gguf"), scratch.join("two.gguf"), scratch.join("plan.json"));
    done(&quantize(&input, "q5_k", &one, &["--threads", "1", "--slot-size", "1000"]));
    let saved = ["--plan", plan.to_str().unwrap()];
    done(&quantize(&input, "q5_k", &two, &saved));
    let run = Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("run").arg(&plan).output().unwrap();
    done(&run);
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
}

#[test]
fn a_run_that_is_ended_leaves_nothing_and_a_killed_one_is_no_obstacle() {
    let scratch = Scratch::new("gguf-ended");
    let input = scratch.join("in.gguf");
    put(&input, &GgufFile::new("llama").tensor("blk.0.ffn_up.weight", &[4096, 512]).bytes());
    let (output, partial) = (scratch.join("out.gguf"), scratch.join(".out.gguf.ckpt-partial"));
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
        command.args(["convert", "--to", "q4_k", "--slot-size", "64KiB", "-o"]).arg(&output).arg(&input);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let since = Instant::now();
        while !partial.exists() {
            assert!(since.elapsed() < Duration::from_mins(1), "it never began");
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    };
    let mut ended = start();
    rustix::process::kill_process(rustix::process::Pid::from_child(&ended), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(ended.wait().unwrap().code(), Some(130));
    assert!(!output.exists() && !partial.exists());
    let mut killed = start();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!output.exists() && partial.exists());
    let done = quantize(&input, "q4_k", &output, &["--verify", "none"]);
    assert!(
        String::from_utf8_lossy(&done.stderr).contains("what an earlier run left unfinished was removed")
    );
    assert_eq!(types(&output)["blk.0.ffn_up.weight"], "Q4_K");
    assert!(!partial.exists());
}
