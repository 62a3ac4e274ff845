//! 8-bit and ternary formats with one scale an output or tensor: EETQ and BitNet.
//!
//! | format | tensors                                         | shape                                 |
//! |--------|--------------------------------------------------|---------------------------------------|
//! | EETQ   | `weight` (or `qweight`) I8 `[in, out]`, `weight_scales` F16 `[out]` | transposed, pre-shuffled |
//! | BitNet | `weight` U8 `[out/4, in]`, `weight_scale` `[1]`   | four 2-bit planes along outputs       |
//!
//! Source: EETQ `csrc`, transformers `integrations/bitnet.py`.

mod decode;

use super::decode::Decoding;
use super::side::{add_bias, matrix};
use super::{Evidence, Fault, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::tensor::{Dtype, elements};
use crate::units;

/// The EETQ format.
pub struct Eetq;
/// The `BitNet` format.
pub struct BitNet;

impl QuantFormat for Eetq {
    fn name(&self) -> &'static str {
        "eetq"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["weight_scales"], parts: &["weight", "qweight", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let scales = parts.get("weight_scales")?;
        let weight = parts.get("weight").or_else(|| parts.get("qweight"));
        let mut spec = LayerSpec::new(FormatId::find("eetq")?);
        let mut faults = Vec::new();
        let Some(weight) = weight else {
            spec.shape_known = false;
            spec.broken.push("missing weight".into());
            faults.push(Fault::new(&kind::LAYER_INCOMPLETE, "missing weight"));
            return Some(Recognized { spec, faults });
        };
        let [inputs, outputs] = matrix(weight).filter(|_| weight.dtype == Dtype::I8)?;
        spec = spec.with_shape(&[outputs, inputs]);
        spec.millibits = 8000;
        spec.symmetric = Some(true);
        spec.dtype = Some(scales.dtype);
        if elements(scales.shape) != Some(outputs) {
            spec.broken.push("weight_scales of the wrong size".into());
            let detail =
                format!("weight_scales is {}, the weight has {outputs} outputs", units::shape(scales.shape));
            faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part("weight_scales"));
        }
        add_bias(parts, &mut spec);
        Some(Recognized { spec, faults })
    }

    fn label(&self, _layer: &LayerSpec) -> String {
        "EETQ8".into()
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let stored = parts.get("weight").or_else(|| parts.get("qweight"));
        let text = stored.map_or_else(String::new, |w| {
            format!("{} {} stored [in, out], shuffled for a GPU kernel", w.dtype, units::shape(w.shape))
        });
        vec![
            Evidence::new("weight", text, None),
            Evidence::new(
                "weight_scales",
                format!("one for each of {} outputs", layer.shape.first().unwrap_or(&0)),
                Some(true),
            ),
        ]
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::eetq(parts, layer)
    }
}

impl QuantFormat for BitNet {
    fn name(&self) -> &'static str {
        "bitnet"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["weight"], parts: &["weight_scale", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let weight = parts.get("weight").filter(|w| w.dtype == Dtype::U8)?;
        let scale = parts.get("weight_scale").filter(|s| s.dtype.is_float() && !s.dtype.is_narrow_float())?;
        let [packed, inputs] = matrix(weight)?;
        // modelopt's int4 and NVFP4 also keep U8 weights; their scales are one a group, never one in all.
        if elements(scale.shape) != Some(1) {
            return None;
        }
        let mut spec =
            LayerSpec::new(FormatId::find("bitnet")?).with_shape(&[packed.saturating_mul(4), inputs]);
        spec.millibits = 2000;
        spec.symmetric = Some(true);
        spec.dtype = Some(scale.dtype);
        let mut faults = Vec::new();
        let block = parts.config.block(&["bitnet"]);
        match block.and_then(|b| b.text(&["linear_class"])) {
            Some(class) => class.clone_into(&mut spec.variant),
            None if block.is_some() => spec.variant = "bitlinear".into(),
            None => faults.push(Fault::new(
                &kind::QUANT_CONFIG_MISSING,
                "packed ternary weights, and no config says whether the scale multiplies or divides",
            )),
        }
        add_bias(parts, &mut spec);
        Some(Recognized { spec, faults })
    }

    fn label(&self, _layer: &LayerSpec) -> String {
        "BITNET".into()
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let mut lines = Vec::new();
        if let Some(weight) = parts.get("weight") {
            let text = format!("{} byte rows × 4 codes = {} outputs", weight.shape[0], layer.shape[0]);
            lines.push(Evidence::new("shapes", text, Some(true)));
        }
        let rule = match layer.variant.as_str() {
            "autobitlinear" => "linear_class autobitlinear: the scale multiplies",
            "bitlinear" => "linear_class bitlinear: the scale divides",
            _ => "no linear_class: whether the scale multiplies or divides is not known",
        };
        lines.push(Evidence::new("config.json", rule, None));
        lines
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::bitnet(parts, layer)
    }
}

#[cfg(test)]
mod tests;
