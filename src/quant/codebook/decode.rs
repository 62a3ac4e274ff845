//! Decoding AQLM: each group of weights is the sum of one vector of each codebook, times the output's scale.
//!
//! `codes` is `[out / outputs, in / inputs, codebooks]`, unsigned; `codebooks` is
//! `[codebooks, size, outputs, inputs]` of a group; `scales` is `[out / outputs, 1, 1, 1]`. Sum and product are
//! each rounded to the codebooks' dtype. Source: AQLM `utils.py`, `_dequantize_weight`.

use std::ops::Range;

use crate::quant::decode::grid::divisor;
use crate::quant::decode::{DecodeRows, Decoding, floats};
use crate::quant::kernel::{Kernel, Program, dtype_number};
use crate::quant::{LayerSpec, Parts};
use crate::tensor::Dtype;
use crate::tensor::values::round;
use crate::units;

/// Rows of an AQLM weight.
struct Rows {
    /// `[codebook][code][output][input]`.
    books: Vec<f32>,
    scales: Vec<f32>,
    dtype: Dtype,
    books_count: usize,
    size: usize,
    /// Outputs and inputs of a group.
    group: [usize; 2],
    /// Groups along inputs.
    across: usize,
    /// Bytes of a code.
    width: usize,
}

pub(super) fn aqlm(parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
    let codes = parts.get("codes").ok_or("missing codes")?;
    let books = parts.get("codebooks").ok_or("missing codebooks")?;
    let has = || format!("codes {}, codebooks {}", units::shape(codes.shape), units::shape(books.shape));
    let (&[rows, across, count], &[books_count, size, outputs, inputs]) = (codes.shape, books.shape) else {
        return Err(has());
    };
    let width = match codes.dtype {
        Dtype::I8 | Dtype::U8 => 1,
        Dtype::I16 | Dtype::U16 => 2,
        other => return Err(format!("codes are {other}")),
    };
    let shape = rows.checked_mul(outputs).zip(across.checked_mul(inputs)).map(|(a, b)| [a, b]);
    let stored = [rows, across, count, width].into_iter().try_fold(1u64, u64::checked_mul);
    if shape.is_none_or(|shape| shape != layer.shape[..] || shape.contains(&0))
        || count != books_count
        || stored != Some(codes.bytes)
        || codes.bytes == 0
    {
        return Err(has());
    }
    // A code is taken modulo the size of the codebooks.
    if !size.is_power_of_two() || size > 1 << (8 * width) {
        return Err(format!("codebooks of {size} vectors with codes of {width} bytes"));
    }
    let dtype = books.dtype;
    if !matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32) {
        return Err(format!("codebooks are {dtype}"));
    }
    let scales = floats(parts, "scales")?;
    if scales.len() as u64 != rows {
        return Err(format!("{} scales for {rows} groups of outputs", scales.len()));
    }
    let decoder = Rows {
        books: floats(parts, "codebooks")?,
        scales,
        dtype,
        books_count: count as usize,
        size: size as usize,
        group: [outputs as usize, inputs as usize],
        across: across as usize,
        width: width as usize,
    };
    let decoding = Decoding::weight(parts, codes, &layer.shape, Some(dtype), decoder);
    let caution = Some("written from the format's source; not compared with its own library");
    Ok(Decoding { caution, ..decoding })
}

impl Rows {
    /// Bytes of the codes of a group of outputs.
    fn stripe(&self) -> u64 {
        (self.across * self.books_count * self.width) as u64
    }
}

impl DecodeRows for Rows {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        let outputs = self.group[0] as u64;
        rows.start / outputs * self.stripe()..rows.end.div_ceil(outputs) * self.stripe()
    }

    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        let [outputs, inputs] = self.group;
        let first = rows.start as usize / outputs;
        for (row, out) in rows.zip(out.chunks_exact_mut(self.across * inputs)) {
            let (group, inner) = (row as usize / outputs, row as usize % outputs);
            let stripe = &codes[(group - first) * self.stripe() as usize..];
            let of_group = stripe.chunks_exact(self.books_count * self.width);
            for (out, codes) in out.chunks_exact_mut(inputs).zip(of_group) {
                out.fill(0.0);
                for (book, code) in codes.chunks_exact(self.width).enumerate() {
                    let code = code.iter().rev().fold(0usize, |code, &byte| code << 8 | usize::from(byte));
                    let vector = (book * self.size + code % self.size) * outputs + inner;
                    for (out, value) in out.iter_mut().zip(&self.books[vector * inputs..]) {
                        *out += value;
                    }
                }
                for out in out {
                    *out = round(self.dtype, *out) * self.scales[group];
                }
            }
        }
    }

    fn program(&self) -> Option<Program> {
        let [outputs, inputs] = self.group;
        i32::try_from(self.scales.len().checked_mul(outputs)?).ok()?;
        let columns = i32::try_from(self.across.checked_mul(inputs)?).ok()?.cast_unsigned();
        let books = u32::try_from(self.books_count).ok()?;
        let [high, wide] = [outputs, inputs].map(|size| u32::try_from(size).ok());
        let [high, wide] = [high?, wide?];
        // Codes and values of codebooks are counted in 32 bits.
        u32::try_from(self.books.len()).ok()?;
        u32::try_from((self.scales.len() as u64).checked_mul(self.stripe())?).ok()?;
        let kernel = Kernel::new("codebook")
            .floats(&self.books)
            .floats(&self.scales)
            .numbers([u64::from(columns), divisor(columns)?, u64::from(high), divisor(high)?])
            .numbers([u64::from(wide), divisor(wide)?, u64::from(books) | (self.width as u64) << 32])
            .numbers([self.size as u64, u64::from(dtype_number(self.dtype)?)]);
        Some(kernel.into())
    }
}
