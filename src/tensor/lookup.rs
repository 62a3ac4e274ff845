//! Lookup: 4-bit codes of a table of 16 values, scaled block by block, straight to 16-bit floats.
//!
//! The 16 products of a block are rounded once each, and codes then pick bytes: the same bits as scaling and
//! rounding every weight, at the speed of a copy. With AVX2 where the processor has it, else without.

use half::f16;

use super::Dtype;
use super::values::bf16_bits;

/// Decodes whole blocks of `block` codes, two a byte, the high nibble first: `values[code] * scale` rounded to F16
/// or BF16. Returns false, and leaves `out` as it is, for another dtype, an odd block, or sizes that do not
/// belong together.
pub fn scaled_nibbles(
    values: &[f32; 16],
    scales: &[f32],
    block: usize,
    codes: &[u8],
    dtype: Dtype,
    out: &mut [u8],
) -> bool {
    let count = scales.len().checked_mul(block);
    let fits = count.is_some_and(|count| codes.len() == count / 2 && out.len() == 2 * count);
    if block == 0 || !block.is_multiple_of(2) || !fits || !matches!(dtype, Dtype::F16 | Dtype::BF16) {
        return false;
    }
    #[cfg(target_arch = "x86_64")]
    if block.is_multiple_of(64) && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
        #[expect(unsafe_code, reason = "a call of code for a processor with AVX2; see SAFETY")]
        // SAFETY: the processor has the features, as was just asked.
        unsafe {
            avx2::scaled_nibbles(values, scales, block, codes, dtype == Dtype::F16, out);
        }
        return true;
    }
    portable(values, scales, block, codes, dtype, out);
    true
}

fn portable(values: &[f32; 16], scales: &[f32], block: usize, codes: &[u8], dtype: Dtype, out: &mut [u8]) {
    let blocks = codes.chunks_exact(block / 2).zip(out.chunks_exact_mut(2 * block));
    for (scale, (codes, out)) in scales.iter().zip(blocks) {
        let table = values.map(|value| {
            let product = value * scale;
            match dtype {
                Dtype::F16 => f16::from_f32(product).to_le_bytes(),
                _ => bf16_bits(product).to_le_bytes(),
            }
        });
        for (code, out) in codes.iter().zip(out.as_chunks_mut::<4>().0) {
            let ([a, b], [c, d]) = (table[usize::from(code >> 4)], table[usize::from(code & 15)]);
            *out = [a, b, c, d];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256, __m256i, _CMP_UNORD_Q, _MM_FROUND_TO_NEAREST_INT, _mm_and_si128, _mm_packus_epi16,
        _mm_set1_epi16, _mm_srli_epi16, _mm256_add_epi32, _mm256_and_si256, _mm256_blendv_epi8,
        _mm256_broadcastsi128_si256, _mm256_castps_si256, _mm256_castsi256_si128, _mm256_cmp_ps,
        _mm256_cvtps_ph, _mm256_extracti128_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_mul_ps,
        _mm256_or_si256, _mm256_packus_epi32, _mm256_permute2x128_si256, _mm256_permute4x64_epi64,
        _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_ps, _mm256_shuffle_epi8, _mm256_srli_epi16,
        _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
    };

    /// As the portable code, for blocks of a multiple of 64 codes.
    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn scaled_nibbles(
        values: &[f32; 16],
        scales: &[f32],
        block: usize,
        codes: &[u8],
        is_f16: bool,
        out: &mut [u8],
    ) {
        let low = _mm256_set1_epi8(15);
        let (first, second) = (load(&values[..8]), load(&values[8..]));
        let blocks = codes.chunks_exact(block / 2).zip(out.chunks_exact_mut(2 * block));
        for (scale, (codes, out)) in scales.iter().zip(blocks) {
            let scale = _mm256_set1_ps(*scale);
            let (a, b) = (_mm256_mul_ps(first, scale), _mm256_mul_ps(second, scale));
            let (a, b) = if is_f16 { (to_f16(a), to_f16(b)) } else { to_bf16(a, b) };
            // The table's low bytes, and its high bytes, in both halves of a register.
            let mask = _mm_set1_epi16(0xff);
            let lows = _mm_packus_epi16(_mm_and_si128(a, mask), _mm_and_si128(b, mask));
            let highs = _mm_packus_epi16(_mm_srli_epi16::<8>(a), _mm_srli_epi16::<8>(b));
            let (lows, highs) = (_mm256_broadcastsi128_si256(lows), _mm256_broadcastsi128_si256(highs));
            for (codes, out) in codes.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<128>().0) {
                let codes = bytes(codes);
                let (high, code) =
                    (_mm256_and_si256(_mm256_srli_epi16::<4>(codes), low), _mm256_and_si256(codes, low));
                // Codes 0..16 and 32..48, then 16..32 and 48..64.
                let (x, y) = (_mm256_unpacklo_epi8(high, code), _mm256_unpackhi_epi8(high, code));
                let (x_low, x_high) = (_mm256_shuffle_epi8(lows, x), _mm256_shuffle_epi8(highs, x));
                let (y_low, y_high) = (_mm256_shuffle_epi8(lows, y), _mm256_shuffle_epi8(highs, y));
                let (x0, x1) = (_mm256_unpacklo_epi8(x_low, x_high), _mm256_unpackhi_epi8(x_low, x_high));
                let (y0, y1) = (_mm256_unpacklo_epi8(y_low, y_high), _mm256_unpackhi_epi8(y_low, y_high));
                let quarters = out.as_chunks_mut::<32>().0;
                store(&mut quarters[0], _mm256_permute2x128_si256::<0x20>(x0, x1));
                store(&mut quarters[1], _mm256_permute2x128_si256::<0x20>(y0, y1));
                store(&mut quarters[2], _mm256_permute2x128_si256::<0x31>(x0, x1));
                store(&mut quarters[3], _mm256_permute2x128_si256::<0x31>(y0, y1));
            }
        }
    }

    /// Rounds eight values to F16.
    #[target_feature(enable = "avx2,f16c")]
    fn to_f16(values: __m256) -> __m128i {
        _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values)
    }

    /// Rounds sixteen values to BF16.
    #[target_feature(enable = "avx2,f16c")]
    fn to_bf16(a: __m256, b: __m256) -> (__m128i, __m128i) {
        let packed = _mm256_packus_epi32(bf16_words(a), bf16_words(b));
        let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
        (_mm256_castsi256_si128(ordered), _mm256_extracti128_si256::<1>(ordered))
    }

    #[target_feature(enable = "avx2,f16c")]
    fn bf16_words(values: __m256) -> __m256i {
        let bits = _mm256_castps_si256(values);
        let upper = _mm256_srli_epi32::<16>(bits);
        let even = _mm256_and_si256(upper, _mm256_set1_epi32(1));
        let bias = _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff));
        let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, bias));
        let quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
        let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(values, values));
        _mm256_blendv_epi8(rounded, quiet, is_nan)
    }

    #[target_feature(enable = "avx2,f16c")]
    fn load(values: &[f32]) -> __m256 {
        let eight: &[f32; 8] = values.first_chunk().unwrap_or(&[0.0; 8]);
        #[expect(unsafe_code, reason = "a load through a pointer; see SAFETY")]
        // SAFETY: the array has the eight values that are read; no alignment is asked for.
        unsafe {
            _mm256_loadu_ps(eight.as_ptr())
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    fn bytes(bytes: &[u8; 32]) -> __m256i {
        #[expect(unsafe_code, reason = "a load through a pointer; see SAFETY")]
        // SAFETY: the array has the 32 bytes that are read; no alignment is asked for.
        unsafe {
            _mm256_loadu_si256(bytes.as_ptr().cast())
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    fn store(out: &mut [u8; 32], bytes: __m256i) {
        #[expect(unsafe_code, reason = "a store through a pointer; see SAFETY")]
        // SAFETY: the array has room for the 32 bytes; no alignment is asked for.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::values;

    #[test]
    fn the_quick_ways_give_the_bits_of_the_slow_one() {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        let mut table = [0.0f32; 16];
        for value in &mut table {
            *value = f32::from_bits(next() & 0x7fff_ffff | next() & 0x8000_0000) % 2.0;
        }
        table[3] = f32::NAN;
        for block in [64, 128, 4096] {
            let codes: Vec<u8> = (0..block / 2 * 9).map(|_| (next() >> 24) as u8).collect();
            let scales = [0.03, -1.5, 0.0, 1e-40, 3e38, f32::INFINITY, f32::NAN, -f32::NAN, 65504.0f32];
            for dtype in [Dtype::BF16, Dtype::F16] {
                let slow: Vec<f32> = (0..9 * block)
                    .map(|at| {
                        let byte = codes[at / 2];
                        let code = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
                        table[usize::from(code)] * scales[at / block]
                    })
                    .collect();
                let mut want = vec![0; 2 * slow.len()];
                assert!(values::from_f32(dtype, &slow, &mut want));
                let mut quick = vec![1; want.len()];
                assert!(scaled_nibbles(&table, &scales, block, &codes, dtype, &mut quick));
                assert!(quick == want, "{dtype} {block}");
                let mut plain = vec![2; want.len()];
                portable(&table, &scales, block, &codes, dtype, &mut plain);
                assert!(plain == want, "{dtype} {block}, portable");
            }
        }
        assert!(!scaled_nibbles(&table, &[1.0], 64, &[0; 31], Dtype::BF16, &mut [0; 128]));
        assert!(!scaled_nibbles(&table, &[1.0], 64, &[0; 32], Dtype::F32, &mut [0; 128]));
    }
}
