//! Deltas: what merging an adapter does to the rows of a weight.
//!
//! An edit is given rows of the base, as f32 of values of the base's dtype, and leaves what is then rounded
//! once. Every sum over the rank is one chain of fused multiply-adds in ascending order, so that neither
//! threads nor the cut into rows change a bit; `exact` computes the same in f64 by a way of its own, for the
//! proof.
//!
//! | method           | result of row `i`, column `j`                                            |
//! |------------------|--------------------------------------------------------------------------|
//! | LoRA, VeRA       | `W + s (L R)`, `L` `[out, r]`, `R` `[r, in]`                              |
//! | AdaLoRA          | `W + s (L (R ∘ E))`, `s = alpha / (r + 1e-5)`                              |
//! | DoRA             | `m / ‖V‖ · V`, `V = W + s (L R)`, norms by row (by column for embeddings)  |
//! | LoHa             | `W + s ((L₁ R₁) ∘ (L₂ R₂))`                                               |
//! | LoKr             | `W + s kron(w1, w2)`                                                     |
//! | IA3              | `W · l`, by row or by column                                             |
//! | OFT              | `W Rᵀ` in blocks along the inputs                                         |
//! Source: PEFT 0.21, `tuners/*/layer.py`.

mod chain;
mod combine;
mod conv;
mod lowrank;
mod matrix;
mod order;
mod product;
mod random;
mod rotate;
mod spec;
pub mod symmetric;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::chain::Factors;
pub use self::combine::{Combination, Combine, Term};
pub use self::lowrank::{Dora, LowRank};
pub use self::order::{Reordered, RowOrder};
pub use self::product::{Hadamard, Kronecker, Rows, Scale, Stack, Within};
pub use self::random::Projection;
pub use self::rotate::{Oft, Rotation};
pub use self::spec::{BaseRows, EditSpec, Method, Read, Values};
use crate::quant::kernel::Step;
use crate::tensor::{Dtype, values};

/// What is done to rows of a weight.
pub trait Edit: Send + Sync {
    /// Changes rows, whose values are those of the base.
    fn apply(&self, rows: Range<u64>, values: &mut [f32]);

    /// Changes rows in f64, another way than `apply`.
    fn exact(&self, rows: Range<u64>, values: &mut [f64]);

    /// Returns how a GPU changes the same rows to the same values; `None` if no kernel does.
    fn steps(&self) -> Option<Vec<Step>> {
        None
    }

    /// Returns scale and factors of what is added, if that is the product of two thin matrices and nothing else.
    fn product(&self) -> Option<(f32, &Factors)> {
        None
    }
}

/// Where the values of a delta are rounded on the way, beside once at the end.
///
/// | recipe      | result                                            | who                                      |
/// |-------------|---------------------------------------------------|------------------------------------------|
/// | `peft`        | `round(W + Δ)`                                      | PEFT 0.12 and later                      |
/// | `peft-safe`   | `round(W + round(Δ))`                               | PEFT 0.16 and later with `safe_merge`      |
/// | `peft-low-mem`| as `peft`, of factors rounded to the base's dtype   | PEFT with `low_cpu_mem_usage`              |
/// | `peft-0.11`   | as `peft-safe`, of factors rounded                  | PEFT before 0.12                         |
///
/// Of a combination of adapters `cat`, `peft-safe` rounds the factors too: PEFT makes its adapter in the base's dtype.
/// PEFT rounds the deltas of embeddings and of `target_parameters` in all of them, and that of a bias in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// One rounding.
    #[default]
    Peft,
    /// The delta is rounded first.
    PeftSafe,
    /// The factors are rounded first.
    PeftLowMem,
    /// Both are.
    Peft011,
}

impl Recipe {
    /// Returns the dtype to which factors are rounded when they are read.
    #[must_use]
    pub fn factors(self, base: Dtype) -> Option<Dtype> {
        matches!(self, Self::PeftLowMem | Self::Peft011).then_some(base)
    }

    /// Returns the dtype to which a delta is rounded before it is added.
    #[must_use]
    pub fn delta(self, base: Dtype) -> Option<Dtype> {
        matches!(self, Self::PeftSafe | Self::Peft011).then_some(base)
    }
}

/// Adds deltas to values, each rounded first where that is asked.
fn add(values: &mut [f32], deltas: &[f32], rounded: Option<Dtype>) {
    match rounded {
        None => {
            for (value, delta) in values.iter_mut().zip(deltas) {
                *value += delta;
            }
        }
        Some(dtype) => {
            for (value, &delta) in values.iter_mut().zip(deltas) {
                *value += values::round(dtype, delta);
            }
        }
    }
}

#[cfg(test)]
mod tests;
