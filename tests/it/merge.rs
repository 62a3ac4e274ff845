//! `ckpt merge`, with the real binary: every kind of adapter on every kind of base against PEFT's own results, by
//! hash, in any cut; what does not fit, what is hostile, and what a merge that left something out says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::convert::{Scratch, done, put, tensors};
use crate::sample;

pub(crate) fn merge(base: &Path, adapters: &[&Path], output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("merge").arg(base).arg("-o").arg(output).arg("-q").args(more);
    for adapter in adapters {
        command.arg("-a").arg(adapter);
    }
    command.output().unwrap()
}

pub(crate) fn refused(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    told
}

/// Where the model of a sample is.
pub(crate) fn model(name: &str) -> PathBuf {
    let folder = sample(name);
    let inner = folder.join("model");
    if inner.is_dir() { inner } else { folder }
}

/// Hashes of a case's golden file: the first 16 digits of SHA-256, by tensor.
pub(crate) fn golden(case: &str, file: &str) -> serde_json::Map<String, Value> {
    let text = fs::read_to_string(sample(case).join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    let found = case["golden"].as_array().unwrap().iter().find(|golden| {
        let name = golden["file"].as_str().unwrap().trim_start_matches("golden/");
        name.trim_end_matches(".safetensors") == file
    });
    found.unwrap_or_else(|| panic!("{file}"))["sha256_16"].as_object().unwrap().clone()
}

/// Holds a merged folder against the hashes; all tensors that are not among them are the base's own.
pub(crate) fn equals(
    name: &str,
    folder: &Path,
    base: &Path,
    golden: &serde_json::Map<String, Value>,
    is_dense: bool,
) {
    let (merged, base) = (tensors(folder), tensors(base));
    for (tensor, want) in golden {
        let (.., bytes) = merged.get(tensor).unwrap_or_else(|| panic!("{name}: no {tensor}"));
        let hash = u64::from_be_bytes(*Sha256::digest(bytes).first_chunk().unwrap());
        assert_eq!(format!("{hash:016x}"), want.as_str().unwrap(), "{name}: {tensor}");
    }
    for (tensor, values) in base.iter().filter(|(tensor, _)| is_dense && !golden.contains_key(*tensor)) {
        assert_eq!(merged.get(tensor), Some(values), "{name}: {tensor} was touched");
    }
}

/// Case, base (its own if none), golden file, arguments.
const CASES: [(&str, &str, &str, &[&str]); 29] = [
    ("peft-lora-all-A", "base-A-bf16", "merged", &[]),
    ("peft-lora-all-A", "base-A-bf16", "merged_safe", &["--rounding", "peft-safe"]),
    ("peft-lora-all-A", "bnb-nf4-A", "on_nf4_dequant_then_merge", &[]),
    ("peft-lora-all-A", "bnb-nf4-dq-A", "on_nf4-dq_dequant_then_merge", &[]),
    ("peft-lora-bf16weights-A", "base-A-bf16", "merged", &[]),
    ("peft-lora-bf16weights-A", "base-A-bf16", "merged_safe", &["--rounding", "peft-safe"]),
    ("peft-lora-bin-A", "base-A-bf16", "merged", &[]),
    ("peft-lora-patterns-A", "base-A-bf16", "merged", &[]),
    ("peft-lora-layers-subset-A", "base-A-bf16", "merged", &[]),
    ("peft-lora-regex-targets-A", "base-A-bf16", "merged", &[]),
    ("peft-lora-embedding-A", "base-A-bf16", "merged", &[]),
    ("peft-lora-embedding-A", "base-A-bf16", "merged_safe", &["--rounding", "peft-safe"]),
    ("peft-lora-trainable-tokens-A", "base-A-bf16", "merged", &[]),
    ("peft-lora-modules-to-save-B", "base-B-bf16", "merged", &[]),
    ("peft-lora-modules-to-save-B", "base-B-bf16", "merged_safe", &["--rounding", "peft-safe"]),
    ("peft-lora-bias-all-B", "base-B-bf16", "merged", &[]),
    ("peft-lora-lorabias-B", "base-B-bf16", "merged", &[]),
    ("peft-lora-lorabias-B", "base-B-bf16", "merged_safe", &["--rounding", "peft-safe"]),
    ("peft-rslora-B", "base-B-bf16", "merged", &[]),
    ("peft-rslora-B", "bnb-nf4-dq-B", "on_nf4-dq_dequant_then_merge", &[]),
    ("peft-lora-conv1d-gpt2", "", "merged", &[]),
    ("peft-lora-moe-target-parameters", "", "merged_model/model", &[]),
    ("peft-dora-A", "base-A-bf16", "merged", &[]),
    ("peft-adalora-A", "base-A-bf16", "merged", &[]),
    ("peft-ia3-A", "base-A-bf16", "merged", &[]),
    ("peft-loha-A", "base-A-bf16", "merged", &[]),
    ("peft-lokr-A", "base-A-bf16", "merged", &[]),
    ("peft-vera-A", "base-A-bf16", "merged", &[]),
    ("peft-two-adapters-A", "base-A-bf16", "merged_sequence", &[]),
];

#[test]
fn every_case_is_peft_s_own_result_in_any_cut() {
    let scratch = Scratch::new("merge-cases");
    for (number, (case, base, file, args)) in CASES.into_iter().enumerate() {
        let base = if base.is_empty() { sample(case).join("base") } else { model(base) };
        let folder = sample(case);
        let adapters: Vec<PathBuf> = ["adapter", "adapter_a", "adapter_b"]
            .iter()
            .map(|name| folder.join(name))
            .filter(|path| path.is_dir())
            .collect();
        let adapters: Vec<&Path> = adapters.iter().map(PathBuf::as_path).collect();
        let golden = golden(case, file);
        for (cut, more) in [["--threads", "1"], ["--slot-size", "900"]].iter().enumerate() {
            let out = scratch.join(&format!("{number}-{cut}"));
            let told = done(&merge(&base, &adapters, &out, &[args, &more[..]].concat()));
            assert!(told.contains("✓ verified") && told.contains("modules merged"), "{case}: {told}");
            assert!(!told.contains("not merged"), "{case}: {told}");
            equals(case, &out, &base, &golden, !file.starts_with("on_"));
        }
    }
}

/// Variants of OFT have the same tensors: each golden names what it changes in the config.
#[test]
fn oft_is_peft_s_own_in_all_its_variants() {
    let scratch = Scratch::new("merge-oft");
    let base = model("base-A-bf16");
    let text = fs::read_to_string(sample("peft-oft-A").join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    let list = case["golden"].as_array().unwrap();
    assert_eq!(list.len(), 12);
    for run in list {
        let name = run["file"].as_str().unwrap().trim_start_matches("golden/");
        let from = format!("peft-oft-A/{}", run["folder"].as_str().unwrap());
        let adapter = config_with(&scratch, &format!("{name}-in"), &sample(&from), &run["changes"]);
        let rounding = if run["safe_merge"] == true { "peft-safe" } else { "peft" };
        let out = scratch.join(name);
        done(&merge(&base, &[&adapter], &out, &["--rounding", rounding, "--slot-size", "900"]));
        equals(name, &out, &base, run["sha256_16"].as_object().unwrap(), true);
    }
}

#[test]
fn projections_of_vera_that_are_not_saved_are_drawn_as_torch_draws_them() {
    let scratch = Scratch::new("merge-vera");
    let (base, adapter) = (model("base-A-bf16"), sample("peft-vera-nosave-A").join("adapter"));
    let out = scratch.join("out");
    done(&merge(&base, &[&adapter], &out, &[]));
    equals("vera", &out, &base, &golden("peft-vera-nosave-A", "merged"), true);
    for (name, changes, word) in [
        ("key", json!({"projection_prng_key": "seven"}), "projection_prng_key"),
        ("saved", json!({"save_projection": true}), "PEFT stops too"),
        ("rank", json!({"r": 1u64 << 40}), "no size to draw"),
        ("targets", json!({"target_modules": ["k_proj", "up_proj", "down_proj", "o_proj"]}), "not sure"),
    ] {
        let adapter = config_with(&scratch, name, &adapter, &changes);
        let told = refused(&merge(&base, &[&adapter], &scratch.join("none"), &["--allow-partial"]));
        assert!(told.contains(word), "{name}: {told}");
    }
}

#[test]
fn what_an_adapter_s_scale_says_is_multiplied() {
    let scratch = Scratch::new("merge-scale");
    let (base, adapter) = (model("base-A-bf16"), sample("peft-lora-all-A").join("adapter"));
    let scaled = |scale: &str| PathBuf::from(format!("{}={scale}", adapter.display()));
    let (none, half) = (scratch.join("none"), scratch.join("half"));
    done(&merge(&base, &[&scaled("0")], &none, &[]));
    let changed = |folder: &Path| {
        let base = tensors(&base);
        tensors(folder).iter().filter(|(name, values)| base.get(*name) != Some(values)).count()
    };
    assert_eq!(changed(&none), 0, "a scale of 0 changes nothing");
    done(&merge(&base, &[&scaled("0.5")], &half, &[]));
    assert_eq!(changed(&half), 14);
    assert!(refused(&merge(&base, &[&scaled("much")], &scratch.join("x"), &[])).contains("no number"));
    let ia3 = sample("peft-ia3-A").join("adapter");
    let ia3 = PathBuf::from(format!("{}=0.5", ia3.display()));
    assert!(refused(&merge(&base, &[&ia3], &scratch.join("x"), &[])).contains("no delta"));
}

#[test]
fn a_merge_that_would_leave_a_module_out_is_refused() {
    let scratch = Scratch::new("merge-bad");
    let base = model("base-A-bf16");
    let golden = golden("peft-bad-keys", "merged");
    for name in ["good", "default-infix", "full-state-with-base_layer"] {
        let out = scratch.join(name);
        done(&merge(&base, &[&sample("peft-bad-keys").join(name)], &out, &[]));
        equals(name, &out, &base, &golden, true);
    }
    let bad = [
        ("base-layer-infix", "wrapped"),
        ("double-prefix", "renamed"),
        ("module-prefix", "renamed"),
        ("no-prefix", "renamed"),
        ("orig-mod", "renamed"),
        ("vl-language-model", "renamed"),
        ("vl-old-language-model", "renamed"),
        ("wrong-shape", "shape"),
        ("missing-lora-B", "incomplete"),
        ("extra-layer", "missing"),
    ];
    for (name, state) in bad {
        let (adapter, out) = (sample("peft-bad-keys").join(name), scratch.join(name));
        let told = refused(&merge(&base, &[&adapter], &out, &[]));
        assert!(told.contains(state), "{name}: {told}");
        assert!(!out.exists() && !scratch.join(&format!("{name}.ckpt-partial")).exists(), "{name}");
    }
    // With leave: what fits is merged, what does not is named, and the code says that it is not all.
    let out = scratch.join("partial");
    let ran = merge(&base, &[&sample("peft-bad-keys").join("missing-lora-B")], &out, &["--allow-partial"]);
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(3), "{told}");
    assert!(told.contains("5 of 6 modules merged") && told.contains("not merged"), "{told}");
    // Nothing at all is never a merge.
    let told = refused(&merge(
        &base,
        &[&sample("peft-bad-keys").join("no-prefix")],
        &scratch.join("none"),
        &["--allow-partial"],
    ));
    assert!(told.contains("nothing of it would be merged"), "{told}");
}

#[test]
fn a_quantized_base_becomes_a_plain_folder_with_the_adapter_in_it() {
    let scratch = Scratch::new("merge-quantized");
    let adapter = sample("peft-lora-all-A").join("adapter");
    for base in ["gptq-w4-g128-sym-v1-A", "awq-gemm-g128-A", "ct-w4a16-sym-g128-A", "bnb-int8-A"] {
        let (base, merged, plain) = (model(base), scratch.join(base), scratch.join(&format!("{base}-plain")));
        let told = done(&merge(&base, &[&adapter], &merged, &["--verify", "full"]));
        assert!(told.contains("14 of 14 modules merged"), "{told}");
        let config: Value = serde_json::from_slice(&fs::read(merged.join("config.json")).unwrap()).unwrap();
        assert!(config.get("quantization_config").is_none(), "{base:?}");
        done(&crate::convert::convert(&base, &plain, &[]));
        let (merged, plain) = (tensors(&merged), tensors(&plain));
        assert!(merged.keys().eq(plain.keys()));
        let changed = merged.iter().filter(|(name, values)| plain[*name] != **values).count();
        assert_eq!(changed, 14, "{base:?}");
    }
}

#[test]
fn a_plan_that_was_saved_merges_the_same_and_two_runs_are_equal() {
    let scratch = Scratch::new("merge-plan");
    let (base, adapter) = (model("bnb-nf4-A"), sample("peft-lora-all-A").join("adapter"));
    let (first, second, plan) = (scratch.join("first"), scratch.join("second"), scratch.join("plan.json"));
    done(&merge(&base, &[&adapter], &first, &["--rounding", "peft-0.11"]));
    let saved = ["--rounding", "peft-0.11", "--plan", plan.to_str().unwrap()];
    done(&merge(&base, &[&adapter], &second, &saved));
    assert!(!second.exists());
    let run = Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("run").arg(&plan).arg("-q").output().unwrap();
    done(&run);
    assert_eq!(
        fs::read(first.join("model.safetensors")).unwrap(),
        fs::read(second.join("model.safetensors")).unwrap()
    );
    let dry = done(&merge(&base, &[&adapter], &scratch.join("dry"), &["--dry-run"]));
    assert!(
        dry.contains("14 of 14 modules") && dry.contains("merge") && !scratch.join("dry").exists(),
        "{dry}"
    );
    let events = done(&merge(&base, &[&adapter], &scratch.join("json"), &["--json"]));
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["merge"], json!({"aligned": 14, "total": 14, "left": []}));
    assert_eq!((&last["layers"]["merged"], &last["verified"]), (&json!(14), &json!(true)));
}

/// An adapter folder: the config, with some keys changed, over the tensors of another.
fn config_with(scratch: &Scratch, name: &str, from: &Path, changes: &Value) -> PathBuf {
    let folder = scratch.join(name);
    fs::create_dir_all(&folder).unwrap();
    put(
        &folder.join("adapter_model.safetensors"),
        &fs::read(from.join("adapter_model.safetensors")).unwrap(),
    );
    let mut config: Value =
        serde_json::from_slice(&fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    put(&folder.join("adapter_config.json"), config.to_string().as_bytes());
    folder
}

fn adapter_with(scratch: &Scratch, name: &str, from: &str, changes: &Value) -> PathBuf {
    config_with(scratch, name, &sample(from).join("adapter"), changes)
}

#[test]
fn what_cannot_be_merged_is_refused_by_name() {
    let scratch = Scratch::new("merge-refused");
    let base = model("base-A-bf16");
    let why = |name: &str, from: &str, changes: Value| {
        let adapter = adapter_with(&scratch, name, from, &changes);
        let out = scratch.join(&format!("{name}-out"));
        let told = refused(&merge(&base, &[&adapter], &out, &["--allow-partial"]));
        assert!(!out.exists());
        told
    };
    for init in ["pissa_niter_4", "olora", "corda", "loftq", "lora_ga"] {
        let told = why(init, "peft-lora-all-A", json!({"init_lora_weights": init}));
        assert!(told.contains(init) && told.contains("--base-is-residual"), "{told}");
    }
    for (key, value, word) in [
        ("kasa_config", json!({"beta": 1e-4}), "KaSA"),
        ("alora_invocation_tokens", json!([1, 2]), "activated"),
        ("arrow_config", json!({"top_k": 2}), "each token"),
        ("use_qalora", json!(true), "groups"),
        ("use_bdlora", json!({"nblocks": 2}), "blocks"),
    ] {
        let told = why(key, "peft-lora-all-A", json!({key: value}));
        assert!(told.contains(key) && told.contains(word), "{told}");
    }
    let replicated = why("layers", "peft-lora-all-A", json!({"layer_replication": [[0, 2], [1, 2]]}));
    assert!(replicated.contains("layer_replication"), "{replicated}");
    let nan = sample("load-errors").join("ae/nan");
    let told =
        refused(&merge(&sample("load-errors").join("ae/base"), &[&nan], &scratch.join("nan-out"), &[]));
    assert!(told.contains("NaN"), "{told}");
    let told = refused(&merge(&base, &[&base], &scratch.join("base-out"), &[]));
    assert!(told.starts_with("ckpt: "), "{told}");
}

#[test]
fn adapters_of_other_types_are_refused_with_what_they_are_and_what_to_do() {
    let scratch = Scratch::new("merge-types");
    let (base, merged) = (model("base-A-bf16"), ["LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "VERA"]);
    let mut seen = std::collections::BTreeSet::new();
    for entry in fs::read_dir(sample("load-errors").join("out")).unwrap() {
        let adapter = entry.unwrap().path();
        let config = fs::read(adapter.join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        let kind = config["peft_type"].as_str().unwrap().to_owned();
        if merged.contains(&&*kind) || kind == "TRAINABLE_TOKENS" {
            continue;
        }
        let told = refused(&merge(&base, &[&adapter], &scratch.join("out"), &["--allow-partial"]));
        let does = ["merge it with PEFT", "nothing to merge", "cannot be merged"];
        assert!(
            told.contains(&format!(": {kind}: ")) && does.iter().any(|word| told.contains(word)),
            "{told}"
        );
        seen.insert(kind);
    }
    assert!(seen.len() >= 25, "{seen:?}");
}

#[test]
fn a_base_that_training_changed_is_taken_as_it_is_where_that_is_said() {
    let scratch = Scratch::new("merge-residual");
    let (base, plain) = (model("base-A-bf16"), sample("peft-lora-all-A").join("adapter"));
    let changed = adapter_with(&scratch, "in", "peft-lora-all-A", &json!({"init_lora_weights": "pissa"}));
    let (out, wanted, plan) = (scratch.join("out"), scratch.join("wanted"), scratch.join("plan.json"));
    let args = ["--base-is-residual", "--plan", plan.to_str().unwrap()];
    done(&merge(&base, &[&changed], &out, &args));
    let ran = Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("run").arg(&plan).arg("-q").output().unwrap();
    done(&ran);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(told.contains("nothing here can prove that"), "{told}");
    done(&merge(&base, &[&plain], &wanted, &[]));
    assert_eq!(tensors(&out), tensors(&wanted));
}

#[test]
fn convolutions_are_merged_as_peft_does_it() {
    let scratch = Scratch::new("merge-conv");
    let base = sample("peft-conv").join("base");
    for case in ["lora", "dora", "loha", "loha-cp", "lokr", "lokr-full", "lokr-cp"] {
        let (adapter, golden) = (sample("peft-conv").join(case), golden("peft-conv", case));
        let all = format!("{0} of {0} modules merged", golden.len());
        assert!(golden.len() >= 4);
        for cut in [["--threads", "1"], ["--slot-size", "50"]] {
            let out = scratch.join(&format!("{case}-{}", cut[1]));
            let told = done(&merge(&base, &[&adapter], &out, &cut));
            assert!(told.contains(&all) && told.contains("✓ verified"), "{case}: {told}");
            equals(case, &out, &base, &golden, true);
        }
    }
    // What lies on a kernel of another size, or has groups, is none of this convolution's.
    for (case, part, from, to, word) in [
        ("lora", "tall.lora_A", "[3,12,5,2]", "[3,12,2,5]", "without groups"),
        ("lora", "stem.lora_B", "[8,3,1,1]", "[4,6,1,1]", "ranks"),
        ("loha-cp", "tall.hada_t2", "[3,3,5,2]", "[3,3,2,5]", "without groups"),
        ("lokr", "tall.lokr_w2", "[3,4,5,2]", "[3,4,2,5]", "without groups"),
    ] {
        let folder = config_with(&scratch, part, &sample("peft-conv").join(case), &json!({}));
        let file = folder.join("adapter_model.safetensors");
        let mut bytes = fs::read(&file).unwrap();
        let (from, part) = (from.as_bytes(), part.as_bytes());
        let name = bytes.windows(part.len()).position(|at| at == part).unwrap();
        let shape = bytes[name..].windows(from.len()).position(|at| at == from).unwrap() + name;
        bytes[shape..shape + from.len()].copy_from_slice(to.as_bytes());
        fs::remove_file(&file).unwrap();
        put(&file, &bytes);
        let told = refused(&merge(&base, &[&folder], &scratch.join("none"), &[]));
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_weight_that_would_not_be_finite_stops_the_merge() {
    let scratch = Scratch::new("merge-inf");
    let adapter = adapter_with(&scratch, "huge", "peft-lora-all-A", &json!({"lora_alpha": 1e42}));
    let told = refused(&merge(&model("base-A-bf16"), &[&adapter], &scratch.join("out"), &[]));
    assert!(told.contains("infinite or NaN") && !scratch.join("out").exists(), "{told}");
}

#[test]
fn a_grown_vocabulary_is_in_config_and_tokenizer() {
    let scratch = Scratch::new("merge-vocabulary");
    let (base, folder) = (sample("load-errors").join("ae/base"), scratch.join("adapter"));
    fs::create_dir_all(&folder).unwrap();
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        put(&folder.join(file), &fs::read(sample("load-errors").join("ae/res").join(file)).unwrap());
    }
    put(&folder.join("tokenizer.json"), b"{\"of\": \"the adapter\"}");
    let out = scratch.join("out");
    done(&merge(&base, &[&folder], &out, &[]));
    let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["vocab_size"], json!(132));
    assert_eq!(fs::read(out.join("tokenizer.json")).unwrap(), b"{\"of\": \"the adapter\"}");
    let (merged, brought) = (tensors(&out), tensors(&folder));
    assert_eq!(merged["lm_head.weight"], brought["base_model.model.lm_head.weight"]);
    // Only the embeddings: the head would keep its rows.
    let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
    let at = bytes.windows(15).position(|part| part == b"l.lm_head.weigh").unwrap();
    let mut renamed = bytes;
    renamed[at + 2..at + 9].copy_from_slice(b"unknown");
    fs::remove_file(folder.join("adapter_model.safetensors")).unwrap();
    put(&folder.join("adapter_model.safetensors"), &renamed);
    let told = refused(&merge(&base, &[&folder], &scratch.join("half"), &["--allow-partial"]));
    assert!(told.contains("lm_head.weight would keep 128"), "{told}");
}

#[test]
fn no_input_is_replaced_or_written_into() {
    let scratch = Scratch::new("merge-inputs");
    let (base, adapter, broken) = (scratch.join("base"), scratch.join("adapter"), scratch.join("broken"));
    for (from, to) in [
        (model("base-A-bf16"), &base),
        (sample("peft-bad-keys/good"), &adapter),
        (sample("peft-bad-keys/no-prefix"), &broken),
    ] {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            put(&to.join(entry.file_name()), &fs::read(entry.path()).unwrap());
        }
    }
    let repair = |out: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
        command.arg("align").arg(&base).arg("-a").arg(&broken).args(["--repair", "-o"]).arg(out).args(more);
        command.output().unwrap()
    };
    let before = [names(&base), names(&adapter), names(&broken)];
    for (input, more) in [(&base, &[][..]), (&base, &["--force"]), (&adapter, &[]), (&adapter, &["--force"])]
    {
        for out in [input.clone(), input.join("in")] {
            let told = refused(&merge(&base, &[&adapter], &out, more));
            assert!(told.contains("inside the input"), "{told}");
        }
    }
    for (input, more) in [(&base, &[][..]), (&base, &["--force"]), (&broken, &[]), (&broken, &["--force"])] {
        for out in [input.clone(), input.join("in")] {
            let told = refused(&repair(&out, more));
            assert!(told.contains("inside the input"), "{told}");
        }
    }
    assert_eq!([names(&base), names(&adapter), names(&broken)], before);
    // Beside them both are made.
    done(&merge(&base, &[&adapter], &scratch.join("merged"), &[]));
    done(&repair(&scratch.join("repaired"), &[]));
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
