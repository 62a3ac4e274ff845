//! Decoding HQQ: `(code - zero) * scale`, each rounded to the compute dtype.
//!
//! The codes are those of the weight reshaped into groups, packed in planes with the first part in the high
//! bits; 3-bit codes ten to a 32-bit word. The shape of the scales tells the grouping: `[rows, 1]` for
//! groups along rows, `[1, columns]` along columns. Source: hqq 0.2.8 `Quantizer.dequantize`, `BitPack`.

use crate::quant::decode::formula::Formula;
use crate::quant::decode::planes::{Packing, Planes, Share};
use crate::quant::decode::{Decoding, floats_as};
use crate::quant::side::{NumberRead, integers};
use crate::quant::{LayerSpec, Part, Parts, Side};
use crate::tensor::values::round;
use crate::tensor::{Dtype, elements};
use crate::units;

/// Characters of `packing` or a dtype's name that are read.
const TEXT_MAX: u64 = 64;

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    for (nested, plain) in [("scale_q", "scale"), ("zero_q", "zero")] {
        if parts.has(nested) && !parts.has(plain) {
            return Err(format!("its {plain} is quantized itself: nested HQQ cannot be decoded"));
        }
    }
    let codes = parts.get("W_q").ok_or("missing W_q")?;
    let [scale, zero] = ["scale", "zero"].map(|suffix| parts.get(suffix).ok_or(format!("missing {suffix}")));
    let (scale, zero) = (scale?, zero?);
    let weights = elements(&layer.shape).filter(|&n| layer.shape_known && n > 0);
    let weights = weights.ok_or("its shape is not known")?;
    let packing = packing(parts, codes)?;
    // Codes may be seen as floats of any size: the bytes of a row count.
    let step = codes.shape.first().copied().filter(|&step| step > 0).ok_or("W_q has no rows")?;
    let columns = codes.bytes / step / packing.unit;
    if columns == 0
        || step.checked_mul(columns).and_then(|n| n.checked_mul(packing.unit)) != Some(codes.bytes)
    {
        return Err(format!("W_q is {} {}: no whole rows", codes.dtype, units::shape(codes.shape)));
    }
    if weights % columns != 0 {
        return Err(format!("{weights} weights in groups' columns of {columns}"));
    }
    let matrix = [weights / columns, columns];
    let share = share(parts, scale, matrix)?;
    let dtype = compute_dtype(parts, scale)?;
    let of_dtype = |part: &Part<'_>| -> Result<Vec<f32>, String> {
        let values = floats_as(parts, part, part.dtype)?;
        Ok(values.into_iter().map(|value| round(dtype, value)).collect())
    };
    let mut zeros = of_dtype(zero)?;
    let scales = of_dtype(scale)?;
    if let [zero] = zeros[..] {
        zeros = vec![zero; scales.len()];
    }
    let formula = Formula::Centered { difference: dtype, product: Dtype::F32 };
    let row_len = layer.shape.last().copied().unwrap_or(1);
    let rows = Planes::new(matrix, row_len, codes.bytes, packing, (share, scales, zeros), formula)?;
    Ok(Decoding::weight(parts, codes, &layer.shape, Some(dtype), rows))
}

/// Returns the packing that `packing` names, else that of `nbits` or of the codes' dtype.
fn packing(parts: &Parts<'_>, codes: &Part<'_>) -> Result<Packing, String> {
    let by_name = text(parts, "packing").and_then(|name| name.split("bit").next()?.parse::<i64>().ok());
    let by_number = || match integers(parts, "nbits", 1) {
        NumberRead::Numbers(numbers) => numbers.first().copied(),
        _ => None,
    };
    if by_name.is_none() && codes.dtype.is_float() && !codes.dtype.is_narrow_float() && !is_viewed(parts) {
        return Err(format!("W_q is {} and no packing is named", codes.dtype));
    }
    match by_name.or_else(by_number) {
        Some(3) => Ok(Packing { bits: 3, shifts: (0..10).rev().map(|part| 3 * part).collect(), unit: 4 }),
        Some(bits @ (1 | 2 | 4)) => Ok(Packing::high_first(bits as u32)),
        // Codes of five and six bits are kept in bytes.
        Some(5 | 6 | 8) => Ok(Packing::high_first(8)),
        Some(bits) => Err(format!("codes of {bits} bits")),
        None => Err("neither packing nor nbits are there".into()),
    }
}

/// Returns true if the codes are stored as floats of the same bytes.
fn is_viewed(parts: &Parts<'_>) -> bool {
    matches!(integers(parts, "view_as_float", 1), NumberRead::Numbers(flag) if flag.first() == Some(&1))
}

/// Returns which codes share a scale: by the shape of the scales, and by `axis` if that is not two-dimensional.
fn share(parts: &Parts<'_>, scale: &Part<'_>, matrix: [u64; 2]) -> Result<Share, String> {
    let by_axis = || {
        let NumberRead::Numbers(axis) = integers(parts, "axis", 1) else { return None };
        let count = elements(scale.shape)?;
        match axis.first()? {
            0 if count == matrix[1] => Some(Share::Column),
            1 if count == matrix[0] => Some(Share::Row),
            _ => None,
        }
    };
    Share::of(scale.shape, matrix).or_else(by_axis).ok_or_else(|| {
        let (has, needs) = (units::shape(scale.shape), units::shape(&matrix));
        format!("scale is {has}, the codes are {needs}")
    })
}

/// Returns the dtype in which values are computed: the stored one, else that of the scales.
fn compute_dtype(parts: &Parts<'_>, scale: &Part<'_>) -> Result<Dtype, String> {
    let said = text(parts, "compute_dtype");
    match said.as_deref().map(|name| name.trim_start_matches("torch.")) {
        Some("float16" | "half") => Ok(Dtype::F16),
        Some("bfloat16") => Ok(Dtype::BF16),
        Some("float32" | "float") => Ok(Dtype::F32),
        Some(other) => Err(format!("compute_dtype {}", crate::name::escape(other))),
        None if matches!(scale.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32) => Ok(scale.dtype),
        None => Err(format!("scale is {}", scale.dtype)),
    }
}

/// Returns a text that is stored as a tensor of its characters.
fn text(parts: &Parts<'_>, suffix: &str) -> Option<String> {
    let part = parts.get(suffix).filter(|part| part.dtype == Dtype::U8 && part.bytes <= TEXT_MAX)?;
    match parts.read(part, TEXT_MAX) {
        Side::Bytes(bytes) if !bytes.is_empty() => String::from_utf8(bytes).ok(),
        _ => None,
    }
}
