//! AWQ's own grids: scales and zero points by the range of each group, in half precision throughout.
//!
//! | step       | every step rounded to F16                                     |
//! |------------|---------------------------------------------------------------|
//! | range      | `min(0, w)`, `max(0, w)`                                      |
//! | scale      | `max(max - min, 1e-5) / 15`                                   |
//! | zero point | `-round(min / scale)`, cut to `0 ..= 15`; ties to even        |
//! | code       | `round(w / scale) + zero`, cut to `0 ..= 15`                  |
//!
//! That is `AwqQuantizer.pseudo_quantize_tensor`, and the codes that `WQLinear_GEMM.from_linear` finds again in its
//! result: `round((W + zero * scale) / scale)` of `W = (code - zero) * scale` is off by less than a tenth of a
//! code, whose four roundings are of 11 bits.
//!
//! One thing is otherwise: AutoAWQ takes the range of the values alone, without 0. Its zero point is cut to `0 ..= 15`
//! nevertheless, so that a group whose values are all positive, or all negative, is clipped to a range
//! that does not hold them: all 1.0 becomes 1e-5. With 0 in the range it is held, by the same tensors. For groups
//! on both sides of 0 nothing differs. Source: AutoAWQ 0.2.9, `quantize/quantizer.py`, `modules/linear/gemm.py`.

use crate::quant::qweight::packer::Coding;
use crate::quant::search::{Grid, Lattice, nearest};
use crate::quant::tiles::kernel::{Finder, Finding, number_of_dtype};
use crate::tensor::{Dtype, values};

/// The largest code.
const TOP: f32 = 15.0;
/// The narrowest range, in F16.
const NARROWEST: f32 = 1e-5;

/// Grids with scales of one dtype.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grids {
    dtype: Dtype,
    /// True if zero points are no whole numbers: what is stored is their product with the scale.
    has_real_zeros: bool,
}

impl Grids {
    pub(super) fn new(dtype: Dtype, has_real_zeros: bool) -> Self {
        Self { dtype, has_real_zeros }
    }
}

/// Rounds to the 11 bits of a normal F16, ties to even. What is too small for those is rounded to 0 afterwards, what
/// is too large is cut.
#[inline]
fn half(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(bits.wrapping_add(0xfff + (bits >> 13 & 1)) & !0x1fff)
}

impl Lattice for Grids {
    #[inline]
    fn top(self) -> f32 {
        TOP
    }

    fn fixed_zero(self) -> Option<f32> {
        None
    }

    fn store(self, scale: f32) -> f32 {
        values::round(self.dtype, scale)
    }

    #[inline]
    fn code(self, value: f32, grid: Grid) -> f32 {
        let exact = value / grid.scale;
        if self.has_real_zeros {
            return nearest((exact + grid.zero).clamp(0.0, TOP));
        }
        let quotient = if self.dtype == Dtype::F16 { half(exact) } else { exact };
        nearest(quotient.max(-grid.zero).min(TOP - grid.zero)) + grid.zero
    }
}

impl Coding for Grids {
    fn dtype(self) -> Dtype {
        self.dtype
    }

    fn has_real_zeros(self) -> bool {
        self.has_real_zeros
    }

    fn kernel(self) -> Option<(&'static str, Finder)> {
        let dtype = number_of_dtype(self.dtype)?;
        Some(("awq_encode", Finder::new(Finding::Awq, [0, dtype])))
    }

    fn grid(self, [least, largest]: [f32; 2]) -> Grid {
        let round = |value| values::round(self.dtype, value);
        let wide = largest - least;
        // Twice the largest F16 is none, the scale of such a range is one still.
        let range = if round(wide).is_finite() { round(wide) } else { wide };
        let range = range.max(round(NARROWEST));
        let scale = round(range / TOP);
        let zero = -round(least / scale).round_ties_even();
        Grid { scale, zero: zero.clamp(0.0, TOP) }
    }
}
