//! Fields of a ggml block: numbers at fixed bytes, little-endian, and nibbles. A block is long enough for all of its.

use half::f16;

/// What is wanted of a weight: its value, or its code.
pub(super) trait Wanted {
    /// Returns what is wanted of the weight of this code and value.
    fn of(code: u8, value: impl FnOnce() -> f32) -> Self;
}

impl Wanted for f32 {
    #[inline(always)]
    fn of(_code: u8, value: impl FnOnce() -> f32) -> Self {
        value()
    }
}

impl Wanted for u16 {
    #[inline(always)]
    fn of(code: u8, _value: impl FnOnce() -> f32) -> Self {
        code.into()
    }
}

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

/// Sets the weights of codes that are looked up: low nibbles first, as many as half of `out`, then high ones.
#[inline(always)]
pub(super) fn nibbles<T: Wanted>(codes: &[u8], values: &[i8; 16], scale: f32, out: &mut [T]) {
    let table = values.map(|value| scale * f32::from(value));
    let (first, second) = out.split_at_mut(out.len() / 2);
    for ((first, second), byte) in first.iter_mut().zip(second).zip(codes) {
        let (low, high) = (byte & 15, byte >> 4);
        *first = T::of(low, || table[usize::from(low)]);
        *second = T::of(high, || table[usize::from(high)]);
    }
}
