//! Cases of the rules in `diagnose/adapter`.

use serde_json::json;

use super::folder::{HIDDEN, INNER, LAYERS, VOCAB};
use super::lora::{
    add, alone, embedding_factors, experts, factors, fused, magnitudes, oft, ones, rename, set, vera,
};
use super::{Case, Tensor};

pub(super) const CASES: &[Case] = &[
    Case {
        code: "A001",
        hit: |folder| rename(folder, |key| key.replacen("base_model.model.", "", 1)),
        // transformers 5 and PEFT map this one by themselves.
        miss: |folder| {
            set(folder, "task_type", json!("FEATURE_EXTRACTION"));
            rename(folder, |key| key.replacen("base_model.model.model.", "base_model.model.", 1));
        },
    },
    Case {
        code: "A001",
        hit: |folder| rename(folder, |key| key.replace("q_proj.lora", "q_proj.base_layer.lora")),
        miss: |folder| {
            add(folder, "base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias", &[HIDDEN]);
        },
    },
    Case {
        code: "A001",
        hit: |folder| {
            folder.tensors().remove("lm_head.weight");
            add(folder, "base_model.model.lm_head.lora_A.weight", &[4, HIDDEN]);
            add(folder, "base_model.model.lm_head.lora_B.weight", &[VOCAB, 4]);
            set(folder, "target_modules", json!(["q_proj", "v_proj", "lm_head"]));
        },
        // GPT-2 ties its head to `wte` and stores it under that name alone. With `bias` all, PEFT writes the bias of a
        // saved module twice more.
        miss: |folder| {
            folder.tensors().remove("lm_head.weight");
            folder.rename(|name| name.replace("model.embed_tokens", "model.wte"));
            folder.config().insert("tie_word_embeddings".into(), json!(true));
            add(folder, "base_model.model.lm_head.lora_A.weight", &[4, HIDDEN]);
            add(folder, "base_model.model.lm_head.lora_B.weight", &[VOCAB, 4]);
            set(folder, "target_modules", json!(["q_proj", "v_proj", "lm_head"]));
            set(folder, "bias", json!("all"));
            set(folder, "modules_to_save", json!(["classifier"]));
            add(folder, "base_model.model.classifier.bias", &[2]);
            add(folder, "base_model.model.classifier.modules_to_save.bias", &[2]);
            add(folder, "base_model.model.classifier.original_module.bias", &[2]);
        },
    },
    Case {
        code: "A002",
        hit: |folder| {
            folder.adapter_tensors().remove("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight");
        },
        miss: |folder| {
            for half in ["A", "B"] {
                let key = format!("base_model.model.model.layers.1.self_attn.v_proj.lora_{half}.weight");
                folder.adapter_tensors().remove(&key);
            }
        },
    },
    Case {
        code: "A003",
        hit: |folder| set(folder, "r", json!(8)),
        miss: |folder| {
            set(folder, "r", json!(8));
            set(folder, "rank_pattern", json!({"q_proj": 4, "self_attn.v_proj": 4}));
        },
    },
    Case {
        code: "A003",
        hit: |folder| set(folder, "rank_pattern", json!({"layers.1.self_attn.q_proj": 2})),
        miss: |folder| set(folder, "rank_pattern", json!({"layers.7.self_attn.q_proj": 2})),
    },
    Case {
        code: "A004",
        hit: |folder| set(folder, "peft_type", json!("PROMPT_TUNING")),
        miss: |folder| set(folder, "peft_type", json!("lora")),
    },
    Case {
        code: "A005",
        hit: |folder| {
            folder.adapter_config().remove("peft_type");
        },
        miss: |folder| {
            folder.adapter_config().remove("task_type");
        },
    },
    Case {
        code: "A006",
        hit: |folder| {
            for tensor in folder.adapter_tensors().values_mut() {
                *tensor = Tensor::new("F32", &[0]);
            }
        },
        miss: |folder| {
            folder.adapter_tensors().retain(|key, _| key.contains("layers.0.self_attn.q_proj"));
        },
    },
    Case {
        code: "A007",
        hit: |folder| {
            alone(folder);
            let config = folder.json.get_mut("adapter_config.json").unwrap();
            config["base_model_name_or_path"] = json!("/nowhere/models/llama");
        },
        miss: |folder| {
            alone(folder);
            let config = folder.json.get_mut("adapter_config.json").unwrap();
            config["base_model_name_or_path"] = json!("meta-llama/Llama-2-7b-hf");
        },
    },
    Case {
        code: "A008",
        hit: |folder| set(folder, "target_modules", json!(["c_attn"])),
        miss: |folder| set(folder, "target_modules", json!(["q_proj", "v_proj", "c_attn"])),
    },
    Case {
        code: "A009",
        hit: |folder| set(folder, "target_modules", json!(["q_proj", "v_proj", "c_attn"])),
        miss: |folder| set(folder, "target_modules", json!(["self_attn.q_proj", "v_proj"])),
    },
    Case {
        code: "A010",
        hit: |folder| add(folder, "base_model.model.lm_head.weight", &[VOCAB + 4, HIDDEN]),
        miss: |folder| add(folder, "base_model.model.lm_head.weight", &[VOCAB, HIDDEN]),
    },
    Case {
        code: "A011",
        hit: |folder| {
            let key = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight";
            folder.adapter_tensors().get_mut(key).unwrap().bytes.fill(0);
        },
        miss: |folder| {
            let key = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight";
            let bytes = &mut folder.adapter_tensors().get_mut(key).unwrap().bytes;
            bytes[4..].fill(0);
        },
    },
    Case {
        code: "A012",
        hit: |folder| add(folder, "base_model.model.model.layers.0.mlp.down_proj.bias", &[HIDDEN]),
        miss: |folder| {
            set(folder, "bias", json!("all"));
            add(folder, "base_model.model.model.layers.0.mlp.down_proj.bias", &[HIDDEN]);
        },
    },
    Case {
        code: "A013",
        hit: |folder| set(folder, "foo_config", json!({"a": 1})),
        miss: |folder| set(folder, "kasa_config", json!(null)),
    },
    Case {
        code: "A014",
        hit: |folder| {
            folder.config().insert("_name_or_path".into(), json!("Qwen/Qwen2.5-7B"));
            set(folder, "base_model_name_or_path", json!("mistralai/Mistral-v0.3"));
        },
        miss: |folder| {
            folder.config().insert("_name_or_path".into(), json!("meta-llama/Llama-Next"));
            set(folder, "base_model_name_or_path", json!("unsloth/Llama-Next-bnb-4bit"));
        },
    },
    Case {
        code: "A015",
        hit: |folder| {
            folder.config().insert("tie_word_embeddings".into(), json!(true));
            folder.tensors().remove("lm_head.weight");
            embedding_factors(folder);
        },
        miss: embedding_factors,
    },
    Case {
        code: "A016",
        hit: |folder| {
            for (key, tensor) in folder.adapter_tensors().iter_mut() {
                if key.ends_with("lora_A.weight") {
                    *tensor = Tensor::new("F32", &[4, 2 * HIDDEN]);
                }
            }
        },
        // Another vocabulary is said by A046.
        miss: |folder| {
            embedding_factors(folder);
            add(folder, "base_model.model.model.embed_tokens.lora_embedding_A", &[4, VOCAB + 4]);
        },
    },
    Case {
        code: "A017",
        hit: |folder| set(folder, "target_modules", json!(["q_proj"])),
        miss: |folder| set(folder, "target_modules", json!("all-linear")),
    },
    Case {
        code: "A017",
        hit: |folder| set(folder, "layers_to_transform", json!([0])),
        miss: |folder| set(folder, "layers_to_transform", json!([0, 1])),
    },
    Case {
        code: "A018",
        hit: |folder| factors(folder, "model.layers.2.self_attn.q_proj", HIDDEN, HIDDEN),
        miss: |folder| factors(folder, "model.layers.1.self_attn.q2_proj", HIDDEN, HIDDEN),
    },
    Case {
        code: "A019",
        hit: |folder| set(folder, "use_dora", json!(true)),
        miss: |folder| {
            set(folder, "use_dora", json!(true));
            magnitudes(folder, usize::MAX);
        },
    },
    Case {
        code: "A020",
        hit: |folder| magnitudes(folder, 1),
        miss: |folder| {
            set(folder, "lora_bias", json!(true));
            add(folder, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", &[HIDDEN]);
        },
    },
    Case {
        code: "A020",
        hit: |folder| magnitudes(folder, usize::MAX),
        miss: |folder| {
            set(folder, "use_dora", json!(true));
            magnitudes(folder, usize::MAX);
        },
    },
    Case {
        code: "A021",
        hit: |folder| set(folder, "modules_to_save", json!(["lm_head"])),
        // The base has no such module: it is made when the adapter is loaded.
        miss: |folder| {
            set(folder, "modules_to_save", json!(["score"]));
            add(folder, "base_model.model.score.weight", &[2, HIDDEN]);
        },
    },
    Case {
        code: "A022",
        hit: |folder| set(folder, "trainable_token_indices", json!([3, 5])),
        miss: |folder| {
            set(folder, "trainable_token_indices", json!([3, 5]));
            let key = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";
            add(folder, key, &[2, HIDDEN]);
        },
    },
    Case {
        code: "A023",
        hit: |folder| set(folder, "init_lora_weights", json!("pissa_niter_16")),
        miss: |folder| set(folder, "init_lora_weights", json!("gaussian")),
    },
    Case {
        code: "A024",
        hit: |folder| set(folder, "layer_replication", json!([[0, 2], [1, 2]])),
        miss: |folder| set(folder, "layer_replication", json!([])),
    },
    Case {
        code: "A025",
        hit: |folder| {
            folder.attach_lora();
            let block = json!({"quant_method": "compressed-tensors",
                "transform_config": {"config_groups": {"R1": {"type": "hadamard"}}}});
            folder.config().insert("quantization_config".into(), block);
        },
        miss: |folder| {
            folder.attach_lora();
            let block = json!({"quant_method": "compressed-tensors", "transform_config": {}});
            folder.config().insert("quantization_config".into(), block);
            ones(folder, HIDDEN);
        },
    },
    Case {
        code: "A025",
        hit: |folder| {
            folder.config().insert("hidden_size".into(), json!(512));
            ones(folder, 512);
        },
        miss: |folder| {
            folder.config().insert("hidden_size".into(), json!(512));
            ones(folder, 512);
            let norm = "model.layers.1.post_attention_layernorm.weight";
            folder.tensors().get_mut(norm).unwrap().bytes[0] = 0x81;
        },
    },
    Case {
        code: "A026",
        hit: |folder| set(folder, "corda_config", json!(null)),
        miss: |folder| set(folder, "layer_replication", json!(null)),
    },
    Case {
        code: "A027",
        hit: |folder| set(folder, "merge_weights", json!(false)),
        miss: |folder| set(folder, "fan_in_fan_out", json!(false)),
    },
    Case {
        code: "A028",
        hit: |folder| set(folder, "exclude_modules", json!(["q_proj", "v_proj"])),
        miss: |folder| set(folder, "exclude_modules", json!(["layers.1.self_attn.v_proj"])),
    },
    Case {
        code: "A030",
        hit: |folder| experts(folder, &["gate_proj"]),
        miss: |folder| experts(folder, &["gate_proj", "up_proj"]),
    },
    Case {
        code: "A031",
        hit: |folder| {
            folder.attach_lora();
            fused(folder);
        },
        miss: |folder| {
            fused(folder);
            folder.adapter_tensors().clear();
            for layer in 0..LAYERS {
                factors(folder, &format!("model.layers.{layer}.self_attn.qkv_proj"), 2 * HIDDEN, HIDDEN);
            }
            set(folder, "target_modules", json!(["qkv_proj"]));
        },
    },
    Case {
        code: "A032",
        hit: |folder| oft(folder, "oft_r", &[4, 8, 8]),
        miss: |folder| oft(folder, "oft_R.weight", &[4, 28]),
    },
    Case {
        code: "A033",
        hit: vera,
        miss: |folder| {
            vera(folder);
            set(folder, "save_projection", json!(false));
        },
    },
    Case {
        code: "A034",
        hit: |folder| set(folder, "modules_to_save", json!(["lora_head"])),
        miss: |folder| {
            set(folder, "modules_to_save", json!(["explora_head"]));
            add(folder, "base_model.model.explora_head.weight", &[2, HIDDEN]);
        },
    },
    Case {
        code: "A035",
        hit: |folder| rename(folder, |key| key.replace(".weight", ".default.weight")),
        miss: |folder| rename(folder, |key| key.replace(".weight", ".other.weight")),
    },
    Case {
        code: "A041",
        hit: |folder| {
            folder.config().insert("architectures".into(), json!(["LlamaModel"]));
        },
        miss: |folder| {
            folder.config().insert("architectures".into(), json!(["LlamaModel"]));
            folder.tensors().remove("lm_head.weight");
        },
    },
    Case {
        code: "A043",
        hit: |folder| {
            alone(folder);
            let shard = super::folder::Shard::default();
            folder.raw.insert("new_embeddings.safetensors".into(), shard.bytes());
        },
        miss: |folder| {
            alone(folder);
            folder.raw.insert("new_embeddings.txt".into(), b"none".to_vec());
        },
    },
    Case {
        code: "A044",
        hit: |folder| {
            set(folder, "lora_bias", json!(true));
            add(folder, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", &[HIDDEN]);
        },
        miss: |folder| {
            set(folder, "lora_bias", json!(true));
            add(folder, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", &[HIDDEN]);
            let bias = "model.layers.0.self_attn.q_proj.bias";
            folder.tensors().insert(bias.into(), Tensor::new("BF16", &[HIDDEN]));
        },
    },
    Case {
        code: "A045",
        hit: |folder| {
            factors(folder, "model.layers.0.mlp.gate_proj", INNER - 4, HIDDEN);
            set(folder, "target_modules", json!(["q_proj", "v_proj", "gate_proj"]));
        },
        miss: |folder| {
            factors(folder, "model.layers.0.mlp.gate_proj", INNER / 2, HIDDEN);
            set(folder, "target_modules", json!(["q_proj", "v_proj", "gate_proj"]));
        },
    },
    Case {
        code: "A046",
        hit: |folder| {
            embedding_factors(folder);
            add(folder, "base_model.model.model.embed_tokens.lora_embedding_A", &[4, VOCAB + 4]);
        },
        miss: |folder| {
            embedding_factors(folder);
            add(folder, "base_model.model.lm_head.weight", &[VOCAB + 4, HIDDEN]);
        },
    },
];
