//! Layers that transformers leaves plain beside heads, and linear layers that its models do not have as such.
//!
//! Source: transformers 5.23, `quantizers/base.py` (`get_modules_to_not_convert`), `_keep_in_fp32_modules` of the models,
//! `conversion_mapping.py` (experts joined when they are read).

use serde_json::Value;

use crate::quant::target::LeftOut;

/// Model types, and what full names of the layers end with that they keep in 32 bits: those are never packed.
const KEPT_IN_32_BITS: [(&[&str], &[&str]); 4] = [
    (&["t5", "mt5", "umt5", "udop", "pop2piano"], &["wo"]),
    (&["deepseek_v32", "glm_moe_dsa", "axk2", "mistral_large4"], &["indexer.weights_proj"]),
    (
        &["deepseek_v4"],
        &[
            "self_attn.compressor.kv_proj",
            "self_attn.compressor.gate_proj",
            "self_attn.compressor.indexer.kv_proj",
            "self_attn.compressor.indexer.gate_proj",
            "self_attn.compressor.indexer.scorer.weights_proj",
        ],
    ),
    (&["longcat_flash"], &["classifier"]),
];

/// Returns why a linear layer stays plain.
pub(in crate::quant) fn left_out(layer: &str, config: Option<&Value>) -> Option<LeftOut> {
    let model =
        config.and_then(|config| config.get("model_type")).and_then(Value::as_str).unwrap_or_default();
    let is_kept = |(models, ends): &(&[&str], &[&str])| {
        models.contains(&model) && ends.iter().any(|end| layer.ends_with(end))
    };
    if KEPT_IN_32_BITS.iter().any(is_kept) {
        return Some(LeftOut { why: "transformers keeps it in 32 bits", is_default: true });
    }
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = layer.split('.').peekable();
    while let Some(part) = parts.next() {
        if part == "experts" && parts.peek().is_some_and(|part| is_number(part)) {
            let why =
                "experts: transformers 5 joins those of a layer in one tensor, which it cannot read packed";
            return Some(LeftOut { why, is_default: false });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn experts_and_what_a_model_keeps_stay_plain() {
        let of = |layer: &str, model: &str| {
            left_out(layer, Some(&json!({"model_type": model}))).map(|left| left.is_default)
        };
        assert_eq!(of("model.layers.0.mlp.experts.12.up_proj", "qwen3_moe"), Some(false));
        assert_eq!(of("model.layers.0.mlp.shared_expert.up_proj", "qwen2_moe"), None);
        assert_eq!(of("model.layers.0.mlp.experts.up_proj", "x"), None);
        assert_eq!(of("encoder.block.0.layer.1.DenseReluDense.wo", "t5"), Some(true));
        assert_eq!(of("encoder.block.0.layer.1.DenseReluDense.wo", "llama"), None);
        assert_eq!(left_out("encoder.block.0.layer.1.DenseReluDense.wo", None), None);
    }
}
