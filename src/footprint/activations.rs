//! Activations: what the forward pass keeps for the backward pass, by coefficients measured with saved-tensor hooks.
//!
//! Per layer, in units of `tokens * hidden` bytes, with `k` = KV heads by heads, `i` = intermediate by hidden size,
//! `r` = rank by hidden size (transformers' Llama in bf16, sdpa attention, dropout 0; four other shapes fit to 0.1):
//!
//! | what is trained                          | kept                         |
//! |------------------------------------------|------------------------------|
//! | all weights                              | `20 + 4 k + 8 i`             |
//! | LoRA on all linear layers, F32 adapter   | `36 + 4 k + 10 i + 28 r`     |
//! | LoRA on queries and values               | `20 + 4 k + 6 i + 8 r`       |
//! | the same after kbit preparation          | 6.5 more (at one shape)      |
//! | with checkpointing                       | 2 (4 after kbit preparation), and one layer's full set |

use super::anatomy::Blocks;
use super::architecture::{HEADS, HIDDEN, INNER, KV_HEADS, LAYERS};
use super::numbers::{Keys, whole_bytes};
use super::{Known, Settings};

/// How far the coefficients may be off where they were measured: dense decoders with gated MLPs.
const MEASURED_PERCENT: u8 = 15;
/// How far they may be off elsewhere.
const GUESSED_PERCENT: u8 = 40;
/// What kbit preparation adds: hidden states in F32. Measured 72.52 against 66.02 at `k` 0.5, `i` 2.75.
const KBIT_MORE: f64 = 6.5;

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    /// All weights.
    All,
    /// A LoRA adapter on all linear layers.
    LoraAll,
    /// A LoRA adapter on queries and values.
    LoraQueriesValues,
}

/// What activations are computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Blocks of the decoder.
    pub layers: u64,
    /// Width of a hidden state.
    pub hidden: u64,
    /// Width inside the MLP, of all experts that a token goes to.
    pub inner: u64,
    /// KV heads by heads.
    pub kappa: f64,
    /// How sure the coefficients are here.
    pub known: Known,
    /// Why they are not surer, in words; empty where they were measured.
    pub why: &'static str,
}

/// What is asked of the formula.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// What is trained.
    pub trained: Trained,
    /// Rank of the adapter; 0 if there is none.
    pub rank: u64,
    /// True if hidden states are F32.
    pub is_kbit: bool,
}

/// Model types whose MLP is gated, for configs without tensors beside them. Source: transformers' `modeling_*.py`.
const GATED: [&str; 22] = [
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "granite",
    "olmo",
    "olmo2",
    "smollm3",
    "cohere",
    "stablelm",
    "internlm2",
    "baichuan",
    "minicpm",
    "deepseek_v2",
    "deepseek_v3",
];
const EXPERTS: &[&str] = &["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"];
const EXPERTS_USED: &[&str] =
    &["num_experts_per_tok", "num_experts_per_token", "moe_top_k", "experts_per_token"];

impl Shape {
    /// Reads what a config says.
    ///
    /// # Errors
    /// A number is missing or none, or the coefficients hold for nothing like this architecture.
    pub(super) fn of(keys: &Keys<'_>, kind: &str, blocks: &Blocks, has_gate: bool) -> Result<Self, String> {
        if keys.flag("is_encoder_decoder")? == Some(true) {
            return Err("an encoder and a decoder: nothing was measured there".into());
        }
        if !has_gate && !GATED.contains(&kind) {
            return Err("measured for decoders with gated MLPs only, and this one shows none".into());
        }
        let (layers, hidden) = (keys.need(LAYERS)?, keys.need(HIDDEN)?);
        let heads = keys.need(HEADS)?;
        let kv_heads = keys.count(KV_HEADS).ok().flatten().unwrap_or(heads);
        let experts = keys.count(EXPERTS)?.filter(|&count| count > 1);
        let inner = if experts.is_some() { of_experts(keys)? } else { keys.need(INNER)? };
        let is_latent = keys.count(&["kv_lora_rank"])?.is_some_and(|rank| rank > 0);
        let is_mixed = !blocks.is_empty() && (blocks.len() as u64) < layers;
        let why = if experts.is_some() {
            "experts: not measured"
        } else if is_latent {
            "latent attention: not measured"
        } else if is_mixed || keys.any(&["linear_num_key_heads", "mamba_d_state", "ssm_state_size"]).is_some()
        {
            "linear attention layers: not measured"
        } else {
            ""
        };
        let known =
            if why.is_empty() { Known::Formula(MEASURED_PERCENT) } else { Known::Guess(GUESSED_PERCENT) };
        let kappa = (kv_heads as f64 / heads as f64).clamp(0.0, 1.0);
        Ok(Self { layers, hidden, inner, kappa, known, why })
    }

    /// Returns bytes that are kept a layer, in units of `tokens * hidden`.
    #[must_use]
    pub fn per_layer(&self, pass: Pass) -> f64 {
        let (k, h) = (self.kappa, self.hidden as f64);
        let (i, r) = (self.inner as f64 / h, pass.rank as f64 / h);
        let kept = match pass.trained {
            Trained::All => 20.0 + 4.0 * k + 8.0 * i,
            Trained::LoraAll => 36.0 + 4.0 * k + 10.0 * i + 28.0 * r,
            Trained::LoraQueriesValues => 20.0 + 4.0 * k + 6.0 * i + 8.0 * r,
        };
        kept + if pass.is_kbit { KBIT_MORE } else { 0.0 }
    }

    /// Returns bytes of activations, or `None` if they are over 64 bits.
    #[must_use]
    pub fn bytes(&self, pass: Pass, settings: &Settings) -> Option<u64> {
        let unit = settings.tokens() as f64 * self.hidden as f64;
        let (layer, layers) = (self.per_layer(pass) * unit, self.layers as f64);
        let kept = if settings.checkpointing {
            let ends = if pass.is_kbit { 4.0 } else { 2.0 };
            ends * unit * layers + layer
        } else {
            layer * layers
        };
        whole_bytes(kept)
    }
}

/// Returns the width of all experts that a token goes to, the shared ones included.
fn of_experts(keys: &Keys<'_>) -> Result<u64, String> {
    let used = keys.need(EXPERTS_USED)?;
    let one = match keys.count(&["moe_intermediate_size", "expert_ffn_hidden_size"])? {
        Some(one) => one,
        None => keys.need(INNER)?,
    };
    let shared = match keys.count(&["shared_expert_intermediate_size"])? {
        Some(shared) => shared,
        None => keys.count(&["n_shared_experts"])?.unwrap_or(0).saturating_mul(one),
    };
    Ok(used.saturating_mul(one).saturating_add(shared))
}
