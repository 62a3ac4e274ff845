//! Half-quadratic splitting: errors are shrunken, and the grid is fitted to what is left of the values, in turns.
//!
//! `shrunken(e) = sign(e) max(0, |e| - |e|^(p - 1) / beta)` is taken for an outlier's own and is not fitted; `beta`
//! grows by `kappa` each step. `kernels/search_hqq.cu` is the same for GPUs.
//! Source: hqq 0.2 `core/optimize.py` (`shrink_lp_op`, `optimize_weights_proximal_legacy`).

use std::sync::LazyLock;

use super::power::power;
use super::{CLEARLY, Grid, Lattice, Lost, fitted, lost};

/// Steps at most; they end where a grid leads to itself.
const STEPS: usize = 20;
const BETA: f32 = 10.0;
const KAPPA: f32 = 1.01;
/// `p`.
const NORM: f32 = 0.7;

/// How errors are shrunken in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shrinkage {
    beta: f32,
    /// Errors up to here are shrunken to nothing.
    bound: f32,
}

impl Shrinkage {
    /// Returns those of all steps.
    fn of_steps() -> &'static [Self; STEPS] {
        static OF_STEPS: LazyLock<[Shrinkage; STEPS]> = LazyLock::new(|| {
            let mut beta = BETA;
            std::array::from_fn(|_| {
                let shrinkage = Shrinkage { beta, bound: power(beta, -1.0 / (2.0 - NORM)) };
                beta *= KAPPA;
                shrinkage
            })
        });
        &OF_STEPS
    }

    /// Takes off values what shrinking leaves of their errors; given their codes, counted from the zero point.
    #[inline]
    pub(super) fn take_off(self, values: &mut [f32], codes: &[f32], scale: f32) {
        let is_within = |value: f32, code: f32| (value - scale * code).abs() <= self.bound;
        // Weights hardly ever have errors that large.
        if values.iter().zip(codes).fold(true, |all, (&value, &code)| all & is_within(value, code)) {
            return;
        }
        for (value, &code) in values.iter_mut().zip(codes) {
            if !is_within(*value, code) {
                let error = *value - scale * code;
                *value -= self.left(error.abs()).copysign(error);
            }
        }
    }

    /// Returns what shrinking leaves of a magnitude.
    fn left(self, magnitude: f32) -> f32 {
        (magnitude - power(magnitude, NORM - 1.0) / self.beta).max(0.0)
    }
}

/// Returns what a kernel is told of each step: `beta`, and the magnitude up to which errors are shrunken to nothing.
pub(in crate::quant) fn shrinkages() -> Vec<f32> {
    Shrinkage::of_steps().iter().flat_map(|step| [step.beta, step.bound]).collect()
}

/// Returns the grid with the least sum of absolute errors of those that the steps lead to, among those whose squared
/// error is not above that of `start`.
pub(super) fn hqq<L: Lattice>(lattice: L, values: &[f32], start: Grid) -> Grid {
    let is_free = lattice.fixed_zero().is_none();
    let mut current = start;
    let Lost { squares: most, magnitudes: mut least } = lost(lattice, values, start);
    let mut best = start;
    for &shrinkage in Shrinkage::of_steps() {
        let grid = fitted(lattice, values, current, (Some(shrinkage), is_free));
        if grid == current || !grid.scale.is_finite() || grid.scale <= 0.0 {
            break;
        }
        current = grid;
        let Lost { squares, magnitudes } = lost(lattice, values, grid);
        if squares <= most && magnitudes < least * CLEARLY {
            (best, least) = (grid, magnitudes);
        }
    }
    best
}
