//! Bit packing: fields of a few bits in a little-endian stream.
//!
//! | packing | field `k` of `b` bits                                                                   |
//! |---------|-----------------------------------------------------------------------------------------|
//! | dense   | bits `k*b ..` of the stream; fields may straddle words (3 bits: 32 codes in 3 words)     |
//! | planar  | per 32 codes, `b` words: planes of 3→2+1, 5→4+1, 6→4+2, 7→4+2+1 bits, low plane first   |
//!
//! Sources: AutoGPTQ `qlinear_cuda.py`; GPTQModel's `gptq_p`.

/// How fields lie in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Dense,
    Planar,
}

/// Codes that a set of planes holds.
const PLANE_CODES: usize = 32;

impl Packing {
    /// Returns how many whole fields of `bits` a stream of so many bytes holds.
    pub(super) fn fields(self, bytes: usize, bits: u32) -> usize {
        match self {
            Self::Dense => bytes.saturating_mul(8) / bits.max(1) as usize,
            Self::Planar => bytes / (4 * bits.max(1) as usize) * PLANE_CODES,
        }
    }

    /// Returns a field; what lies beyond the stream reads as zeros.
    pub(super) fn field(self, stream: &[u8], index: usize, bits: u32) -> u32 {
        match self {
            Self::Dense => bits_at(stream, index * bits as usize, bits),
            Self::Planar => {
                let first = index / PLANE_CODES * bits as usize * 32;
                let (mut code, mut low, mut start) = (0, 0, first);
                for &width in planes(bits) {
                    let at = start + index % PLANE_CODES * width as usize;
                    code |= bits_at(stream, at, width) << low;
                    low += width;
                    start += PLANE_CODES * width as usize;
                }
                code
            }
        }
    }
}

fn planes(bits: u32) -> &'static [u32] {
    match bits {
        3 => &[2, 1],
        5 => &[4, 1],
        6 => &[4, 2],
        7 => &[4, 2, 1],
        2 => &[2],
        8 => &[8],
        _ => &[4],
    }
}

/// Returns at most 8 bits from a bit position.
fn bits_at(stream: &[u8], at: usize, bits: u32) -> u32 {
    let byte = |i: usize| u32::from(stream.get(i).copied().unwrap_or(0));
    let pair = byte(at / 8) | byte(at / 8 + 1) << 8;
    pair >> (at % 8) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::testing::words;

    #[test]
    fn dense_fields_straddle_words() {
        let stream = words(&[0x88fa_c688, 0xc688_fac6, 0xfac6_88fa]);
        assert_eq!(Packing::Dense.fields(stream.len(), 3), 32);
        assert!((0..32).all(|i| Packing::Dense.field(&stream, i, 3) == i as u32 % 8));
        assert_eq!(Packing::Dense.field(&stream, 32, 3), 0);
    }

    #[test]
    fn planar_fields_put_their_planes_together() {
        // 3 bits: codes i % 8; low plane of 2 bits in two words, high plane of 1 bit in one.
        let (mut low, mut high) = (0u64, 0u32);
        for i in 0..32u64 {
            low |= ((i % 8) & 3) << (2 * i);
            high |= (((i % 8) >> 2) as u32) << i;
        }
        let stream = words(&[low as u32, (low >> 32) as u32, high]);
        assert_eq!(Packing::Planar.fields(stream.len(), 3), 32);
        assert!((0..32).all(|i| Packing::Planar.field(&stream, i, 3) == i as u32 % 8));
    }
}
