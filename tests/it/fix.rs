//! `ckpt fix` by the real binary: what it prints, what it leaves, and its exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::sample;

/// A folder for a test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ckpt-fix-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ckpt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckpt")).args(args).output().unwrap()
}

fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    use std::io::Write as _;
    std::fs::File::create_new(path).unwrap().write_all(bytes.as_ref()).unwrap();
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn gptq() -> String {
    sample("gptq-w4-g128-sym-v1-A/model").display().to_string()
}

#[test]
fn a_fix_says_each_change_writes_and_looks_again() {
    let scratch = Scratch::new("done");
    let out = scratch.join("out");
    // Its second fix; the first makes nf4 of it, which QLoRA takes.
    let done = ckpt(&["fix", &gptq(), "already-quantized:2", "-o", &out]);
    assert_eq!(code(&done), 0, "{}", String::from_utf8_lossy(&done.stderr));
    let said = text(&done);
    assert!(said.starts_with("Q001  model.safetensors  dequantize"), "{said}");
    assert!(said.contains("  - gptq\n  + dense\n"), "{said}");
    assert!(said.ends_with("✓ fixed 1 of 1\n"), "{said}");
    assert!(Path::new(&out).join("config.json").is_file());
    let again = ckpt(&["fix", &gptq(), "Q001:2", "-o", &out]);
    assert_eq!(code(&again), 2);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
    let gone = ckpt(&["fix", &out, "Q001", "-o", &scratch.join("two")]);
    assert_eq!(code(&gone), 2);
    assert_eq!(String::from_utf8_lossy(&gone.stderr), "ckpt: Q001: not found in these files\n");
    assert_eq!(scratch.names(), ["out"]);
}

#[test]
fn a_dry_run_writes_nothing_and_its_json_has_the_edits() {
    let scratch = Scratch::new("dry");
    let out = scratch.join("out");
    let plain = ckpt(&["fix", &gptq(), "Q001:2", "-o", &out, "--dry-run"]);
    assert_eq!(code(&plain), 0);
    // What differs from machine to machine is left out, and the words of the rule.
    let shown: Vec<String> = text(&plain)
        .lines()
        .filter(|line| !line.starts_with("disk"))
        .map(|line| line.replace(&gptq(), "MODEL").replace(&out, "OUT"))
        .map(|line| line.split("dequantize").next().unwrap_or_default().trim_end().to_owned())
        .collect();
    insta::assert_snapshot!("dry-run", shown.join("\n"));
    let json = ckpt(&["fix", &gptq(), "Q001:2", "-o", &out, "--dry-run", "--json"]);
    let event: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(event["event"], "plan");
    assert_eq!(event["edits"][0]["code"], "Q001");
    assert_eq!(event["edits"][0]["before"], "gptq");
    assert_eq!(event["edits"][0]["after"], "dense");
    assert!(event["steps"].as_array().is_some_and(|steps| steps.len() > 10));
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn a_result_as_json_counts_what_is_fixed() {
    let scratch = Scratch::new("json");
    let done = ckpt(&["fix", &gptq(), "Q001", "-o", &scratch.join("out"), "--json"]);
    assert_eq!(code(&done), 0);
    let said = text(&done);
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "result");
    assert_eq!(last["fixed"], serde_json::json!({"fixed": 1, "of": 1, "left": []}));
    assert_eq!(last["verified"], true);
}

#[test]
fn a_plan_is_saved_and_run_while_it_is_still_the_same() {
    let scratch = Scratch::new("plan");
    let (out, plan) = (scratch.join("out"), scratch.join("plan.json"));
    let saved = ckpt(&["fix", &gptq(), "Q001", "-o", &out, "--plan", &plan]);
    assert_eq!(code(&saved), 0, "{}", String::from_utf8_lossy(&saved.stderr));
    assert!(text(&saved).contains("plan of 1 change;"), "{}", text(&saved));
    let mut content: Value = serde_json::from_slice(&std::fs::read(&plan).unwrap()).unwrap();
    assert_eq!(content["ckpt"], "fix");
    content["changes"][0]["before"] = "awq".into();
    put(scratch.join("other.json"), content.to_string());
    let other = ckpt(&["run", &scratch.join("other.json")]);
    assert_eq!(code(&other), 2);
    assert!(String::from_utf8_lossy(&other.stderr).contains("no longer what was planned for"));
    let run = ckpt(&["run", &plan]);
    assert_eq!(code(&run), 0, "{}", String::from_utf8_lossy(&run.stderr));
    assert!(text(&run).ends_with("✓ fixed 1 of 1\n"), "{}", text(&run));
}

#[test]
fn advice_and_unknown_codes_are_refused_in_words() {
    let scratch = Scratch::new("words");
    let pointer = scratch.0.join("pointer");
    std::fs::create_dir(&pointer).unwrap();
    let text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    put(pointer.join("model.safetensors"), text);
    let out = scratch.join("out");
    for (codes, words) in [
        (["K002"], "ckpt: K002: nothing here can fix it; what helps: Run `git lfs pull`"),
        (["quantized"], "ckpt: quantized: no such code; near it: Q001 already-quantized"),
        (["xyz"], "ckpt: xyz: no such code\n"),
    ] {
        let refused = ckpt(&["fix", pointer.to_str().unwrap(), codes[0], "-o", &out]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(code(&refused), 2);
        assert!(said.starts_with(words), "{said}");
    }
    assert_eq!(scratch.names(), ["pointer"]);
}

#[test]
fn a_shape_that_no_reader_takes_is_refused_before_anything_is_written() {
    let scratch = Scratch::new("overflow");
    let big = 1u64 << 63;
    let header = format!(
        r#"{{"a":{{"dtype":"F32","shape":[{big},2,0],"data_offsets":[0,0]}},"b":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    // The four bytes of `b`, and two behind it that K008 cuts off.
    file.extend([0; 6]);
    let input = scratch.join("model");
    std::fs::create_dir(&input).unwrap();
    put(format!("{input}/model.safetensors"), file);
    let out = scratch.join("out");
    let dry = ckpt(&["fix", &input, "K008", "-o", &out, "--dry-run"]);
    assert_eq!(code(&dry), 2, "{}", text(&dry));
    let why = String::from_utf8_lossy(&dry.stderr).into_owned();
    assert!(why.contains("1 tensor not whole in the file: a"), "{why}");
    assert_eq!(scratch.names(), ["model"]);
}

#[test]
fn a_config_that_is_no_object_is_named_by_what_it_holds() {
    let scratch = Scratch::new("no-object");
    let input = scratch.join("model");
    std::fs::create_dir(&input).unwrap();
    let awq = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/awq-gemm-g128-A/model");
    for file in ["model.safetensors", "quant_config.json"] {
        std::fs::copy(format!("{awq}/{file}"), format!("{input}/{file}")).unwrap();
    }
    put(format!("{input}/config.json"), "-1");
    let refused = ckpt(&["fix", &input, "Q028", "-o", &scratch.join("out")]);
    assert_eq!(code(&refused), 2);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(why, "ckpt: Q028: config.json: what it holds is no object with keys\n");
    assert_eq!(scratch.names(), ["model"]);
}
