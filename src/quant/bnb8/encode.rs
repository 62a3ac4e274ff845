//! Encoding int8: values as F16, the largest magnitude of each row, `round(127 · w / SCB)`.
//!
//! Source: bitsandbytes 0.50, `Int8Params._quantize` and `int8_vectorwise_quant` (its default kernel multiplies by
//! `127 · (1 / SCB)`, each rounded to f32; halves go to the even code).

use half::f16;
use multiversion::multiversion;

use super::scales;
use crate::quant::Parts;
use crate::quant::encode::{Around, Encode, Encoded, Encoding};
use crate::quant::kernel::Kernel;
use crate::quant::side::matrix;
use crate::quant::tiled::Packed;
use crate::quant::tiles::kernel::{Encoder, Finder, Finding};
use crate::quant::tiles::{Code, Coder, Tiling};
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
        let mut codes = vec![0; values.len()];
        let mut scales = Vec::with_capacity(values.len() / self.row_len.max(1) * 4);
        let row_len = self.row_len.max(1);
        for (row, codes) in rounded.chunks(row_len).zip(codes.chunks_mut(row_len)) {
            let largest = largest(row);
            if largest.is_infinite() {
                return Err(format!(
                    "a value is beyond {}, the largest of F16, in which int8 is made",
                    f16::MAX
                ));
            }
            scales.extend_from_slice(&largest.to_le_bytes());
            let inverse = if largest > 0.0 { 127.0 * (1.0 / largest) } else { 0.0 };
            nearest(row, inverse, codes);
        }
        Ok(vec![codes, scales])
    }

    fn piece_bytes(&self) -> Option<u64> {
        Some(self.row_len as u64)
    }

    fn finish(&self, strands: Vec<Vec<u8>>, _largest: f32) -> Vec<Vec<u8>> {
        strands
    }

    fn kernel(&self, _largest: f32) -> Option<Kernel> {
        self.encoder()?.kernel(Finder::new(Finding::Halves, []))
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        let all = self.encoder().map_or_else(Vec::new, |encoder| encoder.strand_bytes(rows));
        // There are no zero points.
        all.into_iter().take(2).collect()
    }
}

impl Rows {
    /// Returns how a kernel encodes: each row is a tile.
    fn encoder(&self) -> Option<Encoder> {
        let row_len = self.row_len as u64;
        let tiling = Tiling::new(&[1, row_len], [1, row_len]).ok()?;
        let coder = Coder::nearest(Code::Int(8));
        let encoder = Encoder::of_codes(tiling, Packed::Bytes, (Dtype::F32, false), coder)?;
        Some(Encoder { name: "bnb8_encode", ..encoder })
    }
}

/// Returns the largest magnitude of values.
#[multiversion(targets("x86_64+avx2"))]
fn largest(values: &[f32]) -> f32 {
    let most = values.iter().fold(0u32, |most, value| most.max(value.to_bits() & 0x7fff_ffff));
    f32::from_bits(most)
}

/// Writes the whole numbers that are nearest to values times `factor`, halves to the even one; all within a byte.
#[multiversion(targets("x86_64+avx2"))]
fn nearest(values: &[f32], factor: f32, out: &mut [u8]) {
    /// At this size the last place of an f32 is 1, and the sum's lowest byte is that of the whole number.
    const WHOLE: f32 = 12_582_912.0;
    for (value, out) in values.iter().zip(out) {
        *out = (value * factor + WHOLE).to_bits() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_the_nearest() {
        let edges = [0.5, -0.5, 1.5, 2.5, -2.5, 126.5, -126.5, 127.0, -127.0, 0.499_999_97, -0.0, 1e-40];
        let values: Vec<f32> = (-25_400..25_400).map(|at| at as f32 / 200.0).chain(edges).collect();
        let mut out = vec![0; values.len()];
        for factor in [1.0, 0.37] {
            nearest(&values, factor, &mut out);
            for (value, &code) in values.iter().zip(&out) {
                assert_eq!(code as i8, (value * factor).round_ties_even() as i8, "{value} times {factor}");
            }
        }
    }
}
