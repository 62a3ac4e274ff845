//! Decoding quanto: `scale * code` for 8 bits, `scale * code - shift` for 2 and 4, in the scales' dtype.
//!
//! Codes of 2 and 4 bits are those of the weight reshaped to `[groups, group]`, packed in planes with the
//! first part in the low bits. An integer shift is a zero point: `scale * (code - shift)`.
//! Source: optimum-quanto 0.2.7, `QBytesDequantizer`, `QBitsDequantizer`, `pack_weights`.

use crate::quant::decode::codes::Codes;
use crate::quant::decode::formula::Formula;
use crate::quant::decode::planes::{Packing, Planes, Share};
use crate::quant::decode::scaled::{Blocks, Scaled};
use crate::quant::decode::{Decoding, floats_as};
use crate::quant::side::matrix;
use crate::quant::{LayerSpec, Part, Parts};
use crate::tensor::{Dtype, elements};
use crate::units;

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let scale = parts.get("weight._scale").ok_or("missing weight._scale")?;
    let dtype = scale.dtype;
    if !matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32) {
        return Err(format!("weight._scale is {dtype}"));
    }
    if let Some(packed) = parts.get("weight._data._data") {
        return planes(parts, layer, packed, scale);
    }
    let codes = parts.get("weight._data").ok_or("missing weight._data")?;
    let shape = codes.shape;
    let block = match *scale.shape {
        [] | [1] => [shape.first().copied().unwrap_or(1), u64::MAX],
        [outputs, 1] if shape.first() == Some(&outputs) => [1, u64::MAX],
        [1, inputs] if shape.last() == Some(&inputs) => [shape.first().copied().unwrap_or(1), 1],
        _ => {
            let (has, codes) = (units::shape(scale.shape), units::shape(shape));
            return Err(format!("weight._scale is {has}, weight._data is {codes}"));
        }
    };
    let blocks = Blocks::new(shape, block, floats_as(parts, scale, dtype)?, Vec::new())?;
    let codes_mean = bytes_of_dtype(codes.dtype)?;
    let rows = Scaled::new(shape, codes.bytes, codes_mean, blocks, Formula::PRODUCT)?;
    Ok(Decoding::weight(parts, codes, shape, Some(dtype), rows))
}

/// Returns codes that are plain bytes of a dtype.
fn bytes_of_dtype(dtype: Dtype) -> Result<Codes, String> {
    match dtype {
        Dtype::I8 | Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::F8E4M3Fnuz => Codes::of(dtype),
        other => Err(format!("weight._data is {other}")),
    }
}

fn planes(
    parts: &Parts<'_>,
    layer: &LayerSpec,
    packed: &Part<'_>,
    scale: &Part<'_>,
) -> Result<Decoding, String> {
    let dtype = scale.dtype;
    if !layer.shape_known {
        return Err(format!(
            "neither tensors nor config tell its shape: {} weights in all",
            layer.parameters
        ));
    }
    let [_, group] =
        matrix(packed).filter(|_| packed.dtype == Dtype::U8).ok_or("its codes are no matrix of U8")?;
    let bits = match layer.millibits {
        2000 => 2,
        4000 => 4,
        other => return Err(format!("codes of {} bits", f64::from(other) / 1000.0)),
    };
    let [groups, 1] = *scale.shape else {
        let has = units::shape(scale.shape);
        return Err(format!("weight._scale is {has}: only groups along inputs can be decoded"));
    };
    let weights = elements(&layer.shape);
    if weights.is_none() || groups.checked_mul(group) != weights {
        return Err(format!("{groups} groups of {group} are not {}", units::shape(&layer.shape)));
    }
    let shift = parts.get("weight._shift").or_else(|| parts.get("weight._zeropoint"));
    let shift = shift.ok_or("missing weight._shift")?;
    let (row_len, bytes) = (layer.shape.last().copied().unwrap_or(1), packed.bytes);
    let (matrix, packing) = ([groups, group], Packing::low_first(bits));
    let mut shifts = floats_as(parts, shift, shift.dtype)?;
    let formula = if shift.dtype.is_float() {
        // To subtract is to add what has the other sign.
        for shift in &mut shifts {
            *shift = -*shift;
        }
        Formula::Sum { product: dtype, sum: Dtype::F32 }
    } else {
        Formula::CENTERED
    };
    let shared = (Share::Row, floats_as(parts, scale, dtype)?, shifts);
    let rows = Planes::new(matrix, row_len, bytes, packing, shared, formula)?;
    Ok(Decoding::weight(parts, packed, &layer.shape, Some(dtype), rows))
}
