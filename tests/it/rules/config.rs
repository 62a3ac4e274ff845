//! Cases of the rules in `diagnose/config`.

use serde_json::{Value, json};

use super::folder::{Folder, HIDDEN, VOCAB};
use super::{Case, Tensor};

/// Sets a value of `config.json`.
fn set(folder: &mut Folder, key: &str, value: Value) {
    folder.config().insert(key.into(), value);
}

/// Adds a tokenizer config and a vocabulary.
fn tokenizer(folder: &mut Folder, config: Value) {
    folder.json.insert("tokenizer_config.json".into(), config);
    folder.raw.insert("tokenizer.json".into(), b"{}".to_vec());
}

/// Returns a tokenizer config whose last added token has this id.
fn with_token(id: u64) -> Value {
    json!({"added_tokens_decoder": {(id.to_string()): {"content": "<|end|>", "special": true}}, "eos_token": "<|end|>"})
}

/// Adds a tokenizer config to the adapter, which is attached.
fn adapter_tokenizer(folder: &mut Folder, config: Value) {
    folder.attach_lora();
    let (json, _) = folder.adapter.as_mut().unwrap();
    json.insert("tokenizer_config.json".into(), config);
}

pub(super) const CASES: &[Case] = &[
    Case {
        code: "C001",
        hit: |folder| {
            folder.json.remove("config.json");
        },
        miss: |_| (),
    },
    Case {
        code: "C002",
        hit: |folder| {
            folder.json.remove("config.json");
            folder.raw.insert("config.json".into(), b"{\"model_type\": \"llama\",}".to_vec());
        },
        miss: |_| (),
    },
    Case {
        code: "C003",
        hit: |folder| set(folder, "intermediate_size", json!(96)),
        // Padding of the vocabulary is a rule of its own.
        miss: |folder| {
            for name in ["model.embed_tokens.weight", "lm_head.weight"] {
                folder.tensors().insert(name.into(), Tensor::new("BF16", &[64, HIDDEN]));
            }
        },
    },
    Case {
        code: "C003",
        hit: |folder| {
            set(folder, "vocab_size", json!(40));
            set(folder, "architectures", json!(["Olmo2ForCausalLM"]));
        },
        // With code of its own the numbers may mean something else.
        miss: |folder| {
            set(folder, "vocab_size", json!(40));
            set(folder, "architectures", json!(["Olmo2ForCausalLM"]));
            set(folder, "auto_map", json!({"AutoModelForCausalLM": "modeling.Olmo2ForCausalLM"}));
        },
    },
    Case {
        code: "C004",
        hit: |folder| set(folder, "num_hidden_layers", json!(3)),
        miss: |folder| {
            set(folder, "num_hidden_layers", json!(3));
            set(folder, "architectures", json!(["OtherForCausalLM"]));
        },
    },
    Case {
        code: "C004",
        hit: |folder| {
            set(folder, "num_hidden_layers", json!(3));
            set(folder, "architectures", json!(["Olmo2ForCausalLM"]));
        },
        // DeepSeek numbers what predicts further tokens behind the last layer.
        miss: |folder| {
            set(folder, "num_hidden_layers", json!(1));
            set(folder, "architectures", json!(["DeepseekV3ForCausalLM"]));
        },
    },
    Case {
        code: "C005",
        hit: |folder| set(folder, "torch_dtype", json!("float32")),
        miss: |folder| set(folder, "torch_dtype", json!("auto")),
    },
    Case {
        code: "C006",
        hit: |folder| {
            folder.adapter_config().insert("r".into(), json!("4"));
        },
        miss: |folder| {
            folder.adapter_config().insert("r".into(), json!(4));
        },
    },
    Case {
        code: "C007",
        hit: |folder| set(folder, "tie_word_embeddings", json!(true)),
        miss: |folder| {
            set(folder, "tie_word_embeddings", json!(true));
            folder.tensors().remove("lm_head.weight");
        },
    },
    Case {
        code: "C008",
        hit: |folder| {
            folder.tensors().remove("model.layers.1.mlp.up_proj.weight");
        },
        // A bias that Qwen2 has and Llama has not, and a layer that is packed.
        miss: super::quant::made::gptq,
    },
    Case {
        code: "C008",
        // The config of GPT-2 over the tensors of a Llama.
        hit: |folder| {
            set(folder, "model_type", json!("gpt2"));
            set(folder, "architectures", json!(["GPT2LMHeadModel"]));
        },
        // Its own names, and those of the backbone alone.
        miss: |folder| {
            folder.rename(|name| name.replace("model.layers", "h"));
            set(folder, "model_type", json!("gpt2"));
            set(folder, "architectures", json!(["GPT2LMHeadModel"]));
        },
    },
    Case {
        code: "C009",
        hit: |folder| {
            set(folder, "tie_word_embeddings", json!(true));
            folder.tensors().get_mut("lm_head.weight").unwrap().bytes[5] ^= 1;
        },
        miss: |folder| set(folder, "tie_word_embeddings", json!(true)),
    },
    Case {
        code: "C009",
        hit: |folder| {
            set(folder, "tie_word_embeddings", json!(true));
            folder.tensors().insert("lm_head.weight".into(), Tensor::new("F32", &[48, HIDDEN]));
        },
        // RoBERTa: the matrix of the head is that of the embeddings, its bias is its own.
        miss: |folder| {
            set(folder, "tie_word_embeddings", json!(true));
            folder.tensors().remove("lm_head.weight");
            folder.tensors().insert("lm_head.bias".into(), Tensor::new("BF16", &[48]));
        },
    },
    Case {
        code: "C009",
        hit: |folder| {
            set(folder, "tie_word_embeddings", json!(true));
            folder.tensors().get_mut("lm_head.weight").unwrap().bytes[7] ^= 1;
        },
        // The config says that it ties and the class does not.
        miss: |folder| {
            set(folder, "tie_word_embeddings", json!(true));
            set(folder, "architectures", json!(["BigBirdPegasusForCausalLM"]));
            folder.tensors().get_mut("lm_head.weight").unwrap().bytes[7] ^= 1;
        },
    },
    Case {
        code: "C010",
        hit: |folder| {
            folder.json.remove("config.json");
            let config = json!({"peft_type": "LORA", "r": 4, "base_model_name_or_path": "org/base"});
            folder.json.insert("adapter_config.json".into(), config);
            folder.shards.clear();
            folder.attach_lora();
            let (_, shard) = folder.adapter.take().unwrap();
            folder.shards.insert("adapter_model.safetensors".into(), shard);
        },
        miss: Folder::attach_lora,
    },
    Case {
        code: "C011",
        hit: |folder| {
            folder.config().remove("model_type");
        },
        miss: |folder| {
            folder.config().remove("model_type");
            set(folder, "auto_map", json!({"AutoConfig": "org/other--configuration_x.XConfig"}));
        },
    },
    Case {
        code: "C012",
        hit: |folder| set(folder, "model_type", json!("lama")),
        miss: |folder| set(folder, "model_type", json!("qwen2")),
    },
    Case {
        code: "C013",
        hit: |folder| {
            set(folder, "num_attention_heads", json!(5));
            set(folder, "num_key_value_heads", json!(5));
        },
        miss: |folder| {
            // Eight values a head are said, so that nothing is divided.
            set(folder, "head_dim", json!(8));
        },
    },
    Case {
        code: "C014",
        hit: |folder| set(folder, "rope_scaling", json!({"rope_type": "llama3", "factor": 8.0})),
        miss: |folder| set(folder, "rope_scaling", json!({"type": "linear", "factor": 2.0})),
    },
    Case {
        code: "C015",
        hit: |folder| {
            set(folder, "rope_parameters", json!({"rope_type": "default", "rope_theta": 500_000.0}));
        },
        miss: |folder| {
            set(folder, "rope_parameters", json!({"rope_type": "default", "rope_theta": 500_000.0}));
            set(folder, "rope_theta", json!(500_000.0));
        },
    },
    Case {
        code: "C016",
        hit: |folder| set(folder, "auto_map", json!({"AutoModel": "modeling_own.OwnModel"})),
        miss: |folder| {
            set(
                folder,
                "auto_map",
                json!({"AutoModel": "modeling_own.OwnModel", "AutoConfig": "org/x--c.C"}),
            );
            folder.raw.insert("modeling_own.py".into(), b"class OwnModel: pass\n".to_vec());
        },
    },
    Case {
        code: "C017",
        hit: |folder| {
            folder.json.insert("tokenizer_config.json".into(), json!({"tokenizer_class": "LlamaTokenizer"}));
        },
        miss: |folder| tokenizer(folder, json!({"tokenizer_class": "LlamaTokenizer"})),
    },
    Case {
        code: "C018",
        hit: |folder| tokenizer(folder, with_token(VOCAB)),
        miss: |folder| tokenizer(folder, with_token(VOCAB - 1)),
    },
    Case {
        code: "C018",
        hit: |folder| {
            folder.json.insert("added_tokens.json".into(), json!({"<tool>": VOCAB + 3}));
        },
        miss: |folder| {
            folder.json.insert("added_tokens.json".into(), json!({"<tool>": 3}));
        },
    },
    Case {
        code: "C019",
        hit: |folder| tokenizer(folder, json!({"extra_special_tokens": ["<a>", "<b>"]})),
        miss: |folder| tokenizer(folder, json!({"extra_special_tokens": {"image_token": "<image>"}})),
    },
    Case {
        code: "C020",
        hit: |folder| {
            tokenizer(folder, with_token(7));
            set(folder, "eos_token_id", json!(2));
        },
        miss: |folder| {
            tokenizer(folder, with_token(7));
            set(folder, "eos_token_id", json!(2));
            folder.json.insert("generation_config.json".into(), json!({"eos_token_id": [2, 7]}));
        },
    },
    Case {
        code: "C021",
        hit: |folder| {
            folder.tensors().remove("lm_head.weight");
        },
        miss: |folder| {
            folder.tensors().remove("lm_head.weight");
            set(folder, "tie_word_embeddings", json!(true));
        },
    },
    Case {
        // Absent, the type decides: a Gemma ties, a Llama does not.
        code: "C021",
        hit: |folder| {
            folder.tensors().remove("lm_head.weight");
            folder.config().remove("tie_word_embeddings");
        },
        miss: |folder| {
            folder.tensors().remove("lm_head.weight");
            folder.config().remove("tie_word_embeddings");
            set(folder, "model_type", json!("gemma"));
            set(folder, "architectures", json!(["GemmaForCausalLM"]));
        },
    },
    Case {
        code: "C022",
        hit: |folder| set(folder, "pad_token_id", json!(VOCAB)),
        miss: |folder| set(folder, "pad_token_id", json!(-1)),
    },
    Case {
        code: "C023",
        hit: |folder| {
            tokenizer(folder, with_token(7));
            set(folder, "eos_token_id", json!(7));
            adapter_tokenizer(folder, json!({"eos_token": "<|im_end|>"}));
        },
        miss: |folder| {
            tokenizer(folder, with_token(7));
            set(folder, "eos_token_id", json!(7));
            adapter_tokenizer(folder, with_token(7));
        },
    },
    Case {
        code: "C023",
        hit: |folder| adapter_tokenizer(folder, with_token(VOCAB)),
        miss: |folder| adapter_tokenizer(folder, with_token(VOCAB - 1)),
    },
];
