//! Encoding fp8 as it is stored: on its own scales, or on new ones for the same blocks.
//!
//! New scales are found as `rules.rs` says: powers of two where all stored ones are, else the reciprocal that
//! transformers stores for whole blocks, else `max|w| / 448`. Of E5M2 and of AMD's floats nothing is written.

use super::rules::{Kept, Scaling};
use super::{Kind, MX_BLOCK, is_coded, is_exponent, scale_of, scales_divide, weight_of};
use crate::quant::decode::{bytes_of, floats_as};
use crate::quant::draft::plain;
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::grain::Grain;
use crate::quant::tiled::{Finish, Fresh, Layout, Made, Own, Packed};
use crate::quant::tiles::{Code, Step, Tiling};
use crate::quant::{LayerSpec, Part, Parts};
use crate::tensor::Dtype;

pub(super) fn encode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
    let weight = weight_of(parts).ok_or("missing weight")?;
    let scale = scale_of(parts).ok_or("missing weight_scale")?;
    // What does not fit is refused as decoding refuses it.
    super::decode::decode(parts, layer)?;
    let is_fp4 = weight.dtype == Dtype::I8;
    if !is_coded(weight, scale) || !is_fp4 && weight.dtype != Dtype::F8E4M3 {
        return Err(format!("its codes are {}, only E4M3 is written", weight.dtype));
    }
    let [.., outputs, inputs] = *layer.shape else { return Err("its shape is not known".into()) };
    let kind = Kind::of(parts.config, scale, &layer.shape).ok_or("its scales do not fit it")?;
    let block = match kind {
        Kind::Mx => Grain::Group(MX_BLOCK).block([outputs, inputs]),
        Kind::FbgemmExperts => [outputs.max(1), 1],
        Kind::Grain(grain) => grain.block([outputs, inputs]),
    };
    let read_as = if is_exponent(scale.dtype) { Dtype::F8E8M0 } else { scale.dtype };
    let scales = floats_as(parts, scale, read_as)?;
    usable(plain(scale.suffix), &scales)?;
    let divides = scales_divide(parts.config);
    if divides && scales.contains(&0.0) {
        return Err(format!("some of its {} are 0, and codes are divided by them", plain(scale.suffix)));
    }
    let kept = kept(&scales, (kind, divides), [outputs, inputs], block);
    let code = if is_fp4 { Code::E2M1 } else { Code::E4M3 };
    let rule = Scaling { kept, code, dtype: read_as, is_whole: scales.len() == 1 };
    let tiling = Tiling::new(&layer.shape, if rule.is_whole { [1, inputs] } else { block })?;
    let packed = if is_fp4 { Packed::Nibbles } else { Packed::Bytes };
    let layout = Layout { tiling, packed, scales: read_as, has_zeros: false, wants_largest: rule.is_whole };
    let fresh = Fresh { layout, coder: rule.coder(), rule, finish: finish(scale) };
    let own = Own {
        fresh,
        stored: scales
            .iter()
            .map(|&scale| Step::held(if divides { 1.0 / scale } else { scale }, 0.0))
            .collect(),
        kept: vec![bytes_of(parts, scale)?],
        order: None,
        decoded: layer.dtype.unwrap_or(Dtype::BF16),
        may_regroup: is_written(read_as),
    };
    let tensors = vec![Encoded::like(weight), Encoded::like(scale)];
    Ok(Encoding { tensors, encoder: Box::new(own) })
}

/// Returns the tensors of codes and of as many scales as there are.
pub(in crate::quant) fn finish(scale: &Part<'_>) -> Finish {
    let bytes = scale.bytes as usize;
    Box::new(move |mut made: Made, _| {
        made.scales.truncate(bytes);
        vec![made.codes, made.scales]
    })
}

/// Returns true if new scales can be written in a dtype.
pub(in crate::quant) fn is_written(scales: Dtype) -> bool {
    matches!(scales, Dtype::F32 | Dtype::BF16 | Dtype::F16 | Dtype::F8E8M0)
}

/// Refuses scales that are not numbers.
pub(in crate::quant) fn usable(name: &str, scales: &[f32]) -> Result<(), String> {
    match scales.iter().filter(|scale| !scale.is_finite()).count() {
        0 => Ok(()),
        broken => Err(format!("{broken} of {} {name} are infinite or NaN", scales.len())),
    }
}

/// Returns what is stored of the largest magnitude.
fn kept(scales: &[f32], (kind, divides): (Kind, bool), shape: [u64; 2], block: [u64; 2]) -> Kept {
    let is_power =
        |scale: &f32| scale.to_bits() & 0x807f_ffff == 0 && *scale > 0.0 || *scale == 2f32.powi(-127);
    match kind {
        _ if divides => Kept::Factor,
        Kind::Mx => Kept::Power,
        Kind::Grain(Grain::Block(..)) if scales.iter().all(is_power) => Kept::Power,
        Kind::Grain(Grain::Block(..)) => Kept::of_blocks(shape, block),
        Kind::Grain(_) | Kind::FbgemmExperts => Kept::Quotient,
    }
}
