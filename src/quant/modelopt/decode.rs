//! Decoding modelopt: `code * scale`, in NVFP4 with the scales times the tensor's second scale first, then
//! times `pre_quant_scale` of the column, which runtimes give to the activations instead.
//!
//! Source: modelopt 0.47, `torch/export/quant_utils.py`, `torch/quantization/qtensor`.

use super::{Variant, scale_of, second_scale_of, weight_of};
use crate::quant::decode::codes::Codes;
use crate::quant::decode::{Decoding, floats, floats_as};
use crate::quant::grain::Grain;
use crate::quant::scaled::{Along, Scaled};
use crate::quant::{LayerSpec, Parts};
use crate::tensor::{elements, values};
use crate::units;

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let variant = Variant::of(parts).ok_or("not a layout of modelopt")?;
    let weight = weight_of(parts).ok_or("missing weight")?;
    let scale = scale_of(parts).ok_or("missing weight_scale")?;
    if parts.has("svdquant_lora_a") || parts.has("svdquant_lora_b") {
        return Err("its low-rank part (svdquant_lora_a, svdquant_lora_b) cannot be added yet".into());
    }
    let shape = layer.shape.as_slice();
    let [stack @ .., outputs, inputs] = shape else {
        return Err(format!("weight is {}, not [out, in]", units::shape(shape)));
    };
    let fits = |grain: &Grain| variant.block().is_none_or(|size| *grain == Grain::Group(size));
    let grain = Grain::of(scale.shape, shape, variant.hint(parts)).filter(fits).ok_or_else(|| {
        format!("weight_scale is {}, the weight is {}", units::shape(scale.shape), units::shape(shape))
    })?;
    let mut scales = floats_as(parts, scale, variant.scales_read_as(scale.dtype))?;
    if variant == Variant::Nvfp4 {
        let second = second_scale_of(parts).ok_or("missing weight_scale_2")?;
        multiply(&mut scales, floats_as(parts, second, second.dtype)?, elements(stack))?;
    }
    let codes = match variant {
        Variant::Fp8 | Variant::Mxfp8 => (Codes::of(weight.dtype)?, Along::Inputs),
        Variant::Nvfp4 | Variant::Mxfp4 => (Codes::new(4, values::e2m1), Along::Inputs),
        Variant::Int4 => (Codes::new(4, |code| f32::from((code << 4) as i8 >> 4)), Along::Outputs),
    };
    let mut rows = Scaled::new(weight, codes, shape, grain.block([*outputs, *inputs]), scales)?;
    let by_column = parts.has("pre_quant_scale");
    if by_column {
        rows = rows.by_column("pre_quant_scale", floats(parts, "pre_quant_scale")?)?;
    }
    let mut decoding = rows.decoding(parts, weight, shape);
    if by_column || variant == Variant::Int4 || !stack.is_empty() {
        decoding.caution = Some("decoded as modelopt's source says; no reference result to compare with");
    }
    Ok(decoding)
}

/// Multiplies scales by the second one, of the tensor or of each of its matrices.
pub(super) fn multiply(scales: &mut [f32], factors: Vec<f32>, matrices: Option<u64>) -> Result<(), String> {
    let (count, factor_count) = (scales.len(), factors.len());
    if factor_count != 1 && Some(factor_count as u64) != matrices {
        return Err(format!("weight_scale_2 has {factor_count} values for {count} scales"));
    }
    let each = (count / factor_count.max(1)).max(1);
    for (scales, factor) in scales.chunks_mut(each).zip(factors) {
        for scale in scales {
            *scale *= factor;
        }
    }
    Ok(())
}
