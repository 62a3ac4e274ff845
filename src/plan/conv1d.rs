//! Models whose linear layers are `Conv1D`, which keeps its weight as `[in, out]`.
//!
//! bitsandbytes (through transformers) and the GPTQ quantizers turn such a weight to `[out, in]` before they
//! pack it, and what they dequantize stays so: the model's own class cannot load it, or loads a square one
//! turned. Source: transformers 5.23, `pytorch_utils.py`, `integrations/bitsandbytes.py`,
//! `models/gpt2/modeling_gpt2.py`; GPTQModel 7.7, `nn_modules/qlinear`.

use crate::checkpoint::Checkpoint;
use crate::quant::change::Change;

/// Values of `model_type`.
const MODELS: [&str; 4] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];
/// Last names of their layers.
const LAYERS: [&str; 4] = ["c_attn", "q_attn", "c_proj", "c_fc"];
/// Formats whose quantizers take `Conv1D`.
const FORMATS: [&str; 4] = ["bnb-nf4", "bnb-fp4", "bnb-int8", "gptq"];

/// Returns true if linear layers of the checkpoint's model are `Conv1D`.
pub(crate) fn is_model(checkpoint: &Checkpoint) -> bool {
    let configs = &checkpoint.files.configs;
    configs.model("model_type").and_then(serde_json::Value::as_str).is_some_and(|name| MODELS.contains(&name))
}

/// Returns true for a layer of such a model that the format's loaders do not look at: they take `Linear` alone.
pub(super) fn is_passed_over(layer: &str, format: &str) -> bool {
    let leaf = layer.rsplit('.').next().unwrap_or(layer);
    LAYERS.contains(&leaf) && !FORMATS.contains(&format)
}

/// Returns what becomes of the values of a layer of such a model.
pub(crate) fn change(layer: &str, format: &str, shape: &[u64]) -> Change {
    let leaf = layer.rsplit('.').next().unwrap_or(layer);
    if LAYERS.contains(&leaf) && FORMATS.contains(&format) && Change::Turned.fits(shape) {
        Change::Turned
    } else {
        Change::None
    }
}
