//! Nearest: the codes of values among 16 sorted ones, two a byte, in blocks that are scaled by their largest magnitude.
//!
//! A value's code is that of its place: how many of 15 sorted bounds lie below it. With AVX2 where the processor has it
//! the place is searched by halves, else the bounds are counted, to the same codes.

/// How values become codes.
pub struct Nearest {
    /// The bounds between neighbors, in ascending order.
    pub bounds: [f32; 15],
    /// The codes of the places below, between and above the bounds, each below 16.
    pub codes: [u8; 16],
}

impl Nearest {
    /// Writes the codes of blocks of finite values, each times `1 / largest`, where `largest` is the largest magnitude of its
    /// block: two a byte, the first in the high nibble. A `largest` below `least` is taken for that. Appends the
    /// largest magnitudes. Values behind the last whole block are left out; `block` is even, `out` has room for half a
    /// byte a value.
    pub fn blocks(&self, values: &[f32], block: usize, least: f32, out: &mut [u8], largest: &mut Vec<f32>) {
        #[cfg(target_arch = "x86_64")]
        if block.is_multiple_of(LANES) && is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "a call of code for a processor with AVX2; see SAFETY")]
            // SAFETY: the processor has the feature, as was just asked.
            unsafe {
                avx2::blocks(self, values, block, least, out, largest);
            }
            return;
        }
        self.portable(values, block, least, out, largest);
    }

    /// Returns the code of one value.
    #[must_use]
    pub fn code(&self, value: f32) -> u8 {
        self.codes[self.bounds.iter().filter(|bound| value > **bound).count()]
    }

    fn portable(&self, values: &[f32], block: usize, least: f32, out: &mut [u8], largest: &mut Vec<f32>) {
        for (values, out) in values.chunks_exact(block).zip(out.chunks_mut(block / 2)) {
            let most = values.iter().fold(0f32, |most, value| value.abs().max(most));
            let factor = 1.0 / most.max(least);
            for (&[high, low], out) in values.as_chunks::<2>().0.iter().zip(out) {
                *out = self.code(high * factor) << 4 | self.code(low * factor);
            }
            largest.push(most);
        }
    }
}

/// Values that are packed at a time.
#[cfg(target_arch = "x86_64")]
const LANES: usize = 32;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256, __m256i, _CMP_GT_OQ, _mm_cvtss_f32, _mm_loadu_si128, _mm_max_ps, _mm_max_ss,
        _mm_movehdup_ps, _mm_movehl_ps, _mm_storeu_si128, _mm256_add_epi32, _mm256_and_ps,
        _mm256_broadcastsi128_si256, _mm256_castps_si256, _mm256_castps256_ps128, _mm256_castsi256_ps,
        _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_extractf128_ps, _mm256_loadu_ps, _mm256_maddubs_epi16,
        _mm256_max_ps, _mm256_mul_ps, _mm256_packs_epi16, _mm256_packs_epi32, _mm256_packus_epi16,
        _mm256_permute4x64_epi64, _mm256_permutevar8x32_epi32, _mm256_permutevar8x32_ps, _mm256_set1_epi16,
        _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps, _mm256_setzero_si256,
        _mm256_shuffle_epi8, _mm256_sub_epi32,
    };

    use super::{LANES, Nearest};

    /// The bounds of each half: the one in the middle, those in the middle of what it leaves, and so on.
    struct Halves {
        first: __m256,
        second: __m256,
        third: __m256,
        fourth: __m256,
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn blocks(
        nearest: &Nearest,
        values: &[f32],
        block: usize,
        least: f32,
        out: &mut [u8],
        largest: &mut Vec<f32>,
    ) {
        let bounds = &nearest.bounds;
        let table =
            |every: usize| load_values(&std::array::from_fn(|at| bounds[(every - 1 + 2 * every * at) % 15]));
        let halves =
            Halves { first: _mm256_set1_ps(bounds[7]), second: table(4), third: table(2), fourth: table(1) };
        let codes = _mm256_broadcastsi128_si256(load(&nearest.codes));
        // 16 times the even byte and once the odd one.
        let weights = _mm256_set1_epi16(0x0110);
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for (values, out) in values.chunks_exact(block).zip(out.chunks_mut(block / 2)) {
            let most = most(values);
            largest.push(most);
            let factor = _mm256_set1_ps(1.0 / most.max(least));
            for (values, out) in values.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<16>().0) {
                let mut places = [_mm256_setzero_si256(); 4];
                for (place, eight) in places.iter_mut().zip(values.as_chunks::<8>().0) {
                    *place = search(&halves, _mm256_mul_ps(load_values(eight), factor));
                }
                let [a, b, c, d] = places;
                let places = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
                let places: __m256i = _mm256_permutevar8x32_epi32(places, order);
                let pairs = _mm256_maddubs_epi16(_mm256_shuffle_epi8(codes, places), weights);
                let packed = _mm256_permute4x64_epi64::<0b00_00_10_00>(_mm256_packus_epi16(pairs, pairs));
                store(out, _mm256_castsi256_si128(packed));
            }
        }
    }

    /// Returns how many bounds lie below each value.
    #[target_feature(enable = "avx2")]
    fn search(halves: &Halves, values: __m256) -> __m256i {
        // True is -1.
        let above = |bounds: __m256| _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(values, bounds));
        let next = |place: __m256i, bounds: __m256| {
            let is_above = above(_mm256_permutevar8x32_ps(bounds, place));
            _mm256_sub_epi32(_mm256_add_epi32(place, place), is_above)
        };
        let place = _mm256_sub_epi32(_mm256_setzero_si256(), above(halves.first));
        next(next(next(place, halves.second), halves.third), halves.fourth)
    }

    /// Returns the largest magnitude of finite values, a multiple of 32.
    #[target_feature(enable = "avx2")]
    fn most(values: &[f32]) -> f32 {
        let magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fff_ffff));
        let mut most = [_mm256_setzero_ps(); 4];
        for values in values.as_chunks::<LANES>().0 {
            for (most, eight) in most.iter_mut().zip(values.as_chunks::<8>().0) {
                *most = _mm256_max_ps(*most, _mm256_and_ps(load_values(eight), magnitude));
            }
        }
        let [a, b, c, d] = most;
        let eight = _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d));
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
    }

    #[target_feature(enable = "avx2")]
    fn load_values(values: &[f32; 8]) -> __m256 {
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
        let codes: [u8; 16] = std::array::from_fn(|at| (at * 7 % 16) as u8);
        let even = Nearest { bounds: std::array::from_fn(|at| (at as f32 - 7.0) / 8.0), codes };
        // Bounds of which some are equal, as those between fp4's two zeros would be.
        let equal = Nearest { bounds: std::array::from_fn(|at| (at / 3) as f32 / 4.0 - 0.5), codes };
        for nearest in [even, equal] {
            for (block, blocks) in [(32, 1), (64, 3), (96, 2), (4096, 1), (2, 40), (30, 5), (64, 0)] {
                let count = block * blocks + 7;
                let mut values: Vec<f32> = (0..count).map(|at| (at * 37 % 101) as f32 / 25.0 - 2.0).collect();
                // The largest is a power of two: bounds themselves, their neighbors, and zeros of both signs.
                let edges = [4.0, 1.0, 1.0f32.next_up(), 1.0f32.next_down(), -0.0, -3.5, 0.0, 1e-41, -2.0];
                values.iter_mut().zip(edges).for_each(|(value, edge)| *value = edge);
                values.iter_mut().skip(block).take(block).for_each(|value| *value *= 1e-40);
                for least in [1e-38, 8.0] {
                    let mut quick = (vec![0xaa; count / 2], Vec::new());
                    let mut slow = quick.clone();
                    nearest.blocks(&values, block, least, &mut quick.0, &mut quick.1);
                    nearest.portable(&values, block, least, &mut slow.0, &mut slow.1);
                    assert_eq!(quick, slow, "{blocks} blocks of {block}, least {least}");
                    assert_eq!(quick.1.len(), count / block);
                }
            }
            for bound in nearest.bounds {
                let below = nearest.bounds.iter().filter(|other| **other < bound).count();
                assert_eq!(nearest.code(bound), codes[below], "a bound belongs to what is below it");
            }
        }
    }
}
