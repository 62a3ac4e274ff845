//! MLX: affine groups along inputs, codes as a dense little-endian bit stream in 32-bit words.
//!
//! | tensor   | dtype      | shape            | holds                                     |
//! |----------|------------|------------------|-------------------------------------------|
//! | `weight` | U32        | `[out, in*b/32]` | codes of 2, 3, 4, 5, 6 or 8 bits          |
//! | `scales` | F16, BF16, U8 | `[out, in/g]` | one a group (U8: E8M0 or E4M3 of fp modes)|
//! | `biases` | F16, BF16  | `[out, in/g]`    | affine mode only (`qbiases` in transformers' metal form) |
//!
//! `weight = code * scale + bias`. Experts are stacked: three dimensions. Bits and group size follow from
//! the shapes only together; the config tells the group. Source: mlx, `mlx/backend/cpu/quantized.cpp`.

mod decode;

use super::decode::Decoding;
use super::side::{add_bias, bits_word, millibits};
use super::{Evidence, Fault, FormatId, LayerSpec, Parts, QuantBlock, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::tensor::Dtype;
use crate::units;

/// The MLX format.
pub struct Mlx;

/// Group sizes that MLX makes, the default first.
const GROUPS: [u64; 4] = [64, 32, 128, 16];

impl QuantFormat for Mlx {
    fn name(&self) -> &'static str {
        "mlx"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["weight"], parts: &["scales", "biases", "qbiases", "bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let weight = parts.get("weight").filter(|w| w.dtype == Dtype::U32 && w.shape.len() >= 2)?;
        let scales = parts.get("scales");
        let has_biases = parts.has("biases") || parts.has("qbiases");
        if scales.is_none() && !has_biases && parts.config.block(&["mlx"]).is_none() {
            return None;
        }
        let mut spec = LayerSpec::new(FormatId::find("mlx")?);
        let mut faults = Vec::new();
        let Some(scales) = scales else {
            spec.shape_known = false;
            spec.broken.push("missing scales".into());
            faults.push(Fault::new(&kind::LAYER_INCOMPLETE, "missing scales"));
            return Some(Recognized { spec, faults });
        };
        let (words, groups) =
            (weight.shape[weight.shape.len() - 1], scales.shape.last().copied().unwrap_or(0));
        let block = parts.config.block(&["mlx", "metal"]);
        let group = group_of(parts, block, words, groups);
        let inputs = groups.saturating_mul(group);
        let bits = words.saturating_mul(32).checked_div(inputs).unwrap_or(0);
        let mut shape = weight.shape.to_vec();
        if let Some(last) = shape.last_mut() {
            *last = inputs;
        }
        spec = spec.with_shape(&shape);
        spec.millibits = millibits(bits);
        spec.group_size = Some(group);
        spec.symmetric = Some(!has_biases);
        spec.dtype = Some(if scales.dtype == Dtype::U8 { Dtype::BF16 } else { scales.dtype });
        // Without a mode it is affine, but for the byte scales of the floating-point modes.
        let is_affine_by_dtype = if has_biases || scales.dtype != Dtype::U8 { "affine" } else { "" };
        mode_of(parts, block).unwrap_or(is_affine_by_dtype).clone_into(&mut spec.variant);
        check_parts(parts, &mut spec, &mut faults);
        if !matches!(bits, 2..=6 | 8) || words.saturating_mul(32) != inputs.saturating_mul(bits) {
            spec.broken.push(format!("{words} words for {groups} groups"));
            let detail = format!("{words} words and {groups} groups of {group}: no code width fits");
            faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part("weight"));
        }
        if parts.config.blocks.is_empty() {
            faults.push(Fault::new(
                &kind::QUANT_CONFIG_MISSING,
                "packed in 32-bit words, and no config says how",
            ));
        }
        add_bias(parts, &mut spec);
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        match layer.variant.as_str() {
            "mxfp4" => "MXFP4".into(),
            "nvfp4" => "NVFP4".into(),
            "mxfp8" => "MXFP8".into(),
            _ => format!("MLX{}", bits_word(layer)),
        }
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let mut lines = Vec::new();
        if let Some(block) = parts.config.block(&["mlx", "metal"]) {
            let number = |key: &str| block.int(&[key]).map_or_else(|| "?".into(), |n| n.to_string());
            let text = format!("{} bits {}, group_size {}", block.key, number("bits"), number("group_size"));
            lines.push(Evidence::new(block.file.clone(), text, None));
        }
        if let (Some(weight), Some(inputs)) = (parts.get("weight"), layer.shape.last()) {
            let words = weight.shape.last().copied().unwrap_or(0);
            let fits = words.saturating_mul(32_000) == inputs.saturating_mul(u64::from(layer.millibits));
            let text = format!("{words} words × 32 bits = {inputs} inputs × {} bits", bits_word(layer));
            lines.push(Evidence::new("shapes", text, Some(fits)));
        }
        if let Some(scales) = parts.get("scales") {
            lines.push(Evidence::new(
                "scales",
                format!("{} {}", scales.dtype, units::shape(scales.shape)),
                None,
            ));
        }
        lines
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts, layer)
    }
}

/// The scales must stand for the weight's rows, and the biases beside each scale.
fn check_parts(parts: &Parts<'_>, spec: &mut LayerSpec, faults: &mut Vec<Fault>) {
    let (Some(weight), Some(scales)) = (parts.get("weight"), parts.get("scales")) else { return };
    let rows = |shape: &[u64]| shape.split_last().map(|(_, rows)| rows.to_vec());
    let mut misfit = |suffix: &str, detail: String| {
        spec.broken.push(format!("{suffix} of the wrong size"));
        faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part(suffix));
    };
    let has = units::shape(scales.shape);
    if rows(scales.shape) != rows(weight.shape) {
        misfit("scales", format!("scales are {has}, the weight is {}", units::shape(weight.shape)));
    }
    match parts.get("biases").or_else(|| parts.get("qbiases")) {
        Some(biases) if biases.shape != scales.shape => {
            misfit(
                biases.suffix,
                format!("{} are {}, scales {has}", biases.suffix, units::shape(biases.shape)),
            );
        }
        None if spec.variant == "affine" => {
            spec.broken.push("missing biases".into());
            faults.push(Fault::new(&kind::LAYER_INCOMPLETE, "missing biases"));
        }
        _ => {}
    }
}

/// Returns the group size: the config's own entry for the module, the config's, else the first that MLX
/// makes for which a whole code width fits.
fn group_of(parts: &Parts<'_>, block: Option<&QuantBlock>, words: u64, groups: u64) -> u64 {
    let own = block.and_then(|b| b.value.get(parts.module.name())?.get("group_size")?.as_u64());
    let said = own.or_else(|| block.and_then(|b| b.int(&["group_size"])).and_then(|g| u64::try_from(g).ok()));
    if let Some(group) = said.filter(|&g| g > 0) {
        return group;
    }
    let fits = |group: &&u64| {
        let inputs = groups.saturating_mul(**group);
        inputs > 0
            && [2, 3, 4, 5, 6, 8].iter().any(|&bits| words.saturating_mul(32) == inputs.saturating_mul(bits))
    };
    GROUPS.iter().find(fits).copied().unwrap_or(GROUPS[0])
}

fn mode_of<'a>(parts: &Parts<'_>, block: Option<&'a QuantBlock>) -> Option<&'a str> {
    let block = block?;
    let own = block.value.get(parts.module.name()).and_then(|m| m.get("mode")).and_then(|m| m.as_str());
    own.or_else(|| block.text(&["mode"]))
}

#[cfg(test)]
mod tests;
