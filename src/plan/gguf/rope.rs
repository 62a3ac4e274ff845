//! Rotary embeddings that are stretched: `rope.scaling.*`, and the factors in `rope_freqs.weight`.
//!
//! llama.cpp's converter writes the rule of Llama 3.1 as one factor a frequency, and not its four numbers. The
//! largest factor is `factor`; the other three are those of every Llama that has the rule. If they give the
//! factors of the file again, that was the rule.
//! Sources: `convert_hf_to_gguf.py` (`LlamaModel.generate_extra_tensors`), transformers'
//! `modeling_rope_utils.py` (`_compute_llama3_parameters`).

use serde_json::{Value, json};

use super::Naming;
use crate::checkpoint::side::FileSide;
use crate::tensor::{Dtype, values};

const FREQS: &str = "rope_freqs.weight";
/// `low_freq_factor`, `high_freq_factor`, `original_max_position_embeddings` of Llama 3.1, 3.2 and 3.3.
const LLAMA_3: (f64, f64, f64) = (1.0, 4.0, 8192.0);
/// Frequencies of a head of 4096: more is no model.
const FREQS_MAX: u64 = 2048;

/// Returns `rope_scaling` of the config; what it cannot say goes to `warnings`.
pub(super) fn scaling(
    naming: &Naming<'_>,
    (head_dim, theta): (u64, f64),
    warnings: &mut Vec<String>,
) -> Option<Value> {
    if let Some(factors) = factors(naming) {
        if let Some(factor) = llama_3(&factors, head_dim, theta) {
            let (low, high, original) = LLAMA_3;
            return Some(json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original as u64,
            }));
        }
        if factors.iter().any(|&factor| factor != 1.0) {
            warnings.push(format!(
                "{FREQS} follows no rule that is known here: config.json has no rope_scaling, and the model will not compute the same"
            ));
        }
    }
    let meta = &naming.meta;
    let factor = meta.number("rope.scaling.factor").or_else(|| meta.number("rope.scale_linear"));
    let kind = meta.word("rope.scaling.type").or_else(|| factor.map(|_| "linear"));
    match (kind, factor) {
        (None | Some("none"), _) | (Some("linear"), Some(1.0)) => None,
        (Some("linear"), Some(factor)) => Some(json!({"rope_type": "linear", "factor": factor})),
        (Some("yarn"), Some(factor)) => {
            let mut scaling = json!({"rope_type": "yarn", "factor": factor});
            let mut put = |key: &str, number: Option<f64>| {
                if let Some(number) = number {
                    scaling[key] = json!(number);
                }
            };
            put("beta_fast", meta.number("rope.scaling.yarn_beta_fast"));
            put("beta_slow", meta.number("rope.scaling.yarn_beta_slow"));
            if let Some(original) = meta.int("rope.scaling.original_context_length").ok().flatten() {
                scaling["original_max_position_embeddings"] = json!(original);
            }
            if meta.number("rope.scaling.attn_factor").is_some_and(|factor| factor != 1.0) {
                warnings.push("rope.scaling.attn_factor is not carried over to config.json".into());
            }
            Some(scaling)
        }
        (Some(kind), _) => {
            let kind = crate::name::escape(kind);
            warnings.push(format!("rope scaling of type {kind} is not carried over to config.json"));
            None
        }
    }
}

/// Reads the factors.
fn factors(naming: &Naming<'_>) -> Option<Vec<f32>> {
    let files = &naming.checkpoint.files;
    let tensor = files.find(FREQS)?;
    let record = &files.tensors[tensor as usize];
    if record.dtype != Dtype::F32 || record.bytes > FREQS_MAX * 4 || !record.bytes.is_multiple_of(4) {
        return None;
    }
    let mut bytes = vec![0; record.bytes as usize];
    FileSide::new(files).fill(tensor, 0, &mut bytes).ok()?;
    let mut out = vec![0.0; bytes.len() / 4];
    values::to_f32(Dtype::F32, &bytes, &mut out).then_some(out)
}

/// Returns `factor` if these are the factors of Llama 3.1's rule.
fn llama_3(factors: &[f32], head_dim: u64, theta: f64) -> Option<f64> {
    let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
    let (low, high, original) = LLAMA_3;
    let rule = |at: usize| {
        let wave = std::f64::consts::TAU * theta.powf(2.0 * at as f64 / head_dim as f64);
        if wave < original / high {
            1.0
        } else if wave > original / low {
            factor
        } else {
            let smooth = (original / wave - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    let is_it = factor > 1.0
        && factors.len() as u64 == head_dim / 2
        && factors.iter().enumerate().all(|(at, &is)| {
            let should = rule(at);
            (f64::from(is) - should).abs() <= should * 1e-3
        });
    is_it.then_some(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_llama_3_is_known_by_its_factors() {
        // Llama 3.1 (head 128, factor 8) and Llama 3.2 (head 64, factor 32), by the converter's own lines.
        for (head_dim, factor) in [(128u64, 8.0f64), (64, 32.0)] {
            let factors: Vec<f32> = (0..head_dim / 2)
                .map(|at| {
                    let freq = 1.0 / 500_000f64.powf(2.0 * at as f64 / head_dim as f64);
                    let wavelen = 2.0 * std::f64::consts::PI / freq;
                    let smooth = (8192.0 / wavelen - 1.0) / 3.0;
                    let middle = 1.0 / ((1.0 - smooth) / factor + smooth);
                    let scaled = if wavelen > 8192.0 { factor } else { middle };
                    (if wavelen < 2048.0 { 1.0 } else { scaled }) as f32
                })
                .collect();
            assert_eq!(llama_3(&factors, head_dim, 500_000.0), Some(factor));
            assert_eq!(llama_3(&factors, head_dim, 10_000.0), None);
            let mut other = factors.clone();
            other[head_dim as usize / 4] *= 1.1;
            assert_eq!(llama_3(&other, head_dim, 500_000.0), None);
            assert_eq!(llama_3(&factors[1..], head_dim, 500_000.0), None);
        }
        assert_eq!(llama_3(&[1.0; 32], 64, 500_000.0), None, "no factor at all");
    }
}
