//! Whether an adapter was made for this base, with the real binary: names, sizes, layers, tokens, ties, versions.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::align::{codes, llama, made, named, states, told};
use crate::convert::{Scratch, put as write_new, tensors};

/// Writes a file, in the place of another if there is one.
fn put(path: &Path, bytes: &[u8]) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    write_new(path, bytes);
}

/// The message of a problem.
fn message(document: &Value, code: &str) -> String {
    let problems = document["problems"].as_array().unwrap();
    let found = problems.iter().find(|problem| problem["code"] == code);
    found.map_or_else(String::new, |problem| problem["message"].as_str().unwrap().to_owned())
}

#[test]
fn an_adapter_of_another_base_is_said_with_names_and_numbers() {
    let scratch = Scratch::new("identity-base");
    let base = llama(&scratch.join("base"), 2, (false, false));
    let mut model: Value = serde_json::from_slice(&fs::read(base.join("config.json")).unwrap()).unwrap();
    model["_name_or_path"] = json!("meta-llama/Llama-3.1-8B-Instruct");
    put(&base.join("config.json"), model.to_string().as_bytes());
    let adapter = |name: &str, of: &str, layer: usize, inputs: usize| {
        let q = format!("base_model.model.model.layers.{layer}.self_attn.q_proj");
        let list = [
            (format!("{q}.lora_A.weight"), vec![4, inputs]),
            (format!("{q}.lora_B.weight"), vec![inputs, 4]),
        ];
        let config = json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
            "layers_to_transform": [layer], "base_model_name_or_path": of,
        });
        let folder = scratch.join(name);
        made(&folder, "adapter_model.safetensors", &list, ("adapter_config.json", &config));
        told(&[], &base, &folder).0
    };
    // The same model in other hands, and names that say nothing.
    for of in ["unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "/home/me/model", "", "./out"] {
        let document = adapter(&format!("same-{}", of.len()), of, 0, 32);
        let said: Vec<String> = codes(&document)
            .into_iter()
            .filter(|_| !message(&document, "A014").contains("parameters"))
            .collect();
        assert_eq!(said, Vec::<String>::new(), "{of}: {document}");
    }
    let document = adapter("other", "meta-llama/Llama-3.1-70B", 0, 32);
    let problems = document["problems"].to_string();
    assert!(problems.contains("calls itself meta-llama/Llama-3.1-8B-Instruct"), "{problems}");
    // Embeddings and head of 64 rows, a norm, and two layers of 7744.
    let count = ckpt::units::count(2 * 64 * 32 + 32 + 2 * 7744);
    let size = format!("made for meta-llama/Llama-3.1-70B, and this base has {count} parameters");
    assert!(problems.contains(&size), "{problems}");
    let document = adapter("layers", "", 5, 32);
    assert!(message(&document, "A014").contains("up to layers.5, and the last of this base is layers.1"));
    let document = adapter("hidden", "", 0, 48);
    assert!(message(&document, "A014").contains("hidden size of 48, and this base has 32 (1 modules)"));
}

#[test]
fn tokens_without_a_row_and_tied_heads_are_said() {
    let scratch = Scratch::new("identity-tokens");
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    let pair = named(&[])
        .into_iter()
        .chain([(format!("{q}.lora_A.weight"), vec![4, 32]), (format!("{q}.lora_B.weight"), vec![32, 4])]);
    let pair: Vec<(String, Vec<usize>)> = pair.collect();
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
    let base = llama(&scratch.join("base"), 1, (false, false));
    let adapter = scratch.join("adapter");
    made(&adapter, "adapter_model.safetensors", &pair, ("adapter_config.json", &config));
    let vocabulary = |tokens: u64, added: u64| {
        let listed: serde_json::Map<String, Value> =
            (0..tokens).map(|id| (format!("t{id}"), json!(id))).collect();
        json!({"model": {"vocab": listed}, "added_tokens": [{"id": added, "content": "<x>"}]}).to_string()
    };
    // 64 rows: as many tokens, or fewer, are right.
    for (tokens, added, lost) in [(60, 63, 0), (64, 10, 0), (60, 64, 1), (70, 1, 6)] {
        put(&adapter.join("tokenizer.json"), vocabulary(tokens, added).as_bytes());
        let (document, _) = told(&[], &base, &adapter);
        let said = message(&document, "A010");
        assert_eq!(said.is_empty(), lost == 0, "{document}");
        assert!(lost == 0 || said.contains(&format!("{lost} tokens have none")), "{said}");
    }
    put(&adapter.join("tokenizer.json"), b"{\"model\": 7}");
    assert_eq!(codes(&told(&[], &base, &adapter).0), Vec::<String>::new());
    // Embeddings and head that are one tensor.
    let tied = llama(&scratch.join("tied"), 1, (false, true));
    let delta = |name: &str, a: &str, b: &str| {
        let p = format!("base_model.model.{name}");
        [(format!("{p}.{a}"), vec![4, 64]), (format!("{p}.{b}"), vec![32, 4])]
    };
    let embedding = delta("model.embed_tokens", "lora_embedding_A", "lora_embedding_B").to_vec();
    let head = vec![("base_model.model.lm_head.weight".to_owned(), vec![64, 32])];
    for (name, list, targets, saved, words) in [
        ("embedding", embedding, json!(["embed_tokens"]), Value::Null, "merged, it changes the head as well"),
        ("head", [pair, head].concat(), json!(["q_proj"]), json!(["lm_head"]), "brings a head of its own"),
    ] {
        let config = json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": targets, "modules_to_save": saved,
        });
        let folder = scratch.join(name);
        made(&folder, "adapter_model.safetensors", &list, ("adapter_config.json", &config));
        let (document, exit) = told(&[], &tied, &folder);
        assert!(message(&document, "A015").contains(words), "{name}: {document}");
        assert_eq!(exit, 0, "{name}");
        let (document, _) = told(&[], &base, &folder);
        assert_eq!(message(&document, "A015"), "", "{name}");
    }
}

#[test]
fn configs_are_dated_by_their_fields_and_values_are_looked_at() {
    let scratch = Scratch::new("identity-version");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    let adapter = scratch.join("adapter");
    let list = [(format!("{q}.lora_A.weight"), vec![4, 32]), (format!("{q}.lora_B.weight"), vec![32, 4])];
    let plain = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
    made(&adapter, "adapter_model.safetensors", &list, ("adapter_config.json", &plain));
    for (field, value, version) in [
        ("merge_weights", json!(false), "≤ 0.2, by merge_weights"),
        ("init_lora_weights", json!(true), "≥ 0.3, by init_lora_weights"),
        ("layers_pattern", Value::Null, "≥ 0.4, by layers_pattern"),
        ("use_dora", json!(false), "≥ 0.9, by use_dora"),
        ("lora_bias", json!(false), "≥ 0.14, by lora_bias"),
        ("kasa_config", Value::Null, "≥ 0.21, by kasa_config"),
        ("peft_version", json!("0.18.1"), "0.18.1"),
        ("peft_type", json!("VERA"), "≥ 0.11, by peft_type VERA"),
    ] {
        let mut config = plain.clone();
        config[field] = value;
        put(&adapter.join("adapter_config.json"), config.to_string().as_bytes());
        let (document, _) = told(&[], &base, &adapter);
        assert_eq!(document["adapter"]["peft_version"], json!(version), "{field}");
    }
    put(&adapter.join("adapter_config.json"), plain.to_string().as_bytes());
    let weights = fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    let data = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    // The first of the two is lora_A: all zero there is no delta either.
    let mut zero = weights.clone();
    zero[data..data + 4 * 32 * 4].fill(0);
    let mut infinite = weights;
    infinite[data + 4..data + 8].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    for (bytes, code) in [(zero, "A011"), (infinite, "V002")] {
        put(&adapter.join("adapter_model.safetensors"), &bytes);
        let (document, _) = told(&[], &base, &adapter);
        assert_eq!(codes(&document), [code], "{document}");
    }
}

/// Merges, or only plans to, and returns what is said on stderr.
fn merged(base: &Path, adapters: &[&Path], out: &Path, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("merge").arg(base).arg("-o").arg(out).args(more);
    for adapter in adapters {
        command.arg("-a").arg(adapter);
    }
    let run = command.output().unwrap();
    (run.status.code().unwrap(), String::from_utf8(run.stderr).unwrap())
}

#[test]
fn embeddings_that_were_resized_take_the_delta_for_their_rows_and_no_other() {
    let scratch = Scratch::new("identity-resized");
    let base = llama(&scratch.join("base"), 1, (false, false));
    let adapter = |name: &str, rows: usize, vocabulary: usize, brings: bool| {
        let p = "base_model.model.model.embed_tokens";
        let mut list = vec![
            (format!("{p}.lora_embedding_A"), vec![4, vocabulary]),
            (format!("{p}.lora_embedding_B"), vec![32, 4]),
        ];
        if brings {
            list.push((format!("{p}.base_layer.weight"), vec![rows, 32]));
            list.push(("base_model.model.lm_head.weight".to_owned(), vec![rows, 32]));
        }
        let config =
            json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["embed_tokens"]});
        let folder = scratch.join(name);
        made(&folder, "adapter_model.safetensors", &list, ("adapter_config.json", &config));
        folder
    };
    let out = scratch.join("out");
    // 64 rows in the base, 66 in the adapter, and its delta is for those.
    let right = adapter("right", 66, 66, true);
    let (document, exit) = told(&[], &base, &right);
    assert_eq!((exit, states(&document).as_str()), (0, "aligned 1, saved 1"), "{document}");
    let (exit, said) = merged(&base, &[&right], &out, &[]);
    assert_eq!(exit, 0, "{said}");
    assert_eq!(tensors(&out)["model.embed_tokens.weight"].1, [66, 32]);
    // A delta for other rows is refused when the plan is made, with both numbers.
    for (name, rows, vocabulary, brings, numbers) in [
        ("fewer", 66, 64, true, ["[64, 32]", "[66, 32]"]),
        ("more", 64, 66, true, ["vocabulary of 66", "the base has 64"]),
        ("alone", 0, 66, false, ["vocabulary of 66", "the base has 64"]),
    ] {
        let adapter = adapter(name, rows, vocabulary, brings);
        let no = scratch.join("no");
        let (exit, said) = merged(&base, &[&adapter], &no, &["--dry-run"]);
        assert_eq!((exit, no.exists()), (2, false), "{name}: {said}");
        assert!(numbers.iter().all(|number| said.contains(number)), "{name}: {said}");
    }
    // Of a second adapter as well, whose delta fits the base as it was.
    let plain = adapter("plain", 0, 64, false);
    let (exit, said) = merged(&base, &[&right, &plain], &scratch.join("no"), &["--dry-run"]);
    assert_eq!(exit, 2);
    assert!(said.contains("[64, 32]") && said.contains("[66, 32]"), "{said}");
}
