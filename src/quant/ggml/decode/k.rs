//! The K types: 256 codes in sub-blocks of 16 or 32, whose scales (and minima) are codes themselves.
//!
//! Codes lie in planes: byte `l` of a run holds the codes of elements `l`, `l + 32` and so on.
//! Source: ggml, `ggml-quants.c`, `dequantize_row_q2_K` and on.

use super::blocks::{Wanted, half, word};

/// Where the codes of sub-block `at` of 16 start among bytes of four 2-bit planes, and their shift.
#[inline(always)]
fn plane(at: usize) -> (usize, usize) {
    (32 * (at / 8) + 16 * (at % 2), 2 * (at % 8 / 2))
}

#[inline(always)]
pub(super) fn q2_k<T: Wanted>(block: &[u8; 84], out: &mut [T; 256]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (at, (out, scale)) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales).enumerate() {
        let (scale, min) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        let (from, shift) = plane(at);
        for (out, byte) in out.iter_mut().zip(&codes[from..]) {
            let code = byte >> shift & 3;
            *out = T::of(code, || scale * f32::from(code) - min);
        }
    }
}

#[inline(always)]
pub(super) fn q3_k<T: Wanted>(block: &[u8; 110], out: &mut [T; 256]) {
    let (high, codes, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    for (at, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = if at < 8 { packed[at] & 15 } else { packed[at - 8] >> 4 };
        let scale = low | (packed[8 + at % 4] >> (2 * (at / 4)) & 3) << 4;
        let scale = d * (f32::from(scale) - 32.0);
        let (from, shift) = plane(at);
        let high = &high[16 * (at % 2)..];
        for ((out, byte), high) in out.iter_mut().zip(&codes[from..]).zip(high) {
            // The third bit adds the 4 that is taken from all.
            let code = byte >> shift & 3 | (high >> (at / 2) & 1) << 2;
            *out = T::of(code, || scale * (f32::from(code) - 4.0));
        }
    }
}

/// Returns the scales and minima of the eight sub-blocks, multiplied by those of the block.
///
/// Their codes take 6 bits: of the first four whole bytes, of the last four nibbles, with two bits more on top
/// of the first four's.
#[inline(always)]
fn scales_and_minima(block: &[u8]) -> [[f32; 8]; 2] {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let [first, second, nibbles] = [word(block, 4), word(block, 8), word(block, 12)];
    let codes = |whole: u32, nibbles: u32| {
        let upper = nibbles & 0x0f0f_0f0f | whole >> 2 & 0x3030_3030;
        (u64::from(upper) << 32 | u64::from(whole & 0x3f3f_3f3f)).to_le_bytes()
    };
    let (scales, minima) = (codes(first, nibbles), codes(second, nibbles >> 4));
    [scales.map(|code| d * f32::from(code)), minima.map(|code| dmin * f32::from(code))]
}

#[inline(always)]
pub(super) fn q4_k<T: Wanted>(block: &[u8; 144], out: &mut [T; 256]) {
    let ([scales, minima], codes) = (scales_and_minima(block), &block[16..]);
    for (at, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = (scales[at], minima[at]);
        for (out, byte) in out.iter_mut().zip(&codes[32 * (at / 2)..]) {
            let code = byte >> (4 * (at % 2)) & 15;
            *out = T::of(code, || scale * f32::from(code) - min);
        }
    }
}

#[inline(always)]
pub(super) fn q5_k<T: Wanted>(block: &[u8; 176], out: &mut [T; 256]) {
    let [scales, minima] = scales_and_minima(block);
    let (high, codes) = (&block[16..48], &block[48..]);
    for (at, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = (scales[at], minima[at]);
        for ((out, byte), high) in out.iter_mut().zip(&codes[32 * (at / 2)..]).zip(high) {
            let code = byte >> (4 * (at % 2)) & 15 | (high >> at & 1) << 4;
            *out = T::of(code, || scale * f32::from(code) - min);
        }
    }
}

#[inline(always)]
pub(super) fn q6_k<T: Wanted>(block: &[u8; 210], out: &mut [T; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    for (at, (out, &scale)) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales).enumerate() {
        let scale = d * f32::from(scale as i8);
        // Each half of the block has four planes of 32 elements, two by nibbles in each of two runs of bytes.
        let (from, shift) = plane(at);
        let quarter = at % 8 / 2;
        let low = &low[64 * (at / 8) + 32 * (quarter % 2) + 16 * (at % 2)..];
        for ((out, low), high) in out.iter_mut().zip(low).zip(&high[from..]) {
            let code = low >> (4 * (quarter / 2)) & 15 | (high >> shift & 3) << 4;
            *out = T::of(code, || scale * (f32::from(code) - 32.0));
        }
    }
}
