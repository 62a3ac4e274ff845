//! Evidence for an fp8 layer, one line each.

use super::{Kind, block_of, is_exponent, scale_of, scales_divide, weight_of};
use crate::name::escape;
use crate::quant::grain::{Grain, grid};
use crate::quant::scale_values::{Looked, evidence, look};
use crate::quant::{Evidence, LayerSpec, Part, Parts};
use crate::tensor::Dtype;
use crate::units;

/// Scales above this throughout are divisors: codes reach 448, weights about 10, so a factor is small.
const DIVISOR_MIN: f64 = 20.0;

pub(super) fn lines(parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
    let mut lines: Vec<Evidence> = config_line(parts).into_iter().collect();
    if let Some(weight) = weight_of(parts) {
        let what = if weight.dtype == Dtype::I8 { "two 4-bit floats a byte" } else { "one code a byte" };
        lines.push(Evidence::new("dtype", format!("weight is {}: {what}", weight.dtype.name()), Some(true)));
    }
    if let Some(scale) = scale_of(parts) {
        lines.push(shape_line(parts, layer, scale));
        let read_as = if is_exponent(scale.dtype) { Dtype::F8E8M0 } else { scale.dtype };
        let what = if is_exponent(scale.dtype) { "powers of two" } else { scale.dtype.name() };
        lines.push(evidence(parts, scale, read_as, what));
        lines.extend(use_line(parts, scale, read_as));
    }
    lines
}

fn config_line(parts: &Parts<'_>) -> Option<Evidence> {
    let block = parts.config.blocks.iter().find(|block| block.method.is_some());
    let Some(block) = block else {
        return Some(Evidence::new("config.json", "nothing says how the weights are quantized", Some(false)));
    };
    let mut words = vec![format!("quant_method {}", escape(block.method.as_deref()?))];
    words.extend(block_of(parts.config).map(|[high, wide]| format!("blocks {high} × {wide}")));
    words.extend(block.text(&["scale_fmt", "fmt", "format"]).map(|text| escape(text).into_owned()));
    Some(Evidence::new(block.file.clone(), words.join(", "), None))
}

fn shape_line(parts: &Parts<'_>, layer: &LayerSpec, scale: &Part<'_>) -> Evidence {
    let has = units::shape(scale.shape);
    let (text, agrees) = match Kind::of(parts.config, scale, &layer.shape) {
        Some(Kind::Mx) => (format!("{has}: one a row and 32 inputs"), Some(true)),
        Some(Kind::FbgemmExperts) => (format!("{has}: one an expert and output"), Some(true)),
        Some(Kind::Grain(Grain::Block(high, wide))) => {
            let ends = layer.shape.last_chunk::<2>();
            let [rows, columns] = ends.and_then(|ends| grid(*ends, [high, wide])).unwrap_or([0, 0]);
            let whose = if block_of(parts.config).is_some() { "" } else { ", as transformers assumes" };
            (format!("{rows} × {columns} blocks of {high} × {wide}{whose}"), Some(true))
        }
        Some(Kind::Grain(grain)) => (format!("{has}: {}", grain.describe()), Some(true)),
        None if block_of(parts.config).is_none() => {
            (format!("{has}: blocks, and no config says of which size"), None)
        }
        None => (format!("{has} does not fit {}", units::shape(&layer.shape)), Some(false)),
    };
    Evidence::new("shapes", text, agrees)
}

/// Returns whether scales multiply or divide: the config's word, and what their size suggests.
fn use_line(parts: &Parts<'_>, scale: &Part<'_>, read_as: Dtype) -> Option<Evidence> {
    let divides = scales_divide(parts.config);
    let word = if divides { "codes are divided by them (config)" } else { "codes are multiplied by them" };
    let Looked::Values(seen) = look(parts, scale, read_as) else {
        return Some(Evidence::new("scales", word, None));
    };
    if seen.max < seen.min {
        return None;
    }
    let look_like_divisors = seen.min > DIVISOR_MIN;
    let hint = if look_like_divisors { "as large as divisors" } else { "as small as factors" };
    let agrees = (look_like_divisors == divides).then_some(true);
    Some(Evidence::new("scales", format!("{word}; they are {hint}"), agrees))
}
