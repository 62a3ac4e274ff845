//! Nearest with AVX-512: places are searched by halves, 16 values at a time.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _mm_loadu_si128, _mm256_storeu_si256, _mm512_abs_ps, _mm512_broadcast_i32x4,
    _mm512_castps_si512, _mm512_cvtepi16_epi8, _mm512_loadu_ps, _mm512_maddubs_epi16, _mm512_max_ps,
    _mm512_mul_ps, _mm512_packs_epi16, _mm512_packs_epi32, _mm512_permutexvar_epi32, _mm512_permutexvar_ps,
    _mm512_reduce_max_ps, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shldi_epi32, _mm512_shuffle_epi8, _mm512_sub_ps,
};

use super::Nearest;

/// Values that are packed at a time.
const LANES: usize = 64;

/// As `Nearest::blocks`, if the processor has AVX-512 and blocks are a multiple of 64.
pub(super) fn blocks(
    nearest: &Nearest,
    values: &[f32],
    block: usize,
    least: f32,
    out: &mut [u8],
    largest: &mut Vec<f32>,
) -> bool {
    let has = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi2");
    if !has || !block.is_multiple_of(LANES) {
        return false;
    }
    #[expect(unsafe_code, reason = "a call of code for a processor with AVX-512; see SAFETY")]
    // SAFETY: the processor has the features, as was just asked.
    unsafe {
        packed(nearest, values, block, least, out, largest);
    }
    true
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn packed(
    nearest: &Nearest,
    values: &[f32],
    block: usize,
    least: f32,
    out: &mut [u8],
    largest: &mut Vec<f32>,
) {
    let tree = load_values(&tree(&nearest.bounds));
    let codes = load_codes(&nearest.codes);
    // 16 times the even byte and once the odd one.
    let weights = _mm512_set1_epi16(0x0110);
    // Each 128 bits of what is packed have four values of each sixteen.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    // Those of all blocks first: many steps lead to one, and they wait for each other.
    let first = largest.len();
    largest.extend(values.chunks_exact(block).map(|values| most(values)));
    let blocks = values.chunks_exact(block).zip(out.chunks_mut(block / 2));
    for ((values, out), most) in blocks.zip(&largest[first..]) {
        let factor = _mm512_set1_ps(1.0 / most.max(least));
        for (values, out) in values.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<32>().0) {
            let mut nodes = [_mm512_setzero_si512(); 4];
            for (node, sixteen) in nodes.iter_mut().zip(values.as_chunks::<16>().0) {
                *node = search(tree, _mm512_mul_ps(load_values(sixteen), factor));
            }
            let [a, b, c, d] = nodes;
            let nodes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            // Codes are picked by the low four bits of a node.
            let codes = _mm512_shuffle_epi8(codes, _mm512_permutexvar_epi32(order, nodes));
            store(out, _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(codes, weights)));
        }
    }
}

/// Returns the bounds as a tree: node 1 is the one in the middle, and nodes `2 n` and `2 n + 1` are in the middle of what
/// lies below and above node `n`. Nobody looks at node 0. No bound is a negative zero: what is left of one has its sign.
fn tree(bounds: &[f32; 15]) -> [f32; 16] {
    std::array::from_fn(|node| {
        let Some(depth) = node.checked_ilog2() else { return 0.0 };
        let (place, step) = (node - (1 << depth), 16 >> depth);
        bounds[place * step + step / 2 - 1] + 0.0
    })
}

/// Returns the node below the tree at which the search for each value ends: 16, and as many as bounds lie below it.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn search(tree: __m512, values: __m512) -> __m512i {
    let mut node = _mm512_set1_epi32(1);
    for _depth in 0..4 {
        // Negative where a value is above: then the node gets a 1 as its last bit, else a 0.
        let left = _mm512_sub_ps(_mm512_permutexvar_ps(node, tree), values);
        node = _mm512_shldi_epi32::<1>(node, _mm512_castps_si512(left));
    }
    node
}

/// Returns the largest magnitude of finite values, a multiple of 64.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn most(values: &[f32]) -> f32 {
    let mut most = _mm512_setzero_ps();
    for values in values.as_chunks::<LANES>().0 {
        let mut four = [_mm512_setzero_ps(); 4];
        for (of, sixteen) in four.iter_mut().zip(values.as_chunks::<16>().0) {
            *of = _mm512_abs_ps(load_values(sixteen));
        }
        let [a, b, c, d] = four;
        most = _mm512_max_ps(most, _mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d)));
    }
    _mm512_reduce_max_ps(most)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn load_values(values: &[f32; 16]) -> __m512 {
    #[expect(unsafe_code, reason = "a load through a pointer; see SAFETY")]
    // SAFETY: the array has the 16 values that are read; no alignment is asked for.
    unsafe {
        _mm512_loadu_ps(values.as_ptr())
    }
}

/// Returns 16 bytes, four times.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn load_codes(bytes: &[u8; 16]) -> __m512i {
    #[expect(unsafe_code, reason = "a load through a pointer; see SAFETY")]
    // SAFETY: the array has the 16 bytes that are read; no alignment is asked for.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm512_broadcast_i32x4(bytes)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn store(out: &mut [u8; 32], bytes: __m256i) {
    #[expect(unsafe_code, reason = "a store through a pointer; see SAFETY")]
    // SAFETY: the array has room for the 32 bytes; no alignment is asked for.
    unsafe {
        _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes);
    }
}
