//! KV cache: what a decoder keeps of the tokens so far, by the kind of its attention.
//!
//! | attention        | values a token and layer                                            |
//! |------------------|---------------------------------------------------------------------|
//! | MHA, GQA, MQA    | `2 * kv_heads * head_dim`: the rows of the projections of K and V   |
//! | sliding          | the same, of at most `sliding_window` tokens                        |
//! | MLA              | `kv_lora_rank + qk_rope_head_dim`: the latent                       |
//! | linear, Mamba    | none: a state that does not grow (`state.rs`)                       |
//! | cross            | `2 * kv_heads * head_dim` a token of the other source               |
//!
//! Where the projections of keys and values are tensors of their own, their rows are what counts; the config is held
//! against them. Sources: transformers' `cache_utils.py`, `modeling_deepseek_v3.py` 4.57 (expanded) and 5 (latent).

use std::collections::BTreeMap;

use super::anatomy::{Blocks, Widths};
use super::architecture::{HEAD_DIM, HEADS, HIDDEN, KV_HEADS, LAYERS};
use super::numbers::{Keys, product};
use super::sliding::{self, Kind};
use super::{CacheDtype, state};
use crate::units;

/// What a decoder keeps of the tokens so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvCache {
    /// Layers that keep alike.
    pub groups: Vec<CacheGroup>,
    /// Layers that keep a state that does not grow.
    pub state_layers: u64,
    /// Bytes of the states of all those layers, a sequence; `None` if the config does not tell.
    pub state_bytes: Option<u64>,
    /// The rule in words: `GQA: 2 KV heads × 128 × 28 layers × 2`.
    pub words: String,
    /// What is to be said beside it, one line each.
    pub notes: Vec<String>,
    /// What is not in the numbers, in words. Not empty: they are least needs.
    pub left_out: Vec<String>,
}

/// Layers that keep the same number of values a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheGroup {
    /// How many layers.
    pub layers: u64,
    /// Values a token and layer.
    pub values: u64,
    /// Tokens that are kept at most.
    pub window: Option<u64>,
}

/// More layers than this no decoder has.
const LAYERS_MAX: u64 = 1 << 16;

/// Model types that encode only. Source: transformers' `modeling_*.py` without a causal mask.
const ENCODERS: [&str; 22] = [
    "bert",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "albert",
    "electra",
    "deberta",
    "deberta-v2",
    "mpnet",
    "modernbert",
    "nomic_bert",
    "camembert",
    "vit",
    "siglip",
    "siglip2",
    "clip",
    "dinov2",
    "wav2vec2",
    "hubert",
    "gguf bert",
    "gguf nomic-bert",
    "gguf clip",
];

/// Decoders without any attention.
const RECURRENT: [&str; 11] = [
    "mamba",
    "mamba2",
    "falcon_mamba",
    "rwkv",
    "rwkv5",
    "rwkv6",
    "rwkv7",
    "xlstm",
    "gguf mamba",
    "gguf rwkv6",
    "gguf rwkv7",
];

/// Decoders whose cache follows from the usual keys, for which a config alone is enough. Source: transformers'
/// `configuration_*.py` and `modeling_*.py` of these types.
const USUAL: [&str; 52] = [
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen2_vl",
    "qwen2_vl_text",
    "qwen2_5_vl",
    "qwen2_5_vl_text",
    "qwen3",
    "qwen3_moe",
    "qwen3_vl_text",
    "qwen3_next",
    "qwen3_5_text",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "phi",
    "phi3",
    "granite",
    "granitemoe",
    "olmo",
    "olmo2",
    "olmoe",
    "smollm3",
    "cohere",
    "cohere2",
    "stablelm",
    "starcoder2",
    "gpt2",
    "gptj",
    "gpt_neox",
    "opt",
    "bloom",
    "mpt",
    "falcon",
    "gpt_bigcode",
    "gpt_oss",
    "internlm2",
    "baichuan",
    "minicpm",
    "minicpmv",
    "glm",
    "glm4",
    "nemotron",
    "minimax_m2",
    "exaone4",
    "dbrx",
    "jamba",
    "bamba",
    "lfm2",
];

impl KvCache {
    /// Reads what a decoder keeps. `blocks` is what its tensors say.
    ///
    /// # Errors
    /// Why it is not computed, in words.
    pub(super) fn of(keys: &Keys<'_>, kind: &str, blocks: &Blocks) -> Result<Self, String> {
        if keys.flag("is_encoder_decoder")? == Some(true) {
            return encoder_decoder(keys);
        }
        if ENCODERS.contains(&kind) && keys.flag("is_decoder")? != Some(true) {
            return Ok(Self { words: "an encoder keeps no KV cache".into(), ..Self::default() });
        }
        let layers = keys.need(LAYERS)?;
        if layers > LAYERS_MAX {
            return Err(format!("{}: {layers} layers are no decoder's", keys.place));
        }
        if RECURRENT.contains(&kind) {
            return Self::states(keys, layers);
        }
        let kinds = sliding::kinds(keys, kind, layers as usize)?;
        let mut cache = if keys.count(&["kv_lora_rank"])?.is_some_and(|rank| rank > 0) {
            latent(keys, &kinds.list, blocks)?
        } else {
            heads(keys, kind, &kinds.list, blocks)?
        };
        cache.notes.extend(kinds.notes);
        cache.add_states(keys, kinds.list.iter().filter(|kind| **kind == Kind::State).count() as u64)?;
        Ok(cache)
    }

    fn states(keys: &Keys<'_>, layers: u64) -> Result<Self, String> {
        let mut cache = Self {
            words: "no attention: a state that does not grow with the context".into(),
            ..Self::default()
        };
        cache.add_states(keys, layers)?;
        Ok(cache)
    }

    fn add_states(&mut self, keys: &Keys<'_>, layers: u64) -> Result<(), String> {
        self.state_layers = layers;
        if layers == 0 {
            self.state_bytes = Some(0);
            return Ok(());
        }
        self.state_bytes = state::bytes(keys)?.and_then(|one| product(&[one, layers]));
        let count = units::plural(layers as usize, "layer");
        match self.state_bytes {
            Some(bytes) => self.notes.push(format!(
                "{count} without attention keep a state of {} a sequence, whatever the context",
                units::bytes(bytes)
            )),
            None => self.left_out.push(format!(
                "the state of {count} without attention: it does not grow with the context, its size is not given"
            )),
        }
        Ok(())
    }

    /// Returns the bytes for `batch` sequences of `context` tokens, or `None` if they are over 64 bits.
    #[must_use]
    pub fn bytes(&self, context: u64, batch: u64, dtype: CacheDtype) -> Option<u64> {
        let of_group = |group: &CacheGroup| {
            let tokens = group.window.map_or(context, |window| window.min(context));
            product(&[group.layers, group.values, tokens, batch, dtype.bytes()])
        };
        let grown = self.groups.iter().try_fold(0u64, |sum, group| sum.checked_add(of_group(group)?))?;
        grown.checked_add(product(&[self.state_bytes.unwrap_or(0), batch])?)
    }

    /// Returns the bytes that the first tokens take, one token and sequence; windows count in full.
    #[must_use]
    pub fn bytes_per_token(&self, dtype: CacheDtype) -> Option<u64> {
        let of_group = |group: &CacheGroup| product(&[group.layers, group.values, dtype.bytes()]);
        self.groups.iter().try_fold(0u64, |sum, group| sum.checked_add(of_group(group)?))
    }

    fn grouped(mut self, layers: impl Iterator<Item = (u64, Option<u64>)>) -> Self {
        let mut counts: BTreeMap<(u64, Option<u64>), u64> = BTreeMap::new();
        for key in layers {
            *counts.entry(key).or_default() += 1;
        }
        let group = |((values, window), layers)| CacheGroup { layers, values, window };
        self.groups = counts.into_iter().map(group).collect();
        self
    }
}

/// The latent of MLA.
fn latent(keys: &Keys<'_>, kinds: &[Kind], blocks: &Blocks) -> Result<KvCache, String> {
    let (rank, rope) = (keys.need(&["kv_lora_rank"])?, keys.need(&["qk_rope_head_dim"])?);
    let values = rank + rope;
    // LongCat has two in a block: the tensors count.
    let of_tensors: u64 = blocks.values().map(|widths| widths.latents).sum();
    let of_config = kinds.iter().filter(|kind| matches!(kind, Kind::Full | Kind::Window(_))).count() as u64;
    let layers = if of_tensors > 0 { of_tensors } else { of_config };
    let mut cache = KvCache {
        words: format!("MLA: latent {rank} + {rope} × {}", units::plural(layers as usize, "layer")),
        groups: vec![CacheGroup { layers, values, window: None }],
        ..KvCache::default()
    };
    if let Some(width) = blocks.values().filter_map(|widths| widths.latent).find(|width| *width != values) {
        return Err(format!("{}: the latent has {values} values, a tensor {width}", keys.place));
    }
    let expanded = [&["qk_nope_head_dim"], &["v_head_dim"]].map(|names| keys.count(names).ok().flatten());
    if let ([Some(nope), Some(value)], Some(heads)) = (expanded, keys.count(HEADS)?) {
        let all = product(&[layers, heads, nope + rope + value, 2]);
        let all = all.map_or_else(|| "more".into(), units::bytes);
        cache.notes.push(format!("transformers up to 4.57 keeps it expanded: {all} a token in 16 bit"));
    }
    if keys.any(&["index_head_dim"]).is_some() {
        cache.left_out.push("the keys of the sparse index".into());
    }
    Ok(cache)
}

/// Keys and values by head.
fn heads(keys: &Keys<'_>, kind: &str, kinds: &[Kind], blocks: &Blocks) -> Result<KvCache, String> {
    let of_config = widths_of_config(keys, kind);
    let known: Vec<Option<u64>> = (0..kinds.len() as u64).map(|at| blocks.get(&at).and_then(width)).collect();
    let has_attention = |at: usize| matches!(kinds[at], Kind::Full | Kind::Window(_));
    let of_tensors = known.iter().flatten().count();
    if of_tensors == 0 {
        // Without tensors of their own the config has the word, for decoders that are known.
        if !USUAL.contains(&kind) {
            let name = if kind.is_empty() { "the architecture" } else { kind };
            return Err(format!(
                "{} is not known here, and no tensors are named as its keys and values",
                crate::name::escape(name)
            ));
        }
        let (kv_heads, dim) = of_config?;
        let values = product(&[2, kv_heads, dim]).ok_or(super::numbers::TOO_LARGE)?;
        let list = (0..kinds.len()).filter(|at| has_attention(*at));
        let count = list.clone().count();
        let words = words_of(keys, (kv_heads, dim), count);
        let cache = KvCache { words, ..KvCache::default() };
        return Ok(with_cross(cache, kinds, values).grouped(list.map(|at| (values, window(kinds[at])))));
    }
    let silent: Vec<usize> =
        (0..kinds.len()).filter(|at| has_attention(*at) && known[*at].is_none()).collect();
    let common = known.iter().flatten().next().copied().unwrap_or(0);
    let is_alike = known.iter().flatten().all(|values| *values == common);
    let mut cache = KvCache::default();
    let count = (0..kinds.len()).filter(|at| has_attention(*at) && known[*at].is_some()).count();
    cache.words = match &of_config {
        Ok((kv_heads, dim)) if is_alike && product(&[2, *kv_heads, *dim]) == Some(common) => {
            words_of(keys, (*kv_heads, *dim), count)
        }
        _ if is_alike => {
            format!(
                "K and V: {} rows of the projections × {}",
                units::exact(common),
                units::plural(count, "layer")
            )
        }
        _ => format!("K and V: rows of the projections, which differ, of {}", units::plural(count, "layer")),
    };
    if let Ok((kv_heads, dim)) = &of_config
        && is_alike
        && product(&[2, *kv_heads, *dim]) != Some(common)
    {
        cache.notes.push(format!(
            "{} says {kv_heads} KV heads × {dim}; the projections have {common} rows for K and V, which count",
            keys.place
        ));
    }
    if !silent.is_empty() {
        cache.left_out.push(format!(
            "{} of {}: no tensors of keys and values were found",
            units::plural(silent.len(), "layer"),
            kinds.len()
        ));
    }
    let cache = with_cross(cache, kinds, common);
    let list = known.iter().enumerate().filter(|(at, _)| has_attention(*at));
    Ok(cache.grouped(list.filter_map(|(at, values)| Some(((*values)?, window(kinds[at]))))))
}

fn window(kind: Kind) -> Option<u64> {
    match kind {
        Kind::Window(window) => Some(window),
        _ => None,
    }
}

/// Returns values a token by the rows of both projections.
fn width(widths: &Widths) -> Option<u64> {
    match (widths.keys, widths.values) {
        (Some(keys), Some(values)) => keys.checked_add(values),
        // One projection for both (Gemma 4).
        (Some(keys), None) => keys.checked_mul(2),
        _ => None,
    }
}

fn with_cross(mut cache: KvCache, kinds: &[Kind], values: u64) -> KvCache {
    let cross = kinds.iter().filter(|kind| **kind == Kind::Cross).count();
    if cross > 0 {
        let one = product(&[values, cross as u64, 2]).map_or_else(|| "more".into(), units::bytes);
        cache.left_out.push(format!(
            "{} of cross-attention: {one} a token of the image in 16 bit, and its tokens are not known",
            units::plural(cross, "layer")
        ));
    }
    cache
}

/// Returns KV heads and their width.
fn widths_of_config(keys: &Keys<'_>, kind: &str) -> Result<(u64, u64), String> {
    let heads = keys.need(HEADS)?;
    let dim = match keys.count(HEAD_DIM)?.filter(|&dim| dim > 0) {
        Some(dim) => dim,
        None => keys.need(HIDDEN)? / heads,
    };
    if keys.any(&["global_head_dim", "swa_num_key_value_heads"]).is_some() {
        return Err(format!("{}: its layers have heads of several widths", keys.place));
    }
    // One KV head, said by a flag.
    let is_one =
        keys.flag("multi_query")? == Some(true) && keys.flag("new_decoder_architecture")? != Some(true);
    let kv_heads = match keys.count(KV_HEADS)?.filter(|&kv_heads| kv_heads > 0) {
        _ if is_one && matches!(kind, "falcon" | "gpt_bigcode" | "RefinedWebModel" | "RefinedWeb") => 1,
        Some(kv_heads) => kv_heads,
        None => heads,
    };
    Ok((kv_heads, dim))
}

fn words_of(keys: &Keys<'_>, (kv_heads, dim): (u64, u64), layers: usize) -> String {
    let name = match keys.count(HEADS).ok().flatten() {
        Some(heads) if heads == kv_heads => "MHA",
        _ if kv_heads == 1 => "MQA",
        _ => "GQA",
    };
    format!(
        "{name}: {} × {dim} × {} × 2",
        units::plural(kv_heads as usize, "KV head"),
        units::plural(layers, "layer")
    )
}

/// The decoder of an encoder-decoder: its own tokens, and those of the encoder's input.
fn encoder_decoder(keys: &Keys<'_>) -> Result<KvCache, String> {
    let layers = keys.need(&["decoder_layers", "num_decoder_layers", "num_layers", "num_hidden_layers"])?;
    let heads = keys.need(&["decoder_attention_heads", "num_heads", "num_attention_heads"])?;
    let dim = match keys.count(HEAD_DIM)?.filter(|&dim| dim > 0) {
        Some(dim) => dim,
        None => keys.need(HIDDEN)? / heads,
    };
    let values = product(&[2, heads, dim]).ok_or(super::numbers::TOO_LARGE)?;
    let mut cache = KvCache {
        groups: vec![CacheGroup { layers, values, window: None }],
        state_bytes: Some(0),
        words: format!("decoder: {heads} heads × {dim} × {} × 2", units::plural(layers as usize, "layer")),
        ..KvCache::default()
    };
    // Cross-attention keeps as much of each token of the encoder's input; Whisper says how many there are.
    if let Some((name, value)) = keys.any(&["max_source_positions"]) {
        let source = super::numbers::count_of(value).ok_or_else(|| keys.fault(name, value, "no count"))?;
        let bytes = product(&[layers, values, source, 2]).ok_or(super::numbers::TOO_LARGE)?;
        cache.state_bytes = Some(bytes);
        cache
            .notes
            .push(format!("with {} of cross-attention, {source} tokens of input", units::bytes(bytes)));
    } else {
        let one = product(&[layers, values, 2]).map_or_else(|| "more".into(), units::bytes);
        cache.left_out.push(format!(
            "cross-attention: {one} a token of the input in 16 bit, and its tokens are not known"
        ));
    }
    Ok(cache)
}
