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
            Dtype::F16 => scan::<2>(&bytes, |two| u16::from_le_bytes(two).into(), (0x7c00, 0x03ff)),
            Dtype::BF16 => scan::<2>(&bytes, |two| u16::from_le_bytes(two).into(), (0x7f80, 0x007f)),
            Dtype::F32 => {
                scan::<4>(&bytes, |four| u32::from_le_bytes(four).into(), (0x7f80_0000, 0x007f_ffff))
            }
            _ => scan::<8>(&bytes, u64::from_le_bytes, (0x7ff << 52, (1 << 52) - 1)),
        };
        seen.is_zero &= piece.is_zero;
        seen.has_nan |= piece.has_nan;
        seen.has_infinity |= piece.has_infinity;
    }
    Some(seen)
}

/// Looks at the bits of floats: `exponent` and `fraction` mask their fields, what is left is the sign.
fn scan<const N: usize>(
    bytes: &[u8],
    bits: impl Fn([u8; N]) -> u64,
    (exponent, fraction): (u64, u64),
) -> Seen {
    let (values, _) = bytes.as_chunks::<N>();
    let (mut any, mut has_nan, mut has_infinity) = (0, false, false);
    for value in values {
        let value = bits(*value) & (exponent | fraction);
        any |= value;
        has_nan |= value > exponent;
        has_infinity |= value == exponent;
    }
    Seen { is_zero: any == 0, has_nan, has_infinity }
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

#[cfg(test)]
mod tests {
    use super::{Seen, scan};

    #[test]
    fn bits_of_floats_are_told_apart() {
        let see = |values: &[f32]| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            scan::<4>(&bytes, |four| u32::from_le_bytes(four).into(), (0x7f80_0000, 0x007f_ffff))
        };
        for (values, is_zero, has_nan, has_infinity) in [
            (&[0.0, -0.0][..], true, false, false),
            (&[0.0, f32::from_bits(1)], false, false, false),
            (&[f32::MAX, f32::MIN_POSITIVE], false, false, false),
            (&[0.0, f32::NAN], false, true, false),
            (&[f32::from_bits(0xff80_0001)], false, true, false),
            (&[f32::NEG_INFINITY], false, false, true),
        ] {
            assert_eq!(see(values), Seen { is_zero, has_nan, has_infinity }, "{values:?}");
        }
        let half = |value: half::f16| {
            scan::<2>(&value.to_le_bytes(), |two| u16::from_le_bytes(two).into(), (0x7c00, 0x03ff))
        };
        assert!(half(half::f16::INFINITY).has_infinity && half(half::f16::NAN).has_nan);
        assert!(!half(half::f16::MAX).has_infinity && !half(half::f16::MIN_POSITIVE_SUBNORMAL).is_zero);
    }
}
