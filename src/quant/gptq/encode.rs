//! Encoding GPTQ as it is stored: on its own scales, zero points and groups, or on new ones of the same groups.
//!
//! Which of both a layer gets is decided in `qweight/packer.rs`, by all of its values. `g_idx` and the bias stay as they
//! are; `qzeros` and `scales` are the stored bytes where the stored grid is kept. Where several codes are read as the
//! same value (a scale of 0, 8 bits beside scales of BF16) the stored one stays.
//!
//! New zero points of v1 are at least 1 in files that GPTQModel did not write: readers disagree on a stored -1.

use super::files::{Layout, One};
use super::grid::Grids;
use super::{Numbers, claims, decode};
use crate::quant::affine;
use crate::quant::decode::{bytes_of, floats};
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::qweight::is_words;
use crate::quant::qweight::packer::{Packer, Spans, Stored};
use crate::quant::search::Grid;
use crate::quant::side::matrix;
use crate::quant::target::Search;
use crate::quant::{LayerSpec, Parts};
use crate::tensor::Dtype;

pub(super) fn encode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
    if layer.variant == "marlin" {
        return Err("the marlin layout cannot be written, only decoded: --to dense".into());
    }
    // What does not fit is refused as decoding refuses it.
    decode::decode(parts, layer)?;
    let claims = claims(parts);
    let numbers =
        Numbers::of(parts, claims.as_ref()).ok_or("no whole number of bits a code fits the parts")?;
    let [qweight, qzeros, scales] = ["qweight", "qzeros", "scales"]
        .map(|suffix| parts.get(suffix).ok_or_else(|| format!("missing {suffix}")));
    let (qweight, qzeros, scales) = (qweight?, qzeros?, scales?);
    let groups = matrix(scales).map_or(0, |[rows, _]| rows);
    let (version, _) = decode::version(parts, &numbers, claims.as_ref());
    let zeros = decode::zero_points(parts, &numbers, version, groups)?;
    let (inputs, outputs) = (numbers.inputs as usize, numbers.outputs as usize);
    let values = affine::transposed(&floats(parts, "scales")?, groups as usize, outputs);
    let grids: Vec<Grid> = values.iter().zip(&zeros).map(|(&scale, &zero)| Grid { scale, zero }).collect();
    let of_gptqmodel = decode::is_of_gptqmodel(parts);
    let files = Layout {
        bits: numbers.bits,
        packing: numbers.packing,
        inputs,
        outputs,
        zero_words: matrix(qzeros).map_or(0, |[_, words]| words) as usize,
        one: One::of(version, numbers.bits, of_gptqmodel),
        dtype: scales.dtype,
    };
    if !is_words(qzeros.dtype) {
        return Err(format!("zero points in words of {}; only those of 32 bits are written", qzeros.dtype));
    }
    let middle = (1u32 << (numbers.bits - 1)) as f32;
    let is_symmetric = zeros.iter().all(|&zero| zero == middle);
    let least_zero = u8::from(files.one == One::Fields);
    // BF16 has fewer bits than the differences of 7 and 8 bits: neighboring codes are read alike.
    let are_alike = values.contains(&0.0) || scales.dtype == Dtype::BF16 && numbers.bits > 6;
    let codes = if are_alike { Some((bytes_of(parts, qweight)?, decode::codes(&numbers)?)) } else { None };
    let tensors = [bytes_of(parts, qzeros)?, bytes_of(parts, scales)?];
    let stored = Stored { grids, tensors, codes };
    let order = decode::order(parts, &numbers, groups)?;
    let packer = Packer {
        coding: Grids::new(numbers.bits, is_symmetric, scales.dtype, least_zero),
        files,
        search: Search::None,
        inputs,
        spans: Spans::new(&order, inputs, groups as usize),
        stored: Some(stored),
        constant: Vec::new(),
    };
    let tensors = vec![Encoded::like(qweight), Encoded::like(qzeros), Encoded::like(scales)];
    Ok(Encoding { tensors, encoder: Box::new(packer) })
}
