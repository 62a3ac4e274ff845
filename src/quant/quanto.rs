//! quanto (optimum): quantized tensors as nested state-dict entries.
//!
//! | tensor                  | dtype       | shape             | holds                               |
//! |-------------------------|-------------|-------------------|-------------------------------------|
//! | `weight._data`          | I8, F8      | `[out, in]`       | 8-bit codes                         |
//! | `weight._scale`         | F16…F32     | `[out, 1]`        | one an output                       |
//! | `weight._data._data`    | U8          | `[ceil(R*b/8), g]`| 2- or 4-bit codes of `[n/g, g]`     |
//! | `weight._scale`, `weight._shift` | F16…F32 | `[R, 1]`     | one a group, `R = n/g`              |
//! | `input_scale`, `output_scale` | F16…  | `[]`              | activations, not weights            |
//!
//! The true shape of a packed layer stands nowhere in its tensors: only `n = R * g` is known, and the
//! architecture tells the rest. Source: optimum-quanto 0.2.7, `tensor/packed.py`, `tensor/weights`.

mod decode;

use super::decode::Decoding;
use super::side::{add_bias, bits_word, matrix, millibits};
use super::{Evidence, Fault, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::tensor::elements;
use crate::units;

/// The quanto format.
pub struct Quanto;

/// Returns the bits that the layer's entry of `quanto_qmap.json`, or the model's config, says: `qint2`, `int4`.
fn said_bits(parts: &Parts<'_>) -> Option<u64> {
    let name = parts.module.name();
    let word = |block: &super::QuantBlock| {
        let entry = block.value.get(name).unwrap_or(&block.value);
        entry.get("weights")?.as_str()?.trim_start_matches('q').strip_prefix("int")?.parse().ok()
    };
    parts.config.blocks.iter().find_map(word)
}

impl QuantFormat for Quanto {
    fn name(&self) -> &'static str {
        "quanto"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["weight._data", "weight._data._data"],
            parts: &[
                "weight._scale",
                "weight._shift",
                "weight._zeropoint",
                "input_scale",
                "output_scale",
                "bias",
            ],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let packed = parts.get("weight._data._data");
        let codes = packed.or_else(|| parts.get("weight._data"))?;
        let mut spec = LayerSpec::new(FormatId::find("quanto")?);
        let mut faults = Vec::new();
        let scale = parts.get("weight._scale");
        let needs_shift = packed.is_some() && !parts.has("weight._shift") && !parts.has("weight._zeropoint");
        for (part, missing) in [("weight._scale", scale.is_none()), ("weight._shift", needs_shift)] {
            if missing {
                spec.broken.push(format!("missing {part}"));
                faults.push(Fault::new(&kind::LAYER_INCOMPLETE, format!("missing {part}")));
            }
        }
        spec.dtype = scale.map(|s| s.dtype);
        if packed.is_none() {
            spec.variant = if codes.dtype.is_float() { "qfloat8" } else { "qint8" }.into();
            spec = spec.with_shape(codes.shape);
            spec.millibits = 8000;
            spec.symmetric = Some(true);
        } else if let (Some([rows, group]), Some(groups)) =
            (matrix(codes), scale.and_then(|s| elements(s.shape)))
        {
            // Groups of 2 or 4 bits fill rows, the last of them perhaps in part: a few fit both.
            let fits = |bits: &u64| groups > 0 && rows == groups.saturating_mul(*bits).div_ceil(8);
            let said = said_bits(parts);
            let both = fits(&2) && fits(&4);
            let bits = match said.filter(fits) {
                Some(bits) => bits,
                None if both => 0,
                None => [2, 4].into_iter().find(fits).unwrap_or(0),
            };
            let weights = groups.saturating_mul(group);
            spec.millibits = millibits(bits);
            spec.variant = format!("qint{bits}");
            spec.group_size = Some(group);
            spec.symmetric = Some(false);
            spec.parameters = weights;
            match parts.config.shape_of(parts.module.name()).filter(|shape| elements(shape) == Some(weights))
            {
                Some(shape) => spec = spec.with_shape(&shape),
                None => spec.shape_known = false,
            }
            if !matches!(bits, 2 | 4) {
                spec.broken.push(format!("{rows} packed rows for {groups} groups"));
                let why = if both { "2 bits or 4, and no config says which" } else { "neither 2 nor 4 bits" };
                let detail = format!("{rows} packed rows for {groups} groups: {why}");
                faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part("weight._data._data"));
            }
        } else {
            spec.shape_known = false;
        }
        check_scales(parts, &mut spec, &mut faults);
        add_bias(parts, &mut spec);
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        if layer.variant == "qfloat8" { "QFP8".into() } else { format!("QINT{}", bits_word(layer)) }
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let mut lines = Vec::new();
        for suffix in ["weight._data._data", "weight._data", "weight._scale"] {
            if let Some(part) = parts.get(suffix) {
                lines.push(Evidence::new(
                    suffix,
                    format!("{} {}", part.dtype, units::shape(part.shape)),
                    None,
                ));
            }
        }
        let text = if layer.shape_known {
            format!("{} by the architecture: the tensors only tell the count", units::shape(&layer.shape))
        } else {
            format!("not in the tensors: {} weights in all", units::exact(layer.parameters))
        };
        if layer.group_size.is_some() {
            lines.push(Evidence::new("shape", text, layer.shape_known.then_some(true)));
        }
        lines
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }
}

/// Shifts stand beside each scale; 8-bit layers have a scale for each output (or input), or one in all.
fn check_scales(parts: &Parts<'_>, spec: &mut LayerSpec, faults: &mut Vec<Fault>) {
    let count = |suffix: &str| parts.get(suffix).map(|part| elements(part.shape).unwrap_or(u64::MAX));
    let Some(scales) = count("weight._scale") else { return };
    let (part, detail) = match count("weight._shift").or_else(|| count("weight._zeropoint")) {
        Some(shifts) if shifts != scales => ("weight._shift", format!("{shifts} shifts for {scales} scales")),
        None if spec.group_size.is_none() && scales != 1 && !spec.shape.contains(&scales) => {
            ("weight._scale", format!("{scales} scales for {}", units::shape(&spec.shape)))
        }
        _ => return,
    };
    spec.broken.push(format!("{part} of the wrong size"));
    faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part(part));
}

#[cfg(test)]
mod tests;
