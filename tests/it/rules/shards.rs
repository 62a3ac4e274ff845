//! Cases of the rules in `diagnose/shards`.

use serde_json::{Value, json};

use super::folder::{Folder, HIDDEN, Shard, VOCAB};
use super::{Case, Tensor};

const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Deals the tensors out to two shards, with an index that is right.
fn two_shards(folder: &mut Folder) {
    let all = folder.shards.remove("model.safetensors").unwrap();
    let mut shards = [Shard { metadata: all.metadata.clone(), ..Shard::default() }, all.clone()];
    shards[1].tensors.clear();
    for (at, (name, tensor)) in all.tensors.into_iter().enumerate() {
        shards[at % 2].tensors.insert(name, tensor);
    }
    let [one, two] = shards;
    folder.shards.insert(ONE.into(), one);
    folder.shards.insert(TWO.into(), two);
    let mut map = serde_json::Map::new();
    let mut total = 0;
    for (file, shard) in &folder.shards {
        for (name, tensor) in &shard.tensors {
            map.insert(name.clone(), json!(file));
            total += tensor.bytes.len();
        }
    }
    folder.json.insert(INDEX.into(), json!({"metadata": {"total_size": total}, "weight_map": map}));
}

/// Returns the map of the index.
fn map(folder: &mut Folder) -> &mut serde_json::Map<String, Value> {
    folder.json.get_mut(INDEX).unwrap()["weight_map"].as_object_mut().unwrap()
}

/// Gives the embeddings and the head other rows.
fn resize(folder: &mut Folder, embedding: u64, head: u64) {
    let tensors = folder.tensors();
    tensors.insert("model.embed_tokens.weight".into(), Tensor::new("BF16", &[embedding, HIDDEN]));
    tensors.insert("lm_head.weight".into(), Tensor::new("BF16", &[head, HIDDEN]));
}

pub(super) const CASES: &[Case] = &[
    Case {
        code: "S001",
        hit: |folder| {
            two_shards(folder);
            folder.shards.remove(TWO);
        },
        miss: two_shards,
    },
    Case {
        code: "S002",
        hit: |folder| {
            two_shards(folder);
            folder.json.insert(INDEX.into(), json!({"metadata": {}}));
        },
        miss: two_shards,
    },
    Case {
        code: "S003",
        hit: |folder| {
            two_shards(folder);
            map(folder).insert("lm_head.weight".into(), json!("../../etc/passwd"));
        },
        miss: |folder| {
            two_shards(folder);
            map(folder).insert("lm_head.weight".into(), json!("model-00003-of-00002.safetensors"));
        },
    },
    Case {
        code: "S004",
        hit: |folder| {
            two_shards(folder);
            map(folder).insert("model.layers.9.mlp.up_proj.weight".into(), json!(ONE));
        },
        miss: two_shards,
    },
    Case {
        code: "S005",
        hit: |folder| {
            two_shards(folder);
            let held = map(folder)["model.norm.weight"] == ONE;
            map(folder).insert("model.norm.weight".into(), json!(if held { TWO } else { ONE }));
        },
        miss: two_shards,
    },
    Case {
        code: "S006",
        hit: |folder| {
            two_shards(folder);
            map(folder).remove("model.norm.weight");
        },
        miss: two_shards,
    },
    Case {
        code: "S007",
        hit: |folder| {
            two_shards(folder);
            for shard in folder.shards.values_mut() {
                shard.tensors.insert("model.norm.weight".into(), Tensor::new("BF16", &[HIDDEN]));
            }
        },
        miss: |folder| {
            // The shares of two ranks have the same names by design.
            let all = folder.shards.remove("model.safetensors").unwrap();
            folder.shards.insert("mp_rank_00.safetensors".into(), all.clone());
            folder.shards.insert("mp_rank_01.safetensors".into(), all);
        },
    },
    Case {
        code: "S008",
        hit: |folder| {
            two_shards(folder);
            folder.json.get_mut(INDEX).unwrap()["metadata"]["total_size"] = json!(12345);
        },
        miss: |folder| {
            // The sum is wrong because the index and the shards name different tensors.
            two_shards(folder);
            folder.json.get_mut(INDEX).unwrap()["metadata"]["total_size"] = json!(12345);
            map(folder).remove("model.norm.weight");
        },
    },
    Case {
        code: "S009",
        hit: |folder| {
            two_shards(folder);
            folder.shards.remove(TWO);
            folder.json.remove(INDEX);
        },
        miss: |folder| {
            two_shards(folder);
            folder.json.remove(INDEX);
        },
    },
    Case {
        code: "S010",
        hit: |folder| {
            two_shards(folder);
            folder.json.remove(INDEX);
        },
        miss: two_shards,
    },
    Case {
        code: "S011",
        hit: |folder| {
            two_shards(folder);
            let stray = Shard { metadata: Some(json!({"format": "pt"})), ..Shard::default() };
            folder.shards.insert("old.safetensors".into(), stray);
        },
        miss: |folder| {
            two_shards(folder);
            folder.raw.insert("optimizer.pt".into(), vec![0; 64]);
        },
    },
    Case {
        code: "S012",
        hit: |folder| {
            let all = folder.shards.remove("model.safetensors").unwrap();
            folder.shards.insert("gptq_model-4bit-128g.safetensors".into(), all);
        },
        miss: |folder| {
            let all = folder.shards.remove("model.safetensors").unwrap();
            folder.shards.insert("model.fp16.safetensors".into(), all);
        },
    },
    Case {
        code: "D001",
        hit: |folder| {
            folder.tensors().insert("model.norm.weight".into(), Tensor::new("BF16", &[0]));
        },
        miss: |folder| {
            folder.tensors().insert("model.empty_cache".into(), Tensor::new("BF16", &[0]));
        },
    },
    Case {
        code: "D001",
        hit: |folder| {
            folder.tensors().insert("model.layers.0.mlp.up_proj.weight".into(), Tensor::new("BF16", &[0]));
        },
        // MobileBERT whose embeddings are as wide as its layers: the matrix for the difference has no row.
        miss: |folder| {
            folder.tensors().insert("cls.predictions.dense.weight".into(), Tensor::new("BF16", &[0, 48]));
        },
    },
    Case {
        code: "D002",
        hit: |folder| {
            let all = folder.shards.remove("model.safetensors").unwrap();
            folder.shards.insert("mp_rank_00.safetensors".into(), all.clone());
            folder.shards.insert("mp_rank_01.safetensors".into(), all);
        },
        miss: two_shards,
    },
    Case {
        code: "D003",
        hit: |folder| {
            folder.raw.insert("zero_to_fp32.py".into(), b"import torch\n".to_vec());
        },
        miss: |folder| {
            folder.raw.insert("latest".into(), b"global_step100".to_vec());
        },
    },
    Case {
        code: "D004",
        hit: |folder| {
            folder.raw.insert("__0_0.distcp".into(), vec![1; 64]);
        },
        miss: |folder| {
            folder.raw.insert(".metadata".into(), vec![1; 64]);
        },
    },
    Case {
        code: "D005",
        hit: |folder| resize(folder, 128, 128),
        // Rows that no padding explains: the general rule has it.
        miss: |folder| resize(folder, VOCAB + 4, VOCAB + 4),
    },
];
