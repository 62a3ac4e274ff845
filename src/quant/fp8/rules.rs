//! Scales of fp8: of the largest magnitude of a tile, in f32.
//!
//! | rule     | stored                                  | codes are those of     | of a tile of zeros |
//! |----------|-----------------------------------------|------------------------|--------------------|
//! | inverse  | the reciprocal of `448 · (1 / max|w|)`   | `w` times that factor  | 1                  |
//! | power    | that, rounded up to a power of two      | `w · (1 / stored)`     | 1                  |
//! | quotient | `max|w| / 448`                          | `w / stored`           | 1                  |
//! | factor   | `448 · (1 / max|w|)`                     | `w · stored`           | 1                  |
//!
//! Sources: inverse and power, transformers 5.23, `integrations/finegrained_fp8.py` (`Fp8Quantize`; in torch a number
//! divided by a tensor is the number times the tensor's reciprocal); quotient, DeepSeek-V3, `inference/kernel.py`, also
//! for grids whose last blocks are partial, which transformers would leave plain; factor, GPTQModel, whose codes
//! are divided by their scales.

use crate::quant::tiles::kernel::{Finder, Finding, number_of, number_of_dtype};
use crate::quant::tiles::{Code, Coder, Rule, Step, magnitude};
use crate::tensor::narrow::{E2M1_MAX, E4M3_MAX};
use crate::tensor::{Dtype, values};

/// What is stored of the largest magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::quant) enum Kept {
    Inverse,
    Power,
    Quotient,
    Factor,
}

impl Kept {
    /// Returns what is stored for blocks of a weight: by whether all of them are whole.
    pub(in crate::quant) fn of_blocks([rows, columns]: [u64; 2], [high, wide]: [u64; 2]) -> Self {
        let is_whole = rows.is_multiple_of(high) && columns.is_multiple_of(wide);
        if is_whole { Self::Inverse } else { Self::Quotient }
    }
}

/// How scales come of magnitudes.
#[derive(Clone, Copy, Debug)]
pub(in crate::quant) struct Scaling {
    pub(in crate::quant) kept: Kept,
    /// What codes are: E4M3, or E2M1 whose largest is 6.
    pub(in crate::quant) code: Code,
    /// The dtype of the stored scales.
    pub(in crate::quant) dtype: Dtype,
    /// True if the whole layer has one.
    pub(in crate::quant) is_whole: bool,
}

impl Scaling {
    /// Returns how values become codes.
    pub(in crate::quant) fn coder(self) -> Coder {
        let multiplies = self.kept != Kept::Quotient;
        Coder { code: self.code, rounded: Dtype::F32, multiplies, adds_zero: false, keeps_sign: true }
    }
}

impl Rule for Scaling {
    fn step(&self, range: [f32; 2], _values: &[f32], whole: f32) -> Result<Step, String> {
        let largest = if self.is_whole { whole } else { magnitude(range) };
        let step = |by, worth, stored| Step { by, zero: 0.0, worth, stored };
        let code_max = self.code_max();
        let factor = (1.0 / largest) * code_max;
        // Of zeros, and of what is too small for a factor.
        let factor = if factor.is_finite() { factor } else { 1.0 };
        Ok(match self.kept {
            Kept::Inverse => {
                let stored = values::round(self.dtype, 1.0 / factor);
                let by = if self.dtype == Dtype::F32 { factor } else { 1.0 / stored };
                step(by, stored, stored)
            }
            Kept::Power => {
                let stored = power_from((1.0 / factor).max(f32::MIN_POSITIVE));
                step(1.0 / stored, stored, stored)
            }
            Kept::Quotient => {
                let quotient = values::round(self.dtype, largest / code_max);
                let stored = if quotient > 0.0 { quotient } else { 1.0 };
                step(stored, stored, stored)
            }
            Kept::Factor => {
                let stored = values::round(self.dtype, factor);
                step(stored, 1.0 / stored, stored)
            }
        })
    }
    fn finder(&self, whole: f32) -> Option<Finder> {
        if self.is_whole {
            return self.step([0.0; 2], &[], whole).ok().map(Finder::fixed);
        }
        // E8M0 is not rounded to: what is stored as that is a power of two.
        let dtype = if self.dtype == Dtype::F8E8M0 { Dtype::F32 } else { self.dtype };
        let numbers = [number_of(self.code_max()), number_of_dtype(dtype)?];
        Some(match self.kept {
            Kept::Inverse => Finder::new(Finding::Inverse, numbers),
            Kept::Power => Finder { table: last_mantissas(), ..Finder::new(Finding::Power, numbers) },
            Kept::Quotient => Finder::new(Finding::Quotient, numbers),
            Kept::Factor => Finder::new(Finding::Factor, numbers),
        })
    }
}

impl Scaling {
    fn code_max(self) -> f32 {
        if self.code == Code::E2M1 { E2M1_MAX } else { E4M3_MAX }
    }
}

/// Returns the power of two that is not below a positive number. The logarithm is an f32, as torch has it: next to a
/// power of two it is that of the power.
fn power_from(number: f32) -> f32 {
    2f32.powi((f64::from(number).log2() as f32).ceil() as i32)
}

/// Returns, of each exponent as numbers have it, the largest mantissa with which a number's power is not the next one.
fn last_mantissas() -> Vec<u32> {
    let last = |exponent: u32| {
        let power = f32::from_bits(exponent << 23);
        let is_next = |mantissa: u32| power_from(f32::from_bits(exponent << 23 | mantissa)) > power;
        // Beyond 2^-17 of a power of two an f32 of its logarithm is above.
        let (mut least, mut most) = (0u32, 1u32 << 12);
        while least < most {
            let middle = (least + most).div_ceil(2);
            (least, most) = if is_next(middle) { (least, middle - 1) } else { (middle, most) };
        }
        least
    };
    // Of 0 and infinity there is none.
    (0..256).map(|exponent| if (1..255).contains(&exponent) { last(exponent) } else { 0 }).collect()
}
