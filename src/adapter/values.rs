//! Values of an adapter's tensors, read in pieces: all zero, NaN, a single number.

use crate::checkpoint::files::Files;
use crate::quant::{Side, SideData};
use crate::tensor::Dtype;

/// Bytes of one read.
const PIECE_BYTES: u64 = 1 << 20;
/// Bytes of a tensor that are looked at; the largest of real adapters (saved embeddings) have some GB.
const TENSOR_BYTES_MAX: u64 = 8 << 30;

/// What a tensor's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// All are zero.
    pub is_zero: bool,
    /// Some are NaN.
    pub has_nan: bool,
    /// Some are infinite.
    pub has_infinity: bool,
}

impl Seen {
    /// What is seen of no values.
    const NOTHING: Self = Self { is_zero: true, has_nan: false, has_infinity: false };
}

/// Looks at the values of a tensor; `None` if they cannot be had or are no plain floats.
#[must_use]
pub fn look(files: &Files, values: &dyn SideData, tensor: u32) -> Option<Seen> {
    let record = files.tensors.get(tensor as usize)?;
    width(record.dtype)?;
    if record.bytes == 0 || record.bytes > TENSOR_BYTES_MAX {
        return None;
    }
    // A view is gathered whole each time it is read.
    let piece = if files.views.contains_key(&tensor) { record.bytes } else { PIECE_BYTES };
    let mut seen = Seen::NOTHING;
    let mut at = 0;
    while at < record.bytes {
        let Side::Bytes(bytes) = values.read(tensor, at, piece.min(record.bytes - at)) else { return None };
        if bytes.is_empty() {
            return None;
        }
        at += bytes.len() as u64;
        let piece = match record.dtype {
            Dtype::F16 => scan::<2>(&bytes, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => scan::<2>(&bytes, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
            Dtype::F32 => scan::<4>(&bytes, f32::from_le_bytes),
            // Rounded to f32 a value may become zero: it is none.
            _ => scan::<8>(&bytes, |bytes| {
                let value = f64::from_le_bytes(bytes);
                if value == 0.0 || !value.is_finite() { value as f32 } else { 1.0 }
            }),
        };
        seen.is_zero &= piece.is_zero;
        seen.has_nan |= piece.has_nan;
        seen.has_infinity |= piece.has_infinity;
    }
    Some(seen)
}

fn scan<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Seen {
    let (values, _) = bytes.as_chunks::<N>();
    let see = |seen: Seen, bytes: &[u8; N]| {
        let value = value(*bytes);
        Seen {
            is_zero: seen.is_zero && value == 0.0,
            has_nan: seen.has_nan || value.is_nan(),
            has_infinity: seen.has_infinity || value.is_infinite(),
        }
    };
    values.iter().fold(Seen::NOTHING, see)
}

/// Returns the value of a tensor that holds one number.
#[must_use]
pub fn single(files: &Files, values: &dyn SideData, tensor: u32) -> Option<f64> {
    let record = files.tensors.get(tensor as usize)?;
    let width = width(record.dtype)?;
    if record.bytes != width as u64 {
        return None;
    }
    let Side::Bytes(bytes) = values.read(tensor, 0, record.bytes) else { return None };
    number(record.dtype, bytes.get(..width)?)
}

fn width(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F16 | Dtype::BF16 => Some(2),
        Dtype::F32 => Some(4),
        Dtype::F64 => Some(8),
        _ => None,
    }
}

fn number(dtype: Dtype, bytes: &[u8]) -> Option<f64> {
    Some(match dtype {
        Dtype::F16 => half::f16::from_le_bytes(bytes.try_into().ok()?).to_f64(),
        Dtype::BF16 => half::bf16::from_le_bytes(bytes.try_into().ok()?).to_f64(),
        Dtype::F32 => f64::from(f32::from_le_bytes(bytes.try_into().ok()?)),
        Dtype::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}
