//! Side tensors that several formats read: small integers, text, and what follows from a bias.

use super::{LayerSpec, Part, Parts, Side};
use crate::tensor::{Dtype, elements};

/// Integers of a small side tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberRead {
    /// The numbers.
    Numbers(Vec<i64>),
    /// Only headers have been read.
    Pending,
    /// No such part, not integers, or not readable.
    Absent,
}

/// Reads at most `max` integers of a part.
#[must_use]
pub fn integers(parts: &Parts<'_>, suffix: &str, max: usize) -> NumberRead {
    let Some(part) = parts.get(suffix) else { return NumberRead::Absent };
    let size = match part.dtype {
        Dtype::I64 | Dtype::U64 => 8,
        Dtype::I32 | Dtype::U32 => 4,
        Dtype::I16 | Dtype::U16 => 2,
        Dtype::U8 | Dtype::I8 | Dtype::Bool => 1,
        _ => return NumberRead::Absent,
    };
    match parts.read(part, (max * size) as u64) {
        Side::Pending => NumberRead::Pending,
        Side::Unreadable(_) => NumberRead::Absent,
        Side::Bytes(bytes) => NumberRead::Numbers(bytes.chunks_exact(size).map(little_endian).collect()),
    }
}

/// Reads 1 to 8 bytes as a signed little-endian number.
fn little_endian(bytes: &[u8]) -> i64 {
    let unsigned = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    let unused = 64 - 8 * bytes.len() as u32;
    ((unsigned << unused) as i64) >> unused
}

/// Counts a `bias` part into the layer.
pub fn add_bias(parts: &Parts<'_>, spec: &mut LayerSpec) {
    if let Some(bias) = parts.get("bias") {
        spec.bias = true;
        spec.parameters = spec.parameters.saturating_add(elements(bias.shape).unwrap_or(0));
    }
}

/// Returns whole bits in thousandths. Sizes that contradict each other can give any number: 64 at most.
#[must_use]
pub fn millibits(bits: u64) -> u32 {
    bits.min(64) as u32 * 1000
}

/// Returns the bits of a layer as a word for its label: `4`, `2.5`, nothing when not known.
#[must_use]
pub fn bits_word(layer: &LayerSpec) -> String {
    match layer.millibits {
        0 => String::new(),
        whole if whole.is_multiple_of(1000) => (whole / 1000).to_string(),
        _ => format!("{:.1}", layer.bits()),
    }
}

/// Returns the dimensions of a two-dimensional part.
#[must_use]
pub fn matrix(part: &Part<'_>) -> Option<[u64; 2]> {
    <[u64; 2]>::try_from(part.shape).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_integers_keep_their_sign() {
        assert_eq!(little_endian(&[0xff, 0xff]), -1);
        assert_eq!(little_endian(&[0x00, 0x01, 0, 0]), 256);
        assert_eq!(little_endian(&(-5i64).to_le_bytes()), -5);
    }
}
