//! Fields of a ggml block: numbers at fixed bytes, little-endian. A block is long enough for all of its.

use half::f16;

#[inline(always)]
fn field<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    block.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Returns the F16 at a byte.
#[inline(always)]
pub(super) fn half(block: &[u8], at: usize) -> f32 {
    f16::from_bits(short(block, at)).to_f32()
}

/// Returns the F32 at a byte.
#[inline(always)]
pub(super) fn float(block: &[u8], at: usize) -> f32 {
    f32::from_bits(word(block, at))
}

/// Returns the 16-bit number at a byte.
#[inline(always)]
pub(super) fn short(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(block, at))
}

/// Returns the 32-bit number at a byte.
#[inline(always)]
pub(super) fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(block, at))
}
