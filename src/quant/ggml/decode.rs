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
mod codes;
mod grids;
mod iq;
mod k;
mod legacy;
mod small;

use std::ops::Range;

use multiversion::multiversion;

use self::grids::{GRIDS, flat};
use super::CURVE;
use crate::quant::decode::{DecodeRows, Decoding, floats_as};
use crate::quant::kernel::{Kernel, Program};
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

/// How a type is decoded.
struct Type {
    name: &'static str,
    decode: Blocks,
    /// Name of its kernel in `kernels/ggml.cu` and `kernels/ggml_iq.cu`.
    kernel: &'static str,
    /// What the kernel looks codes up in: rows of a grid as bytes, or 16 floats.
    table: fn() -> Option<Vec<u8>>,
}

/// How each type is decoded.
const TYPES: [Type; 27] = [
    Type { name: "Q4_0", decode: blocks!(legacy::q4_0), kernel: "q4_0", table: || None },
    Type { name: "Q4_1", decode: blocks!(legacy::q4_1), kernel: "q4_1", table: || None },
    Type { name: "Q5_0", decode: blocks!(legacy::q5_0), kernel: "q5_0", table: || None },
    Type { name: "Q5_1", decode: blocks!(legacy::q5_1), kernel: "q5_1", table: || None },
    Type { name: "Q8_0", decode: blocks!(legacy::q8_0), kernel: "q8_0", table: || None },
    Type { name: "Q8_1", decode: blocks!(legacy::q8_1), kernel: "q8_1", table: || None },
    Type { name: "Q8_K", decode: blocks!(legacy::q8_k), kernel: "q8_k", table: || None },
    Type { name: "Q1_0", decode: blocks!(legacy::q1_0), kernel: "q1_0", table: || None },
    Type { name: "Q2_0", decode: blocks!(legacy::q2_0), kernel: "q2_0", table: || None },
    Type { name: "Q2_K", decode: blocks!(k::q2_k), kernel: "q2_k", table: || None },
    Type { name: "Q3_K", decode: blocks!(k::q3_k), kernel: "q3_k", table: || None },
    Type { name: "Q4_K", decode: blocks!(k::q4_k), kernel: "q4_k", table: || None },
    Type { name: "Q5_K", decode: blocks!(k::q5_k), kernel: "q5_k", table: || None },
    Type { name: "Q6_K", decode: blocks!(k::q6_k), kernel: "q6_k", table: || None },
    Type { name: "IQ1_S", decode: blocks!(iq::iq1_s), kernel: "iq1_s", table: || Some(flat(&GRIDS.iq1_s)) },
    Type { name: "IQ1_M", decode: blocks!(iq::iq1_m), kernel: "iq1_m", table: || Some(flat(&GRIDS.iq1_s)) },
    Type {
        name: "IQ2_XXS",
        decode: blocks!(iq::iq2_xxs),
        kernel: "iq2_xxs",
        table: || Some(flat(&GRIDS.iq2_xxs)),
    },
    Type {
        name: "IQ2_XS",
        decode: blocks!(iq::iq2_xs),
        kernel: "iq2_xs",
        table: || Some(flat(&GRIDS.iq2_xs)),
    },
    Type { name: "IQ2_S", decode: blocks!(iq::iq2_s), kernel: "iq2_s", table: || Some(flat(&GRIDS.iq2_s)) },
    Type {
        name: "IQ3_XXS",
        decode: blocks!(iq::iq3_xxs),
        kernel: "iq3_xxs",
        table: || Some(flat(&GRIDS.iq3_xxs)),
    },
    Type { name: "IQ3_S", decode: blocks!(iq::iq3_s), kernel: "iq3_s", table: || Some(flat(&GRIDS.iq3_s)) },
    Type { name: "IQ4_NL", decode: blocks!(iq::iq4_nl), kernel: "iq4_nl", table: || Some(floats(&CURVE)) },
    Type { name: "IQ4_XS", decode: blocks!(iq::iq4_xs), kernel: "iq4_xs", table: || Some(floats(&CURVE)) },
    Type { name: "TQ1_0", decode: blocks!(small::tq1_0), kernel: "tq1_0", table: || None },
    Type { name: "TQ2_0", decode: blocks!(small::tq2_0), kernel: "tq2_0", table: || None },
    Type {
        name: "MXFP4",
        decode: blocks!(small::mxfp4),
        kernel: "ggml_mxfp4",
        table: || Some(floats(&small::DOUBLED)),
    },
    Type {
        name: "NVFP4",
        decode: blocks!(small::nvfp4),
        kernel: "ggml_nvfp4",
        table: || Some(floats(&small::DOUBLED)),
    },
];
/// Types of which there is no reference result: gguf-py does not decode them.
const UNPROVEN: [&str; 4] = ["Q8_1", "Q8_K", "Q1_0", "Q2_0"];

/// Returns values as f32 bytes.
fn floats(values: &[i8; 16]) -> Vec<u8> {
    values.iter().flat_map(|&value| f32::from(value).to_le_bytes()).collect()
}

/// Rows of a tensor in blocks.
struct Rows {
    kind: &'static Type,
    /// Elements of the whole tensor.
    count: u64,
    row_bytes: u64,
    row_len: usize,
    /// What values are multiplied by, one for each `span` rows; none where nothing is beside the tensor.
    scales: Vec<f32>,
    span: u64,
}

pub(super) fn decode(parts: &Parts<'_>) -> Result<Decoding, String> {
    let (part, kind) = super::block_tensor(parts).ok_or("no tensor in blocks")?;
    let name = kind.name();
    let Some(kind_of) = TYPES.iter().find(|known| known.name == name) else {
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
    let count = elements(part.shape);
    let bytes = count.and_then(|count| part.dtype.bytes_of(count));
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
    let rows =
        Rows { kind: kind_of, count: count.unwrap_or(0), row_bytes, row_len: row_len as usize, scales, span };
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
        (self.kind.decode)(codes, out);
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

    /// None where elements are so many that their groups of 32 need more than 32 bits to count.
    fn program(&self) -> Option<Program> {
        const GROUP: u64 = 32;
        let groups = u32::try_from(self.count / GROUP).ok()?;
        let groups_of_scale = if self.scales.is_empty() {
            0
        } else {
            let groups_of_span = self.span.checked_mul(self.row_len as u64 / GROUP);
            groups_of_span.and_then(|count| u32::try_from(count).ok()).unwrap_or(groups).max(1)
        };
        let beside = if self.scales.is_empty() { &[1.0][..] } else { &self.scales };
        let kernel = Kernel::new(self.kind.kernel).floats(beside).numbers([u64::from(groups_of_scale)]);
        Some(match (self.kind.table)() {
            Some(table) => kernel.bytes(&table).into(),
            None => kernel.into(),
        })
    }

    fn code_bits(&self) -> Option<u32> {
        codes::of(self.kind.name).map(|stored| stored.bits)
    }

    fn stored_codes(&self, _rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        if let Some(stored) = codes::of(self.kind.name) {
            (stored.unpack)(codes, out);
        }
    }
}

#[cfg(test)]
mod tests;
