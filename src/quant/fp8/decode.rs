//! Decoding fp8: `code * scale`, or `code / scale` in GPTQModel's files, in f32 and rounded once.
//!
//! Source: transformers, `integrations/finegrained_fp8.py`, `Fp8Dequantize`, but for grids whose edge blocks
//! are partial: there DeepSeek-V3, `inference/kernel.py`, `weight_dequant`; GPTQModel, `nn_modules/qlinear/fp8.py`.

use super::{Kind, block_of, is_coded, is_exponent, scale_of, scales_divide, weight_of};
use crate::quant::decode::codes::Codes;
use crate::quant::decode::{Decoding, floats_as};
use crate::quant::draft::plain;
use crate::quant::grain::Grain;
use crate::quant::scaled::{Along, Scaled, Use};
use crate::quant::{LayerSpec, Parts};
use crate::tensor::{Dtype, values};
use crate::units;

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let weight = weight_of(parts).ok_or("missing weight")?;
    let scale = scale_of(parts).ok_or("missing weight_scale")?;
    let shape = layer.shape.as_slice();
    let [.., outputs, inputs] = *shape else {
        return Err(format!("weight is {}, not [out, in]", units::shape(shape)));
    };
    let name = plain(scale.suffix);
    if !is_coded(weight, scale) || !is_exponent(scale.dtype) && !scale.dtype.is_float() {
        return Err(format!("weight is {} and {name} {}", weight.dtype, scale.dtype));
    }
    let kind = Kind::of(parts.config, scale, shape).ok_or_else(|| misfit(parts, name, scale.shape, shape))?;
    let block = match kind {
        Kind::Mx => Grain::Group(super::MX_BLOCK).block([outputs, inputs]),
        // Stored [in, out]: one scale a column.
        Kind::FbgemmExperts => [outputs.max(1), 1],
        Kind::Grain(grain) => grain.block([outputs, inputs]),
    };
    let is_fp4 = weight.dtype == Dtype::I8;
    let codes = if is_fp4 { Codes::new(4, values::e2m1) } else { Codes::of(weight.dtype)? };
    let scales = floats_as(parts, scale, if is_exponent(scale.dtype) { Dtype::F8E8M0 } else { scale.dtype })?;
    let divides = scales_divide(parts.config);
    let how = if divides { Use::Divide } else { Use::Multiply };
    let rows = Scaled::new(weight, (codes, Along::Inputs), shape, block, scales)?.with_use(how);
    let mut decoding = rows.decoding(parts, weight, shape);
    decoding.caution = if divides {
        Some("divided by its scales, as its config says; never compared with GPTQModel's own result")
    } else if is_fp4 || kind == Kind::FbgemmExperts {
        Some("decoded as the source says; no reference result to compare with")
    } else if matches!(kind, Kind::Grain(Grain::Block(..))) && block_of(parts.config).is_none() {
        Some("no config gives the block: 128 × 128, as transformers assumes")
    } else {
        None
    };
    Ok(decoding)
}

fn misfit(parts: &Parts<'_>, name: &str, scales: &[u64], weight: &[u64]) -> String {
    let (scales, weight) = (units::shape(scales), units::shape(weight));
    match block_of(parts.config) {
        Some([high, wide]) => {
            format!("{name} is {scales}, not that of {weight} in blocks of {high} × {wide}")
        }
        None => format!("{name} is {scales} and no config gives the block of {weight}"),
    }
}
