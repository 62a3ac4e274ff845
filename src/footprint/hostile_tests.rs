//! Configs that lie: numbers that are none or of any size, keys that hold anything, names of any depth.

use serde_json::json;

use super::tests::{bare, config, decoder, settings};
use super::{
    Anatomy, BATCH_MAX, CONTEXT_MAX, Footprint, Optimizer, PartKind, RANK_MAX, Settings, TaskKind, Verdict,
};
use crate::checkpoint::made::Made;
use crate::tensor::Dtype;

/// Keys that are read.
const KEYS: [&str; 46] = [
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "sliding_window",
    "layer_types",
    "sliding_window_pattern",
    "use_sliding_window",
    "max_window_layers",
    "attn_type_list",
    "block_types",
    "hybrid_override_pattern",
    "full_attention_interval",
    "attn_layer_period",
    "attn_layer_offset",
    "attn_layer_indices",
    "linear_attn_config",
    "num_kv_shared_layers",
    "cross_attention_layers",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "qk_nope_head_dim",
    "v_head_dim",
    "index_head_dim",
    "is_encoder_decoder",
    "is_decoder",
    "decoder_layers",
    "max_source_positions",
    "multi_query",
    "global_head_dim",
    "attn_config",
    "text_config",
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "n_shared_experts",
    "linear_num_key_heads",
    "mamba_d_state",
    "mamba_expand",
    "ssm_state_size",
    "conv_kernel",
];

#[test]
fn numbers_that_are_none_stop_what_depends_on_them() {
    let wrong = [
        ("num_key_value_heads", json!("8")),
        ("num_key_value_heads", json!(-8)),
        ("num_key_value_heads", json!([8])),
        ("num_key_value_heads", json!({"a": 1})),
        ("num_key_value_heads", json!(2.5)),
        ("num_key_value_heads", json!(true)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!("\u{202e}\x1b[31m")),
        ("num_hidden_layers", json!(1e300)),
        ("num_hidden_layers", json!(u64::MAX)),
        ("num_hidden_layers", json!(1u64 << 39)),
        ("head_dim", json!("64")),
        ("kv_lora_rank", json!(-1)),
        ("layer_types", json!("full_attention")),
        ("layer_types", json!(["full_attention"])),
        ("layer_types", json!(vec!["strange"; 8])),
        ("hybrid_override_pattern", json!("????????")),
        ("sliding_window", json!("none")),
        ("full_attention_interval", json!("4")),
        ("num_kv_shared_layers", json!(-1)),
        ("cross_attention_layers", json!([3, 1_000_000])),
        ("is_encoder_decoder", json!("no")),
    ];
    for (key, value) in &wrong {
        let anatomy = bare(config(&json!({*key: value})));
        let why = anatomy.architecture.cache.as_ref().expect_err(key);
        assert!(why.contains(key) || why.contains("layers are no decoder's"), "{key} {value}: {why}");
        assert!(!why.contains('\x1b') && !why.contains('\u{202e}'), "{why:?}");
        let footprint = Footprint::of(&anatomy, &settings(100), None);
        let inference = footprint.task(TaskKind::Inference).expect("every task has its figures");
        assert!(inference.part(PartKind::KvCache).is_none());
        assert_eq!(
            inference.verdict(u64::MAX),
            Verdict::Unknown,
            "{key}: a part is missing, so nothing is said to fit"
        );
    }
    for config in [json!(null), json!([]), json!("x"), json!({}), json!({"text_config": {"text_config": 3}})]
    {
        assert!(bare(config).architecture.cache.is_err());
    }
}

#[test]
fn any_key_may_hold_anything() {
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(-1),
        json!(0),
        json!(1),
        json!(7),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(1u64 << 40),
        json!("x"),
        json!("LG"),
        json!("*M-"),
        json!([]),
        json!([null]),
        json!([-1, 1e300]),
        json!([0, 1, 2, 3, 4, 5, 6, 7]),
        json!(["full_attention"]),
        json!({}),
        json!({"text_config": {}, "kv_n_heads": -3, "full_attn_layers": "x"}),
        json!("\u{202e}\u{1b}[0m"),
    ];
    let starts = [
        json!({}),
        json!({"kv_lora_rank": 8, "qk_rope_head_dim": 4}),
        json!({"is_encoder_decoder": true}),
        json!({"model_type": "mamba", "expand": 2, "conv_kernel": 4, "state_size": 16}),
        json!({"sliding_window": 100, "num_experts": 4, "num_experts_per_tok": 2}),
    ];
    let (mut computed, mut said) = (0, 0);
    for start in &starts {
        for key in KEYS {
            for value in &values {
                let mut config = config(start);
                config[key] = value.clone();
                let anatomy = decoder(&config);
                let footprint = Footprint::of(&anatomy, &settings(CONTEXT_MAX), None);
                let words = super::words::cache_lines(&anatomy, &settings(100), None);
                assert!(
                    words.iter().all(|line| !line.contains('\u{1b}') && !line.contains('\u{202e}')),
                    "{words:?}"
                );
                let inference = footprint.task(TaskKind::Inference).expect("every task has its figures");
                if inference.part(PartKind::KvCache).is_some() {
                    computed += 1;
                } else {
                    assert!(
                        inference.left_out.iter().any(|why| why.starts_with("KV cache: ")),
                        "{key} {value}"
                    );
                    said += 1;
                }
            }
        }
    }
    println!("{computed} computed, {said} said why not");
    assert_eq!(computed + said, starts.len() * KEYS.len() * values.len());
    assert!(computed > 1000 && said > 300, "{computed} {said}");
}

#[test]
fn numbers_of_any_size_are_words_and_no_panic() {
    let large = 1u64 << 40;
    let huge = json!({
        "hidden_size": large, "intermediate_size": large, "num_attention_heads": 1, "num_key_value_heads": large,
        "head_dim": large, "vocab_size": large, "num_hidden_layers": 65_536, "max_position_embeddings": large,
    });
    let most = Settings { context: CONTEXT_MAX, batch: BATCH_MAX, rank: RANK_MAX, ..Settings::first(None) };
    for anatomy in [bare(config(&huge)), decoder(&huge)] {
        for optimizer in Optimizer::ALL {
            let settings = Settings { optimizer, ..most.clone() };
            let footprint = Footprint::of(&anatomy, &settings, None);
            for task in &footprint.tasks {
                assert!(task.most() >= task.likely() && task.likely() >= task.least(), "{}", task.name);
                let has_words = |part: &str| task.left_out.iter().any(|why| why.starts_with(part));
                assert!(task.part(PartKind::Logits).is_some() || has_words("logits"), "{:?}", task.left_out);
            }
            assert!(!super::words::cache_lines(&anatomy, &settings, None).is_empty());
        }
    }
}

#[test]
fn a_name_of_any_depth_and_blocks_of_any_number_are_walked() {
    let deep = format!("model.layers.{}.{}q_proj.weight", u64::MAX, "a.".repeat(30_000));
    let made = Made::default()
        .add(&deep, Dtype::BF16, &[64, 64])
        .add("model.layers.99999999999999999999999.k_proj.weight", Dtype::BF16, &[64, 64])
        .add("model.layers.7.k_proj.weight", Dtype::BF16, &[u64::MAX / 4, 1]);
    let anatomy = Anatomy::of(&made.checkpoint_with(config(&json!({}))));
    let footprint = Footprint::of(&anatomy, &settings(CONTEXT_MAX), None);
    assert!(footprint.tasks.len() >= 5);
}
