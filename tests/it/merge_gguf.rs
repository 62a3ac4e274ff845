//! Adapters merged into GGUF files: equal to PEFT and llama.cpp's converter, block by block, in one pass; the metadata
//! byte for byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::convert::{Scratch, convert, done, put};
use crate::gguf_file::GgufFile;
use crate::jobs::{LARGE, Robot};
use crate::merge::{golden, merge, refused};
use crate::references::{Tensor, folder};
use crate::requantize_gguf::{Tensors, check_metadata, in_parts, metadata, quantize, tensors};
use crate::sample;

/// A module of an adapter: its path, `lora_A` `[r, in]`, `lora_B` `[out, r]`, and the rank.
pub(crate) type Module = (String, Vec<f32>, Vec<f32>, usize);

pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes an adapter of PEFT whose alpha is its rank.
pub(crate) fn adapter(path: &Path, modules: &[Module]) {
    let mut list: Vec<Tensor> = Vec::new();
    for (module, a, b, rank) in modules {
        let key = |part: &str| format!("base_model.model.{module}.{part}.weight");
        list.push((key("lora_A"), vec![*rank, a.len() / rank], "F32", bytes(a)));
        list.push((key("lora_B"), vec![b.len() / rank, *rank], "F32", bytes(b)));
    }
    folder(path, &json!({}), json!({"format": "pt"}), &list);
    fs::rename(path.join("model.safetensors"), path.join("adapter_model.safetensors")).unwrap();
    fs::remove_file(path.join("config.json")).unwrap();
    let targets: BTreeSet<&str> = modules.iter().map(|(path, ..)| path.rsplit('.').next().unwrap()).collect();
    let rank = modules.first().map_or(1, |(.., rank)| *rank);
    let config = json!({"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": targets});
    put(&path.join("adapter_config.json"), config.to_string().as_bytes());
}

/// Values of a fixed sequence, between -1 and 1.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Layers of the samples: path, and columns and rows.
pub(crate) const LAYERS: [(&str, &str, usize, usize); 7] = [
    ("self_attn.q_proj", "attn_q", 256, 256),
    ("self_attn.k_proj", "attn_k", 256, 128),
    ("self_attn.v_proj", "attn_v", 256, 128),
    ("self_attn.o_proj", "attn_output", 256, 256),
    ("mlp.gate_proj", "ffn_gate", 256, 256),
    ("mlp.up_proj", "ffn_up", 256, 256),
    ("mlp.down_proj", "ffn_down", 256, 256),
];

/// Writes an adapter for all layers of the samples, whose factors are random times `size`.
fn full(path: &Path, size: f32) {
    let scaled = |seed, count| noise(seed, count).iter().map(|value| value * size).collect();
    let module = |(at, (path, _, inputs, outputs)): (usize, &(&str, &str, usize, usize))| {
        let (a, b) = (scaled(2 * at as u64, 4 * inputs), scaled(2 * at as u64 + 1, 4 * outputs));
        (format!("model.layers.0.{path}"), a, b, 4)
    };
    adapter(path, &LAYERS.iter().enumerate().map(module).collect::<Vec<_>>());
}

pub(crate) fn base(case: &str) -> PathBuf {
    sample(case).join("model.gguf")
}

fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", u64::from_be_bytes(*Sha256::digest(bytes).first_chunk().unwrap()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The quality of each layer, from the events.
fn quality(output: &Output) -> Vec<Value> {
    let text = done(output);
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let result = events.into_iter().find(|event| event["event"] == "result").unwrap();
    result["quality"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_merge_is_what_peft_merges_and_llama_cpp_converts() {
    let scratch = Scratch::new("gguf-peft");
    let (input, adapter) = (sample("gguf-merge-llama/base/model.gguf"), sample("gguf-merge-llama/adapter"));
    let before = tensors(&input);
    for (number, (to, file, more)) in [
        ("same", "merged_f16", &["--threads", "1"][..]),
        ("same", "merged_f16", &["--slot-size", "900"]),
        ("gguf-f16", "merged_f16", &[]),
        ("gguf-f32", "merged_f32", &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = scratch.join(&format!("{number}.gguf"));
        let told =
            done(&merge(&input, &[&adapter], &out, &[&["--to", to, "--verify", "full"], more].concat()));
        assert!(told.contains("7 of 7 modules merged"), "{told}");
        let (golden, is) = (golden("gguf-merge-llama", file), tensors(&out));
        assert_eq!((golden.len(), is.len()), (14, before.len()));
        for (name, (dtype, shape, bytes)) in &is {
            if let Some(want) = golden.get(name) {
                assert_eq!(&hash(bytes), want.as_str().unwrap(), "{to}: {name} {dtype}");
            } else if to != "gguf-f32" || shape.len() == 1 {
                assert_eq!(before.get(name), is.get(name), "{to}: {name} was touched");
            }
        }
        match to {
            "same" => assert!(metadata(&out) == metadata(&input)),
            "gguf-f16" => check_metadata(&input, &out, 1),
            _ => check_metadata(&input, &out, 0),
        }
    }
}

/// Dense results are the same values, under either names.
#[test]
fn dense_merges_have_the_rows_of_their_names() {
    let scratch = Scratch::new("gguf-dense");
    let (input, adapter) = (sample("gguf-merge-llama/base"), sample("gguf-merge-llama/adapter"));
    let (own, named) = (scratch.join("own"), scratch.join("named"));
    done(&merge(&input, &[&adapter], &own, &["--dtype", "f32", "--verify", "full"]));
    let is = crate::convert::tensors(&own);
    for (name, want) in golden("gguf-merge-llama", "merged_f32") {
        assert_eq!(&hash(&is[&name].2), want.as_str().unwrap(), "{name}");
    }
    // What is merged and then named is what is named as it is merged.
    done(&merge(&input, &[&adapter], &named, &["--dtype", "f32", "--names", "hf", "--verify", "full"]));
    let (file, two) = (scratch.join("merged.gguf"), scratch.join("two"));
    done(&merge(&input, &[&adapter], &file, &["--to", "gguf-f32"]));
    done(&convert(&file, &two, &["--dtype", "f32", "--names", "hf"]));
    let (named, two) = (crate::convert::tensors(&named), crate::convert::tensors(&two));
    assert!(named.contains_key("model.layers.0.self_attn.q_proj.bias") && named == two);
}

/// Writes the adapter of `full` as llama.cpp's converter does: its names, and the rows of q and k in its order.
fn native(path: &Path, size: f32) {
    let mut file = GgufFile::new("llama").text("general.type", "adapter").text("general.adapter", "lora");
    file = file.raw("adapter.type", 8, &[&4u64.to_le_bytes()[..], b"lora"].concat());
    file = file.raw("adapter.lora.alpha", 6, &4f32.to_le_bytes());
    for (at, (_, leaf, inputs, outputs)) in LAYERS.iter().enumerate() {
        let scaled = |seed, count| noise(seed, count).iter().map(|value| value * size).collect::<Vec<f32>>();
        let (a, b) = (scaled(2 * at as u64, 4 * inputs), scaled(2 * at as u64 + 1, 4 * outputs));
        // Row 2 i + p of a head is row i + p h of its halves of h rows.
        let row = |at: usize| match *leaf {
            "attn_q" | "attn_k" => at / 64 * 64 + at % 64 % 2 * 32 + at % 64 / 2,
            _ => at,
        };
        let b: Vec<f32> = (0..*outputs).flat_map(|at| b[4 * row(at)..][..4].to_vec()).collect();
        let name = |part: &str| format!("blk.0.{leaf}.weight.{part}");
        file = file.bytes_of(&name("lora_a"), &[4, *inputs as u64], 0, &bytes(&a));
        file = file.bytes_of(&name("lora_b"), &[*outputs as u64, 4], 0, &bytes(&b));
    }
    put(path, &file.bytes());
}

#[test]
fn adapters_of_llama_cpp_and_of_peft_give_the_same_bytes() {
    let scratch = Scratch::new("gguf-native");
    let (peft, llama) = (scratch.join("peft"), scratch.join("adapter.gguf"));
    full(&peft, 0.05);
    native(&llama, 0.05);
    for (number, flags) in [&["--to", "same"][..], &["--to", "q8_0"]].into_iter().enumerate() {
        let out = |who: &str| scratch.join(&format!("{who}-{number}.gguf"));
        for (who, adapter) in [("peft", &peft), ("llama", &llama)] {
            done(&merge(&base("gguf-mixed-K"), &[adapter], &out(who), flags));
        }
        assert!(fs::read(out("peft")).unwrap() == fs::read(out("llama")).unwrap(), "{flags:?}");
    }
    let flags = ["--to", "dense", "--names", "hf", "--dtype", "f32", "--verify", "full"];
    for (who, adapter) in [("a", &peft), ("b", &llama)] {
        done(&merge(&base("gguf-mixed-K"), &[adapter], &scratch.join(who), &flags));
    }
    let of = |who: &str| crate::convert::tensors(&scratch.join(who));
    assert!(of("a").len() == 12 && of("a") == of("b"));
}

/// How many bytes a block of a type has, of how many values.
const BLOCKS: [(&str, usize, usize); 8] = [
    ("Q5_0", 22, 32),
    ("Q5_1", 24, 32),
    ("Q4_1", 20, 32),
    ("Q3_K", 110, 256),
    ("Q2_K", 84, 256),
    ("Q4_K", 144, 256),
    ("Q5_K", 176, 256),
    ("Q6_K", 210, 256),
];

/// A delta in some rows, and of those in the columns from 40 to 69: only their blocks change, to what the sum in f32 is
/// packed to, and the report counts them.
#[test]
fn only_blocks_that_change_are_packed_again() {
    let scratch = Scratch::new("gguf-blocks");
    let path = scratch.join("adapter");
    let module = |(name, _, inputs, outputs): &(&str, &str, usize, usize)| {
        let a = noise(5, *inputs).into_iter().enumerate();
        let a = a.map(|(at, value)| if (40..70).contains(&at) { value } else { 0.0 });
        let b = noise(6, *outputs).into_iter().enumerate();
        let b = b.map(|(at, value)| if at % 5 == 2 { value } else { 0.0 });
        (format!("model.layers.0.{name}"), a.collect(), b.collect(), 1)
    };
    adapter(&path, &LAYERS.iter().map(module).collect::<Vec<_>>());
    let mut types = BTreeSet::new();
    for case in ["gguf-mixed-K", "gguf-q4_k_m-K"] {
        let (out, plain) = (scratch.join(&format!("{case}.gguf")), scratch.join(&format!("{case}-f32.gguf")));
        let quality =
            quality(&merge(&base(case), &[&path], &out, &["--to", "same", "--verify", "full", "--json"]));
        done(&merge(&base(case), &[&path], &plain, &["--to", "gguf-f32"]));
        let (before, is, sums) = (tensors(&base(case)), tensors(&out), tensors(&plain));
        let zero = scratch.join(&format!("{case}-before.gguf"));
        done(&quantize(&base(case), "gguf-f32", &zero, &[]));
        let zero = tensors(&zero);
        assert_eq!(before.keys().collect::<Vec<_>>(), is.keys().collect::<Vec<_>>());
        for (_, leaf, ..) in LAYERS {
            let name = format!("blk.0.{leaf}.weight");
            let dtype = &is[&name].0;
            assert_eq!(dtype, &before[&name].0);
            let (_, bytes, values) = *BLOCKS.iter().find(|(known, ..)| known == dtype).unwrap();
            let anew = scratch.join(&format!("{case}-{dtype}.gguf"));
            if !anew.exists() {
                done(&quantize(&plain, &dtype.to_lowercase(), &anew, &["--also", "*"]));
            }
            let anew = &tensors(&anew)[&name];
            assert_eq!(&anew.0, dtype);
            let (mut changed, mut all) = (0u64, 0u64);
            let blocks =
                is[&name].2.chunks(bytes).zip(before[&name].2.chunks(bytes)).zip(anew.2.chunks(bytes));
            let values = sums[&name].2.chunks(4 * values).zip(zero[&name].2.chunks(4 * values));
            for (((is, before), anew), (sum, zero)) in blocks.zip(values) {
                all += 1;
                changed += u64::from(is != before);
                // In numbers: what was -0 and is 0 has not changed.
                assert_eq!(is, if floats(sum) == floats(zero) { before } else { anew }, "{case}: {name}");
            }
            let told =
                quality.iter().find(|row| row["layer"] == name.strip_suffix(".weight").unwrap()).unwrap();
            assert_eq!(told["blocks"].as_u64(), Some(all), "{told}");
            assert_eq!(told["blocks_changed"].as_u64(), Some(changed), "{told}");
            assert!(told.get("keeps_grid").is_none() && told.get("codes_changed").is_none(), "{told}");
            assert!(changed > 0 && changed < all / 3, "{case}: {name}: {changed} of {all}");
            types.insert(dtype.clone());
        }
        for (name, tensor) in
            before.iter().filter(|(name, _)| !name.contains("attn_") && !name.contains("ffn_"))
        {
            assert_eq!(is.get(name), Some(tensor), "{case}: {name} was touched");
        }
        assert!(metadata(&out) == metadata(&base(case)));
    }
    assert_eq!(types.len(), 8, "{types:?}");
}

/// One pass writes what a merge to F32 and then a conversion write, where no tensor is of the type already.
#[test]
fn one_pass_writes_what_two_write() {
    let scratch = Scratch::new("gguf-two-passes");
    let (path, plain) = (scratch.join("adapter"), scratch.join("plain.gguf"));
    full(&path, 0.05);
    done(&merge(&base("gguf-mixed-K"), &[&path], &plain, &["--to", "gguf-f32"]));
    for to in ["q8_0", "q4_k", "iq4_xs", "mxfp4", "gguf-f16"] {
        let (one, two) = (scratch.join(&format!("{to}-one.gguf")), scratch.join(&format!("{to}-two.gguf")));
        done(&merge(
            &base("gguf-mixed-K"),
            &[&path],
            &one,
            &["--to", to, "--threads", "1", "--slot-size", "3000"],
        ));
        done(&quantize(&plain, to, &two, &[]));
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap(), "{to}");
    }
    // What is of the type already, or is left out, is packed again as it is.
    let (out, same) = (scratch.join("out.gguf"), scratch.join("same.gguf"));
    done(&merge(&base("gguf-mixed-K"), &[&path], &same, &["--to", "same"]));
    let told = done(&merge(
        &base("gguf-mixed-K"),
        &[&path],
        &out,
        &["--to", "q6_k", "--skip", "blk.0.attn_*", "--verify", "full"],
    ));
    assert!(told.contains("7 of 7 modules merged"), "{told}");
    let (is, same) = (tensors(&out), tensors(&same));
    for leaf in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_down"] {
        let name = format!("blk.0.{leaf}.weight");
        assert_eq!(is[&name], same[&name], "{name}");
    }
    assert_eq!(is["blk.0.ffn_gate.weight"].0, "Q6_K");
}

#[test]
fn an_adapter_that_changes_nothing_leaves_every_byte() {
    let scratch = Scratch::new("gguf-zero");
    let (path, out) = (scratch.join("adapter"), scratch.join("out.gguf"));
    full(&path, 0.0);
    let output = merge(&base("gguf-mixed-K"), &[&path], &out, &["--to", "same", "--verify", "full"]);
    let told = done(&output);
    assert!(told.contains("the adapters change nothing") && told.contains(" 0 of "), "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("7 of 7 modules change nothing"));
    assert!(tensors(&out) == tensors(&base("gguf-mixed-K")));
    assert!(metadata(&out) == metadata(&base("gguf-mixed-K")));
}

/// Most of a small delta is rounded away: that is said, with what would keep it.
#[test]
fn a_delta_that_is_rounded_away_is_told() {
    let scratch = Scratch::new("gguf-survival");
    let (path, out) = (scratch.join("adapter"), scratch.join("out.gguf"));
    let module = |(name, _, inputs, outputs): &(&str, &str, usize, usize)| {
        let small = |seed, count| noise(seed, count).iter().map(|value| value * 1e-3).collect();
        (format!("model.layers.0.{name}"), small(1, *inputs), small(2, *outputs), 1)
    };
    // Q5_0, Q5_1 and Q4_1, whose scales stay what they are when little changes.
    adapter(&path, &LAYERS[..3].iter().map(module).collect::<Vec<_>>());
    let output = merge(&base("gguf-mixed-K"), &[&path], &out, &["--to", "same"]);
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(done(&output).contains("of the adapters' change is left"));
    assert!(warned.contains("most of the adapter is rounded away"), "{warned}");
    let text = done(&merge(&base("gguf-mixed-K"), &[&path], &out, &["--to", "q8_0", "--candidates"]));
    assert!(text.contains("q8_0") && text.contains("q4_k"), "{text}");
}

/// Parts of a split model become one file; a folder gets it with a note, and a plan that is saved writes the same.
#[test]
fn parts_become_one_file_and_a_plan_can_be_saved() {
    let scratch = Scratch::new("gguf-merge-parts");
    let (input, path, out) = (scratch.join("in"), scratch.join("adapter"), scratch.join("out"));
    let first = in_parts(&input);
    adapter(&path, &[("lm_head".into(), noise(1, 256), noise(2, 8), 1)]);
    // These parts name no blocks: nothing of transformers' can be found.
    let words = refused(&merge(&input, &[&path], &out, &["--to", "same"]));
    assert!(words.contains("head_count"), "{words}");
    fs::remove_dir_all(&path).unwrap();
    let llama = scratch.join("adapter.gguf");
    let file = GgufFile::new("llama").raw("general.type", 8, &[&7u64.to_le_bytes()[..], b"adapter"].concat());
    let file = file.raw("adapter.type", 8, &[&4u64.to_le_bytes()[..], b"lora"].concat());
    let file = file.raw("adapter.lora.alpha", 6, &1f32.to_le_bytes());
    let file = file.bytes_of("output.weight.lora_a", &[1, 256], 0, &bytes(&noise(1, 256)));
    put(&llama, &file.bytes_of("output.weight.lora_b", &[8, 1], 0, &bytes(&noise(2, 8))).bytes());
    done(&merge(&input, &[&llama], &out, &["--to", "same", "--verify", "full"]));
    let made = out.join("m-f16.gguf");
    let mut kept = metadata(&first);
    kept.retain(|(key, _)| !key.starts_with("split."));
    assert!(metadata(&made) == kept);
    let changed: Vec<String> = differing(&tensors(&made), &tensors(&first));
    assert_eq!(tensors(&made).len(), 3);
    assert!(!changed.contains(&"token_embd.weight".to_owned()), "{changed:?}");
    let (plan, one, two) = (scratch.join("plan.json"), scratch.join("one.gguf"), scratch.join("two.gguf"));
    done(&merge(&input, &[&llama], &one, &["--to", "q8_0"]));
    done(&merge(&input, &[&llama], &two, &["--to", "q8_0", "--plan", plan.to_str().unwrap()]));
    assert!(!two.exists());
    done(&Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("run").arg(&plan).output().unwrap());
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
}

fn differing(is: &Tensors, before: &Tensors) -> Vec<String> {
    is.iter()
        .filter(|(name, tensor)| before.get(*name) != Some(tensor))
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn a_folder_gets_a_note_of_what_was_merged() {
    let scratch = Scratch::new("gguf-merge-card");
    let (path, out) = (scratch.join("adapter"), scratch.join("out"));
    full(&path, 0.05);
    done(&merge(&base("gguf-q4_k_m-K"), &[&path], &out, &["--to", "same"]));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    for words in ["/adapter |", "`--to same`", "7 layers", "blocks changed"] {
        assert!(card.contains(words), "{words}: {card}");
    }
    assert_eq!(tensors(&out.join("model.gguf")).len(), 12);
    let text =
        done(&merge(&base("gguf-q4_k_m-K"), &[&path], &scratch.join("no"), &["--to", "q8_0", "--dry-run"]));
    assert!(text.contains("7 of 7") && text.contains("change left"), "{text}");
}

#[test]
fn a_merge_that_is_killed_is_no_obstacle() {
    let scratch = Scratch::new("gguf-merge-killed");
    let (input, path) = (scratch.join("in.gguf"), scratch.join("adapter.gguf"));
    let name = "blk.0.ffn_up.weight";
    put(&input, &GgufFile::new("llama").tensor(name, &[4096, 512]).bytes());
    let file = GgufFile::new("llama").raw("general.type", 8, &[&7u64.to_le_bytes()[..], b"adapter"].concat());
    let file = file.raw("adapter.lora.alpha", 6, &1f32.to_le_bytes());
    let file = file.bytes_of(&format!("{name}.lora_a"), &[1, 512], 0, &bytes(&noise(1, 512)));
    put(&path, &file.bytes_of(&format!("{name}.lora_b"), &[4096, 1], 0, &bytes(&noise(2, 4096))).bytes());
    let (output, partial) = (scratch.join("out.gguf"), scratch.join(".out.gguf.ckpt-partial"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command
        .args(["merge", "--to", "q4_k", "--slot-size", "64KiB", "-o"])
        .arg(&output)
        .arg(&input)
        .arg("-a")
        .arg(&path);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    while !partial.exists() {
        assert!(since.elapsed() < Duration::from_mins(1), "it never began");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!output.exists() && partial.exists());
    done(&merge(&input, &[&path], &output, &["--to", "q4_k", "--verify", "none"]));
    let plain = scratch.join("plain.gguf");
    done(&merge(&input, &[&path], &plain, &["--to", "gguf-f32"]));
    let two = scratch.join("two.gguf");
    done(&quantize(&plain, "q4_k", &two, &[]));
    assert!(!partial.exists() && tensors(&output) == tensors(&two));
}

/// The form offers what a GGUF can stay or become, with the plan of it and the command that does the same.
#[test]
fn the_form_of_a_merge_offers_the_types_of_gguf() {
    let mut robot = Robot::attach_to("samples/gguf-merge-llama/base", "samples/gguf-merge-llama/adapter");
    robot.press("m tab");
    let screen = robot.draw(LARGE);
    assert!(screen.contains("7 of 7 aligned") && screen.contains("names"), "{screen}");
    let mut seen = Vec::new();
    for _ in 0..8 {
        let command = robot.press("right").app.form().unwrap().command().join(" ");
        let to = command.split_once("--to ").unwrap().1.split(' ').next().unwrap().to_owned();
        let screen = robot.draw(LARGE);
        assert!(screen.contains("7 of 7 aligned") && screen.contains(" merge "), "{to}: {screen}");
        assert!(!screen.contains("names "), "{screen}");
        seen.push(to);
    }
    assert_eq!(seen, ["same", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0", "q3_k", "q2_k"]);
}

/// Deltas of several adapters are summed whatever names they have; factors only if they are for the same rows.
#[test]
fn several_adapters_are_combined_where_their_rows_lie_alike() {
    let scratch = Scratch::new("gguf-several");
    let (peft, other, llama) = (scratch.join("peft"), scratch.join("other"), scratch.join("adapter.gguf"));
    full(&peft, 0.05);
    full(&other, 0.02);
    native(&llama, 0.02);
    let run = |out: &str, adapters: &[&Path], combine: &str| {
        let flags = ["--to", "gguf-f32", "--combine", combine];
        merge(&base("gguf-mixed-K"), adapters, &scratch.join(out), &flags)
    };
    for combine in ["sequential", "cat", "linear"] {
        done(&run(&format!("{combine}.gguf"), &[&peft, &other], combine));
    }
    let of = |name: &str| tensors(&scratch.join(name));
    assert!(of("linear.gguf") != of("cat.gguf"));
    done(&run("mixed.gguf", &[&peft, &llama], "sequential"));
    assert!(of("mixed.gguf") == of("sequential.gguf"));
    let words = refused(&run("no.gguf", &[&peft, &llama], "linear"));
    assert!(words.contains("attn_q") && words.contains("different orders"), "{words}");
}
