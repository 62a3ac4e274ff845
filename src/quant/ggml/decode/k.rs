//! The K types: 256 codes in sub-blocks of 16 or 32, whose scales (and minima) are codes themselves.
//!
//! Codes lie in planes: byte `l` of a run holds the codes of elements `l`, `l + 32` and so on.
//! Source: ggml, `ggml-quants.c`, `dequantize_row_q2_K` and on.

use super::blocks::half;

/// Where the codes of sub-block `at` of 16 start among bytes of four 2-bit planes, and their shift.
fn plane(at: usize) -> (usize, usize) {
    (32 * (at / 8) + 16 * (at % 2), 2 * (at % 8 / 2))
}

pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (at, (out, scale)) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales).enumerate() {
        let (scale, min) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        let (from, shift) = plane(at);
        for (out, byte) in out.iter_mut().zip(&codes[from..]) {
            *out = scale * f32::from(byte >> shift & 3) - min;
        }
    }
}

pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
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
            *out = scale * (f32::from(code) - 4.0);
        }
    }
}

/// Returns the 6-bit scale and minimum of each sub-block.
fn scales_and_minima(packed: &[u8; 12]) -> [(u8, u8); 8] {
    std::array::from_fn(|at| {
        if at < 4 {
            return (packed[at] & 63, packed[at + 4] & 63);
        }
        let (scale, min) = (packed[at - 4] >> 6, packed[at] >> 6);
        (packed[at + 4] & 15 | scale << 4, packed[at + 4] >> 4 | min << 4)
    })
}

fn packed(block: &[u8]) -> [(u8, u8); 8] {
    block[4..].first_chunk().map_or([(0, 0); 8], scales_and_minima)
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let codes = block[16..].as_chunks::<32>().0;
    let outs = out.as_chunks_mut::<64>().0.iter_mut();
    for ((out, codes), pair) in outs.zip(codes).zip(packed(block).as_chunks::<2>().0) {
        let (low, high) = out.split_at_mut(32);
        for (out, &(scale, min), shift) in [(low, &pair[0], 0), (high, &pair[1], 4)] {
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            for (out, byte) in out.iter_mut().zip(codes) {
                *out = scale * f32::from(byte >> shift & 15) - min;
            }
        }
    }
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let (high, codes) = (&block[16..48], &block[48..]);
    for (at, (out, (scale, min))) in out.as_chunks_mut::<32>().0.iter_mut().zip(packed(block)).enumerate() {
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for ((out, byte), high) in out.iter_mut().zip(&codes[32 * (at / 2)..]).zip(high) {
            let code = byte >> (4 * (at % 2)) & 15 | (high >> at & 1) << 4;
            *out = scale * f32::from(code) - min;
        }
    }
}

pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
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
            *out = scale * (f32::from(code) - 32.0);
        }
    }
}
