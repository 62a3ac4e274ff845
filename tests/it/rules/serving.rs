//! Cases of the rules in `diagnose/serving`.

use serde_json::json;

use super::Case;
use super::folder::{Folder, HIDDEN, VOCAB};
use super::lora::{add, alone, set, vera};

/// Makes the folder of the model an adapter under mlx-lm's file name.
fn mlx(folder: &mut Folder) {
    alone(folder);
    let shard = folder.shards.remove("adapter_model.safetensors").unwrap();
    folder.shards.insert("adapters.safetensors".into(), shard);
}

/// Adds factors of the head, of a base that ties it or not.
fn head(folder: &mut Folder, is_tied: bool) {
    folder.config().insert("tie_word_embeddings".into(), json!(is_tied));
    if is_tied {
        folder.tensors().remove("lm_head.weight");
    }
    add(folder, "base_model.model.lm_head.lora_A.weight", &[4, HIDDEN]);
    add(folder, "base_model.model.lm_head.lora_B.weight", &[VOCAB, 4]);
    set(folder, "target_modules", json!(["q_proj", "v_proj", "lm_head"]));
}

/// A GGUF file: text values of its metadata, numbers of it, and tensors of F32 by name and shape, outputs first.
fn gguf(texts: &[(&str, &str)], numbers: &[(&str, f32)], tensors: &[(&str, [u64; 2])]) -> Vec<u8> {
    const ALIGNMENT: usize = 32;
    let mut file = b"GGUF".to_vec();
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    };
    file.extend(3u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend(((texts.len() + numbers.len()) as u64).to_le_bytes());
    for (key, value) in texts {
        text(&mut file, key);
        file.extend(8u32.to_le_bytes());
        text(&mut file, value);
    }
    for (key, value) in numbers {
        text(&mut file, key);
        file.extend(6u32.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    let mut data = Vec::new();
    for (name, [rows, columns]) in tensors {
        text(&mut file, name);
        file.extend(2u32.to_le_bytes());
        file.extend(columns.to_le_bytes());
        file.extend(rows.to_le_bytes());
        file.extend(0u32.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        data.extend((0..rows * columns).flat_map(|at| (at as f32 + 1.0).to_le_bytes()));
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    file.extend(data);
    file
}

/// Makes base and adapter GGUF files: the adapter has factors for this tensor.
fn gguf_pair(folder: &mut Folder, name: &str) {
    folder.shards.clear();
    folder.json.clear();
    let base = [("blk.0.attn_q.weight", [HIDDEN, HIDDEN])];
    folder.raw.insert("model.gguf".into(), gguf(&[("general.architecture", "llama")], &[], &base));
    let (a, b) = (format!("{name}.lora_a"), format!("{name}.lora_b"));
    let texts = [("general.architecture", "llama"), ("general.type", "adapter"), ("adapter.type", "lora")];
    let tensors = [(a.as_str(), [4, HIDDEN]), (b.as_str(), [HIDDEN, 4])];
    let file = gguf(&texts, &[("adapter.lora.alpha", 8.0)], &tensors);
    folder.adapter_raw.insert("adapter.gguf".into(), file);
}

pub(super) const CASES: &[Case] = &[
    Case {
        code: "E001",
        hit: |folder| {
            set(folder, "modules_to_save", json!(["lm_head"]));
            add(folder, "base_model.model.lm_head.weight", &[VOCAB, HIDDEN]);
        },
        miss: |folder| {
            set(folder, "modules_to_save", json!(["score"]));
            add(folder, "base_model.model.score.weight", &[2, HIDDEN]);
        },
    },
    Case {
        code: "E002",
        hit: |folder| set(folder, "use_dora", json!(true)),
        miss: |folder| set(folder, "use_rslora", json!(true)),
    },
    Case {
        code: "E003",
        hit: |folder| set(folder, "init_lora_weights", json!("pissa")),
        miss: |folder| set(folder, "init_lora_weights", json!("gaussian")),
    },
    Case {
        code: "E004",
        hit: |folder| set(folder, "r", json!(64)),
        miss: |folder| set(folder, "r", json!(16)),
    },
    Case {
        code: "E005",
        hit: |folder| add(folder, "base_model.model.lm_head.weight", &[VOCAB, HIDDEN]),
        miss: |folder| add(folder, "base_model.model.lm_head.base_layer.weight", &[VOCAB, HIDDEN]),
    },
    Case {
        code: "E006",
        hit: |folder| head(folder, false),
        miss: |folder| {
            let factor = |key: &str| key.replace("q_proj", "o_proj");
            let tensors = std::mem::take(folder.adapter_tensors());
            *folder.adapter_tensors() =
                tensors.into_iter().map(|(key, tensor)| (factor(&key), tensor)).collect();
        },
    },
    Case {
        code: "E007",
        hit: |folder| {
            folder.adapter_config().remove("lora_alpha");
        },
        miss: |folder| {
            folder.adapter_config().remove("lora_dropout");
        },
    },
    Case {
        code: "E008",
        hit: |folder| {
            add(folder, "base_model.model.model.embed_tokens.lora_embedding_A", &[4, VOCAB + 8]);
            add(folder, "base_model.model.model.embed_tokens.lora_embedding_B", &[HIDDEN, 4]);
        },
        miss: |folder| {
            add(folder, "base_model.model.model.embed_tokens.lora_embedding_A", &[4, VOCAB]);
            add(folder, "base_model.model.model.embed_tokens.lora_embedding_B", &[HIDDEN, 4]);
        },
    },
    Case { code: "E009", hit: vera, miss: |folder| set(folder, "peft_type", json!("LORA")) },
    Case {
        code: "E010",
        hit: |folder| set(folder, "use_rslora", json!(true)),
        miss: |folder| set(folder, "rank_pattern", json!({"q_proj": 4})),
    },
    Case {
        code: "E011",
        hit: |folder| add(folder, "base_model.model.lm_head.weight", &[VOCAB, HIDDEN]),
        miss: |folder| add(folder, "base_model.model.lm_head.base_layer.weight", &[VOCAB, HIDDEN]),
    },
    Case { code: "E012", hit: |folder| head(folder, true), miss: |folder| head(folder, false) },
    Case {
        code: "E013",
        hit: |folder| gguf_pair(folder, "blk.1.attn_q.weight"),
        miss: |folder| gguf_pair(folder, "blk.0.attn_q.weight"),
    },
    Case {
        code: "E014",
        hit: mlx,
        miss: |folder| {
            mlx(folder);
            let shard = folder.shards.get_mut("adapters.safetensors").unwrap();
            let tensors = std::mem::take(&mut shard.tensors);
            let name = |key: &str| {
                let key = key.replacen("base_model.model.", "", 1);
                key.replace("lora_A.weight", "lora_a").replace("lora_B.weight", "lora_b")
            };
            shard.tensors = tensors.into_iter().map(|(key, tensor)| (name(&key), tensor)).collect();
            let config = json!({"fine_tune_type": "lora", "num_layers": 2,
                "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0}});
            folder.json.insert("adapter_config.json".into(), config);
        },
    },
];
