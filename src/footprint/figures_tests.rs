//! Figures that others have published, each within the tolerance that its kind allows: hf-mem's to the byte,
//! accelerate's to a percent, tables of rounded gigabytes within a factor of 0.6 to 1.4.
//!
//! The models are their tensors' names and shapes: from their `config.json` and transformers' `modeling_*.py`.

use serde_json::{Value, json};

use super::activations::{Pass, Shape, Trained};
use super::{
    Anatomy, CacheDtype, Footprint, Known, Optimizer, PartKind, Settings, Targets, TaskKind, Trainable,
    weights,
};
use crate::checkpoint::made::Made;
use crate::tensor::Dtype;

const GB: f64 = 1e9;
const GIB: f64 = (1u64 << 30) as f64;

/// A decoder of the Llama kind.
#[derive(Clone, Copy)]
struct Llama {
    layers: u64,
    hidden: u64,
    inner: u64,
    heads: u64,
    kv_heads: u64,
    vocabulary: u64,
}

const LLAMA_2_7B: Llama =
    Llama { layers: 32, hidden: 4096, inner: 11008, heads: 32, kv_heads: 32, vocabulary: 32000 };
const LLAMA_3_8B: Llama =
    Llama { layers: 32, hidden: 4096, inner: 14336, heads: 32, kv_heads: 8, vocabulary: 128_256 };
const QWEN_2_5_14B: Llama =
    Llama { layers: 48, hidden: 5120, inner: 13824, heads: 40, kv_heads: 8, vocabulary: 152_064 };
const LLAMA_30B: Llama =
    Llama { layers: 60, hidden: 6656, inner: 17920, heads: 52, kv_heads: 52, vocabulary: 32000 };
const LLAMA_65B: Llama =
    Llama { layers: 80, hidden: 8192, inner: 22016, heads: 64, kv_heads: 64, vocabulary: 32000 };
const LLAMA_2_70B: Llama =
    Llama { layers: 80, hidden: 8192, inner: 28672, heads: 64, kv_heads: 8, vocabulary: 32000 };

impl Llama {
    fn config(self) -> Value {
        json!({
            "model_type": "llama", "num_hidden_layers": self.layers, "hidden_size": self.hidden,
            "intermediate_size": self.inner, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "vocab_size": self.vocabulary, "max_position_embeddings": 4096,
        })
    }

    fn anatomy(self) -> Anatomy {
        let (mut made, hidden) = (Made::default(), self.hidden);
        let kv = hidden / self.heads * self.kv_heads;
        made.push("model.embed_tokens.weight", Dtype::BF16, &[self.vocabulary, hidden]);
        for layer in 0..self.layers {
            for (name, shape) in [
                ("self_attn.q_proj", [hidden, hidden]),
                ("self_attn.k_proj", [kv, hidden]),
                ("self_attn.v_proj", [kv, hidden]),
                ("self_attn.o_proj", [hidden, hidden]),
                ("mlp.gate_proj", [self.inner, hidden]),
                ("mlp.up_proj", [self.inner, hidden]),
                ("mlp.down_proj", [hidden, self.inner]),
            ] {
                made.push(&format!("model.layers.{layer}.{name}.weight"), Dtype::BF16, &shape);
            }
            for name in ["input_layernorm", "post_attention_layernorm"] {
                made.push(&format!("model.layers.{layer}.{name}.weight"), Dtype::BF16, &[hidden]);
            }
        }
        made.push("model.norm.weight", Dtype::BF16, &[hidden]);
        made.push("lm_head.weight", Dtype::BF16, &[self.vocabulary, hidden]);
        Anatomy::of(&made.checkpoint_with(self.config()))
    }
}

fn settings(context: u64, rank: u64) -> Settings {
    Settings { context, rank, ..Settings::first(None) }
}

/// Asserts that a number is within a percentage of another.
fn near(what: &str, ours: f64, theirs: f64, percent: f64) {
    let off = (ours / theirs - 1.0) * 100.0;
    assert!(off.abs() <= percent, "{what}: {ours:.4e} against {theirs:.4e}, off by {off:.2}%");
}

#[test]
fn llama_2_7b_is_as_large_as_its_figures_say() {
    let anatomy = LLAMA_2_7B.anatomy();
    let linears: u64 = anatomy.linears.iter().map(|group| group.elements() * group.count).sum();
    assert_eq!(linears, 6_476_005_376);
    for (is_double, gigabytes) in [(false, 3.64), (true, 3.34)] {
        let packed = weights::nf4(&anatomy, is_double, 2);
        near("nf4", packed.bytes as f64, gigabytes * GB, 0.3);
        // Embeddings and head, and 65 norms.
        assert_eq!(packed.others, (262_144_000 + 65 * 4096) * 2);
        assert_eq!(weights::nf4(&anatomy, is_double, 4).others, (262_144_000 + 65 * 4096) * 4);
    }
    let cache = anatomy.architecture.cache.as_ref().expect("known of these models");
    assert_eq!(cache.bytes_per_token(CacheDtype::Bits16), Some(524_288));
    let lora = Trainable::lora(&anatomy, 16, &Targets::All).expect("known of these models");
    assert_eq!(lora.values, 39_976_960);
    let states = lora.values * 4 * 2 + Optimizer::AdamW.bytes(&lora, 4);
    assert_eq!(states, 39_976_960 * 16, "a weight, a gradient and two moments");
    assert_eq!(
        Trainable::lora(&LLAMA_3_8B.anatomy(), 16, &Targets::All).expect("known of these models").values,
        41_943_040
    );
}

#[test]
fn minimax_m2_is_to_the_byte_what_hf_mem_says() {
    let (hidden, inner, mut made) = (3072, 1536, Made::default());
    let fp8 = |made: &mut Made, name: &str, [rows, columns]: [u64; 2]| {
        made.push(&format!("{name}.weight"), Dtype::F8E4M3, &[rows, columns]);
        made.push(
            &format!("{name}.weight_scale_inv"),
            Dtype::F32,
            &[rows.div_ceil(128), columns.div_ceil(128)],
        );
    };
    made.push("model.embed_tokens.weight", Dtype::BF16, &[200_064, hidden]);
    for layer in 0..62 {
        let at = format!("model.layers.{layer}");
        for (name, rows, columns) in [
            ("q_proj", 6144, hidden),
            ("k_proj", 1024, hidden),
            ("v_proj", 1024, hidden),
            ("o_proj", hidden, 6144),
        ] {
            fp8(&mut made, &format!("{at}.self_attn.{name}"), [rows, columns]);
        }
        for expert in 0..256 {
            for (name, shape) in [("w1", [inner, hidden]), ("w2", [hidden, inner]), ("w3", [inner, hidden])] {
                fp8(&mut made, &format!("{at}.block_sparse_moe.experts.{expert}.{name}"), shape);
            }
        }
        made.push(&format!("{at}.block_sparse_moe.gate.weight"), Dtype::F32, &[256, hidden]);
        made.push(&format!("{at}.block_sparse_moe.e_score_correction_bias"), Dtype::F32, &[256]);
        for (name, width) in [("q_norm", 6144), ("k_norm", 1024)] {
            made.push(&format!("{at}.self_attn.{name}.weight"), Dtype::BF16, &[width]);
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            made.push(&format!("{at}.{name}.weight"), Dtype::BF16, &[hidden]);
        }
    }
    made.push("model.norm.weight", Dtype::BF16, &[hidden]);
    made.push("lm_head.weight", Dtype::BF16, &[200_064, hidden]);
    let config = json!({
        "model_type": "minimax_m2", "num_hidden_layers": 62, "hidden_size": hidden, "num_attention_heads": 48,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": inner, "num_local_experts": 256,
        "num_experts_per_tok": 8, "vocab_size": 200_064, "max_position_embeddings": 196_608,
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    });
    let anatomy = Anatomy::of(&made.checkpoint_with(config));
    assert_eq!(weights::stored(&anatomy), 230_121_630_720);
    let cache = anatomy.architecture.cache.as_ref().expect("known of these models");
    assert_eq!(cache.bytes(196_608, 1, CacheDtype::Fp8), Some(24_964_497_408));
    // What hf-mem has no word on: experts are 3/4 of 62 × 256 × 3 linear layers, and no formula was measured there.
    assert_eq!(anatomy.linear_count(), 62 * (4 + 256 * 3));
    assert!(matches!(
        anatomy.architecture.shape.as_ref().expect("known of these models").known,
        Known::Guess(_)
    ));
}

/// `BertModel` of bert-base-cased.
fn bert() -> Anatomy {
    let (hidden, inner, mut made) = (768, 3072, Made::default());
    let linear = |made: &mut Made, name: &str, [rows, columns]: [u64; 2]| {
        made.push(&format!("{name}.weight"), Dtype::F32, &[rows, columns]);
        made.push(&format!("{name}.bias"), Dtype::F32, &[rows]);
    };
    let norm = |made: &mut Made, name: &str| {
        made.push(&format!("{name}.weight"), Dtype::F32, &[hidden]);
        made.push(&format!("{name}.bias"), Dtype::F32, &[hidden]);
    };
    for (name, rows) in [("word", 28_996), ("position", 512), ("token_type", 2)] {
        made.push(&format!("embeddings.{name}_embeddings.weight"), Dtype::F32, &[rows, hidden]);
    }
    norm(&mut made, "embeddings.LayerNorm");
    for layer in 0..12 {
        let at = format!("encoder.layer.{layer}");
        for name in
            ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
        {
            linear(&mut made, &format!("{at}.{name}"), [hidden, hidden]);
        }
        norm(&mut made, &format!("{at}.attention.output.LayerNorm"));
        linear(&mut made, &format!("{at}.intermediate.dense"), [inner, hidden]);
        linear(&mut made, &format!("{at}.output.dense"), [hidden, inner]);
        norm(&mut made, &format!("{at}.output.LayerNorm"));
    }
    linear(&mut made, "pooler.dense", [hidden, hidden]);
    let config = json!({
        "model_type": "bert", "num_hidden_layers": 12, "hidden_size": hidden, "num_attention_heads": 12,
        "intermediate_size": inner, "vocab_size": 28_996, "max_position_embeddings": 512,
    });
    Anatomy::of(&made.checkpoint_with(config))
}

#[test]
fn accelerate_estimates_the_same() {
    let bert = bert();
    near("bert-base-cased", weights::plain(&bert, 4) as f64, 413.18 * 1024.0 * 1024.0, 1.0);
    let footprint = Footprint::of(&bert, &Settings::first(Some(512)), None);
    let inference = footprint.task(TaskKind::Inference).expect("known of these models");
    assert!(inference.part(PartKind::KvCache).is_some_and(|part| part.bytes == 0), "an encoder keeps none");
    // Of idefics-80b it prints what loading takes, and four times that for training with Adam.
    let mut made = Made::default();
    let parameters = (297.12 * GIB / 4.0) as u64;
    made.push("model.layers.0.mlp.up_proj.weight", Dtype::F32, &[parameters / 1024, 1024]);
    let anatomy = Anatomy::of(&made.checkpoint());
    let footprint = Footprint::of(&anatomy, &settings(1024, 16), None);
    let full = footprint.task(TaskKind::Full).expect("known of these models");
    let states = [PartKind::Weights, PartKind::Gradients, PartKind::Optimizer];
    let sum: u64 = states.iter().map(|kind| full.part(*kind).expect("known of these models").bytes).sum();
    near("idefics-80b, loaded", weights::stored(&anatomy) as f64, 297.12 * GIB, 1.0);
    near("idefics-80b, trained", sum as f64, 1.16 * 1024.0 * GIB, 1.0);
}

#[test]
fn llama_factory_s_table_has_the_same_order() {
    // Its defaults: 1024 tokens, rank 8, embeddings left in 16 bit. Rows of 8 and 2 bit are of formats that no task
    // here loads with.
    let settings = Settings { kbit_prep: false, ..settings(1024, 8) };
    let models = [LLAMA_2_7B, QWEN_2_5_14B, LLAMA_30B, LLAMA_2_70B];
    let rows = [
        (TaskKind::Full, [120.0, 240.0, 600.0, 1200.0]),
        (TaskKind::Full16, [60.0, 120.0, 300.0, 600.0]),
        (TaskKind::Lora, [16.0, 32.0, 64.0, 160.0]),
        (TaskKind::Qlora, [6.0, 12.0, 24.0, 48.0]),
    ];
    for (at, model) in models.into_iter().enumerate() {
        let footprint = Footprint::of(&model.anatomy(), &settings, None);
        for (kind, sizes) in rows {
            let task = footprint.task(kind).expect("known of these models");
            let ratio = task.likely() as f64 / (sizes[at] * GB);
            println!(
                "{} of model {at}: {:.1} GB, {ratio:.2} of the table's",
                task.name,
                task.likely() as f64 / GB
            );
            assert!(
                task.is_whole() && (0.6..=1.4).contains(&ratio),
                "{} of model {at}: {ratio:.2}",
                task.name
            );
        }
    }
}

#[test]
fn a_65b_model_trains_on_one_card_of_48_gb_as_the_qlora_paper_says() {
    let settings = Settings { double_quant: true, optimizer: Optimizer::PagedAdamW, ..settings(512, 64) };
    let footprint = Footprint::of(&LLAMA_65B.anatomy(), &settings, None);
    let qlora = footprint.task(TaskKind::Qlora).expect("known of these models");
    let ratio = qlora.likely() as f64 / (48.0 * GB);
    println!("{:.1} GB, {ratio:.2} of the card", qlora.likely() as f64 / GB);
    assert!((0.6..=1.4).contains(&ratio), "{ratio:.2}");
    // What the paper is about: its weights fit with much to spare, those in 16 bit do not.
    assert!((qlora.part(PartKind::Weights).expect("known of these models").bytes as f64) < 40.0 * GB);
    assert!(footprint.task(TaskKind::Lora).expect("known of these models").least() as f64 > 2.0 * 48.0 * GB);
}

/// A 27B model of Qwen with gated delta rule in three of four layers, and its vision tower.
fn qwen_27b() -> Anatomy {
    let (hidden, inner, mut made) = (5120, 17_408, Made::default());
    made.push("model.language_model.embed_tokens.weight", Dtype::BF16, &[248_320, hidden]);
    for layer in 0..64 {
        let at = format!("model.language_model.layers.{layer}");
        let attention: &[(&str, [u64; 2])] = if layer % 4 == 3 {
            &[
                ("self_attn.q_proj", [12_288, 5120]),
                ("self_attn.k_proj", [1024, 5120]),
                ("self_attn.v_proj", [1024, 5120]),
                ("self_attn.o_proj", [5120, 6144]),
            ]
        } else {
            &[
                ("linear_attn.in_proj_qkv", [10_240, 5120]),
                ("linear_attn.in_proj_z", [6144, 5120]),
                ("linear_attn.in_proj_a", [48, 5120]),
                ("linear_attn.in_proj_b", [48, 5120]),
                ("linear_attn.out_proj", [5120, 6144]),
            ]
        };
        let mlp = [
            ("mlp.gate_proj", [inner, hidden]),
            ("mlp.up_proj", [inner, hidden]),
            ("mlp.down_proj", [hidden, inner]),
        ];
        for (name, shape) in attention.iter().chain(&mlp) {
            made.push(&format!("{at}.{name}.weight"), Dtype::BF16, shape);
        }
    }
    for block in 0..27 {
        for (name, shape) in [
            ("attn.qkv", [3456, 1152]),
            ("attn.proj", [1152, 1152]),
            ("mlp.linear_fc1", [4304, 1152]),
            ("mlp.linear_fc2", [1152, 4304]),
        ] {
            made.push(&format!("model.visual.blocks.{block}.{name}.weight"), Dtype::BF16, &shape);
        }
    }
    made.push("model.visual.merger.linear_fc1.weight", Dtype::BF16, &[4608, 4608]);
    made.push("model.visual.merger.linear_fc2.weight", Dtype::BF16, &[5120, 4608]);
    made.push("lm_head.weight", Dtype::BF16, &[248_320, hidden]);
    let text = json!({
        "model_type": "qwen3_5_text", "num_hidden_layers": 64, "hidden_size": hidden, "intermediate_size": inner,
        "num_attention_heads": 24, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 248_320,
        "full_attention_interval": 4, "linear_num_key_heads": 16, "linear_num_value_heads": 48,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
        "max_position_embeddings": 262_144,
    });
    Anatomy::of(&made.checkpoint_with(json!({"model_type": "qwen3_5", "text_config": text})))
}

#[test]
fn a_qwen_of_27b_trains_as_many_values_and_weighs_what_a_run_of_unsloth_reports() {
    let anatomy = qwen_27b();
    let names = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj";
    let lora = Trainable::lora(&anatomy, 16, &Targets::parse(names).expect("known of these models"))
        .expect("known of these models");
    near("trainable values", lora.values as f64, 79.7e6, 0.1);
    let loaded = weights::nf4(&anatomy, false, 2);
    near("loaded", loaded.total() as f64, 20.57 * GB, 5.0);
    let cache = anatomy.architecture.cache.as_ref().expect("known of these models");
    assert_eq!((cache.groups[0].layers, cache.groups[0].values, cache.state_layers), (16, 2048, 48));
    // (2 * 16 * 128 + 48 * 128) * 4 values of 2 bytes, 48 * 128 * 128 of 4.
    assert_eq!(cache.state_bytes, Some(48 * (10_240 * 4 * 2 + 48 * 128 * 128 * 4)));
}

#[test]
fn activations_are_those_that_were_measured() {
    let shape =
        |kappa, inner| Shape { layers: 32, hidden: 4096, inner, kappa, known: Known::Formula(15), why: "" };
    let measured = shape(0.5, 11_264);
    let per_layer = |trained, rank, is_kbit| measured.per_layer(Pass { trained, rank, is_kbit });
    // Measured with saved-tensor hooks at kappa 0.5 and I/h 2.75; the rank of those runs is 1/256 of the width.
    near("LoRA on q and v", per_layer(Trained::LoraQueriesValues, 0, false), 38.7, 1.0);
    near("LoRA on all", per_layer(Trained::LoraAll, 16, false), 66.02, 1.0);
    near("after kbit preparation", per_layer(Trained::LoraAll, 16, true), 72.52, 1.0);
    let llama = shape(1.0, 11_008);
    let bytes = |trained, rank, is_kbit, checkpointing| {
        let settings = Settings { checkpointing, ..settings(2048, 16) };
        llama.bytes(Pass { trained, rank, is_kbit }, &settings).expect("known of these models") as f64 / GIB
    };
    near("full, no checkpointing", bytes(Trained::All, 0, false, false), 11.4, 1.0);
    near("LoRA, no checkpointing", bytes(Trained::LoraAll, 16, false, false), 16.7, 1.0);
    let one_layer = bytes(Trained::LoraAll, 16, false, false) / 32.0;
    near("a layer", one_layer * 1024.0, 536.0, 1.0);
    near("LoRA, checkpointing", bytes(Trained::LoraAll, 16, false, true) - one_layer, 0.5, 1.0);
    let one_layer = bytes(Trained::LoraAll, 16, true, false) / 32.0;
    near("kbit, checkpointing", bytes(Trained::LoraAll, 16, true, true) - one_layer, 1.0, 1.0);
}
