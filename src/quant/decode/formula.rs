//! Formulas: what becomes of a code's value with its scale and its offset.

use super::Beside;
use crate::tensor::Dtype;
use crate::tensor::values::round;

/// What becomes of a code's value with its scale and its offset. F32 in place of a dtype rounds nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::quant) enum Formula {
    /// `round(code * scale)`.
    Product(Dtype),
    /// `code / scale`.
    Quotient,
    /// `round(round(code * scale) + offset)`.
    Sum {
        /// What the product is rounded to.
        product: Dtype,
        /// What the sum is rounded to.
        sum: Dtype,
    },
    /// `round(round(code - offset) * scale)`.
    Centered {
        /// What the difference is rounded to.
        difference: Dtype,
        /// What the product is rounded to.
        product: Dtype,
    },
    /// `(code - offset) / scale`.
    CenteredQuotient,
    /// `code * scale * factor`, rounded in f32 after each.
    Twice(f32),
}

impl Formula {
    /// `code * scale`.
    pub(in crate::quant) const PRODUCT: Self = Self::Product(Dtype::F32);
    /// `(code - offset) * scale`.
    pub(in crate::quant) const CENTERED: Self =
        Self::Centered { difference: Dtype::F32, product: Dtype::F32 };

    /// Turns codes that share a scale and an offset into values.
    #[inline]
    pub(in crate::quant) fn apply(self, values: &mut [f32], scale: f32, offset: f32) {
        match self {
            Self::Product(Dtype::F32) => each(values, |code| code * scale),
            Self::Product(dtype) => each(values, |code| round(dtype, code * scale)),
            Self::Quotient => each(values, |code| code / scale),
            Self::Sum { product: Dtype::F32, sum: Dtype::F32 } => each(values, |code| code * scale + offset),
            Self::Sum { product, sum } => {
                each(values, |code| round(sum, round(product, code * scale) + offset));
            }
            Self::Centered { difference: Dtype::F32, product: Dtype::F32 } => {
                each(values, |code| (code - offset) * scale);
            }
            Self::Centered { difference, product } => {
                each(values, |code| round(product, round(difference, code - offset) * scale));
            }
            Self::CenteredQuotient => each(values, |code| (code - offset) / scale),
            Self::Twice(factor) => each(values, |code| code * scale * factor),
        }
    }

    /// Returns what stands beside the codes, of their scales and offsets; of no offsets none.
    pub(in crate::quant) fn beside(self, which: Beside, scales: &[f32], offsets: &[f32]) -> Option<Vec<f32>> {
        let of_offsets = match self {
            Self::Product(_) | Self::Quotient | Self::Twice(_) => None,
            Self::Sum { .. } => Some(Beside::Terms),
            Self::Centered { .. } | Self::CenteredQuotient => Some(Beside::ZeroPoints),
        };
        match which {
            Beside::Scales => Some(scales.to_vec()),
            _ => (of_offsets == Some(which) && !offsets.is_empty()).then(|| offsets.to_vec()),
        }
    }

    /// Returns the value of one code.
    #[inline]
    pub(in crate::quant) fn value(self, code: f32, scale: f32, offset: f32) -> f32 {
        let mut value = [code];
        self.apply(&mut value, scale, offset);
        value[0]
    }
}

#[inline]
fn each(values: &mut [f32], value: impl Fn(f32) -> f32) {
    for code in values {
        *code = value(*code);
    }
}
