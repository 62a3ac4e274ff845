//! torchao: tensor subclasses flattened into safetensors, described by JSON in `__metadata__`.
//!
//! | tensor                | dtype          | shape                              |
//! |-----------------------|----------------|------------------------------------|
//! | `_weight_qdata`       | I8, F8, U8, I32| `[out, in]`, `[out, in/2]`, tiles  |
//! | `_weight_scale`       | F32, BF16      | `[out, 1]`, `[out, in/g]`          |
//! | `_weight_zero_point`  | I8, BF16       | as the scale                       |
//! | `_weight_scale_and_zero` | BF16        | `[in/g, out, 2]` (tile-packed)     |
//!
//! Metadata of `P.weight`: `{"_type": "Int8Tensor", "_data": {"block_size": [1, in], "dtype": …},
//! "_tensor_data_names": [...]}`. Source: torchao 0.18, `prototype/safetensors`.

mod decode;
mod tiles;

use serde_json::Value;

use super::decode::Decoding;
use super::side::{add_bias, bits_word, matrix};
use super::{Evidence, Fault, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::tensor::Dtype;
use crate::units;

/// The torchao format.
pub struct Torchao;

impl QuantFormat for Torchao {
    fn name(&self) -> &'static str {
        "torchao"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["_weight_qdata"],
            parts: &[
                "_weight_scale",
                "_weight_zero_point",
                "_weight_scale_and_zero",
                "_weight_act_pre_scale",
                "_weight_per_tensor_scale",
                "_weight_act_per_tensor_scale",
                "_weight_shift",
                "bias",
            ],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let codes = parts.get("_weight_qdata")?;
        let mut spec = LayerSpec::new(FormatId::find("torchao")?);
        let mut faults = Vec::new();
        let meta = described(parts);
        let kind_of = meta.and_then(|m| m.get("_type")).and_then(Value::as_str);
        let scale = parts.get("_weight_scale").or_else(|| parts.get("_weight_scale_and_zero"));
        if scale.is_none() {
            spec.broken.push("missing _weight_scale".into());
            faults.push(Fault::new(&kind::LAYER_INCOMPLETE, "missing _weight_scale"));
        }
        if kind_of.is_none() {
            faults.push(Fault::new(
                &kind::QUANT_CONFIG_MISSING,
                "no entry in the file's metadata says which torchao tensor this is",
            ));
        }
        // Two 4-bit codes a byte, or one code an element: the class tells, else the dtype.
        let halves = matches!(kind_of, Some("Int4Tensor" | "NVFP4Tensor"))
            || (kind_of == Some("MXTensor") && codes.dtype == Dtype::U8);
        let tiles = kind_of.is_some_and(|k| k.contains("TilePacked")) && codes.shape.len() == 4;
        let shape = match (matrix(codes), tiles) {
            (Some([rows, columns]), _) => {
                vec![rows, if halves { columns.saturating_mul(2) } else { columns }]
            }
            (None, true) => {
                let padded = tiles::padded_shape(codes.shape).unwrap_or([u64::MAX; 2]);
                // Outputs and inputs are padded; the metadata says how many count.
                let said = meta.and_then(|m| tiles::true_shape(m.get("_data")?));
                said.filter(|said| said[0] <= padded[0] && said[1] <= padded[1]).unwrap_or(padded).to_vec()
            }
            (None, false) => codes.shape.to_vec(),
        };
        spec = spec.with_shape(&shape);
        spec.millibits = if halves || tiles { 4000 } else { bits_of(meta, codes.dtype) };
        kind_of.unwrap_or_default().clone_into(&mut spec.variant);
        spec.dtype = result_dtype(meta).or_else(|| scale.map(|s| s.dtype));
        spec.group_size = group_of(meta, &shape);
        spec.symmetric = Some(!parts.has("_weight_zero_point") && !tiles || kind_of == Some("Int8Tensor"));
        add_bias(parts, &mut spec);
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("TAO{}", bits_word(layer))
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let mut lines = Vec::new();
        if let Some(kind_of) = described(parts).and_then(|m| m.get("_type")).and_then(Value::as_str) {
            lines.push(Evidence::new("__metadata__", format!("_type {kind_of}"), Some(true)));
        }
        if let Some(codes) = parts.get("_weight_qdata") {
            let text =
                format!("{} {} for {}", codes.dtype, units::shape(codes.shape), units::shape(&layer.shape));
            lines.push(Evidence::new("shapes", text, None));
        }
        lines
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }
}

/// Returns the metadata entry of this layer's weight.
fn described<'a>(parts: &Parts<'a>) -> Option<&'a Value> {
    let mut blocks = parts.config.blocks.iter().filter(|b| b.file.contains("__metadata__"));
    blocks.find_map(|block| block.value.get(format!("{}.weight", parts.module.name())))
}

fn bits_of(meta: Option<&Value>, dtype: Dtype) -> u32 {
    // `IntxUnpackedToInt8Tensor` keeps narrower codes in bytes: `target_dtype` is `torch.int4`.
    let target = meta
        .and_then(|m| m.pointer("/_data/target_dtype/_data"))
        .and_then(Value::as_str)
        .and_then(|t| t.trim_start_matches("int").trim_start_matches("uint").parse::<u32>().ok());
    target
        .filter(|b| (1..=8).contains(b))
        .map_or_else(|| dtype.bits().map_or(0, |b| (b * 1000.0) as u32), |b| b * 1000)
}

fn result_dtype(meta: Option<&Value>) -> Option<Dtype> {
    let data = meta?.get("_data")?;
    let name = ["dtype", "orig_dtype", "_orig_dtype"]
        .iter()
        .find_map(|key| data.pointer(&format!("/{key}/_data"))?.as_str())?;
    match name {
        "bfloat16" => Some(Dtype::BF16),
        "float16" => Some(Dtype::F16),
        "float32" => Some(Dtype::F32),
        _ => None,
    }
}

/// The group along inputs: `block_size[1]` when it is less than a whole row.
fn group_of(meta: Option<&Value>, shape: &[u64]) -> Option<u64> {
    let block = meta?.pointer("/_data/block_size")?.as_array()?;
    let along = block.last()?.as_u64()?;
    (shape.last().is_some_and(|&inputs| along < inputs) && along > 0).then_some(along)
}

#[cfg(test)]
mod tests;
