//! `ckpt align`, with the real binary: the state of every module of every broken adapter, the repairs against the
//! adapter that was right, and input that nobody meant.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ckpt::adapter::Adapter;
use ckpt::adapter::align::{Alignment, Asked, State};
use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::side::FileSide;
use serde_json::{Value, json};

use crate::convert::{Scratch, put, tensors};
use crate::sample;

pub(crate) fn ckpt(args: &[&str], base: &Path, adapter: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("align").arg(base).arg("-a").arg(adapter).args(args).output().unwrap()
}

/// The last line of JSON that a run prints, and its exit code.
pub(crate) fn told(args: &[&str], base: &Path, adapter: &Path) -> (Value, i32) {
    let output = ckpt(&[args, &["--json"]].concat(), base, adapter);
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap_or("null");
    (serde_json::from_str(last).unwrap(), output.status.code().unwrap())
}

/// The states of the modules, counted: `aligned 2, wrapped 2`.
pub(crate) fn states(document: &Value) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for module in document["modules"].as_array().into_iter().flatten() {
        *counts.entry(module["state"].as_str().unwrap()).or_default() += 1;
    }
    counts.iter().map(|(state, count)| format!("{state} {count}")).collect::<Vec<_>>().join(", ")
}

pub(crate) fn codes(document: &Value) -> Vec<String> {
    let code = |problem: &Value| problem["code"].as_str().unwrap().to_owned();
    document["problems"].as_array().into_iter().flatten().map(code).collect()
}

/// Writes a model or adapter: tensors of zeros (those whose name holds `lora_B` or `lora_b` of ones) and a config.
pub(crate) fn made(folder: &Path, file: &str, list: &[(String, Vec<usize>)], config: (&str, &Value)) {
    fs::create_dir_all(folder).unwrap();
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = list
        .iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let value =
                |at: usize| if name.to_lowercase().contains("lora_b") { at as f32 + 1.0 } else { 0.5 };
            (name.clone(), shape.clone(), (0..count).flat_map(|at| value(at).to_le_bytes()).collect())
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.unwrap())
    });
    put(&folder.join(file), &safetensors::serialize(views, None).unwrap());
    if !config.0.is_empty() {
        put(&folder.join(config.0), config.1.to_string().as_bytes());
    }
}

pub(crate) fn named(list: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    list.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
}

/// A Llama of hidden 32, as `samples/load-errors/out` were made for.
pub(crate) fn llama(folder: &Path, layers: usize, (has_bias, is_tied): (bool, bool)) -> PathBuf {
    let mut list = named(&[("model.embed_tokens.weight", &[64, 32]), ("model.norm.weight", &[32])]);
    for layer in 0..layers {
        for (name, out, inputs) in [
            ("self_attn.q_proj", 32, 32),
            ("self_attn.k_proj", 16, 32),
            ("self_attn.v_proj", 16, 32),
            ("self_attn.o_proj", 32, 32),
            ("mlp.gate_proj", 48, 32),
            ("mlp.up_proj", 48, 32),
            ("mlp.down_proj", 32, 48),
        ] {
            list.push((format!("model.layers.{layer}.{name}.weight"), vec![out, inputs]));
            if has_bias && name.starts_with("self") {
                list.push((format!("model.layers.{layer}.{name}.bias"), vec![out]));
            }
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            list.push((format!("model.layers.{layer}.{name}.weight"), vec![32]));
        }
    }
    if !is_tied {
        list.push(("lm_head.weight".into(), vec![64, 32]));
    }
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "num_hidden_layers": layers,
        "vocab_size": 64, "tie_word_embeddings": is_tied, "attention_bias": has_bias,
    });
    made(folder, "model.safetensors", &list, ("config.json", &config));
    folder.to_path_buf()
}

/// What `align` says of an adapter and what `--repair` does: states, aligned, exit code, code of an error or
/// warning, exit code of the repair, and whether it writes.
type Row = (&'static str, &'static str, u64, i32, &'static [&'static str], i32, bool);

fn check_rows(rows: &[Row], base: &Path, folder: &Path, good: &Path) {
    let scratch = Scratch::new(&format!("align-{}", rows.len()));
    let right = tensors(good);
    let mut repaired = 0;
    for &(name, expected, aligned, code, expected_codes, repair_code, writes) in rows {
        let adapter = folder.join(name);
        let (document, exit) = told(&[], base, &adapter);
        assert_eq!((states(&document).as_str(), exit), (expected, code), "{name}: {document}");
        assert_eq!(document["aligned"].as_u64().unwrap_or(0), aligned, "{name}");
        assert_eq!(codes(&document), expected_codes, "{name}");
        let out = scratch.join(name);
        let (result, exit) = told(&["--repair", "-o", out.to_str().unwrap()], base, &adapter);
        assert_eq!((exit, out.exists()), (repair_code, writes), "{name}: {result}");
        if !writes {
            continue;
        }
        repaired += 1;
        assert_eq!(tensors(&out), right, "{name}");
        let (document, exit) = told(&[], base, &out);
        assert_eq!((exit, document["problems"].as_array().unwrap().len()), (0, 0), "{name}: {document}");
        let modules = document["modules"].as_array().unwrap();
        assert!(modules.iter().all(|module| module["state"] == "aligned"), "{name}: {document}");
        let again = scratch.join("again");
        let (_, exit) = told(&["--repair", "-o", again.to_str().unwrap()], base, &out);
        assert_eq!((exit, again.exists()), (0, false), "{name} is repaired twice");
    }
    assert!(repaired > 0);
}

#[test]
fn every_broken_adapter_has_its_state_and_its_repair() {
    let rows: [Row; 32] = [
        ("ad", "aligned 4", 4, 0, &[], 0, false),
        ("def", "renamed 4", 4, 0, &[], 0, true),
        ("bl", "aligned 2, wrapped 2", 2, 1, &[], 0, true),
        ("nop", "renamed 4", 0, 1, &[], 0, true),
        ("less", "renamed 4", 0, 1, &[], 0, true),
        ("lm", "renamed 4", 0, 1, &[], 0, true),
        ("koh", "renamed 4", 0, 1, &[], 0, true),
        ("r8", "aligned 4", 4, 1, &["A003"], 1, false),
        ("rs", "aligned 4", 4, 1, &["C006"], 0, true),
        ("tn", "dropped 4", 0, 1, &["A008", "A012"], 0, true),
        ("tp", "aligned 4", 4, 0, &["A009"], 0, false),
        ("tr", "aligned 4", 4, 1, &["A008"], 0, true),
        ("tm", "aligned 2, dropped 2", 2, 1, &["A012"], 0, true),
        ("uk", "aligned 4", 4, 0, &["A013"], 0, true),
        ("up", "aligned 4", 4, 1, &["A004"], 0, true),
        ("np", "aligned 4", 4, 1, &["A005"], 0, true),
        ("ms", "aligned 4, incomplete 1", 4, 1, &[], 0, true),
        ("nocfg", "aligned 4", 4, 1, &["A005"], 1, false),
        ("now", "", 0, 2, &[], 2, false),
        ("lfs", "", 0, 1, &["K002"], 1, false),
        ("empty", "", 0, 1, &["A006"], 1, false),
        ("z", "incomplete 4", 0, 1, &["A006"], 1, false),
        ("nan", "aligned 4", 4, 1, &["V001"], 1, false),
        ("tparam", "dropped 4", 0, 1, &["A008", "A012"], 0, true),
        ("lt", "aligned 2, dropped 2", 2, 1, &["A012"], 0, true),
        ("dora", "incomplete 4", 0, 1, &[], 1, false),
        ("dora2", "aligned 4", 4, 0, &["A012"], 0, false),
        ("pt", "aligned 4", 4, 1, &["A004"], 1, false),
        ("tt", "aligned 4", 4, 0, &[], 0, false),
        ("f16", "aligned 4", 4, 0, &[], 0, false),
        ("res", "aligned 2, saved 2", 4, 0, &["A010", "A011"], 0, false),
        ("emb", "aligned 2, shape 2", 2, 1, &["A010", "A011"], 1, false),
    ];
    let folder = sample("load-errors/ae");
    let folders = fs::read_dir(&folder).unwrap().count();
    assert_eq!(folders, rows.len() + 1, "a row an adapter, and the base");
    check_rows(&rows, &folder.join("base"), &folder, &folder.join("ad"));
}

#[test]
fn every_set_of_bad_keys_has_its_state_and_its_repair() {
    let rows: [Row; 13] = [
        ("good", "aligned 6", 6, 0, &[], 0, false),
        ("no-prefix", "renamed 6", 0, 1, &[], 0, true),
        ("double-prefix", "renamed 6", 0, 1, &[], 0, true),
        ("default-infix", "renamed 6", 6, 0, &[], 0, true),
        ("base-layer-infix", "wrapped 6", 0, 1, &[], 0, true),
        ("vl-language-model", "renamed 6", 0, 1, &[], 0, true),
        ("vl-old-language-model", "renamed 6", 0, 1, &[], 0, true),
        ("orig-mod", "renamed 6", 0, 1, &[], 0, true),
        ("module-prefix", "renamed 6", 0, 1, &[], 0, true),
        ("full-state-with-base_layer", "aligned 6", 6, 0, &["A012"], 0, false),
        ("wrong-shape", "shape 6", 0, 1, &["A014"], 1, false),
        ("missing-lora-B", "aligned 5, incomplete 1", 5, 1, &["A002"], 1, false),
        ("extra-layer", "aligned 6, missing 3", 6, 1, &["A014"], 1, false),
    ];
    let folder = sample("peft-bad-keys");
    check_rows(&rows, &sample("base-A-bf16/model"), &folder, &folder.join("good"));
}

#[test]
fn nothing_that_is_right_is_called_wrong() {
    let scratch = Scratch::new("align-out");
    let two = llama(&scratch.join("two"), 2, (false, false));
    let tied = llama(&scratch.join("tied"), 2, (false, true));
    let biased = llama(&scratch.join("biased"), 1, (true, false));
    let conv = json!({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"});
    for (folder, prefix) in [("gpt2", "transformer."), ("gpt2-bare", "")] {
        let list = [
            (format!("{prefix}h.0.attn.c_attn.weight"), vec![32, 96]),
            (format!("{prefix}wte.weight"), vec![64, 32]),
        ];
        made(&scratch.join(folder), "model.safetensors", &list, ("config.json", &conv));
    }
    let mut counted = 0;
    for entry in fs::read_dir(sample("load-errors/out")).unwrap() {
        let adapter = entry.unwrap().path();
        let name = adapter.file_name().unwrap().to_str().unwrap().to_owned();
        let bases = match name.as_str() {
            "bias_all" | "bias_lora_only" => vec![biased.clone()],
            "tti_tied" => vec![tied.clone()],
            "gpt2" => vec![scratch.join("gpt2"), scratch.join("gpt2-bare")],
            _ => vec![two.clone()],
        };
        for base in bases {
            let (document, exit) = told(&[], &base, &adapter);
            let wrong = codes(&document).into_iter().find(|code| code != "A011");
            assert_eq!((exit, wrong), (0, None), "{name}: {document}");
            assert_eq!(document["unused_keys"], json!([]), "{name}");
            assert_eq!(document["untouched_targets"], json!([]), "{name}");
            let (_, exit) = told(&["--repair", "--dry-run"], &base, &adapter);
            assert_eq!(exit, 0, "{name}");
            counted += 1;
        }
    }
    assert_eq!(counted, 60);
    for (adapter, base) in [
        ("peft-lora-all-A/adapter", "base-A-bf16/model"),
        ("peft-lora-all-A/adapter", "gptq-w4-g128-sym-v1-A/model"),
        ("peft-lora-all-A/adapter", "awq-gemm-g128-A/model"),
        ("peft-lora-all-A/adapter", "bnb-nf4-A/model"),
        ("peft-lora-all-A/adapter", "bnb-int8-A/model"),
        ("peft-lora-all-A/adapter", "ct-w4a16-sym-g128-A/model"),
        ("peft-rslora-B/adapter", "base-B-bf16/model"),
        ("peft-lora-modules-to-save-B/adapter", "base-B-bf16/model"),
        ("peft-lora-bin-A/adapter", "base-A-bf16/model"),
        ("peft-lora-patterns-A/adapter", "base-A-bf16/model"),
        ("peft-lora-trainable-tokens-A/adapter", "base-A-bf16/model"),
        ("peft-lora-embedding-A/adapter", "base-A-bf16/model"),
        ("peft-lora-moe-target-parameters/adapter", "peft-lora-moe-target-parameters/base"),
    ] {
        let (document, exit) = told(&[], &sample(base), &sample(adapter));
        assert_eq!(
            (exit, &document["untouched_targets"]),
            (0, &json!([])),
            "{adapter} on {base}: {document}"
        );
        let pickle = codes(&document).into_iter().all(|code| code == "K021");
        assert!(pickle, "{adapter} on {base}: {:?}", codes(&document));
    }
}

/// Aligns in this process.
fn align(base: &Path, adapter: &Path, strip: Option<&str>) -> Alignment {
    let base = Checkpoint::open_examined(base.to_str().unwrap()).unwrap();
    let adapter = Checkpoint::open_examined(adapter.to_str().unwrap()).unwrap();
    let values = FileSide::whole(&adapter.files);
    Alignment::of(
        &base,
        &adapter,
        &Adapter::read(&adapter),
        &Asked { strip_prefix: strip, name: None, values: &values },
    )
}

#[test]
fn stacked_experts_find_their_parameter() {
    let scratch = Scratch::new("align-moe");
    let base = sample("load-errors/moe/q3base");
    for (name, modules, places) in
        [("q3-both", 2, 12), ("q3-rev", 2, 12), ("q3-down-only", 1, 4), ("old", 12, 12)]
    {
        let found = align(&base, &sample("load-errors/moe").join(name), None);
        assert_eq!((found.modules.len(), found.aligned()), (modules, modules), "{name}");
        assert_eq!(found.modules.iter().map(|module| module.places.len()).sum::<usize>(), places, "{name}");
        assert!(found.modules.iter().all(|m| m.rank == Some(3) && m.scaling == Some(2.0)), "{name}");
    }
    let both = align(&base, &sample("load-errors/moe/q3-rev"), None);
    let paths: Vec<&str> = both.modules.iter().map(|module| module.path.as_str()).collect();
    assert_eq!(paths, ["model.layers.0.mlp.experts.down_proj", "model.layers.0.mlp.experts.gate_up_proj"]);
    let up = &both.modules[1].places[1];
    assert_eq!((up.expert, up.delta_rows.clone(), up.layer_rows.clone()), (Some(0), 24..48, 0..24));
    let oss = scratch.join("oss");
    let config = json!({"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss"});
    let experts = "model.layers.0.mlp.experts";
    let list = [
        (format!("{experts}.gate_up_proj"), vec![4, 32, 96]),
        (format!("{experts}.down_proj"), vec![4, 48, 32]),
    ];
    made(&oss, "model.safetensors", &list, ("config.json", &config));
    let found = align(&oss, &sample("load-errors/moe/gptoss"), None);
    assert_eq!(found.aligned(), 2);
    assert!(found.modules.iter().all(|m| m.is_transposed && m.experts == 4 && m.places[3].slab == Some(3)));
    // One linear an expert, as unsloth writes gpt-oss: the base has no such module.
    let each = scratch.join("each");
    let list = named(&[
        ("base_model.model.model.layers.0.mlp.experts.gate_up_projs.3.lora_A.weight", &[2, 32]),
        ("base_model.model.model.layers.0.mlp.experts.gate_up_projs.3.lora_B.weight", &[96, 2]),
    ]);
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4});
    made(&each, "adapter_model.safetensors", &list, ("adapter_config.json", &config));
    let found = align(&oss, &each, None);
    assert_eq!((found.modules[0].state, found.modules[0].places[0].slab), (State::Fused, Some(3)));
}

#[test]
fn fused_padded_and_ambiguous_are_told_apart() {
    let scratch = Scratch::new("align-fused");
    let config = json!({"architectures": ["X"], "num_attention_heads": 4, "hidden_size": 32, "head_dim": 8});
    let base = scratch.join("base");
    let list = named(&[
        ("model.layers.0.self_attn.qkv_proj.weight", &[64, 32]),
        ("model.layers.0.mlp.down_proj.weight", &[32, 2048]),
        ("model.layers.0.mlp.other.weight", &[32, 2048]),
        ("model.layers.1.self_attn.o_proj.weight", &[32, 32]),
        ("language_model.layers.1.self_attn.o_proj.weight", &[32, 32]),
    ]);
    made(&base, "model.safetensors", &list, ("config.json", &config));
    let adapter = scratch.join("adapter");
    let pair = |path: &str, out: usize, inputs: usize| {
        [(format!("{path}.lora_A.weight"), vec![2, inputs]), (format!("{path}.lora_B.weight"), vec![out, 2])]
    };
    let p = "base_model.model.model.layers";
    let list: Vec<_> = [
        pair(&format!("{p}.0.self_attn.k_proj"), 16, 32),
        pair(&format!("{p}.0.mlp.down_proj"), 32, 2000),
        pair(&format!("{p}.0.mlp.other"), 32, 1000),
        pair("layers.1.self_attn.o_proj", 32, 32),
    ]
    .concat();
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": "all-linear"});
    made(&adapter, "adapter_model.safetensors", &list, ("adapter_config.json", &config));
    let found = align(&base, &adapter, None);
    let state = |name: &str| found.modules.iter().find(|m| m.name.ends_with(name)).unwrap();
    let key = state("k_proj");
    assert_eq!((key.state, key.places[0].layer_rows.clone()), (State::Fused, 32..48));
    assert_eq!(state("down_proj").state, State::Padded);
    assert_eq!(state("other").state, State::Shape);
    let ambiguous = state("o_proj");
    assert_eq!(ambiguous.state, State::Missing);
    assert!(ambiguous.evidence.contains("language_model.layers.1"), "{}", ambiguous.evidence);
    // Aligned and refused alike by the binary: nothing is guessed.
    let out = scratch.join("out");
    let (result, exit) = told(&["--repair", "-o", out.to_str().unwrap()], &base, &adapter);
    assert_eq!((exit, out.exists()), (1, false), "{result}");
    assert!(result["refused"].to_string().contains("model.layers.1.self_attn.o_proj or"), "{result}");
}

#[test]
fn foreign_spellings_become_pefts() {
    let scratch = Scratch::new("align-foreign");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let q = "model.layers.0.self_attn.q_proj";
    let mlx = scratch.join("mlx");
    let list = [(format!("{q}.lora_a"), vec![32, 4]), (format!("{q}.lora_b"), vec![4, 32])];
    let config =
        json!({"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 4, "scale": 10.0}});
    made(&mlx, "adapters.safetensors", &list, ("adapter_config.json", &config));
    put(&mlx.join("0000100_adapters.safetensors"), &fs::read(mlx.join("adapters.safetensors")).unwrap());
    let (document, exit) = told(&[], &base, &mlx);
    assert_eq!((states(&document).as_str(), exit), ("renamed 1", 1), "{document}");
    let out = scratch.join("mlx-out");
    let (result, exit) = told(&["--repair", "-o", out.to_str().unwrap()], &base, &mlx);
    assert_eq!(exit, 0, "{result}");
    let written = tensors(&out);
    let (_, shape, bytes) = &written[&format!("base_model.model.{q}.lora_B.weight")];
    assert_eq!(*shape, [32, 4]);
    let at = |n: usize| f32::from_le_bytes(bytes[n * 4..n * 4 + 4].try_into().unwrap());
    // Stored [4, 32] as 1, 2, 3 …: row 0 of the transposed is 1, 33, 65, 97.
    assert_eq!([at(0), at(1), at(2), at(3), at(4)], [1.0, 33.0, 65.0, 97.0, 2.0]);
    let config: Value = serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(
        (&config["peft_type"], &config["r"], &config["lora_alpha"]),
        (&json!("LORA"), &json!(4), &json!(40))
    );
    assert_eq!(told(&[], &base, &out).1, 0);

    let kohya = scratch.join("kohya");
    let flat = format!("lora_te_{}", q.replace('.', "_"));
    let list = [
        (format!("{flat}.lora_down.weight"), vec![4, 32]),
        (format!("{flat}.lora_up.weight"), vec![32, 4]),
        (format!("{flat}.alpha"), vec![]),
    ];
    made(&kohya, "kohya.safetensors", &list, ("", &Value::Null));
    let out = scratch.join("kohya-out");
    let (result, exit) =
        told(&["--repair", "-o", out.to_str().unwrap()], &base, &kohya.join("kohya.safetensors"));
    assert_eq!(exit, 0, "{result}");
    let (document, exit) = told(&[], &base, &out);
    assert_eq!(exit, 0, "{document}");
    // alpha 0.5, dim 4.
    assert_eq!(document["adapter"]["scaling"], json!(0.125));
}

#[test]
fn states_of_whole_models_and_pickles_are_repaired_to_the_adapter_alone() {
    let scratch = Scratch::new("align-dump");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    let list = [
        (format!("{q}.lora_A.default.weight"), vec![4, 32]),
        (format!("{q}.lora_B.default.weight"), vec![32, 4]),
        (format!("{q}.lora_A.other.weight"), vec![4, 32]),
        (format!("{q}.base_layer.weight"), vec![32, 32]),
        ("base_model.model.model.norm.weight".to_owned(), vec![32]),
        ("base_model.model.lm_head.weight".to_owned(), vec![64, 32]),
    ];
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
    let dump = scratch.join("dump");
    made(&dump, "adapter_model.safetensors", &list, ("adapter_config.json", &config));
    let (document, exit) = told(&[], &base, &dump);
    assert_eq!((states(&document).as_str(), exit), ("renamed 1", 1), "another adapter's key: {document}");
    assert_eq!(document["unused_keys"].as_array().unwrap().len(), 4);
    let out = scratch.join("out");
    assert_eq!(told(&["--repair", "-o", out.to_str().unwrap()], &base, &dump).1, 0);
    let keys: Vec<String> = tensors(&out).into_keys().collect();
    let expected = ["lora_A.weight", "lora_B.weight"].map(|end| format!("{q}.{end}"));
    assert_eq!(keys, expected);
    // The other one, where it is meant: it is half a pair.
    assert_eq!(states(&told(&["--adapter-name", "other"], &base, &dump).0), "incomplete 1");

    let pickle = sample("peft-lora-bin-A/adapter");
    let folder = scratch.join("pickle");
    fs::create_dir_all(&folder).unwrap();
    put(&folder.join("adapter_model.bin"), &fs::read(pickle.join("adapter_model.bin")).unwrap());
    let config = fs::read_to_string(pickle.join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let (right, rank) = (config["r"].clone(), config["r"].as_u64().unwrap());
    config["r"] = json!(rank * 2);
    put(&folder.join("adapter_config.json"), config.to_string().as_bytes());
    let out = scratch.join("pickle-out");
    let to = out.to_str().unwrap();
    let model = sample("base-A-bf16/model");
    // Alpha belongs to one of the two ranks: it is asked.
    let (result, exit) = told(&["--repair", "-o", to], &model, &folder);
    assert_eq!((exit, out.exists()), (1, false), "{result}");
    let why = result["refused"].to_string();
    assert!(
        why.contains("--keep alpha makes the scale 2, --keep scale leaves it at 1 with alpha 4"),
        "{why}"
    );
    for (keep, alpha) in [("scale", json!(4)), ("alpha", json!(8))] {
        let (result, exit) = told(&["--repair", "-o", to, "--force", "--keep", keep], &model, &folder);
        assert_eq!(exit, 0, "{result}");
        let config = fs::read(out.join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!((&config["r"], &config["lora_alpha"]), (&right, &alpha), "{keep}");
        assert_eq!(told(&[], &model, &out).1, 0);
    }
    assert_eq!(tensors(&out).len(), 8);
}

#[test]
fn prefixes_are_stripped_when_asked_and_folders_below_are_found() {
    let scratch = Scratch::new("align-strip");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let q = "model.layers.0.self_attn.q_proj";
    let list =
        [(format!("mine.{q}.lora_A.weight"), vec![4, 32]), (format!("mine.{q}.lora_B.weight"), vec![32, 4])];
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
    let below = scratch.join("all").join("default");
    made(&below, "adapter_model.safetensors", &list, ("adapter_config.json", &config));
    let all = scratch.join("all");
    assert_eq!(states(&told(&[], &base, &all).0), "missing 1");
    assert_eq!(states(&told(&["--strip-prefix", "mine"], &base, &all).0), "renamed 1");
    let out = scratch.join("out");
    let to = out.to_str().unwrap();
    let dry = ckpt(&["--strip-prefix", "mine.", "--repair", "-o", to, "--dry-run"], &base, &all);
    let text = String::from_utf8(dry.stdout).unwrap();
    assert!(text.contains(&format!("→  base_model.model.{q}.lora_A.weight")), "{text}");
    assert!(!out.exists());
    assert_eq!(told(&["--strip-prefix", "mine", "--repair", "-o", to], &base, &all).1, 0);
    assert!(out.join("adapter_model.safetensors").is_file());
    // What is there stays, and so does the input.
    assert_eq!(told(&["--strip-prefix", "mine", "--repair", "-o", to], &base, &all).1, 2);
    assert_eq!(told(&["--strip-prefix", "mine", "--repair", "-o", to, "--force"], &base, &all).1, 0);
    for inside in [below.join("x"), below.clone(), base.join("x")] {
        let inside = inside.to_str().unwrap();
        let (_, exit) = told(&["--strip-prefix", "mine", "--repair", "-o", inside, "--force"], &base, &all);
        assert_eq!(exit, 2, "{inside}");
    }
    // Two of them: none is guessed.
    made(&all.join("other"), "adapter_model.safetensors", &list, ("adapter_config.json", &config));
    let output = ckpt(&[], &base, &all);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("default, other"));
}

#[test]
fn newer_fields_go_for_an_older_peft_unless_they_mean_something() {
    let scratch = Scratch::new("align-version");
    let (base, adapter) = (sample("load-errors/ae/base"), sample("load-errors/ae/ad"));
    let out = scratch.join("out");
    let to = out.to_str().unwrap();
    assert_eq!(told(&["--repair", "-o", to, "--peft-version", "0.7"], &base, &adapter).1, 0);
    let config: Value = serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    let keys: Vec<&str> = config.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(keys.contains(&"loftq_config") && keys.contains(&"rank_pattern"), "{keys:?}");
    for newer in
        ["use_rslora", "use_dora", "target_parameters", "peft_version", "exclude_modules", "kasa_config"]
    {
        assert!(!keys.contains(&newer), "{newer}");
    }
    let rslora = sample("peft-rslora-B/adapter");
    let to = scratch.join("no");
    let to = to.to_str().unwrap();
    let (result, exit) =
        told(&["--repair", "-o", to, "--peft-version", "0.7"], &sample("base-B-bf16/model"), &rslora);
    assert_eq!(exit, 1, "{result}");
    assert!(result["refused"].to_string().contains("use_rslora is true: PEFT has it since 0.8"), "{result}");
    assert_eq!(told(&["--repair", "-o", to, "--peft-version", "new"], &base, &adapter).1, 1);
    assert!(!Path::new(to).exists());
}

#[test]
fn values_of_configs_that_nobody_meant_end_in_a_state() {
    let scratch = Scratch::new("align-hostile");
    let base = sample("load-errors/ae/base");
    let good: Value =
        serde_json::from_slice(&fs::read(sample("load-errors/ae/ad/adapter_config.json")).unwrap()).unwrap();
    let weights = fs::read(sample("load-errors/ae/ad/adapter_model.safetensors")).unwrap();
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1e308),
        json!(""),
        json!("((((((((a*)*)*)*)*)*)*)*)$"),
        json!("\u{1b}[31m\u{202e}"),
        json!([]),
        json!([[0, u64::MAX], [1, 2]]),
        json!([[], {}, null, 7]),
        json!({"q_proj": 0, "(": 1, "v_proj": u64::MAX}),
        json!({"a": {"b": [1]}}),
    ];
    let mut tried = 0;
    for key in good.as_object().unwrap().keys() {
        for value in &odd {
            let mut config = good.clone();
            config[key] = value.clone();
            let folder = scratch.join(&format!("{tried}"));
            fs::create_dir_all(&folder).unwrap();
            put(&folder.join("adapter_model.safetensors"), &weights);
            put(&folder.join("adapter_config.json"), config.to_string().as_bytes());
            let found = align(&base, &folder, None);
            assert!(found.modules.iter().filter(|m| m.layer.is_some()).count() >= 4, "{key} {value}");
            let opened = Checkpoint::open_examined(folder.to_str().unwrap()).unwrap();
            let facts = Adapter::read(&opened);
            let of = Checkpoint::open(base.to_str().unwrap()).unwrap();
            let wishes = ckpt::adapter::repair::Wishes { version: Some("0.9".into()), ..Default::default() };
            let _ = ckpt::adapter::repair::Repair::plan(&of, &opened, &facts, &found, &wishes);
            tried += 1;
        }
    }
    assert!(tried > 400, "{tried}");
}
