//! Hugging Face names of the tensors of a GGUF file, by architecture; and what llama.cpp's converter did to them.
//!
//! It renames tensors, interleaves the query and key rows of some models for its rotary embedding, and adds one to the
//! norms of others. Here are the names both ways, as tables.
//! Sources: llama.cpp's `convert_hf_to_gguf.py` and gguf-py's `tensor_mapping.py`.

use super::files::Files;
use super::gguf_meta::Meta;
use crate::error::ErrorKind;
use crate::name::escape;
use crate::quant::change::Change;

/// An architecture.
pub(crate) struct Arch {
    /// `general.architecture`.
    pub(crate) gguf: &'static str,
    /// `model_type` of its config.
    pub(crate) model_type: &'static str,
    /// Its class.
    pub(crate) class: &'static str,
    /// Tensors of a block.
    pub(crate) block: &'static [&'static [Row]],
    /// Which of them may have a bias.
    pub(crate) biases: &'static [&'static str],
    /// True if query and key rows are interleaved.
    pub(crate) is_interleaved: bool,
    /// True if norms are stored with one added.
    pub(crate) has_norms_plus_one: bool,
}

/// Name in a GGUF file and Hugging Face's.
pub(crate) type Row = (&'static str, &'static str);

/// Tensors outside the blocks.
pub(crate) const TOP: [Row; 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];
/// The one of them that need not be there: then the embeddings are the head.
pub(crate) const HEAD: &str = "output";
const LINEARS: &[Row] = &[
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const TWO_NORMS: &[Row] = &[("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")];
const FOUR_NORMS: &[Row] = &[
    ("attn_norm", "input_layernorm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];
const HEAD_NORMS: &[Row] = &[("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")];
const QKV: &[&str] = &["attn_q", "attn_k", "attn_v"];
pub(crate) const ATTENTION: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output"];
pub(crate) const ALL_LINEARS: &[&str] =
    &["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// The architectures; Mistral's models are `llama` in GGUF files.
const ARCHS: [Arch; 6] = [
    Arch {
        gguf: "llama",
        model_type: "llama",
        class: "LlamaForCausalLM",
        block: &[LINEARS, TWO_NORMS],
        biases: ALL_LINEARS,
        is_interleaved: true,
        has_norms_plus_one: false,
    },
    Arch {
        gguf: "qwen2",
        model_type: "qwen2",
        class: "Qwen2ForCausalLM",
        block: &[LINEARS, TWO_NORMS],
        biases: QKV,
        is_interleaved: false,
        has_norms_plus_one: false,
    },
    Arch {
        gguf: "qwen3",
        model_type: "qwen3",
        class: "Qwen3ForCausalLM",
        block: &[LINEARS, TWO_NORMS, HEAD_NORMS],
        biases: ATTENTION,
        is_interleaved: false,
        has_norms_plus_one: false,
    },
    Arch {
        gguf: "gemma",
        model_type: "gemma",
        class: "GemmaForCausalLM",
        block: &[LINEARS, TWO_NORMS],
        biases: ATTENTION,
        is_interleaved: false,
        has_norms_plus_one: true,
    },
    Arch {
        gguf: "gemma2",
        model_type: "gemma2",
        class: "Gemma2ForCausalLM",
        block: &[LINEARS, FOUR_NORMS],
        biases: ATTENTION,
        is_interleaved: false,
        has_norms_plus_one: true,
    },
    Arch {
        gguf: "gemma3",
        model_type: "gemma3_text",
        class: "Gemma3ForCausalLM",
        block: &[LINEARS, FOUR_NORMS, HEAD_NORMS],
        biases: ATTENTION,
        is_interleaved: false,
        has_norms_plus_one: true,
    },
];

/// Tensors that follow from the metadata, or from what the config says: no model has them.
const DERIVED: [&str; 1] = ["rope_freqs.weight"];

/// How the tensors of a GGUF file of a model are named.
pub(crate) struct GgufNames {
    /// The architecture.
    pub(crate) arch: &'static Arch,
    /// Heads of queries.
    pub(crate) heads: u64,
    /// Heads of keys and values.
    pub(crate) kv_heads: u64,
    /// Blocks.
    pub(crate) blocks: u64,
}

/// What a tensor is in the model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has this name, and its values are these, changed.
    Named(String, Change),
    /// No model has it.
    Dropped,
}

impl GgufNames {
    /// Returns how the tensors of a GGUF file are named.
    ///
    /// # Errors
    /// It is no GGUF file of a model, its architecture is not in the table, or its metadata lack what is needed; in
    /// words, without the name of the file.
    pub(crate) fn of(files: &Files) -> Result<Self, (ErrorKind, String)> {
        if files.container.name() != "gguf" {
            let what = files.container.name();
            let message =
                format!("--names hf is for GGUF files; the names of a {what} checkpoint are its own");
            return Err((ErrorKind::Input, message));
        }
        let text = |key: &str| files.metadata(key).and_then(crate::container::Value::as_str);
        let name = text("general.architecture").unwrap_or("");
        let arch = ARCHS.iter().find(|arch| arch.gguf == name).ok_or_else(|| {
            let known: Vec<&str> = ARCHS.iter().map(|arch| arch.gguf).collect();
            let known = known.join(", ");
            let what = if name.is_empty() {
                "the file names no architecture (general.architecture)".to_owned()
            } else {
                format!("architecture {}: its tensors' Hugging Face names are not known here", escape(name))
            };
            (ErrorKind::Unsupported, format!("{what}; known are {known}"))
        })?;
        if let Some(kind) = text("general.type").filter(|&kind| kind != "model") {
            let message = format!("general.type is {}; only models are named", escape(kind));
            return Err((ErrorKind::Unsupported, message));
        }
        let meta = Meta::new(files, arch.gguf);
        let input = |why: String| (ErrorKind::Input, why);
        let heads = meta.need_int("attention.head_count").map_err(input)?;
        let kv_heads = meta.int("attention.head_count_kv").map_err(input)?.unwrap_or(heads);
        let blocks = meta.need_int("block_count").map_err(input)?;
        Ok(Self { arch, heads, kv_heads, blocks })
    }

    /// Returns what becomes of a tensor; `None` if it has no place in the architecture.
    pub(crate) fn fate(&self, name: &str) -> Option<Fate> {
        if DERIVED.contains(&name) {
            return Some(Fate::Dropped);
        }
        let (stem, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
        if let Some((leaf, hf)) = TOP.iter().find(|(leaf, _)| *leaf == stem) {
            let change = self.change(leaf);
            return (kind == "weight").then(|| Fate::Named(format!("{hf}.weight"), change));
        }
        let (number, leaf) = stem.strip_prefix("blk.")?.split_once('.')?;
        let block: u64 = number.parse().ok().filter(|&n| n < self.blocks)?;
        // `blk.01` and `blk.+1` are no names.
        if block.to_string() != number {
            return None;
        }
        let (_, hf) =
            self.arch.block.iter().flat_map(|rows| rows.iter()).find(|(known, _)| *known == leaf)?;
        if kind == "bias" && !self.arch.biases.contains(&leaf) {
            return None;
        }
        Some(Fate::Named(format!("model.layers.{block}.{hf}.{kind}"), self.change(leaf)))
    }

    /// Returns what its values become in the model, by its name in a block.
    fn change(&self, leaf: &str) -> Change {
        match leaf {
            "attn_q" if self.arch.is_interleaved => Change::RopeRows { heads: self.heads },
            "attn_k" if self.arch.is_interleaved => Change::RopeRows { heads: self.kv_heads },
            leaf if self.arch.has_norms_plus_one && leaf.ends_with("norm") => Change::MinusOne,
            _ => Change::None,
        }
    }
}
