//! Architecture: what `config.json`, or the metadata of a GGUF file, say of the decoder.
//!
//! A GGUF file's keys are put under the names of Hugging Face, so that both are read by one rule. Numbers that are
//! given and are none stop what depends on them: nothing is put in their place.
//! Sources: transformers' `configuration_*.py`; ggml's `docs/gguf.md`, llama.cpp's `llama-model.cpp`.

use serde_json::{Map, Value, json};

use super::activations::Shape;
use super::anatomy::Blocks;
use super::kv_cache::KvCache;
use super::numbers::Keys;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::NESTED;
use crate::checkpoint::files::Files;
use crate::container::Value as Meta;

pub(super) const LAYERS: &[&str] = &["num_hidden_layers", "n_layer", "n_layers", "num_layers"];
pub(super) const HIDDEN: &[&str] = &["hidden_size", "n_embd", "d_model", "model_dim"];
pub(super) const HEADS: &[&str] = &["num_attention_heads", "n_head", "n_heads", "num_heads"];
pub(super) const KV_HEADS: &[&str] =
    &["num_key_value_heads", "num_kv_heads", "n_head_kv", "attn_config.kv_n_heads", "multi_query_group_num"];
pub(super) const HEAD_DIM: &[&str] = &["head_dim", "kv_channels", "d_kv"];
pub(super) const INNER: &[&str] = &["intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size"];
const VOCABULARY: &[&str] = &["vocab_size", "padded_vocab_size", "n_vocab"];
const LIMIT: &[&str] = &[
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_target_positions",
];

/// How deep a config nests that of its decoder: Qwen's omni models do it twice.
const NESTED_DEPTH_MAX: usize = 3;

/// What the files say of the decoder.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// `model_type`, or GGUF's `general.architecture`.
    pub name: Option<String>,
    /// Tokens that the model was made for.
    pub limit: Option<u64>,
    /// Words that it scores.
    pub vocabulary: Option<u64>,
    /// The KV cache, or why it is not computed.
    pub cache: Result<KvCache, String>,
    /// What activations are computed from, or why they are not.
    pub shape: Result<Shape, String>,
}

impl Default for Architecture {
    fn default() -> Self {
        Self::unknown("there is no config.json")
    }
}

impl Architecture {
    fn unknown(why: &str) -> Self {
        let (name, limit, vocabulary) = (None, None, None);
        Self { name, limit, vocabulary, cache: Err(why.into()), shape: Err(why.into()) }
    }

    /// Reads what the files of a checkpoint say. `blocks` is what its tensors say of the attention, `has_gate` that
    /// it has gated MLPs.
    pub(super) fn of(checkpoint: &Checkpoint, blocks: &Blocks, has_gate: bool) -> Self {
        let files = &checkpoint.files;
        if let Some(config) = files.configs.get("config.json") {
            let (object, path) = decoder(config, "", 0).unwrap_or((config, String::new()));
            let place = if path.is_empty() { "config.json".into() } else { format!("config.json, {path}") };
            return Self::read(&Keys { place, object }, Some(config), blocks, has_gate);
        }
        if files.configs.has("config.json") {
            return Self::unknown("config.json could not be read");
        }
        match gguf(files) {
            Some(object) => {
                Self::read(&Keys { place: "GGUF metadata".into(), object: &object }, None, blocks, has_gate)
            }
            None => Self::default(),
        }
    }

    /// Reads a config, as `of` does.
    pub(super) fn read(keys: &Keys<'_>, whole: Option<&Value>, blocks: &Blocks, has_gate: bool) -> Self {
        let of_whole = || whole?.get("model_type")?.as_str();
        let name = keys.text("model_type").or_else(of_whole).map(str::to_owned);
        let kind = name.as_deref().unwrap_or("");
        Self {
            // A limit or vocabulary that is no count is only not shown: nothing is computed from a substitute.
            limit: keys.count(LIMIT).ok().flatten(),
            vocabulary: keys.count(VOCABULARY).ok().flatten(),
            cache: KvCache::of(keys, kind, blocks),
            shape: Shape::of(keys, kind, blocks, has_gate),
            name,
        }
    }
}

/// Returns the part of a config that describes the decoder, with its path: the top, if that has a count of layers.
fn decoder<'a>(config: &'a Value, path: &str, depth: usize) -> Option<(&'a Value, String)> {
    let has_layers =
        |object: &Value| LAYERS.iter().any(|key| object.get(key).is_some_and(|value| !value.is_null()));
    if has_layers(config) || config.get("decoder_layers").is_some() {
        return Some((config, path.to_owned()));
    }
    if depth == NESTED_DEPTH_MAX {
        return None;
    }
    NESTED.iter().find_map(|key| {
        let child = config.get(key).filter(|child| child.is_object())?;
        let path = if path.is_empty() { (*key).to_owned() } else { format!("{path}.{key}") };
        decoder(child, &path, depth + 1)
    })
}

/// Keys of a GGUF architecture, and the names of Hugging Face for them.
const GGUF_KEYS: [(&str, &str); 20] = [
    ("block_count", "num_hidden_layers"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("context_length", "max_position_embeddings"),
    ("vocab_size", "vocab_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.value_length", "v_head_dim_of_gguf"),
    ("attention.kv_lora_rank", "kv_lora_rank"),
    ("attention.sliding_window", "sliding_window"),
    ("attention.sliding_window_pattern", "sliding_window_pattern"),
    ("attention.shared_kv_layers", "num_kv_shared_layers"),
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("ssm.conv_kernel", "ssm_conv_kernel"),
    ("ssm.state_size", "ssm_state_size"),
    ("ssm.inner_size", "ssm_inner_size"),
    ("full_attention_interval", "full_attention_interval"),
];

/// Returns the metadata of a GGUF file under the names of Hugging Face; `None` if it names no architecture.
fn gguf(files: &Files) -> Option<Value> {
    let arch = files.metadata("general.architecture")?.as_str()?;
    let mut object = Map::new();
    object.insert("model_type".into(), json!(format!("gguf {arch}")));
    for (key, name) in GGUF_KEYS {
        if let Some(value) = files.metadata(&format!("{arch}.{key}")) {
            object.insert(name.into(), json_of(value));
        }
    }
    if object.contains_key("kv_lora_rank")
        && let Some(value) = files.metadata(&format!("{arch}.rope.dimension_count"))
    {
        object.insert("qk_rope_head_dim".into(), json_of(value));
    }
    Some(Value::Object(object))
}

/// Returns a value of metadata. A list of which only the beginning was read becomes a text that says so: it counts as
/// no number and no list.
fn json_of(value: &Meta) -> Value {
    match value {
        Meta::Text(text) => json!(text),
        Meta::Int(number) => json!(number),
        Meta::Unsigned(number) => json!(number),
        Meta::Float(number) => json!(number),
        Meta::Bool(flag) => json!(flag),
        Meta::Array { len, first, .. } if first.len() as u64 == *len => first.iter().map(json_of).collect(),
        Meta::Array { len, first, .. } => json!(format!("{} of {len} read", first.len())),
    }
}
