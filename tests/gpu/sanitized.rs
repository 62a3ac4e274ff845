//! Kernels under the address and undefined-behavior sanitizers: the real program on a simulator that is compiled with
//! both. Device memory there is as long as it was asked for, to the byte.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use libtest_mimic::Trial;

use super::samples::Scratch;
use super::{sim, trial};

/// Samples, and what they become: decoders and encoders of each family.
const RUNS: [(&str, &[&str]); 14] = [
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
        let folder = PathBuf::from(std::env::var_os(super::SIMULATOR).unwrap()).join("sanitized");
        let flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"];
        sim::build(&folder, &flags).unwrap();
        folder
    })
}

fn run(sample: &str, more: &[&str], settings: &[(&str, &str)]) -> Output {
    let name = format!("sanitized-{}-{}", sample.replace('/', "-"), more[1]);
    let scratch = Scratch::new(&name);
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(sample);
    Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .arg("convert")
        .arg(input)
        .arg("-o")
        .arg(scratch.join("out"))
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
    let output = run(sample, more, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Sanitizer"), "{said}");
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
        let name = format!("sanitized::{sample}::{}", more[1]);
        trial(name, move || clean(sample, more))
    });
    let short = trial("sanitized::short_memory_is_seen", short_memory_is_seen);
    runs.chain([short]).map(|trial| trial.with_ignored_flag(!is_there)).collect()
}
