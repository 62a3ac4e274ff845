//! Hugging Face names and values for the tensors of a GGUF file, by architecture.
//!
//! llama.cpp's converter renames tensors, interleaves the query and key rows of some models for its rotary
//! embedding, and adds one to the norms of others. Here is the way back, as tables: every tensor is named,
//! dropped for a reason that is said, or refused by name; none is lost in silence.
//! Sources: llama.cpp's `convert_hf_to_gguf.py`, gguf-py's `tensor_mapping.py`, and transformers'
//! `modeling_gguf_pytorch_utils.py`, whose state dicts are what the results are held against.

mod bytelevel;
mod config;
mod making;
mod meta;
mod rope;
mod sentencepiece;
mod tokenizer;
pub mod written;

use self::meta::Meta;
use super::folder::Made;
use super::{At, OutTensor, Source, Step, list};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::quant::change::Change;
use crate::quant::dense;
use crate::units;

/// An architecture.
struct Arch {
    /// `general.architecture`.
    gguf: &'static str,
    /// `model_type` of its config.
    model_type: &'static str,
    /// Its class.
    class: &'static str,
    /// Tensors of a block.
    block: &'static [&'static [Row]],
    /// Which of them may have a bias.
    biases: &'static [&'static str],
    /// True if query and key rows are interleaved.
    is_interleaved: bool,
    /// True if norms are stored with one added.
    has_norms_plus_one: bool,
}

/// Name in a GGUF file and Hugging Face's.
type Row = (&'static str, &'static str);

/// Tensors outside the blocks.
const TOP: [Row; 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];
/// The one of them that need not be there: then the embeddings are the head.
const HEAD: &str = "output";
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
const ATTENTION: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output"];
const ALL_LINEARS: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

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

/// The config of a model.
const CONFIG: &str = "config.json";
/// Tensors that follow from the metadata, or from what the config says: no model has them.
const DERIVED: [&str; 1] = ["rope_freqs.weight"];

/// How a file's tensors are named.
pub(super) struct Naming<'a> {
    checkpoint: &'a Checkpoint,
    arch: &'static Arch,
    meta: Meta<'a>,
    heads: u64,
    kv_heads: u64,
    blocks: u64,
}

/// What becomes of a tensor.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Named(String, Change),
    Dropped,
}

impl<'a> Naming<'a> {
    /// Returns how a GGUF file's tensors are named.
    ///
    /// # Errors
    /// It is no GGUF file of a model, its architecture is not in the table, its metadata lack what is needed,
    /// a tensor has no name or a wrong shape, or one is missing.
    pub(super) fn of(checkpoint: &'a Checkpoint) -> Result<Self> {
        let files = &checkpoint.files;
        let refused =
            |kind, message: String| Error { file: Some(files.path.clone()), ..Error::new(kind, message) };
        if files.container.name() != "gguf" {
            let what = files.container.name();
            return Err(refused(
                ErrorKind::Input,
                format!("--names hf is for GGUF files; the names of a {what} checkpoint are its own"),
            ));
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
            refused(ErrorKind::Unsupported, format!("{what}; known are {known}"))
        })?;
        if let Some(kind) = text("general.type").filter(|&kind| kind != "model") {
            let message = format!("general.type is {}; only models are named", escape(kind));
            return Err(refused(ErrorKind::Unsupported, message));
        }
        let meta = Meta::new(files, arch.gguf);
        let input = |why: String| refused(ErrorKind::Input, why);
        let heads = meta.need_int("attention.head_count").map_err(input)?;
        let kv_heads = meta.int("attention.head_count_kv").map_err(input)?.unwrap_or(heads);
        let blocks = meta.need_int("block_count").map_err(input)?;
        let naming = Self { checkpoint, arch, meta, heads, kv_heads, blocks };
        naming.check().map_err(|(kind, why)| refused(kind, why))?;
        Ok(naming)
    }

    /// Checks that every tensor has a name, and that every name has a tensor.
    fn check(&self) -> std::result::Result<(), (ErrorKind, String)> {
        let files = &self.checkpoint.files;
        let (mut unmapped, mut misshapen) = (Vec::new(), Vec::new());
        for (tensor, record) in (0u32..).zip(&files.tensors) {
            let name = files.tensor_name(tensor);
            let shape = files.shape(record);
            match self.fate(&name) {
                None => unmapped.push(escape(&name).into_owned()),
                Some(Fate::Named(_, change)) if !change.fits(shape) => {
                    misshapen.push(format!("{} {}", escape(&name), units::shape(shape)));
                }
                Some(_) => {}
            }
        }
        let arch = self.arch.gguf;
        if !unmapped.is_empty() {
            let what = units::plural(unmapped.len(), "tensor");
            let message = format!("{what} without a Hugging Face name in {arch}: {}", list(&unmapped));
            return Err((ErrorKind::Unsupported, message));
        }
        if !misshapen.is_empty() {
            let message = format!(
                "{} not of whole heads ({} heads, {} of keys): {}",
                units::plural(misshapen.len(), "tensor"),
                self.heads,
                self.kv_heads,
                list(&misshapen)
            );
            return Err((ErrorKind::Input, message));
        }
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(());
        }
        let what = units::plural(missing.len(), "tensor");
        let message = format!("{what} that {arch} needs missing from the file: {}", list(&missing));
        Err((ErrorKind::Input, message))
    }

    /// Returns the tensors that a model of this architecture must have and the file has not.
    fn missing(&self) -> Vec<String> {
        let files = &self.checkpoint.files;
        let needed = |leaf: &str| format!("{leaf}.weight");
        let top = TOP.iter().filter(|(leaf, _)| *leaf != HEAD).map(|(leaf, _)| needed(leaf));
        let rows = || self.arch.block.iter().flat_map(|rows| rows.iter());
        // Not more than there are tensors: the count of blocks is whatever the file says.
        let blocks = self.blocks.min(files.tensors.len() as u64 + 1);
        let blocks = (0..blocks).flat_map(|n| rows().map(move |(leaf, _)| format!("blk.{n}.{leaf}.weight")));
        top.chain(blocks).filter(|name| files.find(name).is_none()).collect()
    }

    /// Returns what becomes of a tensor; `None` if it has no place in the architecture.
    fn fate(&self, name: &str) -> Option<Fate> {
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

    fn change(&self, leaf: &str) -> Change {
        match leaf {
            "attn_q" if self.arch.is_interleaved => Change::RopeRows { heads: self.heads },
            "attn_k" if self.arch.is_interleaved => Change::RopeRows { heads: self.kv_heads },
            leaf if self.arch.has_norms_plus_one && leaf.ends_with("norm") => Change::MinusOne,
            _ => Change::None,
        }
    }

    /// Names the tensors of a plan, and drops those that no model has, with their steps.
    ///
    /// # Errors
    /// A tensor whose values change is of a dtype that cannot be changed without loss.
    pub(super) fn apply(
        &self,
        tensors: Vec<OutTensor>,
        steps: &mut Vec<Step>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<OutTensor>> {
        let mut dropped = Vec::new();
        let mut named = Vec::with_capacity(tensors.len());
        for mut tensor in tensors {
            match self.fate(&tensor.name) {
                Some(Fate::Named(name, change)) => {
                    tensor.source = self.changed(&tensor, change)?;
                    tensor.name = name;
                    named.push(tensor);
                }
                Some(Fate::Dropped) | None => dropped.push(tensor.name),
            }
        }
        if !dropped.is_empty() {
            steps
                .retain(|step| !dropped.iter().any(|name| name.strip_suffix(".weight") == Some(&step.layer)));
            warnings.push(format!("{} dropped: no model has it, its config says as much", list(&dropped)));
        }
        Ok(named)
    }

    fn changed(&self, tensor: &OutTensor, change: Change) -> Result<Source> {
        if change.is_none() {
            return Ok(tensor.source);
        }
        match tensor.source {
            Source::Copy(At { tensor: from, .. }) | Source::Cast(At { tensor: from, .. }) => {
                let record = &self.checkpoint.files.tensors[from as usize];
                dense::plain(from, record.dtype, &tensor.shape, record.bytes)
                    .map_err(|why| Error::input(format!("{}: {why}", escape(&tensor.name))))?;
                Ok(Source::Changed { tensor: from, change })
            }
            Source::Decode { layer, native, .. } => Ok(Source::Decode { layer, native, change }),
            Source::Changed { .. } | Source::Merged(_) | Source::Encoded { .. } => Ok(tensor.source),
        }
    }

    /// Returns the files that the metadata give: config and tokenizer. What stands beside the weights already is
    /// taken from there, but for `config.json`: beside GGUF files that is often a stub.
    ///
    /// # Errors
    /// The metadata lack what every model has; in words.
    pub(super) fn texts(&self, warnings: &mut Vec<String>) -> Result<Vec<Made>> {
        let files = &self.checkpoint.files;
        let refused = |why| Error { file: Some(files.path.clone()), ..Error::input(why) };
        let config = config::build(self, warnings).map_err(refused)?;
        let mut made = vec![Made { file: CONFIG, content: config }];
        if let Some(content) = config::generation(self) {
            made.push(Made { file: "generation_config.json", content });
        }
        let is_beside = |file: &str| files.others.iter().any(|(name, _)| name == file);
        if !is_beside("tokenizer.json") {
            made.extend(tokenizer::texts(self, warnings));
        }
        if is_beside(CONFIG) {
            warnings
                .push("config.json is made from the metadata; the one beside the file is left out".into());
        }
        made.retain(|made| made.file == CONFIG || !is_beside(made.file));
        Ok(made)
    }

    fn has(&self, tensor: &str) -> bool {
        self.checkpoint.files.find(tensor).is_some()
    }

    /// Returns a dimension of a tensor.
    fn dim(&self, tensor: &str, at: usize) -> Option<u64> {
        let files = &self.checkpoint.files;
        let record = &files.tensors[files.find(tensor)? as usize];
        files.shape(record).get(at).copied()
    }
}
