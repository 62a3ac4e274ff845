//! GPTQ's own grids: scales and zero points by the range of each group, and the codes on them.
//!
//! | step       | in f32, in this order                                                                      |
//! |------------|--------------------------------------------------------------------------------------------|
//! | range      | `min(0, w)`, `max(0, w)`; symmetric: the larger magnitude on both sides that are not 0     |
//! | all zero   | the range is `-1 ..= 1`                                                                    |
//! | scale      | `(max - min) / top`, `top = 2^bits - 1`                                                     |
//! | zero point | symmetric `2^(bits-1)`, else `-min / scale` rounded, ties to even: by the scale before it is rounded |
//! | stored     | the scale rounded to F16                                                                   |
//! | code       | `(w + zero * scale) / scale` rounded, ties to even, cut to `0 ..= top`: by the stored scale |
//!
//! So a symmetric group without negative values has `max / top` as its scale, and clips at `(top - zero) / top` of its
//! range: that is what GPTQModel does, and what a search for better scales undoes. A scale that would be rounded
//! to 0 is the smallest number instead, of which codes can still be chosen. Source: GPTQModel 7,
//! `quantization/quantizer.py` (`Quantizer.find_params`), `nn_modules/qlinear/__init__.py` (`pack_block`).

use crate::quant::qweight::packer::Coding;
use crate::quant::search::{Grid, Lattice, nearest};
use crate::quant::tiles::kernel::{Finder, Finding, number_of_dtype};
use crate::tensor::{Dtype, values};

/// Grids of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grids {
    bits: u32,
    is_symmetric: bool,
    /// The dtype of scales.
    dtype: Dtype,
    /// The least zero point that readers agree on.
    least_zero: f32,
}

impl Grids {
    /// Returns grids of codes of `bits`, with scales of F16, BF16 or F32. `least_zero`: 1 where a zero point of 0 would be
    /// stored as something that readers do not agree on.
    pub(super) fn new(bits: u32, is_symmetric: bool, dtype: Dtype, least_zero: u8) -> Self {
        Self { bits, is_symmetric, dtype, least_zero: f32::from(least_zero) }
    }

    fn middle(self) -> f32 {
        (1u32 << (self.bits - 1)) as f32
    }
}

impl Lattice for Grids {
    #[inline]
    fn top(self) -> f32 {
        ((1u32 << self.bits) - 1) as f32
    }

    fn fixed_zero(self) -> Option<f32> {
        self.is_symmetric.then(|| self.middle())
    }

    fn least_zero(self) -> f32 {
        self.least_zero
    }

    fn store(self, scale: f32) -> f32 {
        let stored = values::round(self.dtype, scale);
        let smallest = match self.dtype {
            Dtype::F16 => 1.0 / (1u32 << 24) as f32,
            Dtype::BF16 => f32::from_bits(1 << 16),
            _ => f32::from_bits(1),
        };
        if stored == 0.0 { smallest } else { stored }
    }

    #[inline]
    fn code(self, value: f32, grid: Grid) -> f32 {
        let code = (value + grid.zero * grid.scale) / grid.scale;
        nearest(code.max(0.0).min(self.top()))
    }
}

impl Coding for Grids {
    fn dtype(self) -> Dtype {
        self.dtype
    }

    fn kernel(self) -> Option<(&'static str, Finder)> {
        let dtype = number_of_dtype(self.dtype)?;
        let numbers = [self.bits.into(), dtype, self.is_symmetric.into(), self.least_zero as u64];
        Some(("gptq_encode", Finder::new(Finding::Gptq, numbers)))
    }

    fn grid(self, [least, largest]: [f32; 2]) -> Grid {
        let (mut least, mut largest) = (least, largest);
        if self.is_symmetric {
            largest = largest.max(-least);
            least = if least < 0.0 { -largest } else { least };
        }
        if least == 0.0 && largest == 0.0 {
            (least, largest) = (-1.0, 1.0);
        }
        let mut scale = (largest - least) / self.top();
        if self.is_symmetric {
            return Grid { scale: self.store(scale), zero: self.middle() };
        }
        // Subnormal scales are so coarse that it would be beyond the codes.
        let mut zero = (-least / scale).round_ties_even().min(self.top());
        if zero < self.least_zero {
            // One code is lost below 0: the others have to reach as far.
            zero = self.least_zero;
            scale = scale.max(largest / (self.top() - zero));
        }
        Grid { scale: self.store(scale), zero }
    }
}
