//! Conversion, with the real binary: values by the reference's hashes whatever the threads and slots, folders
//! that load, refusals that write nothing, and kills at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::decode::{golden, hash};
use crate::sample;

/// A folder that is removed when the test ends.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ckpt-convert-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn put(path: &Path, bytes: &[u8]) {
    fs::File::create_new(path).unwrap().write_all(bytes).unwrap();
}

pub(crate) fn convert(input: &Path, output: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["convert", "--to", "dense", "-o"])
        .arg(output)
        .arg(input)
        .args(more)
        .output()
        .unwrap()
}

pub(crate) fn done(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The tensors of a folder: dtype, shape and bytes by name.
pub(crate) fn tensors(folder: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            let bytes = fs::read(&path).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            for (name, view) in file.tensors() {
                let value = (format!("{:?}", view.dtype()), view.shape().to_vec(), view.data().to_vec());
                assert!(found.insert(name.clone(), value).is_none(), "{name} twice");
            }
        }
    }
    found
}

/// All files of a folder with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// Cases whose golden is the result in the format's own dtype, which `auto` gives; how many tensors it has.
const CASES: [(&str, usize); 16] = [
    ("bnb-nf4-A", 14),
    ("bnb-nf4-dq-A", 14),
    ("bnb-fp4-A", 14),
    ("bnb-nf4-f16-B", 14),
    ("bnb-int8-B", 14),
    ("gptq-w4-g128-sym-v1-A", 14),
    ("gptq-w3-g32-asym-act-v1-A", 7),
    ("gptq-dynamic-mixed-bits", 14),
    ("gptq-w4-sharded", 14),
    ("awq-gemm-g64-skip-A", 6),
    ("awq-gemv-g64-A", 7),
    ("ct-w4a16-asym-g128-A", 7),
    ("ct-w3a16-A", 7),
    ("ct-fp8-block-A", 7),
    ("ct-nvfp4a16-A", 7),
    ("story-0-minicpmv-awq", 14),
];

#[test]
fn values_are_the_references_whatever_the_threads_and_slots() {
    let scratch = Scratch::new("golden");
    for (case, count) in CASES {
        let input = sample(case).join("model");
        let mut first: Option<BTreeMap<String, Vec<u8>>> = None;
        for (run, flags) in [
            vec!["--threads", "1"],
            vec!["--threads", "5"],
            vec!["--threads", "3", "--slot-size", "700"],
            vec!["--slot-size", "64MiB", "--verify", "full"],
        ]
        .into_iter()
        .enumerate()
        {
            let out = scratch.join(&format!("{case}-{run}"));
            done(&convert(&input, &out, &flags));
            let written = files(&out);
            if let Some(first) = &first {
                assert_eq!(&written, first, "{case}: two runs differ");
                continue;
            }
            let source = tensors(&input);
            let result = tensors(&out);
            let want = golden(case, "dequant_native");
            assert_eq!(want.len(), count, "{case}");
            for (name, hashed) in &want {
                assert_eq!(&hash(&result[name].2), hashed, "{case} {name}");
            }
            for (name, tensor) in result.iter().filter(|(name, _)| !want.contains_key(*name)) {
                assert_eq!(Some(tensor), source.get(name), "{case} {name} is not as it was");
            }
            first = Some(written);
        }
    }
}

#[test]
fn the_folder_is_complete_and_plain() {
    let scratch = Scratch::new("folder");
    let input = sample("bnb-nf4-A").join("model");
    let out = scratch.join("out");
    done(&convert(&input, &out, &["--max-shard-size", "100KB"]));
    let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert!(!config.to_string().contains("quant"), "{config}");
    assert_eq!(config["dtype"], "bfloat16");
    let index: Value =
        serde_json::from_slice(&fs::read(out.join("model.safetensors.index.json")).unwrap()).unwrap();
    let written = tensors(&out);
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!(map.len(), written.len());
    let total: usize = written.values().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(index["metadata"]["total_size"], total);
    for (name, file) in map {
        let bytes = fs::read(out.join(file.as_str().unwrap())).unwrap();
        assert!(SafeTensors::deserialize(&bytes).unwrap().tensor(name).is_ok(), "{name} is not in {file}");
        assert!(bytes.len() < 200_000, "{file} has {} bytes", bytes.len());
    }
    let verify =
        Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("verify").arg("--deep").arg(&out).output().unwrap();
    done(&verify);
    assert!(out.join("generation_config.json").exists());
    let partial = fs::read_dir(&scratch.0).unwrap().count();
    assert_eq!(partial, 1, "something is left beside the output");
}

#[test]
fn other_files_go_over_and_those_of_the_old_format_do_not() {
    let scratch = Scratch::new("others");
    let input = scratch.join("input");
    fs::create_dir_all(input.join("pooling/deep")).unwrap();
    fs::create_dir_all(input.join(".git")).unwrap();
    for entry in fs::read_dir(sample("bnb-nf4-A").join("model")).unwrap() {
        let path = entry.unwrap().path();
        put(&input.join(path.file_name().unwrap()), &fs::read(&path).unwrap());
    }
    let others =
        ["tokenizer.json", "chat_template.jinja", "modeling.py", "pooling/config.json", "pooling/deep/a.txt"];
    for name in others {
        put(&input.join(name), name.as_bytes());
    }
    for name in ["quantize_config.json", "optimizer.pt", "consolidated.safetensors", ".git/HEAD"] {
        put(&input.join(name), b"{}");
    }
    let out = scratch.join("out");
    let ran = convert(&input, &out, &[]);
    done(&ran);
    for name in others {
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), name);
    }
    for gone in ["quantize_config.json", "consolidated.safetensors", "optimizer.pt", ".git"] {
        assert!(!out.join(gone).exists(), "{gone}");
    }
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    for word in ["consolidated.safetensors", "optimizer.pt"] {
        assert!(told.contains(word), "{word} left out without a word: {told}");
    }
}

#[test]
fn an_explicit_dtype_rounds_every_floating_tensor() {
    let scratch = Scratch::new("dtype");
    let input = sample("bnb-nf4-A").join("model");
    let out = scratch.join("out");
    let ran = convert(&input, &out, &["--dtype", "f32"]);
    done(&ran);
    assert!(tensors(&out).values().all(|(dtype, ..)| dtype == "F32"));
    let ran = convert(&input, &scratch.join("half"), &["--dtype", "f16"]);
    done(&ran);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(told.contains("rounded twice: to BF16"), "{told}");
    let config: Value =
        serde_json::from_slice(&fs::read(scratch.join("half").join("config.json")).unwrap()).unwrap();
    assert_eq!(config["dtype"], "float16");
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let scratch = Scratch::new("refused");
    let input = sample("bnb-nf4-A").join("model");
    let refused = |input: &Path, output: &Path, more: &[&str], words: &str| {
        let ran = convert(input, output, more);
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{told}");
        assert!(told.contains(words), "{told}");
    };
    let out = scratch.join("out");
    refused(&input, &input.join("inside"), &[], "inside the input");
    refused(&input, &input, &[], "inside the input");
    refused(&input, &input, &["--force"], "inside the input");
    let link = scratch.join("link");
    std::os::unix::fs::symlink(&input, &link).unwrap();
    refused(&input, &link.join("x"), &[], "inside the input");
    refused(&input, &scratch.join("no/such/parent"), &[], "no/such");
    refused(&input, &out, &["--only", "nothing*"], "leave none of the");
    refused(&sample("layout-exl3").join("model"), &out, &[], "cannot be decoded");
    let kept = scratch.join("kept");
    fs::create_dir(&kept).unwrap();
    put(&kept.join("thesis.txt"), b"years of work");
    refused(&input, &kept, &[], "is there already");
    refused(&input, &kept, &["--force"], "holds no checkpoint");
    assert_eq!(fs::read_to_string(kept.join("thesis.txt")).unwrap(), "years of work");
    assert!(!out.exists());
    done(&convert(&input, &out, &[]));
    refused(&input, &out, &[], "is there already");
    done(&convert(&input, &out, &["--force", "--dtype", "f32"]));
    assert!(tensors(&out).values().all(|(dtype, ..)| dtype == "F32"), "not replaced");
}

#[test]
fn broken_layers_stop_the_plan_by_name_or_are_skipped() {
    let scratch = Scratch::new("broken");
    let folder = sample("bad-quantized").join("bnb-missing-absmax");
    let out = scratch.join("out");
    let ran = convert(&folder, &out, &[]);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("missing absmax") && !out.exists(), "{told}");
    let ran = convert(&folder, &out, &["--skip-broken"]);
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(3), "{told}");
    assert!(told.contains("skipped"), "{told}");
    let (source, result) = (tensors(&folder), tensors(&out));
    let same = result.iter().filter(|(name, tensor)| source.get(*name) == Some(tensor)).count();
    assert!(same > 0, "nothing was copied as it is");
}

#[test]
fn events_are_lines_of_json_and_a_dry_run_writes_nothing() {
    let scratch = Scratch::new("events");
    let input = sample("bnb-nf4-A").join("model");
    let out = scratch.join("out");
    let lines = |more: &[&str]| -> Vec<Value> {
        let text = done(&convert(&input, &out, more));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let plan = lines(&["--json", "--dry-run"]);
    assert_eq!(plan[0]["event"], "plan");
    assert_eq!(plan[0]["fits"], true);
    let steps = plan[0]["steps"].as_array().unwrap();
    assert_eq!(steps.iter().filter(|step| step["action"] == "dequantize").count(), 14);
    assert!(!out.exists());
    let events = lines(&["--json"]);
    let result = events.last().unwrap();
    assert_eq!((&result["event"], &result["verified"]), (&Value::from("result"), &Value::from(true)));
    assert_eq!(result["layers"]["dequantized"], 14);
    assert_eq!(result["bytes_written"], plan[0]["bytes_written"]);
}

/// A checkpoint of some megabytes in several tensors, so that a kill can fall anywhere.
fn large(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let each = 4 << 20;
    let entry = |at: usize| {
        format!(
            "\"w{at}.weight\":{{\"dtype\":\"BF16\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
            each / 2,
            at * each,
            (at + 1) * each
        )
    };
    let header = format!("{{{}}}", (0..6).map(entry).collect::<Vec<_>>().join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend((0..6 * each).map(|at| (at / 3 % 64) as u8));
    put(&folder.join("model.safetensors"), &file);
    put(&folder.join("config.json"), b"{}");
}

fn started(input: &Path, output: &Path, more: &[&str]) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["convert", "--to", "dense", "--dtype", "f32", "-o"])
        .arg(output)
        .arg(input)
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_that_looks_done() {
    let scratch = Scratch::new("kill");
    let input = scratch.join("input");
    large(&input);
    let out = scratch.join("out");
    let (mut killed, mut finished) = (0, 0);
    for round in 0..20u64 {
        let mut child = started(&input, &out, &[]);
        // Spread over the time that a run takes, the later the denser.
        std::thread::sleep(Duration::from_millis(round * round));
        let _ = child.kill();
        let status = child.wait().unwrap();
        if out.exists() {
            // It appeared: then it is whole.
            assert_eq!(tensors(&out).values().map(|(.., bytes)| bytes.len()).sum::<usize>(), 48 << 20);
            fs::remove_dir_all(&out).unwrap();
            finished += 1;
        }
        killed += usize::from(!status.success());
    }
    println!("{killed} killed, {finished} finished");
    assert!(killed > 3, "only {killed} were killed before they were done");
    // What the killed runs left is no obstacle.
    let ran = convert(&input, &out, &["--dtype", "f32"]);
    done(&ran);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2, "something is left beside the output");
}

#[test]
fn an_interrupt_ends_cleanly() {
    let scratch = Scratch::new("interrupt");
    let input = scratch.join("input");
    large(&input);
    let out = scratch.join("out");
    let mut child = started(&input, &out, &["--slot-size", "1000"]);
    while !scratch.join(".out.ckpt-partial").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "something is left");
}

/// Files of tensors, each of one tensor.
const SMALL_FILES: [&str; 4] = ["--max-shard-size", "8MB", "--slot-size", "100KB"];

/// Waits until a run has finished at least one file, and ends it.
fn ended_midway(input: &Path, scratch: &Scratch, end: impl Fn(&mut std::process::Child)) {
    let journal = scratch.join(".out.ckpt-partial/.journal");
    let mut child = started(input, &scratch.join("out"), &SMALL_FILES);
    loop {
        let lines = fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
        if lines > 1 {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "done before it could be ended");
    }
    end(&mut child);
    child.wait().unwrap();
    assert!(!scratch.join("out").exists());
}

#[test]
fn a_run_that_was_ended_is_continued() {
    let scratch = Scratch::new("resume");
    let input = scratch.join("input");
    large(&input);
    let out = scratch.join("out");
    let flags = |more: &[&'static str]| [&["--dtype", "f32"], &SMALL_FILES[..], more].concat();
    done(&convert(&input, &scratch.join("undisturbed"), &flags(&[])));
    let told = |ran: &Output| String::from_utf8_lossy(&ran.stderr).into_owned();

    ended_midway(&input, &scratch, |child| child.kill().unwrap());
    let ran = convert(&input, &out, &flags(&["--resume"]));
    done(&ran);
    assert!(told(&ran).contains("continued: "), "{}", told(&ran));
    assert!(files(&out) == files(&scratch.join("undisturbed")), "not as if undisturbed");

    let ran = convert(&input, &out, &flags(&["--resume"]));
    done(&ran);
    assert!(told(&ran).contains("nothing to resume"), "{}", told(&ran));
    let ran = convert(&input, &out, &["--resume", "--dtype", "bf16"]);
    assert_eq!(ran.status.code(), Some(2), "another plan's output was taken for complete");

    fs::remove_dir_all(&out).unwrap();
    ended_midway(&input, &scratch, |child| {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    });
    assert!(scratch.join(".out.ckpt-partial").exists(), "what was done is gone");
    let ran = convert(&input, &out, &flags(&[]));
    done(&ran);
    assert!(told(&ran).contains("unfinished was removed"), "{}", told(&ran));

    fs::remove_dir_all(&out).unwrap();
    ended_midway(&input, &scratch, |child| child.kill().unwrap());
    let file = fs::OpenOptions::new().write(true).open(input.join("model.safetensors")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let ran = convert(&input, &out, &flags(&["--resume"]));
    done(&ran);
    assert!(told(&ran).contains("of other inputs or another plan"), "{}", told(&ran));
    assert!(files(&out) == files(&scratch.join("undisturbed")));
}

#[test]
fn an_input_that_shrinks_meanwhile_ends_in_words() {
    let scratch = Scratch::new("shrink");
    let input = scratch.join("input");
    large(&input);
    let out = scratch.join("out");
    let file = fs::OpenOptions::new().write(true).open(input.join("model.safetensors")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["convert", "--to", "dense", "--dtype", "f32", "--slot-size", "1000", "-o"])
        .arg(&out)
        .arg(&input)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !scratch.join(".out.ckpt-partial").exists() {
        assert!(child.try_wait().unwrap().is_none());
    }
    file.set_len(1 << 20).unwrap();
    let ran = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("model.safetensors"), "{told}");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "something is left");
}

#[test]
fn a_saved_plan_is_replayed_on_the_same_inputs_only() {
    let scratch = Scratch::new("plan");
    let input = scratch.join("input");
    fs::create_dir(&input).unwrap();
    for name in ["config.json", "model.safetensors"] {
        put(&input.join(name), &fs::read(sample("bnb-nf4-A").join("model").join(name)).unwrap());
    }
    let (out, plan) = (scratch.join("out"), scratch.join("plan.json"));
    done(&convert(&input, &out, &["--dtype", "f32", "--plan", plan.to_str().unwrap()]));
    assert!(!out.exists());
    let replay = || Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("run").arg(&plan).output().unwrap();
    done(&replay());
    done(&convert(&input, &scratch.join("direct"), &["--dtype", "f32"]));
    assert!(files(&out) == files(&scratch.join("direct")));
    fs::remove_dir_all(&out).unwrap();
    fs::remove_file(input.join("model.safetensors")).unwrap();
    put(
        &input.join("model.safetensors"),
        &fs::read(sample("bnb-nf4-dq-A").join("model/model.safetensors")).unwrap(),
    );
    let ran = replay();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("no longer what was planned") && !out.exists(), "{told}");
}

#[test]
fn a_disk_that_takes_no_more_ends_in_words() {
    let scratch = Scratch::new("full");
    let input = scratch.join("input");
    large(&input);
    let out = scratch.join("out");
    // A limit on the size of files stands for a full disk: the write fails half-way. In blocks of 512 bytes.
    let script = "trap '' XFSZ; ulimit -f 20000; exec \"$0\" convert --to dense --dtype f32 -o \"$1\" \"$2\"";
    let ran = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_ckpt")])
        .args([&out, &input])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("write") && told.contains("model.safetensors"), "{told}");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "something is left");
}

#[test]
fn a_gguf_keeps_its_names_and_its_values() {
    let scratch = Scratch::new("gguf");
    for case in ["gguf-q4_k_m-K", "gguf-mixed-K"] {
        let out = scratch.join(case);
        done(&convert(&sample(case).join("model.gguf"), &out, &["--dtype", "f32"]));
        let result = tensors(&out);
        let want = golden(case, "dequant_f32");
        assert_eq!(result.len(), want.len(), "{case}");
        for (name, hashed) in want {
            assert_eq!(hash(&result[&name].2), hashed, "{case} {name}");
        }
    }
}

#[test]
fn a_rotated_basis_is_refused() {
    let scratch = Scratch::new("rotated");
    let input = scratch.join("input");
    fs::create_dir(&input).unwrap();
    let source = sample("ct-w4a16-sym-g128-A").join("model");
    put(&input.join("model.safetensors"), &fs::read(source.join("model.safetensors")).unwrap());
    let mut config: Value = serde_json::from_slice(&fs::read(source.join("config.json")).unwrap()).unwrap();
    config["quantization_config"]["transform_config"] =
        serde_json::json!({"config_groups": {"R4": {"type": "hadamard", "apply": [{"location": "input"}]}}});
    put(&input.join("config.json"), config.to_string().as_bytes());
    let ran = convert(&input, &scratch.join("out"), &[]);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("quantization_config.transform_config names rotations"), "{told}");
}

#[test]
fn every_bad_layer_stops_the_plan_or_is_told_with_its_numbers() {
    let scratch = Scratch::new("bad");
    let stops = [
        ("bnb-blocksize-zero", "blocksize is 0"),
        ("bnb-missing-absmax", "missing absmax"),
        ("bnb-missing-quant-state", "missing quant state"),
        ("bnb-quant-state-not-json", "not JSON"),
        ("bnb-quant-state-wrong-shape", "needs 8388608 packed bytes, weight has 8192"),
        ("bnb-short-absmax", "absmax has 253 values, 256 are needed"),
        ("gptq-gidx-out-of-range", "1 of 128 entries lie outside the 4 groups (999 at input 5)"),
        ("gptq-missing-scales", "missing scales"),
        ("gptq-qzeros-wrong-shape", "qzeros is [4, 15], 4 groups of 128 outputs in 4 bits need [4, 16]"),
    ];
    for (case, words) in stops {
        let ran = convert(&sample("bad-quantized").join(case), &scratch.join(case), &[]);
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{case}: {told}");
        for word in [words, "model.safetensors", "model.layers.0.self_attn.q_proj"] {
            assert!(told.contains(word), "{case}: {told}");
        }
        assert!(!scratch.join(case).exists(), "{case}");
    }
    let told_of = [
        ("gptq-inf-scale", "scales: 1 of 512 are infinite"),
        ("gptq-nan-scale", "scales: 2 of 512 are NaN"),
        ("gptq-wrong-bits-in-config", "bits is 8, the tensors have 4"),
        ("gptq-wrong-group-in-config", "group_size is 128, the tensors have 32"),
        ("gptq-unknown-method", "frobnicate"),
    ];
    for (case, words) in told_of {
        let ran = convert(&sample("bad-quantized").join(case), &scratch.join(case), &[]);
        done(&ran);
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(told.contains(words), "{case}: {told}");
    }
}

#[test]
fn a_damaged_file_or_folder_is_refused_or_loses_nothing() {
    let scratch = Scratch::new("damaged");
    let mut paths = Vec::new();
    for (folder, is_files) in [("bad-safetensors/files", true), ("bad-folders", false)] {
        for entry in fs::read_dir(sample(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() || is_files {
                paths.push(path);
            }
        }
    }
    assert!(paths.len() > 20, "only {} found", paths.len());
    let mut refused = 0;
    for (number, path) in paths.iter().enumerate() {
        let out = scratch.join(&number.to_string());
        let ran = convert(path, &out, &[]);
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        match ran.status.code() {
            Some(0) => {
                assert!(!tensors(&out).is_empty(), "{}: an empty result", path.display());
            }
            Some(2) => {
                refused += 1;
                assert!(!out.exists() && told.starts_with("ckpt: "), "{}: {told}", path.display());
            }
            other => panic!("{}: {other:?} {told}", path.display()),
        }
    }
    assert!(refused > 5, "only {refused} refused");
}

#[test]
fn a_single_file_is_converted_beside_itself() {
    let scratch = Scratch::new("beside");
    put(&scratch.join("m.gguf"), &fs::read(sample("gguf-mixed-K").join("model.gguf")).unwrap());
    put(&scratch.join("diary.txt"), b"private");
    done(&convert(&scratch.join("m.gguf"), &scratch.join("out"), &[]));
    assert!(!scratch.join("out/diary.txt").exists(), "what only lies beside the file went along");
    let ran = convert(&scratch.join("m.gguf"), &scratch.join("m.gguf"), &["--force"]);
    assert_eq!(ran.status.code(), Some(2));
}
