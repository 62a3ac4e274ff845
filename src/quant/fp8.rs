//! fp8: 8-bit floats with scales, of every writer but compressed-tensors and modelopt.
//!
//! | variant   | tensors                                                                              |
//! |-----------|--------------------------------------------------------------------------------------|
//! | `block`   | `weight` F8 `[out, in]`, `weight_scale_inv` F32, BF16 or E8M0 `[out / bh, in / bw]`,  |
//! |           | rounded up; DeepSeek's own files call it `scale`                                      |
//! | `channel` | `weight_scale` `[out]` or `[out, 1]`                                                  |
//! | `tensor`  | `weight_scale`, `weight_scale_inv` (Ministral) or `qscale_weight` (Mistral), one value|
//! | `fbgemm`  | `weight_scale` F32 `[out, 1]`; Llama 4 experts: `<name>` F8 `[experts, in, out]` with |
//! |           | `<name>_scale` `[experts, 1, out]`                                                    |
//! | `mx`      | scales E8M0 `[out, in / 32]`; DeepSeek V4 experts: `weight` I8, two E2M1 codes a byte |
//!
//! Scales multiply, whatever `inv` says, except in GPTQModel's files: their config has
//! `weight_scale_semantics: inverse`, and the weight is `code / scale`. The block comes from the config,
//! never from the grid. Source: transformers, `integrations/finegrained_fp8.py`; DeepSeek-V3,
//! `inference/kernel.py`; vLLM, `layers/quantization/fp8.py`; GPTQModel, `nn_modules/qlinear/fp8.py`.

mod decode;
pub(super) mod encode;
mod evidence;
pub(super) mod rules;
mod target;

pub use self::target::TO_FP8;
use super::decode::Decoding;
use super::dense::Dense;
use super::draft::{Draft, scaled_parts};
use super::encode::Encoding;
use super::grain::{Grain, Hint, grid};
use super::{Evidence, FormatId, LayerSpec, Part, Parts, QuantBlock, QuantConfig, QuantFormat, Recognized};
use super::{Signature, draft::plain};
use crate::problem::kind;
use crate::tensor::{Dtype, elements};
use crate::units;

/// The block that transformers takes when the config gives none.
const DEFAULT_BLOCK: [u64; 2] = [128, 128];
/// Inputs that share a scale in MX formats.
const MX_BLOCK: u64 = 32;
/// Names of the weights' scales, the most telling first.
const SCALES: [&str; 6] =
    ["weight_scale_inv", "weight_scale", "qscale_weight", "*_scale_inv", "*_scale", "scale"];
/// Methods of configs that mean this format.
const METHODS: [&str; 5] = ["fp8", "fbgemm_fp8", "mxfp8", "ptpc_fp8", "deepspeedfp"];

/// The fp8 formats.
pub struct Fp8;

/// Which of the formats that store `weight` with `weight_scale` a config means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Compressed,
    Modelopt,
    Fp8,
}

/// Returns the family that the first block about one of them means.
pub(super) fn family(config: &QuantConfig) -> Option<Family> {
    config.blocks.iter().find_map(|block| match block.method.as_deref()? {
        "compressed-tensors" => Some(Family::Compressed),
        method if method.starts_with("modelopt") => Some(Family::Modelopt),
        method if METHODS.contains(&method) => Some(Family::Fp8),
        _ => None,
    })
}

/// Returns true if the config says that codes are divided by the scales (GPTQModel).
#[must_use]
pub fn scales_divide(config: &QuantConfig) -> bool {
    let says = |block: &QuantBlock| {
        block.text(&["weight_scale_semantics"]).is_some_and(|s| s.eq_ignore_ascii_case("inverse"))
    };
    config.blocks.iter().any(says)
}

impl QuantFormat for Fp8 {
    fn name(&self) -> &'static str {
        "fp8"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["weight", "weight_scale_inv", "weight_scale", "qscale_weight", "*"],
            parts: scaled_parts!["scale", "qscale_act", "*_scale", "*_scale_inv", "*_bias"],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let weight = weight_of(parts);
        if let Some(weight) = weight.filter(|weight| is_plain(weight.dtype)) {
            return plain_weight(parts, weight);
        }
        let says_so = family(parts.config).is_some();
        let scale = scale_of(parts);
        // AMD's quark stores the same tensors under its own rules.
        if parts.config.method() == Some("quark") || weight.is_none() && !says_so {
            return None;
        }
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("fp8")?));
        draft.spec.millibits = 8000;
        match (weight, scale) {
            (Some(weight), Some(scale)) if is_coded(weight, scale) => scaled(&mut draft, weight, scale),
            (Some(weight), None) if says_so && is_fp8_matrix(weight) => {
                let block = block_of(parts.config);
                draft.lacks(if block.is_some() { "weight_scale_inv" } else { "weight_scale" });
                draft.spec.variant = if block.is_some() { "block" } else { "tensor" }.into();
                draft.spec.group_size = block.map(|[_, wide]| wide);
                draft.spec.dtype = Some(Dtype::BF16);
                draft.shape(weight.shape);
            }
            (None, Some(scale)) if scale.suffix != "scale" => {
                draft.lacks("weight");
                draft.spec.variant = "block".into();
                draft.shape_unknown();
            }
            _ => return None,
        }
        // Mistral's own folders describe themselves in params.json.
        if scale.is_none_or(|scale| scale.suffix != "qscale_weight") {
            draft.method(|method| METHODS.contains(&method), "fp8 with scales");
        }
        Some(draft.finish())
    }

    fn label(&self, layer: &LayerSpec) -> String {
        match (layer.variant.as_str(), layer.millibits) {
            ("mx", 4000) => "MXFP4".into(),
            ("mx", _) => "MXFP8".into(),
            _ => "FP8".into(),
        }
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        evidence::lines(parts, layer)
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

fn weight_of<'a, 'p>(parts: &'p Parts<'a>) -> Option<&'p Part<'a>> {
    parts.get("weight").or_else(|| parts.get("*"))
}

fn scale_of<'a, 'p>(parts: &'p Parts<'a>) -> Option<&'p Part<'a>> {
    SCALES.iter().find_map(|name| parts.get(name))
}

fn is_plain(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

fn is_fp8(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::F8E4M3Fnuz | Dtype::F8E5M2Fnuz)
}

fn is_fp8_matrix(part: &Part<'_>) -> bool {
    is_fp8(part.dtype) && matches!(part.shape.len(), 2 | 3)
}

fn is_exponent(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::F8E8M0)
}

/// Returns true for F8 weights, and for I8 ones that hold two 4-bit floats a byte (DeepSeek V4).
fn is_coded(weight: &Part<'_>, scale: &Part<'_>) -> bool {
    let is_fp4 =
        weight.dtype == Dtype::I8 && scale.dtype == Dtype::F8E8M0 && matches!(weight.shape.len(), 2 | 3);
    is_fp8_matrix(weight) || is_fp4
}

/// A plain weight that only has scales of activations or of the KV cache beside it is dense.
fn plain_weight(parts: &Parts<'_>, weight: &Part<'_>) -> Option<Recognized> {
    let beside = |part: &&Part<'_>| part.tensor != weight.tensor && !matches!(part.suffix, "bias" | "*_bias");
    let known = Fp8.signature();
    let ours = |part: &Part<'_>| {
        known.parts.contains(&part.suffix) || known.anchors.contains(&part.suffix) || is_left_over(part)
    };
    if !parts.list.iter().any(|part| beside(&part)) || !parts.list.iter().all(ours) {
        return None;
    }
    let list: Vec<Part<'_>> = parts.list.iter().filter(|part| !beside(part)).copied().collect();
    let plain = Parts { module: parts.module, list: &list, config: parts.config, data: parts.data };
    let mut found = Dense.recognize(&plain)?;
    // A tensor that is merely called `scale` or `meta` may be a parameter of the model.
    for part in parts.list.iter().filter(|part| matches!(part.suffix, "scale" | "*_scale" | "meta")) {
        let more = elements(part.shape).unwrap_or(u64::MAX);
        found.spec.parameters = found.spec.parameters.saturating_add(more);
    }
    Some(found)
}

/// Parts that compressed-tensors claims beside any `weight`: of weights left uncompressed (status
/// `frozen`), or of that name only.
fn is_left_over(part: &Part<'_>) -> bool {
    matches!(part.suffix, "weight_zero_point" | "weight_global_scale" | "weight_g_idx" | "weight_shape")
        || matches!(part.suffix, "meta" | "scale_packed")
}

/// Returns the block that a config gives.
fn block_of(config: &QuantConfig) -> Option<[u64; 2]> {
    let of = |block: &QuantBlock| {
        let (_, size) = block.any(&["weight_block_size"])?;
        Some([size.get(0)?.as_u64()?, size.get(1)?.as_u64()?])
    };
    config.blocks.iter().find_map(of).filter(|block| block.iter().all(|&size| size > 0))
}

/// Fills in a layer that has its weight and its scales.
fn scaled(draft: &mut Draft<'_, '_>, weight: &Part<'_>, scale: &Part<'_>) {
    let mut shape = weight.shape.to_vec();
    if weight.dtype == Dtype::I8 {
        draft.spec.millibits = 4000;
        if let Some(inputs) = shape.last_mut() {
            *inputs = inputs.saturating_mul(2);
        }
    }
    draft.shape(&shape);
    let read_as = if is_exponent(scale.dtype) { Dtype::F8E8M0 } else { scale.dtype };
    let is_16_bit = matches!(scale.dtype, Dtype::BF16 | Dtype::F16);
    draft.spec.dtype = Some(if is_16_bit { scale.dtype } else { Dtype::BF16 });
    let seen = draft.finite(scale.suffix, read_as);
    if scales_divide(draft.parts.config)
        && let super::scale_values::Looked::Values(seen) = seen
        && seen.zeros > 0
    {
        let text = format!("{}: {} are 0, and codes are divided by them", plain(scale.suffix), seen.zeros);
        draft.fault(&kind::BAD_SCALES, text);
    }
    let kind = Kind::of(draft.parts.config, scale, &shape);
    let outputs = if kind == Some(Kind::FbgemmExperts) { shape.len() - 1 } else { shape.len() - 2 };
    let per_output: Vec<u64> = shape[..shape.len() - 2].iter().copied().chain([shape[outputs]]).collect();
    draft.bias("bias", &per_output);
    draft.bias("*_bias", &per_output);
    if let Some(kind) = kind {
        draft.spec.variant = kind.variant(draft.parts.config).to_owned();
        draft.spec.group_size = kind.group_size();
    } else {
        draft.spec.variant = "block".into();
    }
    misfit(draft, scale, &shape, kind);
}

/// Notes scales whose shape is not what the config's block makes of the weight.
fn misfit(draft: &mut Draft<'_, '_>, scale: &Part<'_>, shape: &[u64], kind: Option<Kind>) {
    let said = block_of(draft.parts.config);
    let [.., outputs, inputs] = *shape else { return };
    let (name, has) = (plain(scale.suffix), units::shape(scale.shape));
    let weight = units::shape(shape);
    let needs = said.and_then(|block| grid([outputs, inputs], block));
    match (said.zip(needs), kind) {
        // One scale where the config's blocks need several.
        (Some((block, needs)), None | Some(Kind::Grain(Grain::Tensor))) if needs != [1, 1] => {
            let [high, wide] = block;
            let needs = units::shape(&needs);
            let text = format!("{name} is {has}, blocks of {high} × {wide} of {weight} need {needs}");
            draft.misfit(scale.suffix, text);
        }
        // Without a config's word the block is unknown, which is no fault of the tensors if it is a grid.
        (None, None) if scale.shape.len() != shape.len() || is_larger(scale.shape, shape) => {
            draft.misfit(scale.suffix, format!("{name} is {has}, the weight is {weight}"));
        }
        _ => {}
    }
}

fn is_larger(scales: &[u64], weight: &[u64]) -> bool {
    scales.iter().zip(weight).any(|(scale, weight)| scale > weight)
}

/// How the scales lie over the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Grain(Grain),
    /// Experts stored `[experts, in, out]` with scales `[experts, 1, out]`.
    FbgemmExperts,
    Mx,
}

impl Kind {
    /// Returns how these scales lie, or `None` if only their block's size could tell and nobody says it.
    fn of(config: &QuantConfig, scale: &Part<'_>, shape: &[u64]) -> Option<Self> {
        let said = block_of(config);
        let mx = Hint { group: Some(MX_BLOCK), block: said.filter(|block| block[0] > 1) };
        let as_mx = Grain::of(scale.shape, shape, mx);
        if is_exponent(scale.dtype) && as_mx == Some(Grain::Group(MX_BLOCK)) {
            return Some(Self::Mx);
        }
        if let ([experts, 1, last], [e, _, out]) = (scale.shape, shape)
            && (experts, last) == (e, out)
            && *last > 1
            && said.is_none()
        {
            return Some(Self::FbgemmExperts);
        }
        // Scales in a grid need a block; `inv` names promise one.
        let is_grid = scale.suffix.ends_with("_inv") || scale.suffix == "scale";
        let block = said.or_else(|| is_grid.then_some(DEFAULT_BLOCK)).or(Some(DEFAULT_BLOCK).filter(|_| {
            scale.shape.len() == shape.len() && elements(scale.shape).is_none_or(|count| count > 1)
        }));
        let grain = Grain::of(scale.shape, shape, Hint { group: None, block })?;
        // Groups are never guessed from the grid.
        (!matches!(grain, Grain::Group(_))).then_some(Self::Grain(grain))
    }

    fn variant(self, config: &QuantConfig) -> &'static str {
        match self {
            Self::Mx => "mx",
            Self::FbgemmExperts => "fbgemm",
            Self::Grain(Grain::Tensor) => "tensor",
            Self::Grain(Grain::Channel) if config.block(&["fbgemm_fp8"]).is_some() => "fbgemm",
            Self::Grain(Grain::Channel) => "channel",
            Self::Grain(Grain::Group(_) | Grain::Block(..)) => "block",
        }
    }

    fn group_size(self) -> Option<u64> {
        match self {
            Self::Mx => Some(MX_BLOCK),
            Self::FbgemmExperts => None,
            Self::Grain(grain) => grain.along_inputs(),
        }
    }
}

#[cfg(test)]
mod tests;
