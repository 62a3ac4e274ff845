//! quark: AMD's quantizer. What its tensors mean stands in the layer's own config, else in the global one.
//!
//! | scheme                | `weight`                 | `weight_scale`  | `weight_zero_point` |
//! |-----------------------|--------------------------|-----------------|---------------------|
//! | 4-bit, groups         | I32 `[in, out/8]`        | `[in/g, out]`   | I32 `[in/g, out/8]` |
//! | 4-bit, channel        | I32 `[out, in/8]`        | `[out]`         | I32 `[out/8]`       |
//! | 8-bit, groups         | I8 or U8 `[in, out]`     | `[out, in/g]`   | `[in/g, out]`       |
//! | 8-bit, channel        | I8 or U8 `[out, in]`     | `[out]`         | `[out]`             |
//! | fp8                   | F8 `[out, in]`           | `[]` or `[out]` |                     |
//! | mxfp4, mxfp6          | U8 `[out, in*b/8]`       | U8 `[out, in/32]` |                   |
//!
//! Before quark 1.0 scales were not transposed.
//! Source: quark 0.13, `torch/utils/pack.py`.

mod decode;

use super::decode::Decoding;
use super::draft::Draft;
use super::side::{add_bias, matrix};
use super::{Evidence, FormatId, LayerSpec, Part, Parts, QuantBlock, QuantFormat, Recognized, Signature};
use crate::tensor::{Dtype, elements};
use crate::units;

/// The quark format.
pub struct Quark;

impl QuantFormat for Quark {
    fn name(&self) -> &'static str {
        "quark"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["weight_scale"],
            parts: &[
                "weight",
                "weight_zero_point",
                "input_scale",
                "input_zero_point",
                "output_scale",
                "bias",
            ],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let block = parts.config.block(&["quark"])?;
        let (weight, scale) = (parts.get("weight"), parts.get("weight_scale"));
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("quark")?));
        let Some(weight) = weight else {
            draft.lacks("weight");
            draft.shape_unknown();
            return Some(draft.finish());
        };
        let said = QuarkScheme::of(block, parts.module.name());
        let (shape, bits, variant) = said.layout(weight)?;
        draft.shape(&shape);
        draft.spec.millibits = bits * 1000;
        draft.spec.variant = variant.into();
        draft.spec.symmetric = Some(!parts.has("weight_zero_point"));
        if let Some(scale) = scale {
            draft.spec.dtype = Some(if scale.dtype == Dtype::U8 { Dtype::BF16 } else { scale.dtype });
            quark_group(&mut draft, scale, &said);
        } else {
            draft.lacks("weight_scale");
        }
        add_bias(parts, &mut draft.spec);
        Some(draft.finish())
    }

    fn label(&self, layer: &LayerSpec) -> String {
        format!("QUARK {}", layer.variant)
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        let place = parts.config.block(&["quark"]).map(|b| format!("{} quant_method quark", b.key));
        let mut lines = vec![Evidence::new("config.json", place.unwrap_or_default(), None)];
        for suffix in ["weight", "weight_scale"] {
            if let Some(part) = parts.get(suffix) {
                lines.push(Evidence::new(
                    suffix,
                    format!("{} {}", part.dtype, units::shape(part.shape)),
                    None,
                ));
            }
        }
        lines
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }
}

/// What a quark config says of a layer's weight.
struct QuarkScheme<'a> {
    dtype: &'a str,
    /// What scales of one byte mean: `e8m0`.
    scale_format: &'a str,
    /// Integers in groups are stored transposed, with their scales.
    is_per_group: bool,
    group: Option<u64>,
}

impl<'a> QuarkScheme<'a> {
    /// Returns the layer's own scheme, else the global one. Two-stage schemes are lists: the first counts.
    fn of(block: &'a QuantBlock, module: &str) -> Self {
        let own = block.value.get("layer_quant_config").and_then(|layers| layers.get(module));
        let weight = own.or_else(|| block.value.get("global_quant_config")).and_then(|c| c.get("weight"));
        let weight = weight.and_then(|weight| weight.get(0).or(Some(weight)));
        let text = |key: &str| weight.and_then(|w| w.get(key)).and_then(|v| v.as_str()).unwrap_or("");
        Self {
            dtype: text("dtype"),
            scale_format: text("scale_format"),
            is_per_group: text("qscheme") == "per_group",
            group: weight.and_then(|w| w.get("group_size")?.as_u64()).filter(|&g| g > 0),
        }
    }

    /// Returns the true shape, the bits and the variant of a stored weight.
    fn layout(&self, weight: &Part<'_>) -> Option<([u64; 2], u32, &'static str)> {
        let [rows, columns] = matrix(weight)?;
        let (is_6_bit, is_2_bit) = (self.dtype.contains('6'), self.dtype.ends_with("int2"));
        Some(match weight.dtype {
            // Eight codes a word, in the order of AWQ.
            Dtype::I32 if self.is_per_group => ([columns.saturating_mul(8), rows], 4, "int4"),
            Dtype::I32 => ([rows, columns.saturating_mul(8)], 4, "int4"),
            Dtype::I8 | Dtype::U8 if is_2_bit || self.dtype.ends_with("int8") => {
                let shape = if self.is_per_group { [columns, rows] } else { [rows, columns] };
                if is_2_bit { (shape, 2, "int2") } else { (shape, 8, "int8") }
            }
            Dtype::I8 => ([rows, columns], 8, "int8"),
            Dtype::U8 if is_6_bit => ([rows, columns.saturating_mul(4) / 3], 6, "mxfp6"),
            Dtype::U8 => ([rows, columns.saturating_mul(2)], 4, "mxfp4"),
            dtype if dtype.is_narrow_float() => ([rows, columns], 8, "fp8"),
            _ => return None,
        })
    }
}

/// Finds the group by the scales: `[in / g, out]` for integers, `[out, in / g]` for floats and before quark 1.0.
fn quark_group(draft: &mut Draft<'_, '_>, scale: &Part<'_>, said: &QuarkScheme<'_>) {
    let [outputs, inputs] = draft.spec.shape[..] else { return };
    let (is_one_an_output, count) =
        (scale.shape.first() == Some(&outputs), elements(scale.shape).unwrap_or(0));
    match *scale.shape {
        _ if count == 1 => {}
        [rows, columns] if !(is_one_an_output && columns == 1) => {
            let groups = match said.group.map(|group| inputs.div_ceil(group)) {
                Some(groups)
                    if [rows, columns] == [groups, outputs] || [rows, columns] == [outputs, groups] =>
                {
                    groups
                }
                None if columns == outputs && !is_one_an_output => rows,
                None if is_one_an_output => columns,
                _ => {
                    let (has, shape) = (units::shape(scale.shape), units::shape(&draft.spec.shape));
                    draft.misfit("weight_scale", format!("weight_scale is {has}, the weight is {shape}"));
                    return;
                }
            };
            draft.spec.group_size = said.group.or_else(|| inputs.checked_div(groups)).filter(|&g| g > 0);
        }
        _ if is_one_an_output => {}
        _ => {
            let has = units::shape(scale.shape);
            draft.misfit("weight_scale", format!("weight_scale is {has}, the weight has {outputs} outputs"));
        }
    }
}

#[cfg(test)]
mod tests;
