//! Which type each tensor of a GGUF becomes when the file is quantized.
//!
//! | tensor                                                     | becomes                                        |
//! |------------------------------------------------------------|------------------------------------------------|
//! | one row, a norm, a router, positions, small ones by name    | stays as it is                                 |
//! | `output`, and without one the embeddings                   | `Q6_K`; `Q8_0` of `Q8_0` and MXFP4, and where its rows are not whole blocks |
//! | embeddings beside an `output`                              | the type; `Q4_K` of `TQ1_0` and `TQ2_0`              |
//! | any other                                                  | the type                                       |
//! | rows that are not whole blocks of 256                      | the type of blocks of 32 that llama.cpp takes instead |
//! | rows that are not whole blocks of 32                       | F16                                            |
//!
//! That is `llama-quantize --pure` with the head as without `--pure`, and no importance matrix. The mixtures, whose
//! names end in `_S`, `_M` and `_L`, are all of what llama-quantize does (`mix.rs`). Of `Q8_0`, `Q6_K` and the types of 32
//! values llama-quantize has no mixture: its result is the same but for models of eight experts.
//! Source: llama.cpp 2026-11, `llama-quant.cpp`: `tensor_allows_quantization`, `llama_tensor_get_type_impl`,
//! `tensor_type_fallback`; `llama.h` (`llama_ftype`).

mod mix;
#[cfg(test)]
mod tests;
pub use self::mix::{Before, Mix, is_values};
use super::encode::kind;
use crate::tensor::{Dtype, GgmlType};

/// What a file is quantized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixture {
    /// Its name: `Q4_K`, `Q4_K_M`.
    pub name: &'static str,
    /// The type that most tensors become, as ggml calls it: `Q4_K`.
    pub base: &'static str,
    /// Which tensors get more bits.
    pub mix: Mix,
    /// `general.file_type`.
    pub file_type: u32,
}

/// What of a model the choice hangs on.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// `general.architecture`.
    pub arch: &'a str,
    /// True if the file has `output.weight`.
    pub has_head: bool,
    /// How many blocks it has.
    pub blocks: u64,
    /// How many experts a block has; 0 if it says none.
    pub experts: u64,
    /// Heads, and heads of keys.
    pub heads: [u64; 2],
    /// How many tensors hold values of attention.
    pub values: u64,
}

impl Model<'_> {
    /// Returns true for what llama.cpp calls a model of 70 B, whose values of attention are an eighth of its queries.
    fn is_70b(&self) -> bool {
        match self.arch {
            "llama" => self.blocks == 80 && self.heads[0] != self.heads[1],
            "qwen2" | "deci" | "olmo" => self.blocks == 80,
            "jais2" => self.blocks == 68,
            _ => false,
        }
    }
}

/// What a tensor becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its type.
    pub dtype: Dtype,
    /// Why it is another one than asked for.
    pub note: Option<String>,
}

/// Parts of the names of tensors that stay as they are: small ones, and those that a model reads as they are.
const LEFT: [&str; 35] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];
/// The tables of positions and of kinds of tokens.
const TABLES: [&str; 2] = ["position_embd.weight", "token_types.weight"];

/// What a model's architecture adds to the names in `LEFT`.
const LEFT_OF_GLM: (&str, [&str; 14]) = (
    "glm5-next",
    [
        "hc_",
        "indexer.attn_q_b",
        "indexer.attn_k",
        "indexer.proj",
        "indexer_compressor_gate",
        "indexer_compressor_ape",
        "ssm_f_a.weight",
        "ssm_f_b.weight",
        "ssm_g_a.weight",
        "ssm_g_b.weight",
        "ssm_beta.weight",
        "attn_kv_a_mqa.weight",
        "attn_k_b.weight",
        "attn_v_b.weight",
    ],
);

/// Types that take the place of one whose blocks are longer than rows are whole.
const INSTEAD: [(&str, &str); 8] = [
    ("IQ4_XS", "IQ4_NL"),
    ("Q2_K", "Q4_0"),
    ("Q3_K", "Q4_0"),
    ("TQ1_0", "Q4_0"),
    ("TQ2_0", "Q4_0"),
    ("Q4_K", "Q5_0"),
    ("Q5_K", "Q5_1"),
    ("Q6_K", "Q8_0"),
];

/// Returns true if llama.cpp quantizes a tensor of this name and shape `[…, out, in]`.
#[must_use]
pub fn is_quantized(name: &str, shape: &[u64], arch: &str) -> bool {
    let is_matrix = shape.iter().rev().skip(1).any(|&size| size > 1);
    let (glm, of_glm) = LEFT_OF_GLM;
    is_matrix
        && name.ends_with("weight")
        && !TABLES.contains(&name)
        && !LEFT.iter().any(|part| name.contains(part))
        && !(arch == glm && of_glm.iter().any(|part| name.contains(part)))
}

impl Mixture {
    /// Returns what a tensor that is quantized becomes. All of them are asked for in the order of their blocks, because
    /// the type of some hangs on how many came `before`.
    ///
    /// # Errors
    /// The type is not one that is written, or hangs on a block that the name does not tell; in words.
    pub fn choose(
        &self,
        name: &str,
        shape: &[u64],
        (model, before): (&Model<'_>, &mut Before),
    ) -> Result<Choice, String> {
        if let Some(dtype) = plain(self.base) {
            return Ok(Choice { dtype, note: None });
        }
        let inputs = shape.last().copied().unwrap_or(1);
        let wanted = self.wanted(name, inputs, (model, before))?;
        let mut dtype = Dtype::Ggml(wanted);
        let mut note = None;
        if !is_whole(inputs, wanted) {
            let instead = INSTEAD.iter().find(|(known, _)| *known == wanted.name());
            let instead = instead.and_then(|(_, name)| kind(name)).filter(|kind| is_whole(inputs, *kind));
            dtype = instead.map_or(Dtype::F16, Dtype::Ggml);
            note = Some(format!(
                "rows of {inputs} are not whole blocks of {} {}: {dtype} instead",
                wanted.block_elements(),
                wanted.name()
            ));
        } else if wanted.name() != self.base {
            note = Some(format!("{} as llama-quantize takes for it beside {}", wanted.name(), self.name));
        }
        Ok(Choice { dtype, note })
    }

    /// Returns the type of a tensor before its rows are looked at.
    fn wanted(
        &self,
        name: &str,
        inputs: u64,
        (model, before): (&Model<'_>, &mut Before),
    ) -> Result<GgmlType, String> {
        let find = |name: &str| kind(name).ok_or_else(|| format!("{name} cannot be written"));
        let own = find(self.base)?;
        let is_embedding = matches!(name, "token_embd.weight" | "per_layer_token_embd.weight");
        let is_head = name == "output.weight" || is_embedding && !model.has_head;
        if is_head {
            let is_wide = self.base == "MXFP4" || model.arch == "falcon" || !is_whole(inputs, own);
            return match self.base {
                "Q8_0" => Ok(own),
                _ if is_wide => find("Q8_0"),
                _ => find("Q6_K"),
            };
        }
        match self.base {
            "TQ1_0" | "TQ2_0" if is_embedding => find("Q4_K"),
            _ if is_embedding || self.mix == Mix::Plain => Ok(own),
            base => find(mix::choose((base, self.mix), name, model, before)?),
        }
    }
}

/// Returns the dtype of a base that is no block type: all that would be quantized becomes it, whatever its rows.
fn plain(base: &str) -> Option<Dtype> {
    [Dtype::F16, Dtype::BF16, Dtype::F32].into_iter().find(|dtype| dtype.name() == base)
}

fn is_whole(inputs: u64, kind: GgmlType) -> bool {
    inputs.is_multiple_of(kind.block_elements().into())
}
