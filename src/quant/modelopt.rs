//! modelopt: NVIDIA's Model Optimizer.
//!
//! | variant  | tensors                                                                               |
//! |----------|---------------------------------------------------------------------------------------|
//! | `fp8`    | `weight` F8 `[out, in]`, `weight_scale` F32 `[]`, `[out]` or a grid of blocks          |
//! | `nvfp4`  | `weight` U8 `[out, in / 2]`, `weight_scale` F8 `[out, in / 16]`, `weight_scale_2` F32, |
//! |          | which multiplies (compressed-tensors' global scale divides)                           |
//! | `int4`   | `weight` U8 `[out / 2, in]`: two rows a byte, `weight_scale` `[out, in / g]`           |
//! | `mxfp4`  | `weight` U8 `[out, in / 2]`, `weight_scale` U8 `[out, in / 32]`                        |
//! | `mxfp8`  | `weight` F8 `[out, in]`, `weight_scale` U8 `[out, in / 32]`                            |
//!
//! `pre_quant_scale [in]` scales the columns after decoding (AWQ). Fused experts continue their
//! parameter's name: `gate_up_proj_weight_scale`. But for nvfp4, whose tensors tell by themselves, a
//! config must say modelopt: `hf_quant_config.json`, or the block in `config.json`.
//! Source: modelopt 0.47, `torch/export/quant_utils.py`, `torch/quantization/qtensor`.

mod decode;
mod encode;

use serde_json::Value;

use super::decode::Decoding;
use super::draft::{Draft, place, scaled_parts};
use super::encode::Encoding;
use super::fp8::{Family, family};
use super::grain::{Grain, Hint};
use super::scale_values::evidence;
use super::{Evidence, FormatId, LayerSpec, Part, Parts, QuantBlock, QuantFormat, Recognized, Signature};
use crate::name::escape;
use crate::problem::kind;
use crate::tensor::Dtype;
use crate::units;

/// The block of `FP8_PB_WO`.
const FP8_BLOCK: [u64; 2] = [128, 128];

/// The modelopt formats.
pub struct Modelopt;

impl QuantFormat for Modelopt {
    fn name(&self) -> &'static str {
        "modelopt"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["weight", "weight_scale", "weight_scale_2", "*"],
            parts: scaled_parts![
                "pre_quant_scale",
                "svdquant_lora_a",
                "svdquant_lora_b",
                "*_weight_scale",
                "*_weight_scale_2",
                "*_input_scale",
                "*_bias"
            ],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let variant = Variant::of(parts)?;
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("modelopt")?));
        draft.method(|method| method.starts_with("modelopt"), "modelopt");
        draft.spec.variant = variant.name().into();
        draft.spec.millibits = variant.bits() * 1000;
        draft.spec.dtype = Some(result_dtype(parts));
        if let Some(weight) = weight_of(parts) {
            scaled(&mut draft, weight, variant);
        } else {
            draft.lacks("weight");
            draft.shape_unknown();
        }
        compare(&mut draft, variant);
        Some(draft.finish())
    }

    fn label(&self, layer: &LayerSpec) -> String {
        layer.variant.to_ascii_uppercase()
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let (Some(variant), Some(weight)) = (Variant::of(parts), weight_of(parts)) else { return Vec::new() };
        let mut lines = Vec::new();
        match said(parts) {
            Some(said) => {
                let agrees = Variant::of_algorithm(said.algorithm).map(|v| v == variant);
                let text = format!("quant_algo {}", escape(said.algorithm));
                lines.push(Evidence::new(said.block.file.clone(), text, agrees));
            }
            None => lines.push(Evidence::new("config", "nothing names an algorithm", None)),
        }
        let (has, inputs) = (units::shape(weight.shape), layer.shape.last().copied().unwrap_or(0));
        let text = match variant {
            Variant::Nvfp4 | Variant::Mxfp4 => format!("{has}: two inputs a byte, {inputs} inputs"),
            Variant::Int4 => format!("{has}: two rows a byte, {inputs} inputs"),
            Variant::Fp8 | Variant::Mxfp8 => format!("{has}: one code a byte"),
        };
        lines.push(Evidence::new("shapes", text, Some(layer.broken.is_empty())));
        if let Some(scale) = scale_of(parts) {
            let grain = Grain::of(scale.shape, &layer.shape, variant.hint(parts));
            let grain = grain.map_or_else(|| "does not fit the weight".into(), Grain::describe);
            let what = format!("{} {}, {grain}", scale.dtype.name(), units::shape(scale.shape));
            lines.push(evidence(parts, scale, variant.scales_read_as(scale.dtype), &what));
        }
        if let Some(second) = second_scale_of(parts) {
            lines.push(evidence(parts, second, second.dtype, "the scales are multiplied by it"));
        }
        if parts.has("pre_quant_scale") {
            lines.push(Evidence::new("pre_quant_scale", "scales the columns after decoding", None));
        }
        lines
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn encode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
        encode::encode(parts, layer)
    }
}

/// The layouts, told by dtypes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Fp8,
    Nvfp4,
    Int4,
    Mxfp4,
    Mxfp8,
}

impl Variant {
    fn of(parts: &Parts<'_>) -> Option<Self> {
        let scale = scale_of(parts).map(|scale| scale.dtype);
        let says_so = family(parts.config) == Some(Family::Modelopt);
        let by_config = || said(parts).and_then(|said| Self::of_algorithm(said.algorithm));
        let Some(weight) = weight_of(parts) else {
            let is_nvfp4 = parts.has("weight_scale_2");
            let fallback = if is_nvfp4 { Self::Nvfp4 } else { Self::Fp8 };
            return (is_nvfp4 || says_so && scale.is_some()).then(|| by_config().unwrap_or(fallback));
        };
        if !matches!(weight.shape.len(), 2 | 3) {
            return None;
        }
        let is_nvfp4 = second_scale_of(parts).is_some() && scale.is_none_or(|s| s == Dtype::F8E4M3);
        match (weight.dtype, scale) {
            (Dtype::U8 | Dtype::F4, Some(Dtype::F8E4M3)) => Some(Self::Nvfp4),
            (Dtype::U8 | Dtype::F4, _) if is_nvfp4 => Some(Self::Nvfp4),
            _ if !says_so => None,
            (Dtype::U8, Some(Dtype::U8 | Dtype::F8E8M0)) => Some(Self::Mxfp4),
            (Dtype::U8, Some(_)) => Some(Self::Int4),
            (Dtype::U8, None) => by_config(),
            (Dtype::F8E4M3, Some(Dtype::U8 | Dtype::F8E8M0)) => Some(Self::Mxfp8),
            (Dtype::F8E4M3, _) => Some(Self::Fp8),
            _ => None,
        }
    }

    /// Returns the layout that an algorithm of the config stores.
    fn of_algorithm(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        match name.as_str() {
            "W4A16_AWQ" | "W4A8_AWQ" | "INT4_AWQ" => Some(Self::Int4),
            "MXFP8" => Some(Self::Mxfp8),
            "W4A8_MXFP4_FP8" => Some(Self::Mxfp4),
            _ if name.contains("NVFP4") => Some(Self::Nvfp4),
            _ if name.starts_with("MXFP4") => Some(Self::Mxfp4),
            _ if name.starts_with("FP8") => Some(Self::Fp8),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fp8 => "fp8",
            Self::Nvfp4 => "nvfp4",
            Self::Int4 => "int4",
            Self::Mxfp4 => "mxfp4",
            Self::Mxfp8 => "mxfp8",
        }
    }

    fn bits(self) -> u32 {
        if matches!(self, Self::Fp8 | Self::Mxfp8) { 8 } else { 4 }
    }

    /// Returns the inputs that share a scale where the layout fixes them.
    fn block(self) -> Option<u64> {
        match self {
            Self::Nvfp4 => Some(16),
            Self::Mxfp4 | Self::Mxfp8 => Some(32),
            Self::Fp8 | Self::Int4 => None,
        }
    }

    fn hint(self, parts: &Parts<'_>) -> Hint {
        let group = || said(parts).and_then(|said| said.group_size);
        let is_fp8 = self == Self::Fp8;
        Hint {
            group: self.block().or_else(|| group().filter(|_| !is_fp8)),
            block: is_fp8.then_some(FP8_BLOCK),
        }
    }

    fn scales_read_as(self, stored: Dtype) -> Dtype {
        if matches!(self, Self::Mxfp4 | Self::Mxfp8) { Dtype::F8E8M0 } else { stored }
    }
}

fn weight_of<'a, 'p>(parts: &'p Parts<'a>) -> Option<&'p Part<'a>> {
    parts.get("weight").or_else(|| parts.get("*"))
}

fn scale_of<'a, 'p>(parts: &'p Parts<'a>) -> Option<&'p Part<'a>> {
    parts.get("weight_scale").or_else(|| parts.get("*_weight_scale"))
}

fn second_scale_of<'a, 'p>(parts: &'p Parts<'a>) -> Option<&'p Part<'a>> {
    parts.get("weight_scale_2").or_else(|| parts.get("*_weight_scale_2"))
}

/// Returns the dtype of the decoded weights. Nothing records it; 16-bit neighbors show the model's.
fn result_dtype(parts: &Parts<'_>) -> Dtype {
    let neighbors = ["pre_quant_scale", "bias", "weight_scale"].iter().filter_map(|name| parts.get(name));
    let mut dtypes = neighbors.map(|part| part.dtype);
    dtypes.find(|dtype| matches!(dtype, Dtype::BF16 | Dtype::F16)).unwrap_or(Dtype::BF16)
}

/// Fills in a layer that has its weight.
fn scaled(draft: &mut Draft<'_, '_>, weight: &Part<'_>, variant: Variant) {
    let mut shape = weight.shape.to_vec();
    let packed = match variant {
        Variant::Nvfp4 | Variant::Mxfp4 => shape.len().checked_sub(1),
        Variant::Int4 => shape.len().checked_sub(2),
        Variant::Fp8 | Variant::Mxfp8 => None,
    };
    // An F4 tensor's shape counts codes already.
    if let Some(at) = packed.filter(|_| weight.dtype != Dtype::F4) {
        shape[at] = shape[at].saturating_mul(2);
    }
    draft.shape(&shape);
    let rows = &shape[..shape.len() - 1];
    draft.bias("bias", rows);
    draft.bias("*_bias", rows);
    let Some(scale) = scale_of(draft.parts).copied() else {
        draft.lacks("weight_scale");
        return;
    };
    draft.finite(scale.suffix, variant.scales_read_as(scale.dtype));
    let grain = Grain::of(scale.shape, &shape, variant.hint(draft.parts));
    let fits = |grain: &Grain| variant.block().is_none_or(|size| *grain == Grain::Group(size));
    if let Some(grain) = grain.filter(fits) {
        draft.spec.group_size = grain.along_inputs();
    } else {
        let (has, weight) = (units::shape(scale.shape), units::shape(&shape));
        draft.misfit(scale.suffix, format!("weight_scale is {has}, the weight is {weight}"));
    }
    if variant == Variant::Nvfp4 {
        match second_scale_of(draft.parts).copied() {
            Some(second) => drop(draft.finite(second.suffix, second.dtype)),
            None => draft.lacks("weight_scale_2"),
        }
    }
    if let Some(columns) = draft.parts.get("pre_quant_scale").copied() {
        draft.finite("pre_quant_scale", columns.dtype);
        if columns.shape.last() != shape.last() || columns.shape.len() != 1 {
            let (has, inputs) = (units::shape(columns.shape), shape.last().copied().unwrap_or(0));
            draft.misfit(
                "pre_quant_scale",
                format!("pre_quant_scale is {has}, the weight has {inputs} inputs"),
            );
        }
    }
}

/// What a config says about a module.
struct Said<'c> {
    block: &'c QuantBlock,
    algorithm: &'c str,
    group_size: Option<u64>,
}

/// Returns what a config says about this layer, by name where layers differ.
fn said<'c>(parts: &Parts<'c>) -> Option<Said<'c>> {
    parts.config.blocks.iter().find_map(|block| {
        block.method.as_deref().filter(|method| method.starts_with("modelopt"))?;
        let whole = block.value.get("quantization").unwrap_or(&block.value);
        let one = whole.get("quantized_layers").and_then(|layers| layers.get(parts.module.name()));
        let text = |value: &'c Value| value.get("quant_algo").and_then(Value::as_str);
        let algorithm = one.and_then(text).or_else(|| text(whole))?;
        let size = |value: &Value| value.get("group_size").and_then(Value::as_u64).filter(|&size| size > 0);
        Some(Said { block, algorithm, group_size: one.and_then(size).or_else(|| size(whole)) })
    })
}

/// Compares the config's algorithm and group with the tensors.
fn compare(draft: &mut Draft<'_, '_>, variant: Variant) {
    let Some(said) = said(draft.parts) else { return };
    let file = place(&said.block.file, &said.block.key);
    let is = variant.name();
    if let Some(by_name) = Variant::of_algorithm(said.algorithm).filter(|by_name| *by_name != variant) {
        let text = format!("{file} has quant_algo {}, the tensors are {is}", escape(said.algorithm));
        let same_bits = by_name.bits() == variant.bits();
        let kind = if same_bits { &kind::QUANT_FLAG_DISAGREES } else { &kind::QUANT_BITS_DISAGREE };
        return draft.fault(kind, text);
    }
    let seen = draft.spec.group_size.filter(|_| variant != Variant::Fp8 && draft.spec.broken.is_empty());
    if let Some((said, seen)) = said.group_size.zip(seen).filter(|(said, seen)| said != seen) {
        let text = format!("{file} has group_size {said}, the tensors have {seen}");
        draft.fault(&kind::QUANT_GROUP_DISAGREES, text);
    }
}

#[cfg(test)]
mod tests;
