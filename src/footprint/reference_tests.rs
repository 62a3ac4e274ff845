//! Caches as transformers filled them: small models of random weights in bf16, 40 tokens of one sequence, and the
//! bytes of all tensors of `past_key_values` after it.
//!
//! Made with transformers 5.23.0 and torch on a processor: `AutoConfig.for_model(model_type, **config)`,
//! `AutoModelForCausalLM.from_config(config).to(bfloat16)`, one forward pass. Its sliding layers keep the tokens
//! before the next one, one less than their window, and a count of 8 bytes; engines keep the window, and so do we.

use serde_json::{Value, json};

use super::CacheDtype;
use super::tests::bare;

const TOKENS: u64 = 40;

/// The keys that most of them share.
fn usual(kind: &str, more: &Value) -> Value {
    let mut config = json!({
        "model_type": kind, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 8,
        "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 256,
    });
    for (key, value) in more.as_object().expect("known of these models") {
        config[key] = value.clone();
    }
    config
}

#[test]
fn caches_are_as_large_as_transformers_makes_them() {
    let window = json!({"sliding_window": 16});
    let slides = |head_dim| json!({"sliding_window": 16, "head_dim": head_dim});
    let mamba = json!({
        "hidden_size": 64, "num_hidden_layers": 8, "state_size": 16, "vocab_size": 100, "expand": 2, "conv_kernel": 4,
    });
    let of_mamba = |kind: &str| {
        let mut config = mamba.clone();
        config["model_type"] = kind.into();
        config
    };
    // The config, the bytes of the reference, and how many of its layers slide.
    let cases = [
        (usual("llama", &json!({})), 20_480, 0),
        (
            usual(
                "qwen2",
                &json!({"use_sliding_window": true, "sliding_window": 16, "max_window_layers": 6}),
            ),
            17_296,
            2,
        ),
        (usual("qwen3", &json!({"head_dim": 16})), 40_960, 0),
        (usual("mistral", &window), 7744, 8),
        (usual("gemma2", &slides(8)), 14_112, 4),
        (usual("gemma3_text", &slides(8)), 9336, 7),
        (usual("cohere2", &window), 10_928, 6),
        (usual("gpt_oss", &slides(8)), 14_112, 4),
        (usual("phi3", &window), 7744, 8),
        (usual("starcoder2", &window), 7744, 8),
        (usual("exaone4", &json!({"sliding_window": 16, "sliding_window_pattern": 4})), 10_928, 6),
        (usual("minimax_m2", &json!({"head_dim": 8})), 20_480, 0),
        (usual("deepseek_v3", &json!({"kv_lora_rank": 16, "qk_rope_head_dim": 8})), 15_360, 0),
        (
            usual(
                "qwen3_next",
                &json!({
                    "head_dim": 8, "full_attention_interval": 4, "linear_num_key_heads": 2,
                    "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
                    "linear_conv_kernel_dim": 4,
                }),
            ),
            14_336,
            0,
        ),
        (
            usual(
                "jamba",
                &json!({
                    "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4,
                    "mamba_expand": 2,
                }),
            ),
            67_072,
            0,
        ),
        (
            usual(
                "bamba",
                &json!({
                    "attn_layer_indices": [3, 7], "mamba_n_heads": 16, "mamba_d_head": 8, "mamba_n_groups": 1,
                    "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
                }),
            ),
            61_952,
            0,
        ),
        (usual("lfm2", &json!({"full_attn_idxs": [2, 5], "conv_L_cache": 3})), 7424, 0),
        (of_mamba("mamba"), 73_728, 0),
        (of_mamba("falcon_mamba"), 73_728, 0),
        (
            json!({"model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8,
                "multi_query": true, "new_decoder_architecture": false}),
            5120,
            0,
        ),
        (json!({"model_type": "gpt2", "n_embd": 64, "n_layer": 4, "n_head": 8}), 40_960, 0),
        (
            json!({"model_type": "gpt_bigcode", "n_embd": 64, "n_layer": 4, "n_head": 8, "multi_query": true}),
            5120,
            0,
        ),
        (
            json!({"model_type": "gpt_neox", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8}),
            40_960,
            0,
        ),
        (json!({"model_type": "bloom", "hidden_size": 64, "n_layer": 4, "n_head": 8}), 40_960, 0),
    ];
    for (config, reference, sliding) in cases {
        let name = config["model_type"].as_str().expect("known of these models").to_owned();
        let cache = bare(config).architecture.cache.unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(cache.left_out.is_empty(), "{name}: {:?}", cache.left_out);
        let counted: u64 = cache.groups.iter().filter(|g| g.window.is_some()).map(|g| g.layers).sum();
        assert_eq!(counted, sliding, "{name}: layers that slide");
        // Of each sliding layer the reference lacks one token of 2 * 2 * 8 values, and keeps a count of 8 bytes.
        let ours = cache.bytes(TOKENS, 1, CacheDtype::Bits16).expect("known of these models");
        assert_eq!(ours - sliding * (32 * 2 - 8), reference, "{name}");
        assert_eq!(cache.bytes(TOKENS, 3, CacheDtype::Bits16), Some(ours * 3), "{name}: three sequences");
    }
}
