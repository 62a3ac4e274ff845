//! Decoding: a layer's packed parts back to its values, by rows.
//!
//! A format makes a `Decoding` of a layer's parts: which tensor holds the codes, what the result is called,
//! and a decoder that holds all else (scales, zero points, tables), read whole. The decoder then gives any
//! rows from the bytes of the codes that they need, so that no result has to be held whole.
//!
//! Values come as f32 and are rounded once to `dtype`, the dtype that the reference implementation gives:
//! that is exactly its result, bit for bit. A format whose reference rounds in between does so itself.

pub(super) mod codes;
pub(super) mod formula;
pub(super) mod grid;
pub(super) mod planes;
pub(super) mod scaled;

use std::ops::Range;

use super::kernel::Program;
use super::{Part, Parts, Side};
use crate::tensor::{Dtype, elements, values};

/// What stands beside the codes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// What codes are multiplied by, or divided.
    Scales,
    /// What is taken from codes before.
    ZeroPoints,
    /// What is added to the product of code and scale: biases, minima.
    Terms,
}

/// Decodes rows of one layer.
pub trait DecodeRows: Send + Sync {
    /// Returns the bytes of the codes that these rows need; all of them where rows lie strewn.
    fn codes(&self, rows: Range<u64>) -> Range<u64>;

    /// Decodes rows from the bytes that `codes` named. `out` has room for just these rows.
    fn decode(&self, rows: Range<u64>, codes: &[u8], out: &mut [f32]);

    /// Returns how many rows are worth decoding together, where neighbors share the words of their codes.
    fn rows_at_once(&self) -> u64 {
        1
    }

    /// Decodes rows straight to the bytes of `dtype`, where that is quicker: to the same bytes that rounding
    /// the values gives. Returns false, and leaves `out` as it is, where there is no such way.
    fn decode_to(&self, _rows: Range<u64>, _codes: &[u8], _dtype: Dtype, _out: &mut [u8]) -> bool {
        false
    }

    /// Returns how a GPU decodes the same rows to the same values; `None` if no kernel does.
    fn program(&self) -> Option<Program> {
        None
    }

    /// Returns the bytes that the kernel of `program` is given for these rows, run behind run: those that `codes` names,
    /// unless rows are stored in another order.
    fn runs(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        vec![self.codes(rows)]
    }

    /// Returns the decoder of the columns, whose rows they are, where it is columns that are stored.
    fn columns(&self) -> Option<&dyn DecodeRows> {
        None
    }

    /// Returns how many bits the code of a weight has, the most where they differ; `None` where weights have no
    /// codes of their own (codebooks of vectors, trellises) or this decoder does not give them.
    fn code_bits(&self) -> Option<u32> {
        None
    }

    /// Writes the code of each weight of these rows, as it is stored: the bits as an unsigned number. Called
    /// only where `code_bits` is some. `codes` as for `decode`; `out` has room for just these rows.
    fn stored_codes(&self, _rows: Range<u64>, _codes: &[u8], _out: &mut [u16]) {}

    /// Returns the scales, the zero points or the terms, as values are computed with them (nested ones resolved,
    /// "minus one" undone), each once, in the order in which they are held; `None` where there are none beside
    /// the codes, or this decoder does not give them.
    fn beside(&self, _which: Beside) -> Option<Vec<f32>> {
        None
    }
}

/// How a layer is decoded.
pub struct Decoding {
    /// The tensor of the codes.
    pub codes: u32,
    /// Name of the result relative to the layer's prefix, as in `Signature`: `weight`, or `*` for the
    /// prefix itself.
    pub suffix: &'static str,
    /// Shape of the result. A row is its last dimension.
    pub shape: Vec<u64>,
    /// The dtype to which values are rounded once; `None` if the model's config decides.
    pub dtype: Option<Dtype>,
    /// Tensors of the layer that stay as they are: the bias.
    pub kept: Vec<u32>,
    /// The decoder.
    pub rows: Box<dyn DecodeRows>,
    /// What a person should know of the result: written from the source alone, never run against it.
    pub caution: Option<&'static str>,
}

impl Decoding {
    /// Returns the decoding of the layer's `weight` from the part `codes`, with its bias kept.
    pub fn weight(
        parts: &Parts<'_>,
        codes: &Part<'_>,
        shape: &[u64],
        dtype: Option<Dtype>,
        rows: impl DecodeRows + 'static,
    ) -> Self {
        let kept = parts.get("bias").map(|bias| bias.tensor).into_iter().collect();
        Self {
            codes: codes.tensor,
            suffix: "weight",
            shape: shape.to_vec(),
            dtype,
            kept,
            rows: Box::new(rows),
            caution: None,
        }
    }

    /// Returns the length of a row.
    #[must_use]
    pub fn row_len(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Returns how many rows there are.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        elements(&self.shape).unwrap_or(0).checked_div(self.row_len()).unwrap_or(0)
    }
}

/// Writes codes that come as numbers.
pub(super) fn as_numbers(out: &mut [u16], unpack: impl FnOnce(&mut [f32])) {
    let mut numbers = vec![0.0; out.len()];
    unpack(&mut numbers);
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = number as u16;
    }
}

/// Returns all bytes of a part.
///
/// # Errors
/// They cannot be read, or are not those of its shape.
pub(super) fn bytes_of(parts: &Parts<'_>, part: &Part<'_>) -> Result<Vec<u8>, String> {
    let name = super::draft::plain(part.suffix);
    let wanted = elements(part.shape).and_then(|count| part.dtype.bytes_of(count));
    match parts.read(part, part.bytes) {
        Side::Bytes(bytes) if Some(bytes.len() as u64) == wanted => Ok(bytes),
        Side::Bytes(bytes) => Err(format!(
            "{name}: {} bytes read, its shape needs {}",
            bytes.len(),
            wanted.map_or_else(|| "another number".to_owned(), |n| n.to_string())
        )),
        Side::Pending => Err(format!("{name}: not read")),
        Side::Unreadable(why) => Err(format!("{name}: {why}")),
    }
}

/// Returns the values of a part of a float or integer dtype, in its order.
///
/// # Errors
/// There is no such part, its bytes cannot be read or are not those of its shape, or its dtype has no plain values.
pub(super) fn floats(parts: &Parts<'_>, suffix: &str) -> Result<Vec<f32>, String> {
    let part = parts.get(suffix).ok_or_else(|| format!("missing {}", super::draft::plain(suffix)))?;
    floats_as(parts, part, part.dtype)
}

/// Returns the values of a part whose bytes mean `dtype` (E8M0 scales stored as U8).
///
/// # Errors
/// As `floats`.
pub(super) fn floats_as(parts: &Parts<'_>, part: &Part<'_>, dtype: Dtype) -> Result<Vec<f32>, String> {
    let bytes = bytes_of(parts, part)?;
    let count = elements(part.shape).unwrap_or(0);
    let mut out = vec![0.0; count as usize];
    if values::to_f32(dtype, &bytes, &mut out) {
        Ok(out)
    } else {
        Err(format!("{}: {} has no plain values", super::draft::plain(part.suffix), part.dtype))
    }
}

/// Returns the 32-bit words of a part (I32 or U32).
///
/// # Errors
/// There is no such part, its bytes cannot be read or are not those of its shape, or its dtype is another.
pub(super) fn words(parts: &Parts<'_>, suffix: &str) -> Result<Vec<u32>, String> {
    let part = parts.get(suffix).ok_or_else(|| format!("missing {}", super::draft::plain(suffix)))?;
    if !matches!(part.dtype, Dtype::I32 | Dtype::U32) {
        return Err(format!("{} is {}, not 32-bit words", super::draft::plain(suffix), part.dtype));
    }
    let bytes = bytes_of(parts, part)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}
