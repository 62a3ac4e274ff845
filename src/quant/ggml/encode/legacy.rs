//! Blocks of 32 with one scale, and a minimum or none: by the range of their values alone.
//!
//! | type         | scale                                 | code                                  |
//! |--------------|---------------------------------------|---------------------------------------|
//! | `Q8_0`         | largest magnitude / 127               | `w / scale`, halves away from zero    |
//! | `Q4_0`, `Q5_0`   | value of largest magnitude / -8, -16  | `w / scale + 8.5`, `16.5`, cut off    |
//! | `Q4_1`, `Q5_1`   | (largest - smallest) / 15, 31         | `(w - smallest) / scale + 0.5`, cut off |
//!
//! Values are multiplied by the inverse of the scale before it is rounded to F16.
//! Source: ggml, `ggml-quants.c`, `quantize_row_q8_0_ref` and on.

use half::f16;

/// Returns the inverse of a scale, 0 of none.
#[inline(always)]
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Cuts a number off as processors do: what is no number of 32 bits becomes the smallest one. That is what the
/// scale of a block leaves whose inverse is infinite.
#[inline(always)]
pub(super) fn cut_off(value: f32) -> i32 {
    if value.abs() < 2_147_483_648.0 { value as i32 } else { i32::MIN }
}

/// Returns the largest magnitude.
#[inline(always)]
pub(super) fn magnitude(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| if value.abs() > largest { value.abs() } else { largest })
}

/// Returns the value of the largest magnitude, the first of equal ones; 0 of zeros.
#[inline(always)]
fn largest(values: &[f32; 32]) -> f32 {
    let magnitude = magnitude(values);
    let found = values.iter().find(|value| value.abs() == magnitude && magnitude > 0.0);
    found.copied().unwrap_or(0.0)
}

/// Returns the smallest and the largest value.
#[inline(always)]
fn range(values: &[f32; 32]) -> (f32, f32) {
    values.iter().fold((f32::MAX, f32::MIN), |(min, max), &value| {
        (if value < min { value } else { min }, if value > max { value } else { max })
    })
}

#[inline(always)]
pub(super) fn put(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Puts 32 codes as nibbles at `at`: the first half low, the second high.
#[inline(always)]
pub(super) fn nibbles(block: &mut [u8], at: usize, codes: &[u8; 32]) {
    let (low, high) = codes.split_at(16);
    for ((out, low), high) in block[at..at + 16].iter_mut().zip(low).zip(high) {
        *out = low & 15 | high << 4;
    }
}

/// Puts the fifth bits of 32 codes at `at`.
#[inline(always)]
fn fifth_bits(block: &mut [u8], at: usize, codes: &[u8; 32]) {
    let bits = (0..32).fold(0u32, |bits, place| bits | u32::from(codes[place] >> 4 & 1) << place);
    block[at..at + 4].copy_from_slice(&bits.to_le_bytes());
}

/// Returns codes around `middle`, at most `top`, and puts the scale at the start.
#[inline(always)]
fn around(values: &[f32; 32], block: &mut [u8], (middle, top): (f32, u8)) -> [u8; 32] {
    let scale = largest(values) / -middle;
    let inverse = inverse(scale);
    put(block, 0, scale);
    // A code is cut off to eight bits with their sign, and a negative one is below the top.
    values.map(|value| (cut_off(value * inverse + (middle + 0.5)) as i8).min(top as i8) as u8)
}

/// Returns codes above the smallest value, and puts scale and smallest value at the start.
#[inline(always)]
fn above(values: &[f32; 32], block: &mut [u8], steps: f32) -> [i32; 32] {
    let (min, max) = range(values);
    let scale = (max - min) / steps;
    let inverse = inverse(scale);
    put(block, 0, scale);
    put(block, 2, min);
    values.map(|value| cut_off((value - min) * inverse + 0.5))
}

#[inline(always)]
pub(super) fn q8_0(values: &[f32; 32], block: &mut [u8; 34]) {
    let scale = magnitude(values) / 127.0;
    let inverse = inverse(scale);
    put(block, 0, scale);
    for (out, value) in block[2..].iter_mut().zip(values) {
        *out = cut_off((value * inverse).round()) as u8;
    }
}

#[inline(always)]
pub(super) fn q4_0(values: &[f32; 32], block: &mut [u8; 18]) {
    let codes = around(values, block, (8.0, 15));
    nibbles(block, 2, &codes);
}

#[inline(always)]
pub(super) fn q5_0(values: &[f32; 32], block: &mut [u8; 22]) {
    let codes = around(values, block, (16.0, 31));
    fifth_bits(block, 2, &codes);
    nibbles(block, 6, &codes);
}

#[inline(always)]
pub(super) fn q4_1(values: &[f32; 32], block: &mut [u8; 20]) {
    let codes = above(values, block, 15.0).map(|code| (code as i8).min(15) as u8);
    nibbles(block, 4, &codes);
}

#[inline(always)]
pub(super) fn q5_1(values: &[f32; 32], block: &mut [u8; 24]) {
    let codes = above(values, block, 31.0).map(|code| code as u8);
    fifth_bits(block, 4, &codes);
    nibbles(block, 8, &codes);
}
