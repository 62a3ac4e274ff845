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
        let code_max = if self.code == Code::E2M1 { E2M1_MAX } else { E4M3_MAX };
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
                // The logarithm as f32, as torch has it: next to a power of two it is that of the power.
                let inverse = f64::from((1.0 / factor).max(f32::MIN_POSITIVE));
                let stored = 2f32.powi((inverse.log2() as f32).ceil() as i32);
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
}
