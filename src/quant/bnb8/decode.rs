//! Decoding int8: `code * SCB`, then times 1/127 as an f32, two roundings in this order.
//!
//! Source: bitsandbytes 0.50, `functional.int8_vectorwise_dequant`.

use std::ops::Range;

use super::{LAYOUTS, scales};
use crate::quant::decode::codes::Codes;
use crate::quant::decode::formula::Formula;
use crate::quant::decode::grid::Grid;
use crate::quant::decode::{Beside, DecodeRows, Decoding, bytes_of, floats_as};
use crate::quant::kernel::Program;
use crate::quant::side::matrix;
use crate::quant::{LayerSpec, Parts};
use crate::tensor::Dtype;

/// 1/127, rounded to f32.
const ONE_127TH: f32 = 1.0 / 127.0;

/// Rows of an int8 weight.
struct Rows {
    scales: Vec<f32>,
    row_len: u64,
}

pub(super) fn decode(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let weight = parts.get("weight").ok_or("missing weight")?;
    let shape = matrix(weight).filter(|_| weight.dtype == Dtype::I8);
    let shape = shape.ok_or_else(|| format!("weight is {}, int8 codes are I8 [out, in]", weight.dtype))?;
    let is_in_rows = match parts.get("weight_format") {
        Some(part) => bytes_of(parts, part)?.iter().all(|&byte| byte == 0),
        None => layer.variant == LAYOUTS[0],
    };
    if !is_in_rows {
        return Err(format!("codes in {} order cannot be decoded, only those in rows", layer.variant));
    }
    let stored = scales(parts).ok_or("missing SCB")?;
    let scales = floats_as(parts, stored, stored.dtype)?;
    let [outputs, row_len] = shape;
    if scales.len() as u64 != outputs {
        return Err(format!("{} has {} values for {outputs} outputs", stored.suffix, scales.len()));
    }
    if outputs.checked_mul(row_len) != Some(weight.bytes) {
        return Err(format!("weight has {} bytes, {outputs} × {row_len} codes need others", weight.bytes));
    }
    Ok(Decoding::weight(parts, weight, &shape, None, Rows { scales, row_len }))
}

impl DecodeRows for Rows {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        rows.start * self.row_len..rows.end * self.row_len
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let row_len = (self.row_len as usize).max(1);
        let scales = self.scales.get(rows.start as usize..).unwrap_or_default();
        for ((out, codes), scale) in out.chunks_mut(row_len).zip(codes.chunks(row_len)).zip(scales) {
            for (out, &code) in out.iter_mut().zip(codes) {
                *out = f32::from(code as i8) * scale * ONE_127TH;
            }
        }
    }

    fn program(&self) -> Option<Program> {
        let grid = Grid {
            rows: self.scales.len() as u64,
            columns: self.row_len,
            outputs: u64::MAX,
            block: [1, u64::MAX],
            width: 1,
            matrix: 0,
            scales: &self.scales,
            offsets: &[],
            by_column: &[],
            formula: Formula::Twice(ONE_127TH),
        };
        grid.program(&Codes::of(Dtype::I8).ok()?, false)
    }

    fn code_bits(&self) -> Option<u32> {
        Some(8)
    }

    fn stored_codes(&self, _rows: Range<u64>, codes: &[u8], out: &mut [u16]) {
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = u16::from(code);
        }
    }

    fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        (which == Beside::Scales).then(|| self.scales.clone())
    }
}
