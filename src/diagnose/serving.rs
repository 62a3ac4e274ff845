//! Rules about engines and launchers: what vLLM, llama.cpp and mlx-lm refuse, and messages that come from where a model runs.

pub(super) mod bnb_cast;
pub(super) mod bnb_pops_weight;
pub(super) mod bnb_state_lost;
pub(super) mod bnb_too_old;
pub(super) mod devices_differ;
pub(super) mod dispatched_to_cpu;
pub(super) mod gpu_too_old;
pub(super) mod llamafactory_guards;
pub(super) mod meta_placement;
pub(super) mod no_adapter;
pub(super) mod no_gpu;
pub(super) mod out_of_memory;
pub(super) mod quantize_before_merge;
pub(super) mod zero3_quantized;
