//! `config.json` of a GGUF file's model.
//!
//! Counts come from the key-values; vocabulary and head size from the tensors, which are never wrong about
//! themselves. Everything that shapes the computation is written, also where it is a class's default: defaults
//! are one checkpoint's values. What only llama.cpp's source knows (Gemma's attention scale by model size) is a
//! row of `GEMMA_27B`.
//! Sources: transformers' `integrations/ggml.py` (`GGUF_CONFIG_MAPPING`) and the configuration files of the
//! classes; llama.cpp's `llama-model.cpp` (`f_attention_scale`, rope and window defaults).

use serde_json::{Map, Value, json};

use super::{ATTENTION, Naming, rope};

/// Keys that every config has: its name, and the key-value.
const COUNTS: [(&str, &str); 6] = [
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_hidden_layers", "block_count"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("max_position_embeddings", "context_length"),
];
/// Ids of the config, and the key-values.
pub(super) const IDS: [(&str, &str); 3] = [
    ("bos_token_id", "tokenizer.ggml.bos_token_id"),
    ("eos_token_id", "tokenizer.ggml.eos_token_id"),
    ("pad_token_id", "tokenizer.ggml.padding_token_id"),
];
/// Architectures and block counts of Gemma's 27B models: they scale attention by hidden size over heads.
const GEMMA_27B: [(&str, u64); 2] = [("gemma2", 46), ("gemma3", 62)];
/// Caps of logits and what Gemma 2 has where its file does not say: old converters wrote none.
const SOFTCAPS: [(&str, f64); 2] = [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)];
/// Every sixth layer of Gemma 3 sees all.
const GEMMA_3_PATTERN: u64 = 6;
/// What llama.cpp takes where the file says nothing.
const ROPE_THETA: f64 = 10_000.0;

pub(super) fn build(naming: &Naming<'_>, warnings: &mut Vec<String>) -> Result<Value, String> {
    let (meta, arch) = (&naming.meta, naming.names.arch);
    let mut config = Map::new();
    let mut put = |key: &str, value: Value| {
        config.insert(key.to_owned(), value);
    };
    let (class, model_type) = class(naming);
    put("architectures", json!([class]));
    put("model_type", json!(model_type));
    for (key, from) in COUNTS {
        let count = match key {
            "num_key_value_heads" => naming.names.kv_heads,
            _ => meta.need_int(from)?,
        };
        put(key, json!(count));
    }
    let rows = naming.dim("blk.0.attn_q.weight", 0).unwrap_or(0);
    let head_dim = rows.checked_div(naming.names.heads).filter(|&n| n > 0 && n * naming.names.heads == rows);
    let head_dim = head_dim
        .ok_or_else(|| format!("blk.0.attn_q.weight: {rows} rows are not {} heads", naming.names.heads))?;
    put("head_dim", json!(head_dim));
    put("vocab_size", json!(naming.dim("token_embd.weight", 0).unwrap_or(0)));
    let epsilon = meta.number("attention.layer_norm_rms_epsilon");
    let epsilon = epsilon
        .ok_or_else(|| format!("the file does not say its {}.attention.layer_norm_rms_epsilon", arch.gguf))?;
    put("rms_norm_eps", json!(epsilon));
    let theta = meta.number("rope.freq_base").unwrap_or(ROPE_THETA);
    put("rope_theta", json!(theta));
    put("rope_scaling", rope::scaling(naming, (head_dim, theta), warnings).unwrap_or(Value::Null));
    if let Ok(Some(rotated)) = meta.int("rope.dimension_count")
        && rotated != head_dim
    {
        warnings.push(format!(
            "only {rotated} of {head_dim} dimensions of a head are rotated, which config.json cannot say: the model will not compute the same"
        ));
    }
    put("tie_word_embeddings", json!(!naming.has("output.weight")));
    for (key, from) in IDS {
        put(key, meta.get(from).and_then(crate::container::Value::as_u64).map_or(Value::Null, Value::from));
    }
    let (attention, mlp) = (biased(naming, ATTENTION), biased(naming, &["ffn_gate", "ffn_up", "ffn_down"]));
    if arch.gguf != "qwen2" {
        put("attention_bias", json!(attention));
        if attention && !naming.has("blk.0.attn_output.bias") {
            warnings.push("attn_output has no bias though attn_q has: loaders will take zeros for it".into());
        }
    }
    let gelu = json!("gelu_pytorch_tanh");
    match arch.gguf {
        "llama" => {
            put("hidden_act", json!("silu"));
            put("mlp_bias", json!(mlp));
            if model_type == "mistral" {
                put("sliding_window", meta.int("attention.sliding_window")?.map_or(Value::Null, Value::from));
            }
        }
        "qwen2" | "qwen3" => {
            put("hidden_act", json!("silu"));
            put("use_sliding_window", json!(false));
        }
        "gemma" => {
            put("hidden_act", gelu.clone());
            put("hidden_activation", gelu);
        }
        _ => {
            put("hidden_activation", gelu);
            gemma(naming, head_dim, &mut put)?;
        }
    }
    Ok(Value::Object(config))
}

/// Returns class and model type: Mistral's models are known by their name only.
fn class(naming: &Naming<'_>) -> (&'static str, &'static str) {
    let named = ["general.name", "general.basename"]
        .iter()
        .filter_map(|key| naming.meta.text(key))
        .any(|name| name.to_ascii_lowercase().contains("mistral"));
    // Mistral's class has no biases: a model with some is what its tensors say.
    if naming.names.arch.gguf == "llama" && named && !biased(naming, super::ALL_LINEARS) {
        ("MistralForCausalLM", "mistral")
    } else {
        (naming.names.arch.class, naming.names.arch.model_type)
    }
}

/// Returns true if one of these linears has a bias.
fn biased(naming: &Naming<'_>, leaves: &[&str]) -> bool {
    leaves.iter().any(|leaf| naming.has(&format!("blk.0.{leaf}.bias")))
}

/// What Gemma 2 and 3 have beside.
fn gemma(naming: &Naming<'_>, head_dim: u64, put: &mut dyn FnMut(&str, Value)) -> Result<(), String> {
    let (meta, arch) = (&naming.meta, naming.names.arch.gguf);
    let is_27b = GEMMA_27B.contains(&(arch, naming.names.blocks));
    let scale = if is_27b { meta.need_int("embedding_length")? / naming.names.heads } else { head_dim };
    put("query_pre_attn_scalar", json!(scale));
    for (key, of_gemma2) in SOFTCAPS {
        let default = if arch == "gemma2" { json!(of_gemma2) } else { Value::Null };
        put(key, meta.number(key).map_or(default, Value::from));
    }
    if let Some(window) = meta.int("attention.sliding_window")? {
        put("sliding_window", json!(window));
    }
    if arch == "gemma3" {
        let pattern = meta.int("attention.sliding_window_pattern").ok().flatten();
        put("sliding_window_pattern", json!(pattern.unwrap_or(GEMMA_3_PATTERN)));
        put("rope_local_base_freq", json!(meta.number("rope.freq_base_swa").unwrap_or(ROPE_THETA)));
    }
    Ok(())
}

/// Returns `generation_config.json`: the ids, of ends all that the file names. `None` if it names none.
pub(super) fn generation(naming: &Naming<'_>) -> Option<Value> {
    let id = |key: &str| naming.meta.get(key).and_then(crate::container::Value::as_u64);
    let mut ends: Vec<u64> = Vec::new();
    for key in ["eos", "eot", "eom"] {
        if let Some(end) = id(&format!("tokenizer.ggml.{key}_token_id"))
            && !ends.contains(&end)
        {
            ends.push(end);
        }
    }
    let mut config = Map::new();
    for (key, from) in IDS {
        let value = match (key, ends.as_slice()) {
            ("eos_token_id", []) => None,
            ("eos_token_id", [one]) => Some(json!(one)),
            ("eos_token_id", many) => Some(json!(many)),
            _ => id(from).map(Value::from),
        };
        if let Some(value) = value {
            config.insert(key.to_owned(), value);
        }
    }
    (!config.is_empty()).then_some(Value::Object(config))
}
