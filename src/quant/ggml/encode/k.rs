//! The K types: scales and minima of sub-blocks are searched for, become codes of the block's own, and with those,
//! as they are stored, the values are coded anew.
//!
//! Source: ggml, `ggml-quants.c`, `quantize_row_q2_K_ref` and on.

use half::f16;

use super::search::{Found, Lanes, NOTHING, Tries, descent, lanes, nearest, symmetric, with_minimum};

/// Returns the largest of values that are above zero, 0 if none is.
#[inline(always)]
fn top(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |top, &value| if value > top { value } else { top })
}

/// Returns the scale of the largest magnitude, the first of equal ones, and the magnitude.
#[inline(always)]
fn widest(scales: &[f32; 16]) -> (f32, f32) {
    scales.iter().fold((0.0, 0.0), |(widest, magnitude), &scale| {
        if scale.abs() > magnitude { (scale, scale.abs()) } else { (widest, magnitude) }
    })
}

/// Puts a number as F16, and returns what readers find.
#[inline(always)]
fn put(block: &mut [u8], at: usize, value: f32) -> f32 {
    let half = f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

/// Returns the codes of all values in their own order.
#[inline(always)]
fn in_order<const L: usize, const N: usize>(found: &Found<L, N>) -> [u8; 256] {
    std::array::from_fn(|at| found.codes[at % N][at / N] as u8)
}

/// Codes a sub-block anew, `(w + min) / scale`; with a scale of 0 the codes of the search stay.
#[inline(always)]
fn code_anew(
    codes: &mut [u8],
    values: &[f32],
    (scale, min): (f32, f32),
    (least, most, middle): (i32, i32, i32),
) {
    if scale == 0.0 {
        return;
    }
    for (code, value) in codes.iter_mut().zip(values) {
        *code = (nearest((value + min) / scale).clamp(least, most) + middle) as u8;
    }
}

/// Puts 256 codes of two bits in four planes of each half.
#[inline(always)]
fn planes(out: &mut [u8], codes: &[u8; 256]) {
    for (out, codes) in out.chunks_exact_mut(32).zip(codes.as_chunks::<128>().0) {
        for (at, out) in out.iter_mut().enumerate() {
            *out = codes[at] & 3
                | (codes[at + 32] & 3) << 2
                | (codes[at + 64] & 3) << 4
                | (codes[at + 96] & 3) << 6;
        }
    }
}

#[inline(always)]
pub(super) fn q2_k(values: &[f32; 256], block: &mut [u8; 84]) {
    let x: Lanes<16, 16> = lanes(values);
    let weights = x.map(|x| x.map(f32::abs));
    let tries = Tries { top: 3, first: -0.5, steps: 15, is_absolute: true };
    let (found, minima) = with_minimum(&x, &weights, &tries);
    let mut codes = in_order(&found);
    let (scale, min) = (top(&found.scales), top(&minima));
    let mut packed = [0u8; 16];
    if scale > 0.0 {
        let inverse = 15.0 / scale;
        packed = found.scales.map(|scale| nearest(inverse * scale) as u8);
    }
    if min > 0.0 {
        let inverse = 15.0 / min;
        for (packed, min) in packed.iter_mut().zip(minima) {
            *packed |= (nearest(inverse * min) << 4) as u8;
        }
    }
    let scale = put(block, 80, if scale > 0.0 { scale / 15.0 } else { 0.0 });
    let min = put(block, 82, if min > 0.0 { min / 15.0 } else { 0.0 });
    for ((codes, values), packed) in codes.chunks_exact_mut(16).zip(values.chunks_exact(16)).zip(packed) {
        let pair = (scale * f32::from(packed & 15), min * f32::from(packed >> 4));
        code_anew(codes, values, pair, (0, 3, 0));
    }
    block[..16].copy_from_slice(&packed);
    planes(&mut block[16..80], &codes);
}

#[inline(always)]
pub(super) fn q3_k(values: &[f32; 256], block: &mut [u8; 110]) {
    let x: Lanes<16, 16> = lanes(values);
    let found = descent(&x, 4);
    let mut codes = in_order(&found);
    let (widest, _) = widest(&found.scales);
    let (mut scale, mut packed) = (0.0, [0u8; 12]);
    // Scales count from -32; the bytes of a block without any are 0, which reads as that.
    let mut scales = [-32f32; 16];
    if widest != 0.0 {
        let inverse = -32.0 / widest;
        for (at, found) in found.scales.iter().enumerate() {
            let code = (nearest(inverse * found) as i8).clamp(-32, 31);
            scales[at] = f32::from(code);
            let code = (code + 32) as u8;
            packed[at % 8] |= (code & 15) << (4 * (at / 8));
            packed[8 + at % 4] |= (code >> 4) << (2 * (at / 4));
        }
        scale = 1.0 / inverse;
    }
    let scale = put(block, 108, scale);
    for ((codes, values), code) in codes.chunks_exact_mut(16).zip(values.chunks_exact(16)).zip(scales) {
        code_anew(codes, values, (scale * code, 0.0), (-4, 3, 4));
    }
    for (at, out) in block[..32].iter_mut().enumerate() {
        *out = (0..8).fold(0, |bits, plane| bits | (codes[32 * plane + at] >> 2 & 1) << plane);
    }
    planes(&mut block[32..96], &codes);
    block[96..108].copy_from_slice(&packed);
}

/// Finds and puts scales and minima of eight sub-blocks of 32, and returns the codes.
#[inline(always)]
fn eight(values: &[f32; 256], block: &mut [u8], tries: &Tries) -> [u8; 256] {
    let x: Lanes<8, 32> = lanes(values);
    let mut squares = [0f32; 8];
    for x in &x {
        for lane in 0..8 {
            squares[lane] += x[lane] * x[lane];
        }
    }
    let mean = squares.map(|sum| (sum / 32.0).sqrt());
    let weights: Lanes<8, 32> = x.map(|x| std::array::from_fn(|lane| mean[lane] + x[lane].abs()));
    let (found, minima) = with_minimum(&x, &weights, tries);
    let mut codes = in_order(&found);
    let (scale, min) = (top(&found.scales), top(&minima));
    let inverse = |top: f32| if top > 0.0 { 63.0 / top } else { 0.0 };
    let coded = |values: [f32; 8], inverse: f32| values.map(|v| (nearest(inverse * v) as u8).min(63));
    let (scales, mins) = (coded(found.scales, inverse(scale)), coded(minima, inverse(min)));
    let (scale, min) = (put(block, 0, scale / 63.0), put(block, 2, min / 63.0));
    for at in 0..4 {
        block[4 + at] = scales[at] | (scales[at + 4] >> 4) << 6;
        block[8 + at] = mins[at] | (mins[at + 4] >> 4) << 6;
        block[12 + at] = scales[at + 4] & 15 | mins[at + 4] << 4;
    }
    for (at, (codes, values)) in codes.chunks_exact_mut(32).zip(values.chunks_exact(32)).enumerate() {
        let pair = (scale * f32::from(scales[at]), min * f32::from(mins[at]));
        code_anew(codes, values, pair, (0, tries.top, 0));
    }
    codes
}

/// Puts the lower four bits of codes: of each 64 the first 32 low, the others high.
#[inline(always)]
fn nibbles(out: &mut [u8], codes: &[u8; 256]) {
    for (out, codes) in out.chunks_exact_mut(32).zip(codes.as_chunks::<64>().0) {
        for (at, out) in out.iter_mut().enumerate() {
            *out = codes[at] & 15 | codes[at + 32] << 4;
        }
    }
}

#[inline(always)]
pub(super) fn q4_k(values: &[f32; 256], block: &mut [u8; 144]) {
    let codes = eight(values, block, &Tries { top: 15, first: -1.0, steps: 20, is_absolute: false });
    nibbles(&mut block[16..], &codes);
}

#[inline(always)]
pub(super) fn q5_k(values: &[f32; 256], block: &mut [u8; 176]) {
    let codes = eight(values, block, &Tries { top: 31, first: -0.5, steps: 15, is_absolute: false });
    for (at, out) in block[16..48].iter_mut().enumerate() {
        *out = (0..8).fold(0, |bits, plane| bits | (codes[32 * plane + at] >> 4 & 1) << plane);
    }
    nibbles(&mut block[48..], &codes);
}

#[inline(always)]
pub(super) fn q6_k(values: &[f32; 256], block: &mut [u8; 210]) {
    let x: Lanes<16, 16> = lanes(values);
    let found = symmetric(&x, 32);
    let mut codes = in_order(&found);
    let (widest, magnitude) = widest(&found.scales);
    if magnitude < NOTHING {
        block.fill(0);
        return;
    }
    let inverse = -128.0 / widest;
    let scale = put(block, 208, 1.0 / inverse);
    let scales = found.scales.map(|scale| nearest(inverse * scale).min(127) as i8);
    for ((codes, values), code) in codes.chunks_exact_mut(16).zip(values.chunks_exact(16)).zip(scales) {
        code_anew(codes, values, (scale * f32::from(code), 0.0), (-32, 31, 32));
    }
    for (half, codes) in codes.as_chunks::<128>().0.iter().enumerate() {
        for at in 0..32 {
            let [a, b, c, d] = std::array::from_fn(|plane| codes[32 * plane + at]);
            block[64 * half + at] = a & 15 | c << 4;
            block[64 * half + 32 + at] = b & 15 | d << 4;
            block[128 + 32 * half + at] = a >> 4 | (b >> 4) << 2 | (c >> 4) << 4 | (d >> 4) << 6;
        }
    }
    for (out, scale) in block[192..208].iter_mut().zip(scales) {
        *out = scale.cast_unsigned();
    }
}
