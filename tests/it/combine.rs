//! `ckpt merge --combine`, with the real binary: combinations of adapters against those of PEFT's
//! `add_weighted_adapter`, by hash, in any cut; and what has no combination.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::convert::{Scratch, done, put, tensors};
use crate::merge::{equals, golden, merge, model, refused};
use crate::sample;

/// The adapters of a combination, as `-a` takes them.
fn weighted(list: &[(&str, f64)]) -> Vec<PathBuf> {
    let one =
        |(adapter, weight): &(&str, f64)| PathBuf::from(format!("{}={weight}", sample(adapter).display()));
    list.iter().map(one).collect()
}

fn combined(base: &Path, list: &[(&str, f64)], out: &Path, more: &[&str]) -> std::process::Output {
    let adapters = weighted(list);
    let adapters: Vec<&Path> = adapters.iter().map(PathBuf::as_path).collect();
    merge(base, &adapters, out, more)
}

const A: &str = "peft-two-adapters-A/adapter_a";
const B: &str = "peft-two-adapters-A/adapter_b";

#[test]
fn two_adapters_are_what_peft_makes_of_them() {
    let scratch = Scratch::new("combine-two");
    let base = model("base-A-bf16");
    // PEFT rounds the factors of `cat` and the delta on a base of 16 bits, as it does with `safe_merge`.
    for (how, rounding) in [("cat", "peft-safe"), ("linear", "peft")] {
        let golden = golden("peft-two-adapters-A", &format!("merged_{how}"));
        let (out, args) = (scratch.join(how), ["--combine", how, "--rounding", rounding]);
        let told = done(&combined(&base, &[(A, 0.7), (B, 0.4)], &out, &args));
        assert!(told.contains(&format!("8 of 8 modules merged, combined ({how})")), "{told}");
        equals(how, &out, &base, &golden, true);
    }
}

#[test]
fn every_combination_is_peft_s_own_in_any_cut() {
    let scratch = Scratch::new("combine-cases");
    let text = fs::read_to_string(sample("peft-combined").join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    let list = case["golden"].as_array().unwrap();
    assert_eq!(list.len(), 13);
    for run in list {
        let name = run["file"].as_str().unwrap().trim_start_matches("golden/");
        let base = sample(run["base"].as_str().unwrap());
        let adapters: Vec<(&str, f64)> = run["adapters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_f64().unwrap()))
            .collect();
        let word = |key: &str| run[key].as_str().unwrap();
        let args = ["--combine", word("combination_type"), "--rounding", word("rounding")];
        for cut in [["--threads", "1"], ["--slot-size", "900"]] {
            let out = scratch.join(&format!("{name}-{}", cut[1]));
            let told = done(&combined(&base, &adapters, &out, &[&args[..], &cut[..]].concat()));
            assert!(told.contains("✓ verified") && told.contains(", combined ("), "{name}: {told}");
            equals(name, &out, &base, run["sha256_16"].as_object().unwrap(), true);
        }
    }
}

#[test]
fn a_combination_is_in_plan_events_and_what_may_be_resumed() {
    let scratch = Scratch::new("combine-plan");
    let base = model("base-A-bf16");
    let list = [(A, 0.7), (B, 0.4)];
    let (cat, again, plan) = (scratch.join("cat"), scratch.join("again"), scratch.join("plan.json"));
    let events = done(&combined(&base, &list, &cat, &["--combine", "cat", "--json"]));
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["merge"], json!({"aligned": 8, "total": 8, "left": [], "combine": "cat"}));
    let dry = done(&combined(&base, &list, &again, &["--combine", "linear", "--dry-run"]));
    assert!(dry.contains("8 of 8 modules, combined (linear)"), "{dry}");
    done(&combined(&base, &list, &again, &["--combine", "cat", "--plan", plan.to_str().unwrap()]));
    let saved: Value = serde_json::from_slice(&fs::read(&plan).unwrap()).unwrap();
    assert_eq!(saved["combine"], "cat");
    done(&Command::new(env!("CARGO_BIN_EXE_ckpt")).arg("run").arg(&plan).arg("-q").output().unwrap());
    assert_eq!(tensors(&again), tensors(&cat));
    // Other combinations of the same adapters are other runs, with other results.
    let linear = scratch.join("linear");
    done(&combined(&base, &list, &linear, &["--combine", "linear"]));
    assert_ne!(tensors(&linear), tensors(&cat));
    done(&combined(&base, &list, &cat, &["--combine", "cat", "--resume"]));
    let told =
        refused(&combined(&base, &list, &cat, &["--combine", "linear", "--resume", "--verify", "full"]));
    assert!(told.contains("not what was planned"), "{told}");
}

/// In f64, by another way: `W + 0.7 Δa + 0.4 Δb` is one rounding away from what `cat` writes.
#[test]
fn cat_is_the_weighted_sum_of_the_deltas() {
    let scratch = Scratch::new("combine-f64");
    let (base, out) = (model("base-A-bf16"), scratch.join("out"));
    done(&combined(&base, &[(A, 0.7), (B, 0.4)], &out, &["--combine", "cat"]));
    let (base, merged) = (tensors(&base), tensors(&out));
    let bf16 = |bytes: &[u8]| -> Vec<f64> {
        let one = |b: &[u8; 2]| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16));
        bytes.as_chunks::<2>().0.iter().map(one).collect()
    };
    let f32s = |bytes: &[u8]| -> Vec<f64> {
        bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
    };
    let name = "model.layers.1.self_attn.v_proj";
    let (before, after) = (&base[&format!("{name}.weight")], &merged[&format!("{name}.weight")]);
    let (columns, mut sum) = (before.1[1], bf16(&before.2));
    for (adapter, weight) in [(A, 0.7), (B, 0.4)] {
        let parts = tensors(&sample(adapter));
        let factor = |part: &str| f32s(&parts[&format!("base_model.model.{name}.{part}.weight")].2);
        let (down, up) = (factor("lora_A"), factor("lora_B"));
        for (at, sum) in sum.iter_mut().enumerate() {
            let (row, column) = (at / columns, at % columns);
            // r 4, alpha 8.
            *sum += weight * 2.0 * (0..4).map(|r| up[row * 4 + r] * down[r * columns + column]).sum::<f64>();
        }
    }
    for (at, (is, exact)) in bf16(&after.2).iter().zip(&sum).enumerate() {
        let half = 2f64.powi(exact.abs().log2().floor() as i32 - 8);
        assert!((is - exact).abs() <= half * 1.001, "{at}: {is} for {exact}");
    }
}

#[test]
fn what_has_no_combination_is_refused_by_name() {
    let scratch = Scratch::new("combine-refused");
    let (a, b) = (model("base-A-bf16"), model("base-B-bf16"));
    let why = |base: &Path, list: &[(&str, f64)], how: &str| {
        let out = scratch.join("out");
        let told = refused(&combined(base, list, &out, &["--combine", how, "--allow-partial"]));
        assert!(!out.exists());
        told
    };
    let all = "peft-lora-all-A/adapter";
    let told = why(&a, &[(all, 0.5), (A, 0.5)], "linear");
    assert!(told.contains("has r 8 in") && told.contains("4 in") && told.contains("--combine cat"), "{told}");
    for (base, adapter, word) in [
        (&a, "peft-dora-A/adapter", "DoRA"),
        (&a, "peft-ia3-A/adapter", "IA3"),
        (&a, "peft-adalora-A/adapter", "ADALORA"),
        (&a, "peft-lora-trainable-tokens-A/adapter", "rows of tokens"),
        (&b, "peft-lora-lorabias-B/adapter", "biases"),
        (&b, "peft-lora-bias-all-B/adapter", "biases"),
    ] {
        let told = why(base, &[(adapter, 1.0), (adapter, 1.0)], "cat");
        assert!(told.contains(word) && told.contains("--combine sequential"), "{adapter}: {told}");
    }
    let moe = sample("peft-lora-moe-target-parameters");
    let told = why(&moe.join("base"), &[("peft-lora-moe-target-parameters/adapter", 1.0); 2], "cat");
    assert!(told.contains("target_parameters"), "{told}");
    let whole = "peft-lora-modules-to-save-B/adapter";
    let copy = scratch.join("copy");
    fs::create_dir(&copy).unwrap();
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        put(&copy.join(file), &fs::read(sample(whole).join(file)).unwrap());
    }
    let told = why(&b, &[(whole, 1.0), (copy.to_str().unwrap(), 1.0)], "cat");
    assert!(told.contains("modules_to_save") && told.contains("lm_head"), "{told}");
    // PEFT's other ways, each with its reason.
    for (how, word) in [
        ("svd", "cat merges all of it"),
        ("ties", "signs"),
        ("ties_svd", "signs"),
        ("dare_linear", "random"),
        ("dare_ties_svd", "random"),
        ("magnitude_prune", "smallest"),
        ("sum", "none of sequential, cat, linear"),
    ] {
        let told = why(&a, &[(A, 1.0), (B, 1.0)], how);
        assert!(told.contains(word) && told.contains(how), "{how}: {told}");
    }
}

#[test]
fn where_peft_s_own_combination_would_differ_is_said() {
    let scratch = Scratch::new("combine-warned");
    let list = [("peft-rslora-B/adapter", 0.5), ("peft-rslora-B/adapter", 0.5)];
    let ran = combined(&model("base-B-bf16"), &list, &scratch.join("rs"), &["--combine", "cat"]);
    done(&ran);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(told.contains("rsLoRA"), "{told}");
    // Half of an adapter twice is the adapter.
    let whole = scratch.join("whole");
    done(&combined(&model("base-B-bf16"), &[list[0]], &scratch.join("half"), &[]));
    done(&combined(&model("base-B-bf16"), &[(list[0].0, 1.0)], &whole, &[]));
    let (is, wanted) = (tensors(&scratch.join("rs")), tensors(&whole));
    for (name, (.., bytes)) in &wanted {
        // Of two sums in another order some are rounded to the other side.
        let differ = is[name].2.iter().zip(bytes).filter(|(a, b)| a != b).count();
        assert!(differ * 50 < bytes.len(), "{name}: {differ} of {}", bytes.len());
    }
    let subset = [("peft-lora-layers-subset-A/adapter", 1.0), (A, 1.0)];
    let ran = combined(&model("base-A-bf16"), &subset, &scratch.join("subset"), &["--combine", "cat"]);
    done(&ran);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(told.contains("layers_to_transform"), "{told}");
}
