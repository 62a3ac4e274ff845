//! Scales of compressed-tensors: how llm-compressor's `memoryless_minmax` finds them, in the dtype of the weight.
//!
//! | codes       | scale, of a range `[lo, hi]` that holds 0                                        | of 0          |
//! |-------------|----------------------------------------------------------------------------------|---------------|
//! | symmetric   | `max(-lo, hi) / ((2^bits - 1) / 2)`                                              | the dtype's ε |
//! | asymmetric  | `(hi - lo) / (2^bits - 1)`, zero point `rint(clamp(least - lo / scale))`         | the dtype's ε |
//! | fp8         | `max(-lo, hi) / 448`                                                             | the dtype's ε |
//! | nvfp4       | `e4m3(global * (max(-lo, hi) / 6))`, `global = 1 / max\|w\| * 2688`                | 0.125         |
//! | mxfp4, 8    | `2^e`, the exponent of the magnitude with a quarter of a power added, less 2 or 8 | `2^-127`      |
//!
//! Every step is rounded to the dtype of the weight. Where that overflows (a magnitude near the largest of F16), the
//! library stores a NaN or a global scale of 1: here it is computed in f32. Source: compressed-tensors 0.20,
//! `quantization/utils/helpers.py` (`calculate_qparams`, `generate_gparam`), `quantization/utils/mxfp_utils.py`.

use crate::quant::search::{Grid, Lattice, nearest, search};
use crate::quant::target::Search;
use crate::quant::tiles::kernel::{Finder, Finding, number_of, number_of_dtype};
use crate::quant::tiles::{Code, Coder, Rule, Step, magnitude, power_of_two};
use crate::tensor::narrow::{E2M1_MAX, E4M3_MAX, e4m3_code};
use crate::tensor::{Dtype, values};

/// Integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ints {
    pub(super) bits: u32,
    pub(super) symmetric: bool,
    /// The dtype of the weight.
    pub(super) dtype: Dtype,
    pub(super) search: Search,
}

/// 8-bit floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floats {
    pub(super) dtype: Dtype,
    /// True if the whole layer has one scale.
    pub(super) is_whole: bool,
}

/// Floats whose scales are powers of two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Powers {
    pub(super) code: Code,
    pub(super) dtype: Dtype,
}

/// 4-bit floats whose scales are 8-bit floats around a global one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nvfp4 {
    pub(super) dtype: Dtype,
    /// The global scale that stays if the largest magnitude fits it.
    pub(super) stored: Option<f32>,
}

/// Returns how values become codes in the library: quotients rounded to the dtype of the weight.
pub(super) fn coder(code: Code, dtype: Dtype) -> Coder {
    let adds_zero = !matches!(code, Code::E2M1);
    Coder { code, rounded: dtype, multiplies: false, adds_zero, keeps_sign: false }
}

/// Returns a scale that is not 0 and not infinite.
fn usable(dtype: Dtype, scale: f32) -> Result<f32, String> {
    if !scale.is_finite() {
        return Err(format!("values lie so far apart that their scale is beyond {dtype}"));
    }
    Ok(if scale == 0.0 { epsilon(dtype) } else { scale })
}

/// Returns the distance of 1 and the next number.
fn epsilon(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::BF16 => 0.007_812_5,
        Dtype::F16 => 0.000_976_562_5,
        _ => f32::EPSILON,
    }
}

impl Ints {
    /// Returns how far below 0 the least code is.
    #[inline]
    fn middle(self) -> f32 {
        (1u32 << (self.bits - 1)) as f32
    }

    /// Returns how many steps the codes span.
    fn span(self) -> f32 {
        ((1u32 << self.bits) - 1) as f32
    }

    fn by_range(self, range: [f32; 2]) -> Result<Step, String> {
        let (dtype, least, largest) = (self.dtype, -self.middle(), self.middle() - 1.0);
        let round = |value| values::round(dtype, value);
        if self.symmetric {
            let scale = usable(dtype, round(magnitude(range) / (self.span() / 2.0)))?;
            return Ok(Step::of(scale, 0.0));
        }
        let scale = round(round(range[1] - range[0]) / self.span());
        let zero = round(least - round(range[0] / scale));
        // 0 / 0 is no number, and becomes 0.
        let zero = if zero.is_nan() { 0.0 } else { zero.clamp(least, largest).round_ties_even() };
        Ok(Step::of(usable(dtype, scale)?, zero))
    }
}

impl Rule for Ints {
    fn step(&self, range: [f32; 2], values: &[f32], _whole: f32) -> Result<Step, String> {
        let step = self.by_range(range)?;
        if self.search == Search::None {
            return Ok(step);
        }
        let start = Grid { scale: step.stored, zero: step.zero + self.middle() };
        // A lattice for each dtype: loops over values have neither a branch nor a call.
        let grid = match self.dtype {
            Dtype::BF16 => search(self.search, Rounded(*self, bf16_of_finite), values, start),
            Dtype::F16 => search(self.search, Rounded(*self, f16_of_finite), values, start),
            _ => search(self.search, Rounded(*self, |value| value), values, start),
        };
        Ok(Step::of(grid.scale, grid.zero - self.middle()))
    }

    fn search(&self) -> Search {
        self.search
    }

    fn finder(&self, _whole: f32) -> Option<Finder> {
        let dtype = number_of_dtype(self.dtype)?;
        Some(Finder::new(Finding::Ints, [self.bits.into(), dtype, self.symmetric.into()]))
    }
}

/// Rounds a finite value to BF16, halves to the even one.
#[inline]
fn bf16_of_finite(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// Rounds a value that is no NaN to F16, halves to the even one. In steps that every processor does many at a time.
#[inline]
fn f16_of_finite(value: f32) -> f32 {
    /// The smallest normal F16, `2^-14`.
    const NORMAL: u32 = 113 << 23;
    /// Its last bit is that of the smallest F16: a sum is rounded there.
    const LAST_BIT: f32 = 0.5;
    /// `2^16`: what is rounded to it is infinite in F16.
    const BEYOND: u32 = 143 << 23;
    let (size, sign) = (value.to_bits() & 0x7fff_ffff, value.to_bits() & 0x8000_0000);
    let normal = (size + 0xfff + (size >> 13 & 1)) & 0xffff_e000;
    let subnormal = ((f32::from_bits(size) + LAST_BIT) - LAST_BIT).to_bits();
    let rounded = if size < NORMAL { subnormal } else { normal };
    let rounded = if rounded < BEYOND { rounded } else { f32::INFINITY.to_bits() };
    f32::from_bits(rounded | sign)
}

/// The grids that a search may choose from: scales in the dtype of the weight, codes as the library finds them, with
/// numbers rounded between the steps.
#[derive(Clone, Copy)]
struct Rounded<F>(Ints, F);

impl<F: Fn(f32) -> f32 + Copy> Lattice for Rounded<F> {
    #[inline]
    fn top(self) -> f32 {
        self.0.span()
    }

    fn fixed_zero(self) -> Option<f32> {
        self.0.symmetric.then(|| self.0.middle())
    }

    fn store(self, scale: f32) -> f32 {
        let stored = values::round(self.0.dtype, scale);
        if stored == 0.0 { epsilon(self.0.dtype) } else { stored }
    }

    #[inline]
    fn code(self, value: f32, grid: Grid) -> f32 {
        let Self(ints, round) = self;
        let middle = ints.middle();
        let code = round(round(value / grid.scale) + (grid.zero - middle));
        nearest(code.max(-middle).min(middle - 1.0)) + middle
    }
}

impl Rule for Floats {
    fn step(&self, range: [f32; 2], _values: &[f32], whole: f32) -> Result<Step, String> {
        let largest = if self.is_whole { whole } else { magnitude(range) };
        Ok(Step::of(usable(self.dtype, values::round(self.dtype, largest / E4M3_MAX))?, 0.0))
    }

    fn finder(&self, whole: f32) -> Option<Finder> {
        if self.is_whole {
            return self.step([0.0; 2], &[], whole).ok().map(Finder::fixed);
        }
        Some(Finder::new(Finding::Floats, [0, number_of_dtype(self.dtype)?]))
    }
}

impl Rule for Powers {
    fn step(&self, range: [f32; 2], _values: &[f32], _whole: f32) -> Result<Step, String> {
        /// A quarter of a power of two: what is above seven quarters belongs to the next.
        const QUARTER: u32 = 1 << 21;
        /// The smallest number of F16 that is not subnormal: what is below has no exponent there.
        const F16_NORMAL: f32 = 1.0 / 16384.0;
        let mut largest = magnitude(range);
        if self.dtype == Dtype::F16 && largest < F16_NORMAL {
            // With a quarter added it has an exponent, or none: then the scale is 0, and 1 takes its place.
            if largest < 0.75 * F16_NORMAL {
                return Ok(Step::of(1.0, 0.0));
            }
            largest = F16_NORMAL;
        }
        let exponent = (largest.to_bits() + QUARTER) >> 23;
        Ok(Step::of(power_of_two(exponent.cast_signed() - self.offset()), 0.0))
    }

    fn finder(&self, _whole: f32) -> Option<Finder> {
        let offset = u64::from(self.offset().unsigned_abs());
        Some(Finder::new(Finding::Powers, [offset, number_of_dtype(self.dtype)?]))
    }
}

impl Powers {
    /// Returns the exponent of the largest power of two among the codes.
    fn offset(self) -> i32 {
        if self.code == Code::E4M3 { 8 } else { 2 }
    }
}

impl Nvfp4 {
    /// Returns the global scale of a layer, or of layers that share it, whose largest magnitude is given.
    pub(super) fn global(self, largest: f32) -> f32 {
        const RANGE: f32 = E4M3_MAX * E2M1_MAX;
        /// What rounds to the largest scale still fits, and what leaves the scales some powers of two to spare.
        const FITS: std::ops::RangeInclusive<f32> = RANGE / 64.0..=RANGE * 1.03;
        if let Some(stored) = self.stored.filter(|stored| FITS.contains(&(largest * stored.abs()))) {
            return stored;
        }
        let round = |value| values::round(self.dtype, value);
        // In torch a number divided by a tensor is the number times the tensor's reciprocal.
        let rounded = round(round(1.0 / largest) * RANGE);
        let global = if rounded.is_finite() { rounded } else { RANGE / largest };
        if global.is_finite() { global } else { 1.0 }
    }
}

impl Rule for Nvfp4 {
    fn step(&self, range: [f32; 2], _values: &[f32], whole: f32) -> Result<Step, String> {
        /// What takes the place of a scale of 0.
        const NOT_ZERO: f32 = 0.125;
        let global = self.global(whole);
        let local = global * values::round(self.dtype, magnitude(range) / E2M1_MAX);
        let stored = match values::e4m3(e4m3_code(local)) {
            0.0 => NOT_ZERO,
            local => local,
        };
        let scale = stored / global;
        Ok(Step { by: scale, zero: 0.0, worth: scale, stored })
    }

    fn finder(&self, whole: f32) -> Option<Finder> {
        // Of a negative one scales are negative, which no kernel stores.
        let global = Some(self.global(whole)).filter(|&global| global > 0.0)?;
        Some(Finder::new(Finding::Nvfp4, [number_of(global), number_of_dtype(self.dtype)?]))
    }
}

#[cfg(test)]
mod tests;
