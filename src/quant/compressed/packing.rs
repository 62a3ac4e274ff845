//! Packing: how many words a row of `pack-quantized` codes takes, and which bits a width can mean.
//!
//! Codes of `b` bits follow each other along the inputs without a gap, `ceil(in * b / 32)` words a row.
//! Until compressed-tensors 0.15 a word held only whole codes, `32 / b` of them: wider rows for 3, 5, 6
//! and 7 bits, the same for 1, 2, 4 and 8. Source: compressed-tensors, `compressors/pack_quantized`.

/// Bits of a word.
const WORD: u64 = 32;
/// Bits a code may have.
const BITS: [u64; 8] = [4, 8, 3, 2, 6, 5, 7, 1];

/// How the codes of a row are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packing {
    pub(super) bits: u64,
    /// True if words hold whole codes only, and bits at their end are wasted.
    pub(super) padded: bool,
}

impl Packing {
    /// Returns the packing in which `inputs` codes take `words` words: that of the wanted bits if it
    /// fits, else the one that does.
    pub(super) fn of(words: u64, inputs: u64, wanted: Option<u64>) -> Option<Self> {
        let first = wanted.filter(|bits| BITS.contains(bits));
        let bits = || first.into_iter().chain(BITS);
        let dense = || bits().map(|bits| Self { bits, padded: false });
        let padded = || bits().filter(|&b| !WORD.is_multiple_of(b)).map(|bits| Self { bits, padded: true });
        // The wanted bits in either way come before any other bits.
        let preferred = dense().chain(padded()).filter(|p| Some(p.bits) == first);
        preferred.chain(dense()).chain(padded()).find(|p| p.words(inputs) == Some(words))
    }

    /// Returns the words that `codes` take.
    pub(super) fn words(self, codes: u64) -> Option<u64> {
        if self.padded {
            return Some(codes.div_ceil(WORD / self.bits));
        }
        codes.checked_mul(self.bits).map(|bits| bits.div_ceil(WORD))
    }

    /// Returns the codes that `words` dense words hold at most.
    pub(super) fn codes_max(words: u64, bits: u64) -> u64 {
        words.saturating_mul(WORD) / bits.clamp(1, WORD)
    }

    /// Returns how the width comes about: `16 words × 8 codes = 128 inputs`.
    pub(super) fn describe(self, words: u64, inputs: u64) -> String {
        let bits = self.bits;
        if WORD.is_multiple_of(bits) {
            let slack = if words.saturating_mul(WORD / bits) == inputs { "=" } else { "≥" };
            format!("{words} words × {} codes {slack} {inputs} inputs", WORD / bits)
        } else if self.padded {
            format!("{words} words × {} codes of {bits} bits ≥ {inputs} inputs, padded", WORD / bits)
        } else {
            format!("{words} words × 32 bits ≥ {inputs} inputs × {bits} bits, dense")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_tell_the_bits() {
        let cases = [
            (16, 128, Some(4), Some((4, false))),
            (16, 128, Some(8), Some((4, false))),
            (12, 128, Some(3), Some((3, false))),
            (13, 128, Some(3), Some((3, true))),
            (13, 128, None, Some((3, true))),
            (22, 176, Some(4), Some((4, false))),
            (32, 128, Some(7), Some((7, true))),
            (32, 128, Some(8), Some((8, false))),
            (32, 128, None, Some((8, false))),
            (99, 128, Some(4), None),
            (0, 128, Some(0), None),
        ];
        for (words, inputs, wanted, want) in cases {
            let found = Packing::of(words, inputs, wanted).map(|p| (p.bits, p.padded));
            assert_eq!(found, want, "{words} words, {inputs} inputs, {wanted:?}");
        }
        assert_eq!(Packing { bits: 8, padded: false }.words(u64::MAX), None);
    }
}
