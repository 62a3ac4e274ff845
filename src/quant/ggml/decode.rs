//! Decoding ggml's block types: a row is its blocks, one after the other.
//!
//! Every product that is added to something has at most 24 significant bits, so that ggml's own builds,
//! with fused multiply-add or without, and gguf-py agree bit for bit with what is written here.
//! Source: ggml, `ggml-quants.c`; gguf-py 0.19, `quants.py`.

#![expect(
    clippy::inline_always,
    reason = "what is called in a loop takes the instructions that it is compiled for"
)]

mod blocks;
mod grids;
mod iq;
mod k;
mod legacy;
mod small;

use std::ops::Range;

use multiversion::multiversion;

use crate::quant::decode::{DecodeRows, Decoding, floats_as};
use crate::quant::{Part, Parts};
use crate::tensor::{Dtype, GgmlType, elements};
use crate::units;

/// Decodes whole blocks.
type Blocks = fn(&[u8], &mut [f32]);

/// Makes the loop over the blocks of a type, compiled for the vectors of each processor.
macro_rules! blocks {
    ($block:path) => {{
        #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
        fn blocks(codes: &[u8], out: &mut [f32]) {
            for (codes, out) in codes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
                $block(codes, out);
            }
        }
        blocks
    }};
}

/// How each type is decoded.
const TYPES: [(&str, Blocks); 27] = [
    ("Q4_0", blocks!(legacy::q4_0)),
    ("Q4_1", blocks!(legacy::q4_1)),
    ("Q5_0", blocks!(legacy::q5_0)),
    ("Q5_1", blocks!(legacy::q5_1)),
    ("Q8_0", blocks!(legacy::q8_0)),
    ("Q8_1", blocks!(legacy::q8_1)),
    ("Q8_K", blocks!(legacy::q8_k)),
    ("Q1_0", blocks!(legacy::q1_0)),
    ("Q2_0", blocks!(legacy::q2_0)),
    ("Q2_K", blocks!(k::q2_k)),
    ("Q3_K", blocks!(k::q3_k)),
    ("Q4_K", blocks!(k::q4_k)),
    ("Q5_K", blocks!(k::q5_k)),
    ("Q6_K", blocks!(k::q6_k)),
    ("IQ1_S", blocks!(iq::iq1_s)),
    ("IQ1_M", blocks!(iq::iq1_m)),
    ("IQ2_XXS", blocks!(iq::iq2_xxs)),
    ("IQ2_XS", blocks!(iq::iq2_xs)),
    ("IQ2_S", blocks!(iq::iq2_s)),
    ("IQ3_XXS", blocks!(iq::iq3_xxs)),
    ("IQ3_S", blocks!(iq::iq3_s)),
    ("IQ4_NL", blocks!(iq::iq4_nl)),
    ("IQ4_XS", blocks!(iq::iq4_xs)),
    ("TQ1_0", blocks!(small::tq1_0)),
    ("TQ2_0", blocks!(small::tq2_0)),
    ("MXFP4", blocks!(small::mxfp4)),
    ("NVFP4", blocks!(small::nvfp4)),
];
/// Types of which there is no reference result: gguf-py does not decode them.
const UNPROVEN: [&str; 4] = ["Q8_1", "Q8_K", "Q1_0", "Q2_0"];

/// Rows of a tensor in blocks.
struct Rows {
    decode: Blocks,
    row_bytes: u64,
    row_len: usize,
    /// What values are multiplied by, one for each `span` rows; none where nothing is beside the tensor.
    scales: Vec<f32>,
    span: u64,
}

pub(super) fn decode(parts: &Parts<'_>) -> Result<Decoding, String> {
    let (part, kind) = super::block_tensor(parts).ok_or("no tensor in blocks")?;
    let name = kind.name();
    let Some((_, decode)) = TYPES.iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is the type of a fork of ggml, which cannot be decoded"));
    };
    let suffix = match part.suffix {
        "weight" => "weight",
        "*" => "*",
        other => return Err(format!("{other} is {name}, and only weights are decoded")),
    };
    if let Some(bias) = parts.get("bias").filter(|bias| matches!(bias.dtype, Dtype::Ggml(_))) {
        return Err(format!("bias is {}, and only weights are decoded", bias.dtype));
    }
    let row_len = part.shape.last().copied().unwrap_or(1);
    let row_bytes = part.dtype.bytes_of(row_len).ok_or_else(|| partial(row_len, kind))?;
    let bytes = elements(part.shape).and_then(|count| part.dtype.bytes_of(count));
    if bytes != Some(part.bytes) {
        let shape = units::shape(part.shape);
        return Err(format!("{} bytes are not those of {name} {shape}", part.bytes));
    }
    let (scales, span) = scales(parts, part)?;
    let caution = if UNPROVEN.contains(&name) {
        Some("decoded as ggml's source says; no reference result to compare with")
    } else if scales.is_empty() {
        None
    } else {
        Some("multiplied by the scale beside it, as llama.cpp does with the layer's outputs")
    };
    let rows = Rows { decode: *decode, row_bytes, row_len: row_len as usize, scales, span };
    let mut decoding = Decoding::weight(parts, part, part.shape, None, rows);
    (decoding.suffix, decoding.caution) = (suffix, caution);
    Ok(decoding)
}

fn partial(row_len: u64, kind: GgmlType) -> String {
    format!("rows of {row_len} are not whole blocks of {} {}", kind.block_elements(), kind.name())
}

/// Returns the scales beside a tensor, one for all or one an expert, and the rows that each is for.
fn scales(parts: &Parts<'_>, weight: &Part<'_>) -> Result<(Vec<f32>, u64), String> {
    let Some(part) = parts.get("scale") else { return Ok((Vec::new(), 1)) };
    let scales = floats_as(parts, part, part.dtype)?;
    let experts = weight.shape.first().copied().filter(|_| weight.shape.len() == 3);
    let rows_an_expert = weight.shape.iter().rev().nth(1).copied().unwrap_or(1).max(1);
    match scales.len() as u64 {
        1 => Ok((scales, u64::MAX)),
        count if Some(count) == experts => Ok((scales, rows_an_expert)),
        count => Err(format!("scale has {count} values, the weight is {}", units::shape(weight.shape))),
    }
}

impl DecodeRows for Rows {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        rows.start * self.row_bytes..rows.end * self.row_bytes
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        (self.decode)(codes, out);
        if self.scales.is_empty() {
            return;
        }
        for (row, out) in rows.zip(out.chunks_mut(self.row_len.max(1))) {
            let scale = self.scales.get((row / self.span) as usize).copied().unwrap_or(1.0);
            for value in out {
                *value *= scale;
            }
        }
    }
}

#[cfg(test)]
mod tests;
