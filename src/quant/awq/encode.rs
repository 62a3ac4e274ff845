//! Encoding AWQ as it is stored: on its own scales and zero points, or on new ones of the same groups.
//!
//! Which of both a layer gets is decided in `qweight/packer.rs`, by all of its values. Zero points and scales are the
//! stored bytes where the stored grid is kept. A code whose scale is 0 means the same by any, and stays. Of
//! `gemv_fast` the zero point is `-scaled_zero / scale`, which need not be whole.

use super::files::Layout;
use super::grid::Grids;
use super::{Kind, decode, zeros_suffix};
use crate::quant::decode::bytes_of;
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::qweight::packer::{Packer, Spans, Stored};
use crate::quant::search::Grid;
use crate::quant::target::Search;
use crate::quant::{LayerSpec, Parts};

pub(super) fn encode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
    let kind = Kind::of(parts).ok_or("its parts are not AWQ's")?;
    if kind == Kind::Marlin {
        return Err("the marlin layout cannot be written, only decoded: --to dense".into());
    }
    // What does not fit is refused as decoding refuses it.
    decode::decode(parts, layer)?;
    let [qweight, zeros, scales] = ["qweight", zeros_suffix(parts), "scales"]
        .map(|suffix| parts.get(suffix).ok_or_else(|| format!("missing {suffix}")));
    let (qweight, zeros, scales) = (qweight?, zeros?, scales?);
    let stored = decode::grids(parts, layer, kind)?;
    let [outputs, inputs] = stored.shape;
    let apart = if kind == Kind::GemvFast { 4 } else { 1 };
    if outputs % apart != 0 {
        return Err(format!("{outputs} outputs: {apart} rows share words"));
    }
    let groups = inputs.div_ceil(stored.size);
    let mut grids = Vec::with_capacity(outputs * groups);
    for (scales, zeros) in stored.scales.chunks(stored.width).zip(stored.zeros.chunks(stored.width)) {
        let is_lost = |(&scale, &zero): (&f32, &f32)| kind == Kind::GemvFast && scale == 0.0 && zero != 0.0;
        if scales.iter().zip(zeros).take(groups).any(is_lost) {
            return Err(
                "a scale of 0 beside a scaled zero point that is not 0: no code changes what is read".into(),
            );
        }
        let grid = |(&scale, &zero): (&f32, &f32)| Grid {
            scale,
            zero: match kind {
                Kind::GemvFast if scale == 0.0 => 0.0,
                Kind::GemvFast => -zero / scale,
                _ => zero,
            },
        };
        grids.extend(scales.iter().zip(zeros).take(groups).map(grid));
    }
    let has_zeros = grids.iter().any(|grid| grid.scale == 0.0);
    let codes = if has_zeros {
        Some((bytes_of(parts, qweight)?, decode::codes(kind, [outputs, inputs])?))
    } else {
        None
    };
    let tensors = [bytes_of(parts, zeros)?, bytes_of(parts, scales)?];
    let packer = Packer {
        coding: Grids::new(scales.dtype, kind == Kind::GemvFast),
        files: Layout { kind, inputs, outputs, wide: stored.width, dtype: scales.dtype },
        search: Search::None,
        inputs,
        spans: Spans::new(&crate::quant::affine::Groups::Runs(stored.size), inputs, groups),
        stored: Some(Stored { grids, tensors, codes }),
        constant: Vec::new(),
    };
    let tensors = vec![Encoded::like(qweight), Encoded::like(zeros), Encoded::like(scales)];
    Ok(Encoding { tensors, encoder: Box::new(packer) })
}
