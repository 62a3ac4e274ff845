//! Kernels as C++ under the address and undefined-behavior sanitizers: the real program on a simulator that is compiled with
//! both. Device memory there is as long as it was asked for, to the byte.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use libtest_mimic::Trial;

use super::samples::Scratch;
use super::{sim, trial};

/// Samples, and what they become: decoders and encoders of each family.
const RUNS: [(&str, &[&str]); 24] = [
    ("bnb-nf4-A/model", &["--to", "dense"]),
    ("bnb-int8-A/model", &["--to", "dense"]),
    ("gptq-w4-g128-sym-v1-A/model", &["--to", "dense"]),
    ("gptq-w3-g32-asym-act-v1-A/model", &["--to", "dense"]),
    ("awq-gemm-g128-A/model", &["--to", "dense", "--dtype", "f32"]),
    ("fp8-block-partial-B/model", &["--to", "dense"]),
    ("ct-w4a16-asym-g128-A/model", &["--to", "dense"]),
    ("ct-nvfp4a16-A/model", &["--to", "dense"]),
    ("hqq-mixed-A", &["--to", "dense"]),
    ("gguf-mixed-K/model.gguf", &["--to", "dense"]),
    ("base-B-bf16/model", &["--to", "bnb-nf4"]),
    ("base-B-bf16/model", &["--to", "gptq", "--group-size", "32"]),
    ("base-A-bf16/model", &["--to", "awq", "--group-size", "32"]),
    ("base-A-bf16/model", &["--to", "fp8"]),
    ("gguf-mixed-K/model.gguf", &["--to", "q5_1"]),
    ("gguf-mixed-K/model.gguf", &["--to", "q4_k_m"]),
    ("gguf-mixed-K/model.gguf", &["--to", "q3_k_m"]),
    ("gguf-mixed-K/model.gguf", &["--to", "iq4_xs"]),
    ("gguf-mixed-K/model.gguf", &["--to", "tq1_0"]),
    ("gguf-mixed-K/model.gguf", &["--to", "mxfp4"]),
    ("gguf-q4_k_m-K/model.gguf", &["--to", "dense", "--names", "hf"]),
    ("peft-lora-conv1d-gpt2/base", &["--to", "bnb-nf4"]),
    ("peft-lora-conv1d-gpt2/base", &["--to", "gptq", "--group-size", "32", "--search", "mse"]),
    ("peft-lora-conv1d-gpt2/base", &["--to", "gptq", "--group-size", "32", "--asym", "--search", "mse"]),
];

/// Samples whose merged layers are packed as they are stored, on their own scales and on new ones; and the exit code, which
/// is 3 where the sample has fewer layers than the adapter.
const SAME: [(&str, i32); 4] = [
    ("gptq-w4-g128-sym-v1-A/model", 0),
    ("awq-gemm-g128-A/model", 0),
    ("ct-w3a16-A/model", 3),
    ("ct-nvfp4a16-A/model", 3),
];

/// Returns the library of the address sanitizer, if the compiler has it: it has to be loaded before the program.
fn library() -> Option<PathBuf> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let said = Command::new(compiler).arg("-print-file-name=libasan.so").output().ok()?;
    let path = PathBuf::from(String::from_utf8(said.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}

/// Compiles the simulator with both sanitizers, once.
fn simulator() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let simulator = PathBuf::from(std::env::var_os(super::SIMULATOR).unwrap());
        let folder = simulator.join("sanitized");
        let flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"];
        sim::build_of_cpp(&folder, &simulator, &flags).unwrap();
        folder
    })
}

fn run(sample: &str, more: &[&str], settings: &[(&str, &str)]) -> Output {
    let name = format!("sanitized-{}-{}", sample.replace('/', "-"), more[1..].concat());
    let scratch = Scratch::new(&name);
    start("convert", &self::sample(sample), &scratch.join("out"), more, settings)
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

fn start(command: &str, input: &Path, output: &Path, more: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .arg(command)
        .arg(input)
        .arg("-o")
        .arg(output)
        .args(["--device", "cuda:0", "--verify", "none", "--slot-size", "64KiB"])
        .args(more)
        .env("LD_LIBRARY_PATH", simulator())
        .env("LD_PRELOAD", library().unwrap())
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .envs(settings.iter().map(|(name, value)| (format!("SIM_CUDA_{name}"), value)))
        .output()
        .unwrap()
}

fn clean(sample: &str, more: &[&str]) {
    check(&run(sample, more, &[]), 0);
}

/// A merge into a checkpoint that stays packed as it is.
fn same(base: &str, code: i32) {
    let scratch = Scratch::new("sanitized-same");
    let adapter = sample("peft-lora-all-A/adapter");
    let more = ["--adapter", adapter.to_str().unwrap(), "--to", "same", "--allow-partial"];
    check(&start("merge", &sample(base), &scratch.join("out"), &more, &[]), code);
}

/// A merge into blocks, of which those that do not change stay.
fn kept_blocks() {
    let scratch = Scratch::new("sanitized-kept");
    let [base, merged] = ["base.gguf", "merged.gguf"].map(|name| scratch.join(name));
    check(&start("convert", &sample("gguf-merge-llama/base/model.gguf"), &base, &["--to", "q8_0"], &[]), 0);
    let adapter = sample("gguf-merge-llama/adapter");
    let more = ["--adapter", adapter.to_str().unwrap(), "--to", "same"];
    check(&start("merge", &base, &merged, &more, &[]), 0);
}

/// Columns of packed weights that are turned back, plain and packed anew.
fn turned_back() {
    let scratch = Scratch::new("sanitized-turned");
    let [packed, plain, other] = ["packed", "plain", "other"].map(|name| scratch.join(name));
    check(&start("convert", &sample("peft-lora-conv1d-gpt2/base"), &packed, &["--to", "bnb-nf4"], &[]), 0);
    check(&start("convert", &packed, &plain, &["--to", "dense"], &[]), 0);
    check(&start("convert", &packed, &other, &["--to", "gptq", "--group-size", "32"], &[]), 0);
}

fn check(output: &Output, code: i32) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && !said.contains("Sanitizer"), "{said}");
    let done = String::from_utf8_lossy(&output.stdout);
    assert!(done.contains("computed on cuda:0"), "{done}");
}

/// The same with memory that is too short: the sanitizer has to see it, or it sees nothing.
fn short_memory_is_seen() {
    let output = run("bnb-nf4-A/model", &["--to", "dense"], &[("SHORT", "1")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("heap-buffer-overflow"), "{said}");
}

pub(crate) fn trials() -> Vec<Trial> {
    let is_there = library().is_some();
    let runs = RUNS.into_iter().map(|(sample, more)| {
        let name = format!("sanitized::{sample}::{}", more[1..].join(" "));
        trial(name, move || clean(sample, more))
    });
    let merged = SAME
        .into_iter()
        .map(|(base, code)| trial(format!("sanitized::{base}::same"), move || same(base, code)));
    let short = trial("sanitized::short_memory_is_seen", short_memory_is_seen);
    let kept = trial("sanitized::gguf-merge-llama::blocks stay", kept_blocks);
    let turned = trial("sanitized::peft-lora-conv1d-gpt2::turned back", turned_back);
    runs.chain(merged).chain([short, kept, turned]).map(|trial| trial.with_ignored_flag(!is_there)).collect()
}
