//! Rules of caches by architecture, what is packed and trained, and that more never needs less.

use serde_json::{Value, json};

use super::role::Role;
use super::{
    Anatomy, CacheDtype, Footprint, Optimizer, Settings, Targets, TaskKind, Trainable, Verdict, tasks,
    weights,
};
use crate::checkpoint::made::Made;
use crate::tensor::Dtype;

/// A config with these keys over those of a small decoder.
pub(super) fn config(more: &Value) -> Value {
    let mut config = json!({
        "model_type": "llama", "num_hidden_layers": 8, "hidden_size": 64, "intermediate_size": 128,
        "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 4096,
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// A checkpoint that is nothing but its config and a norm: what counts is what the config says.
pub(super) fn bare(config: Value) -> Anatomy {
    Anatomy::of(&Made::default().add("model.norm.weight", Dtype::BF16, &[64]).checkpoint_with(config))
}

/// A decoder of two blocks with tensors.
pub(super) fn decoder(more: &Value) -> Anatomy {
    let mut made = Made::default().add("model.embed_tokens.weight", Dtype::BF16, &[100, 64]);
    for layer in 0..2 {
        for (name, shape) in [
            ("self_attn.q_proj", [64, 64]),
            ("self_attn.k_proj", [16, 64]),
            ("self_attn.v_proj", [16, 64]),
            ("self_attn.o_proj", [64, 64]),
            ("mlp.gate_proj", [128, 64]),
            ("mlp.up_proj", [128, 64]),
            ("mlp.down_proj", [64, 128]),
        ] {
            made.push(&format!("model.layers.{layer}.{name}.weight"), Dtype::BF16, &shape);
        }
    }
    let mut config = config(&json!({"num_hidden_layers": 2}));
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    Anatomy::of(&made.checkpoint_with(config))
}

pub(super) fn settings(context: u64) -> Settings {
    Settings { context, ..Settings::first(None) }
}

/// Bytes of a cache of 16 bit, for one sequence.
fn cache_bytes(config: Value, context: u64) -> Result<u64, String> {
    let cache = bare(config).architecture.cache?;
    assert!(cache.left_out.is_empty(), "{:?}", cache.left_out);
    Ok(cache.bytes(context, 1, CacheDtype::Bits16).unwrap())
}

#[test]
fn every_kind_of_attention_has_its_rule() {
    let layer_types =
        |list: &[&str]| json!({"layer_types": list, "sliding_window": 100, "num_hidden_layers": list.len()});
    // One full layer of the small decoder keeps 2 * 2 * 8 values of 2 bytes a token.
    let (one, at) = (64, 1000);
    let cases: Vec<(&str, Value, u64)> = vec![
        ("GQA", json!({}), 8 * one * at),
        ("MHA by default", json!({"num_key_value_heads": null}), 8 * 4 * one * at),
        ("a head_dim of its own", json!({"head_dim": 32}), 8 * 4 * one * at),
        ("a float that is whole", json!({"num_key_value_heads": 2.0}), 8 * one * at),
        ("Mistral slides everywhere", json!({"model_type": "mistral", "sliding_window": 100}), 8 * one * 100),
        (
            "Qwen does not unless told",
            json!({"model_type": "qwen2", "sliding_window": 100, "use_sliding_window": false}),
            8 * one * at,
        ),
        ("Qwen's default", json!({"model_type": "qwen2", "sliding_window": 100}), 8 * one * at),
        (
            "Qwen from a layer on",
            json!({"model_type": "qwen2", "sliding_window": 100, "use_sliding_window": true, "max_window_layers": 6}),
            6 * one * at + 2 * one * 100,
        ),
        (
            "Gemma 2: every second",
            json!({"model_type": "gemma2", "sliding_window": 100}),
            4 * one * (at + 100),
        ),
        (
            "Gemma 3: every sixth",
            json!({"model_type": "gemma3_text", "sliding_window": 100, "sliding_window_pattern": 6}),
            one * at + 7 * one * 100,
        ),
        (
            "Exaone: letters",
            json!({"model_type": "exaone4", "sliding_window": 100, "sliding_window_pattern": "LLLG"}),
            2 * one * at + 6 * one * 100,
        ),
        (
            "names of layers",
            layer_types(&["full_attention", "sliding_attention", "full_attention"]),
            one * (2 * at + 100),
        ),
        ("a window over the context", layer_types(&["sliding_attention"]), one * 100),
        (
            "MLA: the latent",
            json!({"model_type": "deepseek_v3", "num_hidden_layers": 61, "num_attention_heads": 128, "hidden_size": 7168,
                "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}),
            61 * 576 * 2 * at,
        ),
        (
            "Falcon: one head",
            json!({"model_type": "falcon", "multi_query": true, "num_key_value_heads": null}),
            8 * 32 * at,
        ),
        (
            "GPT-2's names",
            json!({"model_type": "gpt2", "num_hidden_layers": null, "n_layer": 12, "hidden_size": null, "n_embd": 768,
                "num_attention_heads": null, "n_head": 12, "num_key_value_heads": null}),
            12 * 2 * 768 * 2 * at,
        ),
        (
            "Mamba: a state",
            json!({"model_type": "mamba", "expand": 2, "conv_kernel": 4, "state_size": 16}),
            8 * 128 * (4 * 2 + 16 * 4),
        ),
        (
            "Nested text config",
            json!({"model_type": "some_vlm", "num_hidden_layers": null, "hidden_size": 9999, "num_attention_heads": 3,
                "text_config": config(&json!({"num_hidden_layers": 4}))}),
            4 * one * at,
        ),
        (
            "Whisper: cross-attention of 1500",
            json!({"model_type": "whisper", "is_encoder_decoder": true, "num_hidden_layers": 4, "decoder_layers": 4,
                "decoder_attention_heads": 8, "d_model": 64, "hidden_size": null, "max_source_positions": 1500}),
            4 * 128 * 2 * (at + 1500),
        ),
        ("an encoder", json!({"model_type": "bert"}), 0),
    ];
    for (name, more, bytes) in cases {
        assert_eq!(cache_bytes(config(&more), at), Ok(bytes), "{name}");
    }
}

#[test]
fn layers_without_attention_do_not_grow() {
    for more in [
        json!({"model_type": "qwen3_next", "full_attention_interval": 4}),
        json!({"model_type": "llama", "attn_layer_period": 4, "attn_layer_offset": 3}),
        json!({"model_type": "llama", "hybrid_override_pattern": "MM-*MME*"}),
        json!({"model_type": "llama", "attn_type_list": [0, 0, 0, 1, 0, 0, 0, 1]}),
        json!({"model_type": "llama", "layer_types": ["mamba", "mamba", "conv", "attention", "mamba", "mlp", "mamba", "attention"]}),
    ] {
        let cache = bare(config(&more)).architecture.cache.unwrap();
        assert_eq!(cache.groups.iter().map(|group| group.layers).sum::<u64>(), 2, "{more}");
        assert_eq!(cache.bytes(1000, 1, CacheDtype::Bits16), Some(2 * 64 * 1000));
        // Their state is not given here: it is said, and no 0 is put in its place.
        assert!(cache.state_layers >= 4 && cache.left_out.len() == 1, "{more}: {:?}", cache.left_out);
    }
}

#[test]
fn tensors_have_the_word_over_the_config() {
    let cache = decoder(&json!({})).architecture.cache.unwrap();
    assert_eq!(cache.bytes_per_token(CacheDtype::Bits16), Some(2 * 32 * 2));
    assert!(cache.notes.is_empty(), "{:?}", cache.notes);
    let lying = decoder(&json!({"num_key_value_heads": 8})).architecture.cache.unwrap();
    assert_eq!(lying.bytes_per_token(CacheDtype::Bits16), Some(2 * 32 * 2));
    assert!(
        lying.notes[0].contains("says 8 KV heads × 8; the projections have 32 rows"),
        "{:?}",
        lying.notes
    );
    // An architecture that is not known is computed from tensors, and only from them.
    let strange = json!({"model_type": "not_known_yet"});
    assert_eq!(decoder(&strange).architecture.cache.unwrap().bytes_per_token(CacheDtype::Bits16), Some(128));
    let why = bare(config(&strange)).architecture.cache.unwrap_err();
    assert_eq!(why, "not_known_yet is not known here, and no tensors are named as its keys and values");
    // Layers that the tensors do not show are not counted, and said.
    let longer = decoder(&json!({"num_hidden_layers": 3})).architecture.cache.unwrap();
    assert_eq!(longer.left_out, ["1 layer of 3: no tensors of keys and values were found"]);
}

#[test]
fn more_tokens_sequences_or_rank_never_need_less() {
    let anatomy = decoder(&json!({}));
    let need = |settings: &Settings| -> Vec<u64> {
        Footprint::of(&anatomy, settings, None).tasks.iter().map(super::Task::likely).collect()
    };
    let base = Settings { checkpointing: false, ..settings(1000) };
    let before = need(&base);
    let larger = [
        Settings { context: 1001, ..base.clone() },
        Settings { batch: 2, ..base.clone() },
        Settings { rank: 17, ..base.clone() },
        Settings { cache: CacheDtype::F32, ..base.clone() },
    ];
    for settings in &larger {
        let after = need(settings);
        assert!(after.iter().zip(&before).all(|(after, before)| after >= before), "{settings:?}");
        assert!(after.iter().zip(&before).any(|(after, before)| after > before), "{settings:?}");
    }
    let less = Settings { checkpointing: true, ..base.clone() };
    assert!(need(&less).iter().zip(&before).all(|(after, before)| after <= before));
    // Optimizers in the order of what they keep of an F32 value.
    let trained = Trainable::lora(&anatomy, 16, &Targets::All).unwrap();
    let bytes = |optimizer: Optimizer| optimizer.bytes(&trained, 4);
    assert_eq!(bytes(Optimizer::AdamW), trained.values * 8);
    assert_eq!(bytes(Optimizer::AdamW8), (trained.values + trained.values.div_ceil(256) * 4) * 2);
    assert_eq!((bytes(Optimizer::Lion), bytes(Optimizer::Sgd)), (trained.values * 4, 0));
    // A: [16, in] and B: [out, 16] of seven modules in two blocks.
    let rows_and_columns: u64 =
        anatomy.linears.iter().map(|g| g.count * (g.shape[0] + g.shape[1] + 32)).sum();
    assert_eq!(bytes(Optimizer::Adafactor), rows_and_columns * 4);
}

#[test]
fn the_longest_context_that_fits_fits_and_one_more_does_not() {
    let (anatomy, free) = (decoder(&json!({})), 1u64 << 30);
    let settings = settings(100);
    let most = tasks::context_that_fits(&anatomy, &settings, free).unwrap();
    let verdict = |context| {
        let settings = Settings { context, ..settings.clone() };
        Footprint::of(&anatomy, &settings, None).task(TaskKind::Inference).unwrap().verdict(free)
    };
    assert_eq!(verdict(most), Verdict::Fits);
    assert!(matches!(verdict(most + 1), Verdict::Over(_)));
    assert_eq!(tasks::context_that_fits(&anatomy, &settings, 1000), None);
}

#[test]
fn targets_are_those_that_are_named() {
    let anatomy = decoder(&json!({}));
    let values =
        |targets: &str| Trainable::lora(&anatomy, 4, &Targets::parse(targets).unwrap()).map(|t| t.values);
    assert_eq!(values("all"), Ok(2 * 4 * (128 + 80 + 80 + 128 + 192 * 3)));
    assert_eq!(values("qv"), Ok(2 * 4 * (128 + 80)));
    assert_eq!(values("down_proj, up_proj"), Ok(2 * 4 * 192 * 2));
    assert_eq!(values("nothing"), Err("no linear layer is named nothing".into()));
    assert!(Targets::parse("q_proj,,v_proj").is_err() && Targets::parse("").is_err());
}

#[test]
fn only_linear_layers_of_the_decoder_are_packed() {
    let made = Made::default()
        .add("model.embed_tokens.weight", Dtype::F16, &[100, 64])
        .add("model.layers.0.mlp.gate.weight", Dtype::F16, &[4, 64])
        .add("model.layers.0.mlp.experts.gate_up_proj", Dtype::F16, &[4, 64, 256])
        .add("model.layers.0.mlp.shared_expert.up_proj.weight", Dtype::F16, &[128, 64])
        .add("model.layers.0.mixer.A_log", Dtype::F16, &[128, 16])
        .add("model.layers.0.mixer.conv1d.weight", Dtype::F16, &[128, 1, 4])
        .add("model.layers.0.input_layernorm.weight", Dtype::F16, &[64])
        .add("model.visual.blocks.0.attn.qkv.weight", Dtype::F16, &[192, 64])
        .add("model.layers.0.self_attn.rotary.mask", Dtype::I64, &[64])
        .add("lm_head.weight", Dtype::F16, &[100, 64]);
    let anatomy = Anatomy::of(&made.checkpoint());
    let labels: Vec<&str> = anatomy.linears.iter().map(|group| group.label.as_str()).collect();
    assert_eq!(labels, ["up_proj"]);
    let layers = |role| anatomy.others.get(&role).map_or(0, |other| other.layers);
    let roles = [Role::Embedding, Role::Head, Role::Router, Role::Experts, Role::Vision, Role::Other];
    assert_eq!(roles.map(layers), [1, 1, 1, 1, 1, 4]);
    let packed = weights::nf4(&anatomy, false, 2);
    assert_eq!(packed.bytes, 128 * 64 / 2 + 128 * 64 / 64 * 4 + 64);
    // Everything else has 16 bit, but for the integers.
    assert_eq!(packed.others, weights::stored(&anatomy) - 128 * 64 * 2);
    assert_eq!(weights::plain(&anatomy, 2), weights::stored(&anatomy));
    let footprint = Footprint::of(&anatomy, &settings(10), None);
    assert!(footprint.unknown[0].contains("stacked experts"), "{:?}", footprint.unknown);
}
