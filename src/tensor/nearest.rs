//! Nearest: the codes of values among 16 sorted ones, two a byte.
//!
//! A value's code is that of its place: how many of 15 bounds lie below it. With AVX2 where the processor has it,
//! else without, to the same codes.

/// Writes the codes of `values`, each times `factor`: two a byte, the first in the high nibble. `codes` are those of
/// the places below, between and above the bounds, each below 16. Writes as many bytes as both slices have room for.
pub fn nibbles(values: &[f32], factor: f32, bounds: &[f32; 15], codes: &[u8; 16], out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        let lanes = values.as_chunks::<32>().0;
        let whole = lanes.len().min(out.len() / 16);
        let (to_lanes, to_rest) = out.split_at_mut(16 * whole);
        #[expect(unsafe_code, reason = "a call of code for a processor with AVX2; see SAFETY")]
        // SAFETY: the processor has the feature, as was just asked.
        unsafe {
            avx2::nibbles(&lanes[..whole], factor, bounds, codes, to_lanes.as_chunks_mut().0);
        }
        portable(&values[32 * whole..], factor, bounds, codes, to_rest);
        return;
    }
    portable(values, factor, bounds, codes, out);
}

/// Returns the code of one value.
#[must_use]
pub fn code(value: f32, bounds: &[f32; 15], codes: &[u8; 16]) -> u8 {
    codes[bounds.iter().filter(|bound| value > **bound).count()]
}

fn portable(values: &[f32], factor: f32, bounds: &[f32; 15], codes: &[u8; 16], out: &mut [u8]) {
    let code = |value: f32| code(value * factor, bounds, codes);
    for (&[high, low], out) in values.as_chunks::<2>().0.iter().zip(out) {
        *out = code(high) << 4 | code(low);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256i, _CMP_GT_OQ, _mm_loadu_si128, _mm_storeu_si128, _mm256_broadcastsi128_si256,
        _mm256_castps_si256, _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_loadu_ps, _mm256_maddubs_epi16,
        _mm256_mul_ps, _mm256_packs_epi16, _mm256_packs_epi32, _mm256_packus_epi16, _mm256_permute4x64_epi64,
        _mm256_permutevar8x32_epi32, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setr_epi32,
        _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_sub_epi32,
    };

    #[target_feature(enable = "avx2")]
    pub(super) fn nibbles(
        values: &[[f32; 32]],
        factor: f32,
        bounds: &[f32; 15],
        codes: &[u8; 16],
        out: &mut [[u8; 16]],
    ) {
        let (bounds, factor) = (bounds.map(|bound| _mm256_set1_ps(bound)), _mm256_set1_ps(factor));
        let codes = _mm256_broadcastsi128_si256(load(codes));
        // 16 times the even byte and once the odd one.
        let weights = _mm256_set1_epi16(0x0110);
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for (values, out) in values.iter().zip(out) {
            let mut below = [_mm256_setzero_si256(); 4];
            for (below, eight) in below.iter_mut().zip(values.as_chunks::<8>().0) {
                let scaled = _mm256_mul_ps(load_values(eight), factor);
                for bound in &bounds {
                    // True is -1.
                    let is_above = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(scaled, *bound));
                    *below = _mm256_sub_epi32(*below, is_above);
                }
            }
            let [a, b, c, d] = below;
            let places = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
            let places: __m256i = _mm256_permutevar8x32_epi32(places, order);
            let pairs = _mm256_maddubs_epi16(_mm256_shuffle_epi8(codes, places), weights);
            let packed = _mm256_permute4x64_epi64::<0b00_00_10_00>(_mm256_packus_epi16(pairs, pairs));
            store(out, _mm256_castsi256_si128(packed));
        }
    }

    #[target_feature(enable = "avx2")]
    fn load_values(values: &[f32; 8]) -> std::arch::x86_64::__m256 {
        #[expect(unsafe_code, reason = "a load through a pointer; see SAFETY")]
        // SAFETY: the array has the eight values that are read; no alignment is asked for.
        unsafe {
            _mm256_loadu_ps(values.as_ptr())
        }
    }

    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        #[expect(unsafe_code, reason = "a load through a pointer; see SAFETY")]
        // SAFETY: the array has the 16 bytes that are read; no alignment is asked for.
        unsafe {
            _mm_loadu_si128(bytes.as_ptr().cast())
        }
    }

    #[target_feature(enable = "avx2")]
    fn store(out: &mut [u8; 16], bytes: __m128i) {
        #[expect(unsafe_code, reason = "a store through a pointer; see SAFETY")]
        // SAFETY: the array has room for the 16 bytes; no alignment is asked for.
        unsafe {
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_way_gives_the_codes_of_the_slow_one() {
        let bounds: [f32; 15] = std::array::from_fn(|at| (at as f32 - 7.0) / 8.0);
        let codes: [u8; 16] = std::array::from_fn(|at| (at * 7 % 16) as u8);
        for count in [0usize, 1, 2, 31, 32, 33, 64, 96, 130] {
            let mut values: Vec<f32> = (0..count).map(|at| (at * 37 % 101) as f32 / 25.0 - 2.0).collect();
            // Bounds themselves, their neighbors, and what is not finite.
            let edges =
                [0.25, 0.25f32.next_up(), 0.25f32.next_down(), -0.0, f32::INFINITY, f32::NEG_INFINITY];
            values.iter_mut().zip(edges).for_each(|(value, edge)| *value = edge);
            for factor in [1.0, 0.5, -1.0] {
                for room in [count / 2, count / 2 + 3, (count / 2).saturating_sub(17)] {
                    let (mut quick, mut slow) = (vec![0xaa; room], vec![0xaa; room]);
                    nibbles(&values, factor, &bounds, &codes, &mut quick);
                    portable(&values, factor, &bounds, &codes, &mut slow);
                    assert_eq!(quick, slow, "{count} values times {factor}, {room} bytes");
                }
            }
        }
        assert_eq!(code(0.25, &bounds, &codes), codes[9], "a bound belongs to what is below it");
    }
}
