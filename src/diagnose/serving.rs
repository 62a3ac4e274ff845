//! Rules about engines and launchers: what vLLM, llama.cpp and mlx-lm refuse, and messages that come from where a model runs.

mod engines;
pub(super) mod gguf_base;
pub(super) mod gguf_head;
pub(super) mod gguf_name;
pub(super) mod gguf_scale;
pub(super) mod mlx;
pub(super) mod vllm_dora;
pub(super) mod vllm_embedding;
pub(super) mod vllm_fields;
pub(super) mod vllm_method;
pub(super) mod vllm_rank;
pub(super) mod vllm_required;
pub(super) mod vllm_saved;
pub(super) mod vllm_targets;
pub(super) mod vllm_weight;
