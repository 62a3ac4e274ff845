//! HQQ: codes of a reshaped matrix, packed along its first dimension, with float zero points.
//!
//! | tensor   | dtype      | shape                               | holds                                |
//! |----------|------------|-------------------------------------|--------------------------------------|
//! | `W_q`    | U8 or I32  | `[n/g / k, g]` or `[g / k, n/g]`    | `k` codes a byte (3-bit: 10 a word)  |
//! | `scale`  | F16, BF16  | `[n/g, 1]` (axis 1), `[1, n/g]`     | one a group                          |
//! | `zero`   | as `scale` | as `scale`                          | float zero points                    |
//! | `shape`  | I32, I64   | `[2]`                               | `out, in`                            |
//! | `nbits`, `group_size`, `axis`, `packing`, … | I32, U8 | scalars and ASCII | the quantizer's own settings |
//!
//! `weight = (code - zero) * scale`, reshaped to `shape`. Source: hqq 0.2.8, `core/quantize.py`.

mod decode;

use super::decode::Decoding;
use super::side::{NumberRead, integers, millibits};
use super::{Evidence, Fault, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::tensor::elements;
use crate::units;

/// The HQQ format.
pub struct Hqq;

impl QuantFormat for Hqq {
    fn name(&self) -> &'static str {
        "hqq"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["W_q"],
            parts: &[
                "scale",
                "zero",
                "shape",
                "nbits",
                "group_size",
                "axis",
                "packing",
                "unpack_view_dtype",
                "compute_dtype",
                "view_as_float",
                "round_zero",
                "optimize",
                "channel_wise",
                "stores_quant_config",
                "encoded_state_dict",
                "offload_meta",
                "quant_scale",
                "quant_zero",
                "scale_q",
                "zero_q",
                "meta_scale",
                "meta_zero",
                "bias",
            ],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let codes = parts.get("W_q")?;
        let mut spec = LayerSpec::new(FormatId::find("hqq")?);
        let mut faults = Vec::new();
        let scale = parts.get("scale").or_else(|| parts.get("scale_q"));
        for (part, found) in [("scale", scale.is_some()), ("zero", parts.has("zero") || parts.has("zero_q"))]
        {
            if !found {
                spec.broken.push(format!("missing {part}"));
                faults.push(Fault::new(&kind::LAYER_INCOMPLETE, format!("missing {part}")));
            }
        }
        spec.dtype = parts.get("scale").map(|s| s.dtype);
        match integers(parts, "shape", 4) {
            NumberRead::Numbers(shape) if shape.len() == 2 && shape.iter().all(|&d| d > 0) => {
                let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
                spec = spec.with_shape(&shape);
            }
            NumberRead::Numbers(shape) => {
                spec.shape_known = false;
                spec.broken.push("unusable shape".into());
                let detail = format!("shape holds {shape:?}, not two sizes");
                faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part("shape"));
            }
            NumberRead::Pending => {
                spec.pending = true;
                spec.shape_known = false;
            }
            NumberRead::Absent => {
                spec.shape_known = false;
                spec.broken.push("missing shape".into());
                faults.push(Fault::new(&kind::LAYER_INCOMPLETE, "missing shape"));
            }
        }
        let first = |name: &str| match integers(parts, name, 1) {
            NumberRead::Numbers(n) => n.first().copied(),
            _ => None,
        };
        let groups = scale.and_then(|s| elements(s.shape)).filter(|&n| n > 0);
        let weights = spec.shape_known.then(|| elements(&spec.shape)).flatten();
        // The group follows from the count of scales; the stored setting may be empty ("no groups").
        spec.group_size = first("group_size")
            .filter(|&g| g > 0)
            .map(|g| g as u64)
            .or_else(|| weights.zip(groups).map(|(n, groups)| n / groups));
        // Bits: the stored setting, else how many codes share the packed bytes.
        let by_size = weights.map(|n| codes.bytes * 8 / n.max(1));
        if let Some(bits) = first("nbits").filter(|b| (1..=8).contains(b)).map(|b| b as u64).or(by_size) {
            spec.millibits = millibits(bits);
        }
        if let Some(axis) = first("axis") {
            spec.variant = format!("axis {axis}");
        }
        spec.symmetric = Some(false);
        super::side::add_bias(parts, &mut spec);
        check_size(codes.bytes, &mut spec, &mut faults);
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("HQQ{}", super::side::bits_word(layer))
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let mut lines = Vec::new();
        if let Some(codes) = parts.get("W_q") {
            lines.push(Evidence::new("W_q", format!("{} {}", codes.dtype, units::shape(codes.shape)), None));
        }
        if layer.shape_known {
            lines.push(Evidence::new("shape", units::shape(&layer.shape), Some(true)));
        }
        if let Some(scale) = parts.get("scale") {
            let count = elements(scale.shape).unwrap_or(0);
            lines.push(Evidence::new("scale", format!("{} groups", units::exact(count)), None));
        }
        lines
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }
}

/// The packed bytes must hold all codes. Rows are padded to whole words, so more is fine.
fn check_size(packed: u64, spec: &mut LayerSpec, faults: &mut Vec<Fault>) {
    let Some(weights) = spec.shape_known.then(|| elements(&spec.shape)).flatten() else { return };
    let need = weights.saturating_mul(u64::from(spec.millibits / 1000)).div_ceil(8);
    if spec.millibits > 0 && packed < need {
        let detail =
            format!("W_q has {packed} bytes, {weights} codes of {} bits need {need}", spec.millibits / 1000);
        faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part("W_q"));
        spec.broken.push("W_q of the wrong size".into());
    }
}

#[cfg(test)]
mod tests;
