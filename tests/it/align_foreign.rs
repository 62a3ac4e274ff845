//! Adapters that others wrote, repaired to PEFT's form with the real binary: what they compute stays what it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::align::{codes, llama, made, named, states, told};
use crate::convert::{Scratch, put, tensors};

fn config_of(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// Repairs and returns the config and the values of the tensors.
fn repaired(base: &Path, adapter: &Path, out: &Path, args: &[&str]) -> (Value, BTreeMap<String, Vec<f32>>) {
    let to = out.to_str().unwrap();
    let (result, exit) = told(&[&["--repair", "-o", to], args].concat(), base, adapter);
    assert_eq!(exit, 0, "{result}");
    let (document, exit) = told(&[], base, out);
    assert_eq!((exit, codes(&document)), (0, Vec::<String>::new()), "{document}");
    let values = tensors(out).into_iter().map(|(name, (_, _, bytes))| (name, floats(&bytes))).collect();
    (config_of(out), values)
}

/// Rotates the rows of a head of size `d` at a position: neighbors, as torchtune, or halves, as transformers.
fn rotated(head: &[f32], position: f64, is_neighbors: bool) -> Vec<f64> {
    let half = head.len() / 2;
    let mut rotated = vec![0.0; head.len()];
    for pair in 0..half {
        let angle = position * 10000f64.powf(-(pair as f64) / half as f64);
        let (a, b) = if is_neighbors { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
        let (x, y) = (f64::from(head[a]), f64::from(head[b]));
        rotated[a] = x * angle.cos() - y * angle.sin();
        rotated[b] = y * angle.cos() + x * angle.sin();
    }
    rotated
}

/// Scores of attention of every query head at position 7 on its key head at position 3.
fn scores(queries: &[f32], keys: &[f32], is_neighbors: bool) -> Vec<f64> {
    let head = 8;
    let score = |(number, query): (usize, &[f32])| {
        // Two heads of queries a head of keys.
        let key = &keys[number / 2 * head..][..head];
        let (query, key) = (rotated(query, 7.0, is_neighbors), rotated(key, 3.0, is_neighbors));
        query.iter().zip(&key).map(|(a, b)| a * b).sum::<f64>()
    };
    queries.chunks_exact(head).enumerate().map(score).collect()
}

#[test]
fn torchtunes_queries_and_keys_attend_as_before() {
    let scratch = Scratch::new("foreign-torchtune");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let adapter = scratch.join("adapter");
    let rank = 3;
    let mut list = Vec::new();
    for (name, out, inputs) in [
        ("attn.q_proj", 32, 32),
        ("attn.k_proj", 16, 32),
        ("attn.v_proj", 16, 32),
        ("attn.output_proj", 32, 32),
        ("mlp.w1", 48, 32),
        ("mlp.w2", 32, 48),
        ("mlp.w3", 48, 32),
    ] {
        list.push((format!("layers.0.{name}.lora_a.weight"), vec![rank, inputs]));
        list.push((format!("layers.0.{name}.lora_b.weight"), vec![out, rank]));
        list.push((format!("layers.0.{name}.magnitude"), vec![out]));
    }
    let config = json!({"r": rank, "lora_alpha": 6, "target_modules": ["q_proj", "output_proj", "w1"]});
    made(&adapter, "adapter_0.safetensors", &list, ("adapter_config.json", &config));
    let was: BTreeMap<String, Vec<f32>> =
        tensors(&adapter).into_iter().map(|(name, (_, _, bytes))| (name, floats(&bytes))).collect();
    let (config, is) = repaired(&base, &adapter, &scratch.join("out"), &[]);
    assert_eq!(
        (&config["peft_type"], &config["r"], &config["lora_alpha"], &config["use_dora"]),
        (&json!("LORA"), &json!(3), &json!(6), &json!(true))
    );
    let of = |name: &str, end: &str| &is[&format!("base_model.model.model.layers.0.{name}.{end}")];
    // Any column of the factors is a query of 32 rows and a key of 16: what they score is what they scored.
    let mut moved = 0;
    for column in 0..rank {
        let column_of =
            |values: &[f32]| -> Vec<f32> { values.iter().skip(column).step_by(rank).copied().collect() };
        let before = ["q", "k"].map(|n| column_of(&was[&format!("layers.0.attn.{n}_proj.lora_b.weight")]));
        let after = ["q", "k"].map(|n| column_of(of(&format!("self_attn.{n}_proj"), "lora_B.weight")));
        moved += usize::from(before != after);
        let before = scores(&before[0], &before[1], true);
        for (a, b) in before.iter().zip(scores(&after[0], &after[1], false)) {
            assert!((a - b).abs() < 1e-9 * a.abs().max(1.0), "{a} {b}");
        }
    }
    assert_eq!(moved, rank);
    // A row's magnitude goes with the row: `made` counts the values of factors, so both say which row it was.
    let query = of("self_attn.q_proj", "lora_B.weight");
    let rows: Vec<usize> = query.chunks(rank).map(|row| (row[0] as usize - 1) / rank).collect();
    assert_eq!(rows[..8], [0, 2, 4, 6, 1, 3, 5, 7]);
    for (name, own) in [
        ("self_attn.v_proj", "attn.v_proj"),
        ("self_attn.o_proj", "attn.output_proj"),
        ("mlp.gate_proj", "mlp.w1"),
        ("mlp.down_proj", "mlp.w2"),
        ("mlp.up_proj", "mlp.w3"),
    ] {
        assert_eq!(of(name, "lora_B.weight"), &was[&format!("layers.0.{own}.lora_b.weight")], "{name}");
        assert_eq!(of(name, "lora_A.weight"), &was[&format!("layers.0.{own}.lora_a.weight")], "{name}");
    }
    // Heads that do not divide the rows: nothing is guessed.
    let odd = scratch.join("odd");
    fs::create_dir_all(&odd).unwrap();
    put(&odd.join("model.safetensors"), &fs::read(base.join("model.safetensors")).unwrap());
    put(&odd.join("config.json"), br#"{"num_attention_heads": 5, "hidden_size": 32}"#);
    let (result, exit) = told(&["--repair", "-o", scratch.join("no").to_str().unwrap()], &odd, &adapter);
    assert_eq!(exit, 1);
    assert!(result["refused"].to_string().contains("q_proj"), "{result}");
}

#[test]
fn an_alpha_that_nothing_tells_is_asked_and_never_guessed() {
    let scratch = Scratch::new("foreign-alpha");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let q = "model.layers.0.self_attn.q_proj";
    let pair = |prefix: &str, a: &str, b: &str| {
        [(format!("{prefix}{q}.{a}"), vec![4, 32]), (format!("{prefix}{q}.{b}"), vec![32, 4])]
    };
    let adapter = scratch.join("plain");
    let list = pair("base_model.model.", "lora_A.weight", "lora_B.weight");
    made(&adapter, "adapter_model.safetensors", &list, ("", &Value::Null));
    let out = scratch.join("out");
    let to = out.to_str().unwrap();
    let (result, exit) = told(&["--repair", "-o", to], &base, &adapter);
    assert_eq!((exit, out.exists()), (1, false));
    assert!(result["refused"].to_string().contains("--alpha"), "{result}");
    // Nor does a merge take any.
    let merged = scratch.join("merged");
    let run = Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["merge", base.to_str().unwrap(), "-a", adapter.to_str().unwrap(), "-o"])
        .arg(&merged)
        .output()
        .unwrap();
    assert_eq!((run.status.code(), merged.exists()), (Some(2), false));
    assert!(String::from_utf8(run.stderr).unwrap().contains("its scale is not known"));
    let (config, _) = repaired(&base, &adapter, &out, &["--alpha", "10"]);
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(4), &json!(10)));
    // A config of PEFT without one has PEFT's default, and mlx-lm's old alpha is divided by the rank.
    for (name, config, list, alpha) in [
        ("default", json!({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}), list, json!(8)),
        (
            "mlx",
            json!({"lora_parameters": {"rank": 4, "alpha": 16.0, "scale": 10.0}}),
            [(format!("{q}.lora_a"), vec![32, 4]), (format!("{q}.lora_b"), vec![4, 32])],
            json!(160),
        ),
    ] {
        let folder = scratch.join(name);
        made(&folder, "adapters.safetensors", &list, ("adapter_config.json", &config));
        let (document, _) = told(&[], &base, &folder);
        let scale = alpha.as_f64().unwrap() / 4.0;
        assert_eq!(document["modules"][0]["scaling"], json!(scale), "{name}: {document}");
    }
    let silent = scratch.join("silent");
    let list = [(format!("{q}.lora_a"), vec![32, 4]), (format!("{q}.lora_b"), vec![4, 32])];
    let config = json!({"fine_tune_type": "lora"});
    made(&silent, "adapters.safetensors", &list, ("adapter_config.json", &config));
    assert_eq!(told(&["--repair", "--dry-run"], &base, &silent).1, 1);
    // diffusers says it in the file, else it is the rank.
    for (metadata, alpha) in [(true, json!(12)), (false, json!(4))] {
        let folder = scratch.join(&format!("diffusers-{metadata}"));
        fs::create_dir_all(&folder).unwrap();
        let values = vec![0u8; 512].iter().enumerate().map(|(at, _)| at as u8 % 60).collect::<Vec<u8>>();
        let views = pair("transformer.", "lora_A.weight", "lora_B.weight").map(|(name, shape)| {
            (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &values).unwrap())
        });
        let said = json!({"transformer.r": 4, "transformer.lora_alpha": 12}).to_string();
        let mut all = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        if metadata {
            all.insert("lora_adapter_metadata".into(), said);
        }
        let bytes = safetensors::serialize(views, Some(all)).unwrap();
        put(&folder.join("pytorch_lora_weights.safetensors"), &bytes);
        let (config, _) = repaired(&base, &folder, &scratch.join(&format!("out-{alpha}")), &[]);
        assert_eq!(config["lora_alpha"], alpha);
    }
}

#[test]
fn magnitudes_and_products_of_lycoris_become_pefts() {
    let scratch = Scratch::new("foreign-lycoris");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let q = "lycoris_model_layers_0_self_attn_q_proj";
    let loha: Vec<(String, Vec<usize>)> = named(&[
        ("hada_w1_a", &[32, 4]),
        ("hada_w1_b", &[4, 32]),
        ("hada_w2_a", &[32, 4]),
        ("hada_w2_b", &[4, 32]),
        ("alpha", &[]),
    ]);
    let of = |list: &[(String, Vec<usize>)]| -> Vec<(String, Vec<usize>)> {
        list.iter().map(|(end, shape)| (format!("{q}.{end}"), shape.clone())).collect()
    };
    let folder = scratch.join("loha");
    made(&folder, "model.safetensors", &of(&loha), ("", &Value::Null));
    let (config, _) = repaired(&base, &folder.join("model.safetensors"), &scratch.join("loha-out"), &[]);
    assert_eq!(
        (&config["peft_type"], &config["r"], &config["alpha"], &config["target_modules"]),
        (&json!("LOHA"), &json!(4), &json!(0.5), &json!(["q_proj"]))
    );
    let pair = [("lora_down.weight", vec![4, 32]), ("lora_up.weight", vec![32, 4])];
    for (name, magnitudes, fits) in [("outputs", vec![32, 1], true), ("inputs", vec![1, 32], false)] {
        let mut list: Vec<(String, Vec<usize>)> =
            pair.iter().map(|(end, shape)| (format!("{q}.{end}"), shape.clone())).collect();
        list.push((format!("{q}.dora_scale"), magnitudes));
        let folder = scratch.join(name);
        made(&folder, "model.safetensors", &list, ("", &Value::Null));
        let file = folder.join("model.safetensors");
        if !fits {
            // As many inputs as outputs: the number alone would let it pass.
            assert_eq!(states(&told(&[], &base, &file).0), "shape 1");
            continue;
        }
        let out = scratch.join("dora-out");
        let (config, _) = repaired(&base, &file, &out, &[]);
        assert_eq!(config["use_dora"], json!(true));
        let key = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";
        assert_eq!(tensors(&out)[key].1, [32]);
    }
    // LoKr's shapes come of a config that is not worked out: refused, and nothing half-way written.
    let list = of(&named(&[("lokr_w1", &[4, 4]), ("lokr_w2", &[8, 8]), ("alpha", &[])]));
    let folder = scratch.join("lokr");
    made(&folder, "model.safetensors", &list, ("", &Value::Null));
    let out = scratch.join("lokr-out");
    let args = ["--repair", "-o", out.to_str().unwrap()];
    let (result, exit) = told(&args, &base, &folder.join("model.safetensors"));
    assert_eq!((exit, out.exists()), (1, false), "{result}");
}

#[test]
fn both_projections_of_a_multihead_attention_are_found() {
    let scratch = Scratch::new("foreign-attention");
    let base = scratch.join("base");
    let list = named(&[
        ("attn.in_proj_weight", &[96, 32]),
        ("attn.out_proj.weight", &[32, 32]),
        ("fc.weight", &[8, 32]),
    ]);
    made(&base, "model.safetensors", &list, ("config.json", &json!({"architectures": ["X"]})));
    // As PEFT 0.21 writes them: the whole is wrapped, and its out_proj once more inside.
    let p = "base_model.model.attn";
    let list = [
        (format!("{p}.lora_A.weight"), vec![4, 32]),
        (format!("{p}.lora_B.weight"), vec![96, 4]),
        (format!("{p}.base_layer.out_proj.lora_A.weight"), vec![4, 32]),
        (format!("{p}.base_layer.out_proj.lora_B.weight"), vec![32, 4]),
    ];
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["attn"]});
    let adapter = scratch.join("adapter");
    made(&adapter, "adapter_model.safetensors", &list, ("adapter_config.json", &config));
    let (document, exit) = told(&[], &base, &adapter);
    assert_eq!((exit, states(&document).as_str()), (0, "aligned 2"), "{document}");
    let layers: Vec<&str> = document["modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|module| module["layer"].as_str().unwrap())
        .collect();
    assert_eq!(layers, ["attn.in_proj_weight", "attn.out_proj"]);
    assert_eq!(codes(&document), Vec::<String>::new());
}

#[test]
fn names_of_llama_cpp_on_a_base_of_hugging_face_say_whose_they_are() {
    let scratch = Scratch::new("foreign-gguf");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let adapter = scratch.join("adapter");
    let list =
        named(&[("blk.0.attn_q.weight.lora_a", &[4, 32][..]), ("blk.0.attn_q.weight.lora_b", &[32, 4])]);
    made(&adapter, "adapter_model.safetensors", &list, ("", &Value::Null));
    let (document, _) = told(&[], &base, &adapter);
    assert_eq!(states(&document), "missing 1");
    assert!(
        document.to_string().contains("llama.cpp's name, which the GGUF file of the base has"),
        "{document}"
    );
}
