//! Encoding int8: values as F16, the largest magnitude of each row, `round(127 · w / SCB)`.
//!
//! Source: bitsandbytes 0.50, `Int8Params._quantize` and `int8_vectorwise_quant` (its default kernel multiplies by
//! `127 · (1 / SCB)`, each rounded to f32; halves go to the even code).

use half::f16;

use super::scales;
use crate::quant::Parts;
use crate::quant::encode::{Around, Encode, Encoded, Encoding};
use crate::quant::side::matrix;
use crate::tensor::{Dtype, values};

/// Encodes rows of an int8 weight; strands: codes, SCB.
pub(super) struct Rows {
    row_len: usize,
}

pub(super) fn encode(parts: &Parts<'_>) -> Result<Encoding, String> {
    let weight = parts.get("weight").ok_or("missing weight")?;
    let [_, row_len] = matrix(weight)
        .filter(|_| weight.dtype == Dtype::I8)
        .ok_or_else(|| format!("weight is {}, int8 codes are I8 [out, in]", weight.dtype))?;
    let stored = scales(parts).ok_or("missing SCB")?;
    if stored.dtype != Dtype::F32 {
        return Err(format!("{} is {}, bitsandbytes writes F32", stored.suffix, stored.dtype));
    }
    let encoder = Box::new(Rows::new(row_len));
    Ok(Encoding { tensors: vec![Encoded::like(weight), Encoded::like(stored)], encoder })
}

impl Rows {
    pub(super) fn new(row_len: u64) -> Self {
        Self { row_len: row_len as usize }
    }
}

impl Encode for Rows {
    fn rows_apart(&self) -> u64 {
        1
    }

    fn rows(&self, values: &[f32], _at: Around) -> Result<Vec<Vec<u8>>, String> {
        let mut rounded = values.to_vec();
        values::round_all(Dtype::F16, &mut rounded);
        let mut codes = Vec::with_capacity(values.len());
        let mut scales = Vec::with_capacity(values.len() / self.row_len.max(1) * 4);
        for row in rounded.chunks(self.row_len.max(1)) {
            let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            if largest.is_infinite() {
                return Err(format!(
                    "a value is beyond {}, the largest of F16, in which int8 is made",
                    f16::MAX
                ));
            }
            scales.extend_from_slice(&largest.to_le_bytes());
            let inverse = if largest > 0.0 { 127.0 * (1.0 / largest) } else { 0.0 };
            codes.extend(row.iter().map(|value| (value * inverse).round_ties_even() as i8 as u8));
        }
        Ok(vec![codes, scales])
    }

    fn piece_bytes(&self) -> Option<u64> {
        Some(self.row_len as u64)
    }

    fn finish(&self, strands: Vec<Vec<u8>>, _largest: f32) -> Vec<Vec<u8>> {
        strands
    }
}
