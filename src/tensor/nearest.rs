//! Nearest: the codes of values among 16 sorted ones, two a byte, in blocks that are scaled by their largest magnitude.
//!
//! A value's code is that of its place: how many of 15 sorted bounds lie below it. With AVX-512 or AVX2 where the
//! processor has it the place is searched by halves, else the bounds are counted, to the same codes.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Values that are packed at a time, or those of a block: they are looked at twice, and stay in a first-level cache.
const AT_ONCE: usize = 4096;

/// A way to do what `Nearest::blocks` does. Returns false, and does nothing, where the processor or the size of the
/// blocks does not allow it.
type Way = fn(&Nearest, &[f32], usize, f32, &mut [u8], &mut Vec<f32>) -> bool;

/// The ways there are, the quickest first.
const WAYS: &[Way] = &[
    #[cfg(target_arch = "x86_64")]
    avx512::blocks,
    #[cfg(target_arch = "x86_64")]
    avx2::blocks,
    Nearest::portable,
];

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
        let at_once = (AT_ONCE / block).max(1) * block;
        for (values, out) in values.chunks(at_once).zip(out.chunks_mut(at_once / 2)) {
            let _by_portable_at_last = WAYS.iter().any(|way| way(self, values, block, least, out, largest));
        }
    }

    /// Returns the code of one value.
    #[must_use]
    pub fn code(&self, value: f32) -> u8 {
        self.codes[self.bounds.iter().filter(|bound| value > **bound).count()]
    }

    fn portable(
        &self,
        values: &[f32],
        block: usize,
        least: f32,
        out: &mut [u8],
        largest: &mut Vec<f32>,
    ) -> bool {
        for (values, out) in values.chunks_exact(block).zip(out.chunks_mut(block / 2)) {
            let most = values.iter().fold(0f32, |most, value| value.abs().max(most));
            let factor = 1.0 / most.max(least);
            for (&[high, low], out) in values.as_chunks::<2>().0.iter().zip(out) {
                *out = self.code(high * factor) << 4 | self.code(low * factor);
            }
            largest.push(most);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_ways_give_the_codes_of_the_slow_one() {
        let codes: [u8; 16] = std::array::from_fn(|at| (at * 7 % 16) as u8);
        let even = Nearest { bounds: std::array::from_fn(|at| (at as f32 - 7.0) / 8.0), codes };
        // Bounds of which some are equal, as those between fp4's two zeros would be.
        let equal = Nearest { bounds: std::array::from_fn(|at| (at / 3) as f32 / 4.0 - 0.5), codes };
        for nearest in [even, equal] {
            for (block, blocks) in [
                (32, 1),
                (64, 3),
                (96, 2),
                (64, 130),
                (128, 5),
                (4096, 1),
                (4096, 3),
                (2, 40),
                (30, 5),
                (64, 0),
            ] {
                let count = block * blocks + 7;
                let mut values: Vec<f32> = (0..count).map(|at| (at * 37 % 101) as f32 / 25.0 - 2.0).collect();
                // The largest is a power of two: bounds themselves, their neighbors, and zeros of both signs.
                let edges = [4.0, 1.0, 1.0f32.next_up(), 1.0f32.next_down(), -0.0, -3.5, 0.0, 1e-41, -2.0];
                values.iter_mut().zip(edges).for_each(|(value, edge)| *value = edge);
                values.iter_mut().skip(block).take(block).for_each(|value| *value *= 1e-40);
                for least in [1e-38, 8.0] {
                    let untouched = (vec![0xaa; count / 2], Vec::new());
                    let mut slow = untouched.clone();
                    assert!(nearest.portable(&values, block, least, &mut slow.0, &mut slow.1));
                    assert_eq!(slow.1.len(), count / block);
                    for (number, way) in WAYS.iter().enumerate() {
                        let mut quick = untouched.clone();
                        let is_done = way(&nearest, &values, block, least, &mut quick.0, &mut quick.1);
                        let want = if is_done { &slow } else { &untouched };
                        assert_eq!(quick, *want, "way {number}, {blocks} blocks of {block}, least {least}");
                    }
                    let mut best = untouched;
                    nearest.blocks(&values, block, least, &mut best.0, &mut best.1);
                    assert_eq!(best, slow, "{blocks} blocks of {block}, least {least}");
                }
            }
            for bound in nearest.bounds {
                let below = nearest.bounds.iter().filter(|other| **other < bound).count();
                assert_eq!(nearest.code(bound), codes[below], "a bound belongs to what is below it");
            }
        }
    }
}
