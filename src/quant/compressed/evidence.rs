//! Evidence for a compressed-tensors layer, one line each.

use super::layer::{Declared, declared_shape};
use super::packing::Packing;
use super::scheme::Scheme;
use super::{METHOD, Stored};
use crate::name::escape;
use crate::quant::grain::{Grain, Hint};
use crate::quant::scale_values::evidence;
use crate::quant::{Evidence, LayerSpec, Parts};
use crate::tensor::Dtype;
use crate::units;

pub(super) fn lines(parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
    let Some(stored) = Stored::of(parts) else { return Vec::new() };
    let scheme = parts.config.block(&[METHOD]).and_then(|block| Scheme::of(block, parts.module.name()));
    let mut lines = config_lines(parts, layer, scheme.as_ref());
    lines.extend(shape_lines(parts, layer, stored));
    lines.extend(scale_lines(parts, layer, stored, scheme.as_ref()));
    lines.extend(order_line(parts, layer));
    lines
}

fn config_lines(parts: &Parts<'_>, layer: &LayerSpec, scheme: Option<&Scheme<'_>>) -> Vec<Evidence> {
    let Some(block) = parts.config.block(&[METHOD]) else {
        return vec![Evidence::new("config.json", "nothing says compressed-tensors", Some(false))];
    };
    let Some(scheme) = scheme else {
        let text = "quant_method compressed-tensors; none of its groups names this layer";
        return vec![Evidence::new(block.file.clone(), text, None)];
    };
    let mut words = vec![format!("{}, target {}", escape(scheme.group), escape(scheme.target))];
    words.extend(scheme.format.map(|format| escape(format).to_string()));
    words.extend(scheme.bits().map(|bits| format!("{bits} bits")));
    words.extend(scheme.group_size().map(|size| format!("group {size}")));
    words.extend(scheme.block().map(|[high, wide]| format!("blocks {high} × {wide}")));
    words.extend(scheme.strategy().map(|strategy| format!("by {}", escape(strategy))));
    words.extend(scheme.symmetric().map(|s| if s { "symmetric" } else { "asymmetric" }.to_owned()));
    let agrees = scheme.bits().is_none_or(|bits| bits.saturating_mul(1000) == u64::from(layer.millibits));
    vec![Evidence::new(block.file.clone(), words.join(", "), Some(agrees))]
}

fn shape_lines(parts: &Parts<'_>, layer: &LayerSpec, stored: Stored) -> Vec<Evidence> {
    let Some(codes) = parts.get(stored.codes()) else { return Vec::new() };
    let (width, inputs) =
        (codes.shape.last().copied().unwrap_or(0), layer.shape.last().copied().unwrap_or(0));
    let dtype = codes.dtype.name();
    match stored {
        Stored::Pack => {
            let bits = u64::from(layer.millibits / 1000);
            let packing = Packing::of(width, inputs, Some(bits));
            let text = packing.map_or_else(
                || format!("{width} words a row do not hold {inputs} codes of {bits} bits"),
                |packing| packing.describe(width, inputs),
            );
            let declared = match declared_shape(parts) {
                None => "missing".to_owned(),
                Some(Declared::Shape(outputs, inputs)) => units::shape(&[outputs, inputs]),
                Some(Declared::NotRead) => "not read yet".to_owned(),
                Some(Declared::Unreadable) => "not readable: inputs from the packed width".to_owned(),
            };
            let known = declared.starts_with('[');
            vec![
                Evidence::new("shapes", text, Some(packing.is_some())),
                Evidence::new("weight_shape", declared, known.then_some(packing.is_some())),
            ]
        }
        Stored::Mxfp6 => {
            let text = format!("{width} bytes: 3 bytes hold 4 codes, {inputs} inputs");
            vec![Evidence::new("shapes", text, Some(true))]
        }
        Stored::Nvfp4 | Stored::Mxfp4 => {
            let text = format!("{width} bytes × 2 codes = {inputs} inputs");
            vec![Evidence::new("shapes", text, Some(true))]
        }
        Stored::Int | Stored::Float | Stored::Mxfp8 => {
            vec![Evidence::new("dtype", format!("weight is {dtype}: one code a byte"), Some(true))]
        }
        Stored::Marlin24 => {
            let text = "weight_packed with scale_packed and meta: 2:4 sparse Marlin, not decoded";
            vec![Evidence::new("signature", text, None)]
        }
        Stored::Gone => Vec::new(),
    }
}

fn scale_lines(
    parts: &Parts<'_>,
    layer: &LayerSpec,
    stored: Stored,
    scheme: Option<&Scheme<'_>>,
) -> Vec<Evidence> {
    let mut lines = Vec::new();
    if let Some(scale) = parts.get("weight_scale") {
        let block = scheme.and_then(Scheme::block);
        let grain = Grain::of(scale.shape, &layer.shape, Hint { group: layer.group_size, block });
        let grain = grain.map_or_else(|| "does not fit the weight".into(), Grain::describe);
        let what = format!("{} {}, {grain}", scale.dtype.name(), units::shape(scale.shape));
        lines.push(evidence(parts, scale, stored.scales_read_as(scale.dtype), &what));
    }
    if let Some(global) = parts.get("weight_global_scale") {
        lines.push(evidence(parts, global, Dtype::F32, "the scales are divided by it"));
    }
    if let Some(zeros) = parts.get("weight_zero_point") {
        let (dtype, shape) = (zeros.dtype.name(), units::shape(zeros.shape));
        let what = if layer.symmetric == Some(true) { "all zero: symmetric" } else { "asymmetric" };
        let agrees = scheme.and_then(Scheme::symmetric).map(|said| Some(said) == layer.symmetric);
        lines.push(Evidence::new("weight_zero_point", format!("{dtype} {shape}, {what}"), agrees));
    }
    lines
}

fn order_line(parts: &Parts<'_>, layer: &LayerSpec) -> Option<Evidence> {
    parts.get("weight_g_idx")?;
    let text = match layer.act_order {
        Some(true) => "not in order: act-order",
        _ => "in order, or never filled: no act-order",
    };
    Some(Evidence::new("weight_g_idx", text, None))
}
