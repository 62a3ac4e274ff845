//! Which type each tensor of a GGUF becomes when the file is quantized to one type.
//!
//! | tensor                                                     | becomes                                        |
//! |------------------------------------------------------------|------------------------------------------------|
//! | one row, a norm, a router, positions, small ones by name    | stays as it is                                 |
//! | `output`, and without one the embeddings                   | Q6_K; Q8_0 of Q8_0 and MXFP4, and where its rows are not whole blocks |
//! | embeddings beside an `output`                              | the type; Q4_K of TQ1_0 and TQ2_0              |
//! | any other                                                  | the type                                       |
//! | rows that are not whole blocks of 256                      | the type of blocks of 32 that llama.cpp takes instead |
//! | rows that are not whole blocks of 32                       | F16                                            |
//!
//! That is `llama-quantize --pure` with the head as without `--pure`, and no importance matrix.
//! Source: llama.cpp 2026-11, `llama-quant.cpp`: `tensor_allows_quantization`, `llama_tensor_get_type_impl`,
//! `tensor_type_fallback`; `llama.h` (`llama_ftype`).

use super::encode::kind;
use crate::tensor::{Dtype, GgmlType};

/// What a file is quantized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixture {
    /// The type that most tensors become, as ggml calls it: `Q4_K`.
    pub name: &'static str,
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
    /// Returns what a tensor that is quantized becomes.
    ///
    /// # Errors
    /// The type is not one that is written; in words.
    pub fn choose(&self, name: &str, shape: &[u64], model: Model<'_>) -> Result<Choice, String> {
        let inputs = shape.last().copied().unwrap_or(1);
        let wanted = self.wanted(name, inputs, model)?;
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
        } else if wanted.name() != self.name {
            note = Some(format!("{} as llama-quantize takes for it beside {}", wanted.name(), self.name));
        }
        Ok(Choice { dtype, note })
    }

    /// Returns the type of a tensor before its rows are looked at.
    fn wanted(&self, name: &str, inputs: u64, model: Model<'_>) -> Result<GgmlType, String> {
        let find = |name: &str| kind(name).ok_or_else(|| format!("{name} cannot be written"));
        let own = find(self.name)?;
        let is_embedding = matches!(name, "token_embd.weight" | "per_layer_token_embd.weight");
        let is_head = name == "output.weight" || is_embedding && !model.has_head;
        if is_head {
            let is_wide = self.name == "MXFP4" || model.arch == "falcon" || !is_whole(inputs, own);
            return match self.name {
                "Q8_0" => Ok(own),
                _ if is_wide => find("Q8_0"),
                _ => find("Q6_K"),
            };
        }
        if is_embedding && matches!(self.name, "TQ1_0" | "TQ2_0") { find("Q4_K") } else { Ok(own) }
    }
}

fn is_whole(inputs: u64, kind: GgmlType) -> bool {
    inputs.is_multiple_of(kind.block_elements().into())
}

#[cfg(test)]
mod tests;
