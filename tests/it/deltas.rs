//! How much adapters change each weight, held against PEFT's own merge in f64 (`samples/make/golden_deltas.py`).

use std::io::Write as _;
use std::sync::Arc;

use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::deltas::{Delta, deltas};
use ckpt::engine::{Options, Progress, Run};
use ckpt::plan::{Attached, Merging, Order, Plan};
use serde_json::Value;

use crate::sample;

fn look(base: &str, adapter: &std::path::Path, threads: usize) -> Vec<Delta> {
    let base = Arc::new(Checkpoint::open_examined(&sample(base).display().to_string()).unwrap());
    let held = Held::open(Arc::clone(&base), &adapter.display().to_string(), None).unwrap();
    let mut order = Order::new("base", std::path::Path::new(""));
    let adapters = vec![(adapter.display().to_string(), 1.0)];
    order.merging = Some(Merging { adapters, ..Merging::default() });
    let plan = Plan::merge(&base, order, &[Attached::new(&held, 1.0)]).unwrap();
    let (options, progress) = (Options { threads, ..Options::default() }, Progress::default());
    let run = Run {
        checkpoint: &base,
        adapters: &[&held.adapter],
        plan: &plan,
        options: &options,
        device: &Cpu,
        progress: &progress,
    };
    deltas(&run, &|_| {}).unwrap()
}

/// Runs `ckpt stats BASE -a ADAPTER`; returns what it prints.
fn stats(adapter: &std::path::Path, more: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("stats").arg(sample("base-A-bf16/model")).arg("-a").arg(adapter).args(more);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn stats_of_an_adapter_print_its_changes() {
    let adapter = sample("peft-lora-all-A").join("adapter");
    let document: Value = serde_json::from_str(&stats(&adapter, &["--json"])).unwrap();
    let layers = document["layers"].as_array().unwrap();
    let found = look("base-A-bf16/model", &adapter, 1);
    assert_eq!((layers.len(), &document["not_merged"]), (14, &serde_json::json!([])));
    for (layer, delta) in layers.iter().zip(&found) {
        assert_eq!(layer["name"], delta.name.as_str());
        let figures = [
            ("norm", Some(delta.norm)),
            ("relative", delta.relative()),
            ("effective_rank", delta.effective_rank),
        ];
        for (key, should) in figures {
            // Reading JSON may lose the last bit.
            let (is, should) = (layer[key].as_f64().unwrap(), should.unwrap());
            assert!((is - should).abs() <= 1e-15 * should, "{key}: {is}, {should}");
        }
    }
    let text = stats(&adapter, &["*q_proj"]);
    assert_eq!(text.matches("self_attn.q_proj").count(), 2, "{text}");
    assert!(text.ends_with("2 layers changed, 0 with a change that is all zero\n"), "{text}");
    let csv = stats(&adapter, &["--csv"]);
    assert_eq!((csv.lines().count(), csv.lines().next().unwrap().split(',').count()), (15, 8), "{csv}");
    let partial = stats(&sample("peft-bad-keys/extra-layer"), &[]);
    assert!(partial.contains("not merged:"), "{partial}");
}

#[test]
fn norms_and_effective_ranks_are_those_of_pefts_merge() {
    let golden: Value = serde_json::from_str(include_str!("deltas.json")).unwrap();
    let mut seen = 0;
    for (id, layers) in golden.as_object().unwrap() {
        let base = format!("base-{}-bf16/model", id.chars().last().unwrap());
        let found = look(&base, &sample(id).join("adapter"), 2);
        assert_eq!(found, look(&base, &sample(id).join("adapter"), 1), "{id}: threads change nothing");
        let layers = layers.as_object().unwrap();
        assert_eq!(found.len(), layers.len(), "{id}");
        for delta in &found {
            let name = delta.name.trim_end_matches(".weight");
            let want = layers.get(name).unwrap_or_else(|| panic!("{id}: PEFT does not change {name}"));
            let what = format!("{id} {}: {delta:?}, {want}", delta.name);
            let near = |is: f64, key: &str, bound: f64| {
                let want = want[key].as_f64().unwrap();
                assert!((is - want).abs() <= bound * want, "{what}");
            };
            near(delta.base_norm, "base_norm", 1e-12);
            let is_product = want.get("effective_rank").is_some();
            assert_eq!(delta.rank.is_some(), is_product, "{what}");
            // PEFT's scale is a double, and the merge's an f32: that is a part in ten million.
            near(delta.norm, "norm", if is_product { 1e-7 } else { 1e-5 });
            if is_product {
                near(delta.effective_rank.unwrap(), "effective_rank", 1e-6);
                assert!(delta.effective_rank.unwrap() <= delta.rank.unwrap() as f64 + 1e-9, "{what}");
            }
            assert!(!delta.is_zero, "{what}");
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn an_adapter_that_was_never_trained_changes_nothing_and_that_is_seen() {
    let from = sample("peft-lora-all-A").join("adapter");
    let folder = std::env::temp_dir().join(format!("ckpt-zero-adapter-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(from.join("adapter_config.json"), folder.join("adapter_config.json")).unwrap();
    let mut bytes = std::fs::read(from.join("adapter_model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    for (name, tensor) in tensors.as_object().unwrap() {
        if name.contains("lora_B") {
            let [from, to] = [0, 1].map(|at| tensor["data_offsets"][at].as_u64().unwrap() as usize);
            bytes[header + from..header + to].fill(0);
        }
    }
    let mut file = std::fs::File::create_new(folder.join("adapter_model.safetensors")).unwrap();
    file.write_all(&bytes).unwrap();
    let found = look("base-A-bf16/model", &folder, 2);
    let said = stats(&folder, &[]);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(said.matches("▲ it changes nothing").count(), 14, "{said}");
    assert!(said.ends_with("0 layers changed, 14 with a change that is all zero\n"), "{said}");
    assert!(!found.is_empty());
    for delta in found {
        assert_eq!((delta.norm, delta.is_zero, delta.effective_rank), (0.0, true, None), "{}", delta.name);
    }
}
