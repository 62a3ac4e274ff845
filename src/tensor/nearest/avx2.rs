//! Nearest with AVX2: places are searched by halves, eight values at a time.

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

use super::Nearest;

/// Values that are packed at a time.
const LANES: usize = 32;

/// The bounds of each half: the one in the middle, those in the middle of what it leaves, and so on.
struct Halves {
    first: __m256,
    second: __m256,
    third: __m256,
    fourth: __m256,
}

/// As `Nearest::blocks`, if the processor has AVX2 and blocks are a multiple of 32.
pub(super) fn blocks(
    nearest: &Nearest,
    values: &[f32],
    block: usize,
    least: f32,
    out: &mut [u8],
    largest: &mut Vec<f32>,
) -> bool {
    let has = is_x86_feature_detected!("avx2");
    if !has || !block.is_multiple_of(LANES) {
        return false;
    }
    #[expect(unsafe_code, reason = "a call of code for a processor with AVX2; see SAFETY")]
    // SAFETY: the processor has the feature, as was just asked.
    unsafe {
        packed(nearest, values, block, least, out, largest);
    }
    true
}

#[target_feature(enable = "avx2")]
fn packed(
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
    // Those of all blocks first: many steps lead to one, and they wait for each other.
    let first = largest.len();
    largest.extend(values.chunks_exact(block).map(|values| most(values)));
    let blocks = values.chunks_exact(block).zip(out.chunks_mut(block / 2));
    for ((values, out), most) in blocks.zip(&largest[first..]) {
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
