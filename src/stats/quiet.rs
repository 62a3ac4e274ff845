//! Quiet: blocks of 16-bit floats that change no extreme and no outlier are passed over by their bits alone.
//!
//! A float's bits but the sign, negative where that is set, order as the float does: `0x8000` and 0 are both 0. So one
//! look at the least and the largest of a block tells whether anything in it is new; after the first blocks seldom
//! anything is.

use multiversion::multiversion;

use crate::tensor::{Dtype, values};

/// Within these, ends included, a value changes nothing. Nothing is where the first is above the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quiet {
    low: i16,
    high: i16,
}

/// Floats that a lane holds together.
const LANES: usize = 64;

impl Quiet {
    /// Returns the range in which everything is new.
    pub(super) const NOTHING: Self = Self { low: i16::MAX, high: i16::MIN };

    /// Returns the range of a dtype given the least and the largest value so far, and the least magnitude that is kept
    /// as an outlier.
    pub(super) fn new(dtype: Dtype, (min, max): (f32, f32), kept: f32) -> Self {
        let mut bytes = [0; 6];
        if !is_half(dtype) || !values::from_f32(dtype, &[min, max, kept], &mut bytes) {
            return Self::NOTHING;
        }
        let key = |at: usize| order(i16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let kept = key(4);
        Self { low: key(0).max(-kept), high: key(2).min(kept) }
    }

    /// Returns true if values of the dtype, little-endian, change nothing.
    pub(super) fn holds(self, bytes: &[u8]) -> bool {
        if self.low > self.high {
            return false;
        }
        let (low, high) = ends(bytes);
        self.low <= low && high <= self.high
    }
}

/// Returns true if values of a dtype order by their bits as above.
fn is_half(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::BF16)
}

#[inline]
fn order(bits: i16) -> i16 {
    let sign = bits >> 15;
    ((bits & i16::MAX) ^ sign) - sign
}

/// Returns the least and the largest.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn ends(bytes: &[u8]) -> (i16, i16) {
    let (mut low, mut high) = ([i16::MAX; LANES], [i16::MIN; LANES]);
    let (whole, rest) = bytes.as_chunks::<2>().0.as_chunks::<LANES>();
    for values in whole {
        for lane in 0..LANES {
            let key = order(i16::from_le_bytes(values[lane]));
            low[lane] = low[lane].min(key);
            high[lane] = high[lane].max(key);
        }
    }
    for &value in rest {
        let key = order(i16::from_le_bytes(value));
        low[0] = low[0].min(key);
        high[0] = high[0].max(key);
    }
    let low = low.iter().fold(i16::MAX, |a, &b| a.min(b));
    (low, high.iter().fold(i16::MIN, |a, &b| a.max(b)))
}

#[cfg(test)]
mod tests;
