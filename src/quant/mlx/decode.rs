//! Decoding MLX: `code * scale + bias`, each rounded to the scales' dtype; floating-point modes `code * scale`,
//! rounded to BF16 as `mlx.dequantize` does. The result is F16, in which nearly all such values are exact.
//!
//! | mode   | codes | scales           | group |
//! |--------|-------|------------------|-------|
//! | affine | 2, 3, 4, 5, 6 or 8 bits, unsigned | F16, BF16, F32 | any |
//! | mxfp4  | E2M1  | E8M0             | 32    |
//! | nvfp4  | E2M1  | E4M3             | 16    |
//! | mxfp8  | E4M3  | E8M0             | 32    |
//!
//! Compared with mlx 0.32 on a CPU; a GPU may fuse the two steps. Source: mlx `fast.cpp` (`dequantize`).

use crate::quant::decode::codes::Codes;
use crate::quant::decode::formula::Formula;
use crate::quant::decode::scaled::{Blocks, Scaled};
use crate::quant::decode::{Decoding, floats_as};
use crate::quant::{LayerSpec, Parts};
use crate::tensor::Dtype;
use crate::tensor::values;

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let weight = parts.get("weight").ok_or("missing weight")?;
    let scale = parts.get("scales").ok_or("missing scales")?;
    let (shape, bits) = (layer.shape.as_slice(), layer.millibits / 1000);
    let group = layer.group_size.filter(|&group| group > 0).ok_or("no group size")?;
    if !layer.shape_known || !matches!(bits, 2..=6 | 8) {
        return Err(format!("codes of {bits} bits"));
    }
    let float = |code, scale_dtype, bits_wanted| {
        if scale.dtype != Dtype::U8 || bits != bits_wanted {
            return Err(format!("{} with {bits} bits and scales of {}", layer.variant, scale.dtype));
        }
        Ok((Codes::new(bits, code), scale_dtype))
    };
    let (codes, scale_dtype) = match layer.variant.as_str() {
        "mxfp4" => float(values::e2m1 as fn(u8) -> f32, Dtype::F8E8M0, 4)?,
        "nvfp4" => float(values::e2m1, Dtype::F8E4M3, 4)?,
        "mxfp8" => float(values::e4m3, Dtype::F8E8M0, 8)?,
        "affine" if matches!(scale.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32) => {
            (Codes::new(bits, f32::from), scale.dtype)
        }
        "" => return Err("no config says its mode".into()),
        mode => return Err(format!("mode {} with scales of {}", crate::name::escape(mode), scale.dtype)),
    };
    let scales = floats_as(parts, scale, scale_dtype)?;
    if layer.variant != "affine" {
        let blocks = Blocks::new(shape, [1, group], scales, Vec::new())?;
        let rows = Scaled::new(shape, weight.bytes, codes, blocks, Formula::Product(Dtype::BF16))?;
        return Ok(Decoding::weight(parts, weight, shape, Some(Dtype::F16), rows));
    }
    let bias = parts.get("biases").or_else(|| parts.get("qbiases")).ok_or("missing biases")?;
    let blocks = Blocks::new(shape, [1, group], scales, floats_as(parts, bias, bias.dtype)?)?;
    let dtype = scale.dtype;
    let formula = Formula::Sum { product: dtype, sum: dtype };
    let rows = Scaled::new(shape, weight.bytes, codes, blocks, formula)?;
    Ok(Decoding::weight(parts, weight, shape, Some(Dtype::F16), rows))
}
