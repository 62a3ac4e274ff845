//! The headless commands, by the real binary: output, exit codes, escaping.

use std::process::{Command, Output};

use serde_json::Value;

use crate::sample;

fn ckpt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(args)
        .env_remove("HF_HOME")
        .env("HF_HUB_CACHE", sample("no-such-cache"))
        .output()
        .unwrap()
}

fn path(sample_path: &str) -> String {
    sample(sample_path).display().to_string()
}

fn inspect(sample_path: &str) -> (Value, i32) {
    let output = ckpt(&["inspect", &path(sample_path), "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one line of JSON");
    (serde_json::from_str(&text).unwrap(), output.status.code().unwrap())
}

#[test]
fn inspect_prints_the_schema() {
    let (json, code) = inspect("gptq-w4-g128-sym-v1-A/model");
    assert_eq!(code, 0);
    for key in ["path", "kind", "container", "architecture", "parameters", "bytes", "bits_per_weight"] {
        assert!(!json[key].is_null(), "{key}");
    }
    let layers = json["layers"].as_array().unwrap();
    let q = layers.iter().find(|l| l["name"] == "model.layers.0.self_attn.q_proj").unwrap();
    assert_eq!(q["format"], "gptq");
    assert_eq!(q["shape"], serde_json::json!([128, 128]));
    assert_eq!((&q["bits"], &q["group_size"], &q["symmetric"]), (&4.into(), &128.into(), &true.into()));
    assert_eq!(q["act_order"], false);
    assert_eq!(q["variant"], "v1");
    assert_eq!(json["problems"], serde_json::json!([]));
    let tensors = json["tensors"].as_array().unwrap();
    assert!(tensors.iter().all(|t| t["offset"].is_u64() && t["file"] == "model.safetensors"));
}

#[test]
fn names_reach_no_terminal_unescaped() {
    for (file, escaped) in [("control-chars-name", "\\x1b[31mred\\x07"), ("rtl-name", "\\u202egnp")] {
        let path = path(&format!("bad-safetensors/files/{file}.safetensors"));
        let plain = ckpt(&["inspect", &path]);
        let text = String::from_utf8(plain.stdout).unwrap();
        assert!(text.contains(escaped), "{text}");
        let json = String::from_utf8(ckpt(&["inspect", &path, "--json"]).stdout).unwrap();
        for text in [text, json] {
            assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text:?}");
        }
    }
}

#[test]
fn exit_codes_tell_fine_from_faulty_from_impossible() {
    let code = |args: &[&str]| ckpt(args).status.code().unwrap();
    assert_eq!(code(&["verify", &path("base-A-bf16/model")]), 0);
    assert_eq!(code(&["verify", &path("base-A-bf16/model"), "--deep"]), 0);
    // Packed codes in a float dtype are no numbers: their bytes must not be taken for NaN.
    assert_eq!(code(&["verify", &path("bnb-nf4-dq-storagebf16-A/model"), "--deep"]), 0);
    assert_eq!(code(&["verify", &path("bad-quantized/gptq-nan-scale"), "--deep"]), 1);
    assert_eq!(code(&["verify", &path("bad-folders/missing-shard")]), 1);
    assert_eq!(code(&["inspect", &path("bad-folders/missing-shard")]), 0);
    assert_eq!(code(&["inspect", &path("bad-safetensors/files/html-page.safetensors")]), 2);
    assert_eq!(code(&["verify", &path("bad-safetensors/files/html-page.safetensors")]), 2);
    assert_eq!(code(&["inspect", &path("nothing-here")]), 2);
    assert_eq!(code(&["inspect", "Org/not-in-the-cache"]), 2);
    assert_eq!(code(&["inspect"]), 2);
    assert_eq!(code(&["doctor"]), 0);
    assert_eq!(code(&["--help"]), 0);
}

#[test]
fn an_error_with_json_is_an_event_that_names_the_file() {
    let output = ckpt(&["inspect", &path("nothing-here"), "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["event"], &json["kind"]), (&"error".into(), &"input".into()));
    assert!(json["message"].as_str().unwrap().contains("nothing-here"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nothing-here"));
}

/// All of them.
const SUBCOMMANDS: [&str; 15] = [
    "inspect",
    "verify",
    "diagnose",
    "explain",
    "align",
    "memory",
    "stats",
    "diff",
    "convert",
    "merge",
    "fix",
    "run",
    "doctor",
    "completions",
    "man",
];

#[test]
fn completions_and_man_page_name_every_command() {
    for args in [&["completions", "bash"][..], &["completions", "zsh"], &["completions", "fish"], &["man"]] {
        let text = String::from_utf8(ckpt(args).stdout).unwrap();
        for command in SUBCOMMANDS {
            assert!(text.contains(command), "{args:?} does not name {command}");
        }
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    use std::process::Stdio;
    let mut child = Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["inspect", &path("base-A-bf16/model"), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
