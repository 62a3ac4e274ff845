//! Search: better scales and zero points for a group of weights, from the weights alone.
//!
//! | search | what it looks at                                                    | what it returns                    |
//! |--------|---------------------------------------------------------------------|------------------------------------|
//! | `mse`  | every fourth of 80 shrunken ranges and those beside the best of them, both whole zero points next to each, then scales refitted to the codes | the least sum of squared errors |
//! | `hqq`  | 20 steps of half-quadratic splitting, `p = 0.7`, `beta = 10`, `kappa = 1.01` | the least sum of absolute errors among those whose squared error does not rise |
//!
//! Both begin with the grid that the format takes without a search and keep it unless another is better, so that no
//! group's sum of squared errors rises. Errors are those of the stored grid: of `scale * (code - zero)` with the
//! scale as it is stored, the zero point whole, and the code that the format writes. What is left out is the last
//! rounding of the product, to the dtype of the scales: who packs compares both grids once more, with it.
//!
//! GPTQ's own search (`mse` of GPTQModel's `Quantizer.find_params`) has the same ranges, an exponent of 2.4 and scales
//! that are not rounded; ours has the plain squares that are measured afterwards. HQQ moves a real zero point of a
//! fixed scale; formats with whole zero points, or none, cannot store it: so the step that HQQ gives to
//! the zero point (the mean of what is left after the shrinkage) goes to scale and zero point together, by least
//! squares. Sources: GPTQModel 7 `quantization/quantizer.py`, hqq 0.2 `core/optimize.py`
//! (`optimize_weights_proximal_legacy`).

mod hqq;
mod power;

use hqq::Shrinkage;
pub(super) use hqq::shrinkages;
use multiversion::multiversion;

use super::target::Search;

/// A scale and a zero point: code `q` means `scale * (q - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    /// The scale, as it is stored.
    pub(super) scale: f32,
    /// The code that means 0: a whole number.
    pub(super) zero: f32,
}

/// What a format can store of a grid. Codes are counted from 0; signed codes of `-8 ..= 7` are `0 ..= 15` with 8 added
/// to code and zero point.
pub(super) trait Lattice: Copy {
    /// Returns the largest code: 15 for 4 bits.
    fn top(self) -> f32;

    /// Returns the zero point of every group, if a group cannot choose its own.
    fn fixed_zero(self) -> Option<f32>;

    /// Returns the least zero point that a group may choose; the largest is `top`.
    fn least_zero(self) -> f32 {
        0.0
    }

    /// Rounds a positive scale as it is stored.
    fn store(self, scale: f32) -> f32;

    /// Returns the code that the format writes for a value: whole, from 0 to `top`. Mark it `#[inline]`.
    fn code(self, value: f32, grid: Grid) -> f32;
}

/// Rounds to the nearest whole number, ties to even; `value` lies within 2^22 of 0. Any processor does it many at a
/// time.
#[inline]
pub(super) fn nearest(value: f32) -> f32 {
    (value + ONES) - ONES
}

/// Returns the grid of a group of finite values; `start`: the one that the format takes without a search.
pub(super) fn search(search: Search, lattice: impl Lattice, values: &[f32], start: Grid) -> Grid {
    match search {
        Search::None => start,
        Search::Mse => mse(lattice, values, start),
        Search::Hqq => hqq::hqq(lattice, values, start),
    }
}

/// Where neighboring f32 are 1 apart.
const ONES: f32 = 12_582_912.0;
/// Values whose errors are summed in f32, before sums are added in f64.
const PIECE: usize = 256;
/// Sums that run beside each other; `kernels/search.cuh` has the same pieces and lanes.
const LANES: usize = 16;
/// By what share a sum of errors has to be less to count: more than rounding does to it.
const CLEARLY: f64 = 1.0 - 1e-5;
/// Ranges that are tried, from the whole one on.
const SHRINKS: u32 = 80;
/// Every which of them is tried at first.
const STRIDE: u32 = 4;
/// By how much of the range they shrink, for codes of at most 4 bits.
const STEP: f32 = 0.01;
/// The same for more bits, whose best range is hardly shrunken.
const SMALL_STEP: f32 = 0.00125;
/// How often a scale is fitted anew to the codes it leads to.
const REFITS: usize = 4;

/// What a grid loses of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Lost {
    squares: f64,
    magnitudes: f64,
}

/// Returns what is lost of a group on a grid.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn lost<L: Lattice>(lattice: L, values: &[f32], grid: Grid) -> Lost {
    let (mut squares, mut magnitudes) = (0f64, 0f64);
    let mut errors = [0f32; PIECE];
    // One loop for each: together they are not compiled for vectors as well.
    for piece in values.chunks(PIECE) {
        let errors = &mut errors[..piece.len()];
        for (error, &value) in errors.iter_mut().zip(piece) {
            *error = grid.scale * (lattice.code(value, grid) - grid.zero) - value;
        }
        let (mut square, mut magnitude) = ([0f32; LANES], [0f32; LANES]);
        let (whole, rest) = errors.as_chunks::<LANES>();
        for error in whole {
            for lane in 0..LANES {
                square[lane] += error[lane] * error[lane];
            }
        }
        for error in whole {
            for lane in 0..LANES {
                magnitude[lane] += error[lane].abs();
            }
        }
        for (lane, &error) in rest.iter().enumerate() {
            square[lane] += error * error;
            magnitude[lane] += error.abs();
        }
        squares += square.iter().map(|&sum| f64::from(sum)).sum::<f64>();
        magnitudes += magnitude.iter().map(|&sum| f64::from(sum)).sum::<f64>();
    }
    Lost { squares, magnitudes }
}

/// Writes the codes of values on a grid.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub(super) fn codes<L: Lattice>(lattice: L, values: &[f32], grid: Grid, out: &mut [u8]) {
    for (&value, out) in values.iter().zip(out) {
        // Of a number so large the last bits are those of the whole number that is added.
        *out = (lattice.code(value, grid) + ONES).to_bits() as u8;
    }
}

/// Returns the least and the largest value, and 0 between them.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub(super) fn range(values: &[f32]) -> [f32; 2] {
    let (mut least, mut largest) = ([0f32; LANES], [0f32; LANES]);
    let (whole, rest) = values.as_chunks::<LANES>();
    // One loop for each: together they are not compiled for vectors.
    for values in whole {
        for lane in 0..LANES {
            let value = values[lane];
            least[lane] = if value < least[lane] { value } else { least[lane] };
        }
    }
    for values in whole {
        for lane in 0..LANES {
            let value = values[lane];
            largest[lane] = if value > largest[lane] { value } else { largest[lane] };
        }
    }
    let least = least.iter().chain(rest).fold(0f32, |a, &b| a.min(b));
    [least, largest.iter().chain(rest).fold(0f32, |a, &b| a.max(b))]
}

/// The best grid so far.
struct Best<'v, L> {
    lattice: L,
    values: &'v [f32],
    grid: Grid,
    lost: Lost,
}

impl<'v, L: Lattice> Best<'v, L> {
    fn new(lattice: L, values: &'v [f32], grid: Grid) -> Self {
        Self { lattice, values, grid, lost: lost(lattice, values, grid) }
    }

    /// Takes a grid that is clearly better, by what `measure` says; returns whether it is.
    fn take(&mut self, grid: Grid, measure: impl Fn(Lost) -> f64) -> bool {
        let is_grid = grid.scale.is_finite() && grid.scale > 0.0;
        if !is_grid || grid == self.grid {
            return false;
        }
        let lost = lost(self.lattice, self.values, grid);
        let is_better = measure(lost) < measure(self.lost) * CLEARLY;
        if is_better {
            (self.grid, self.lost) = (grid, lost);
        }
        is_better
    }
}

fn mse<L: Lattice>(lattice: L, values: &[f32], start: Grid) -> Grid {
    let top = lattice.top();
    let [least, largest] = range(values);
    if least == largest {
        return start;
    }
    let mut best = Best::new(lattice, values, start);
    let squares = |lost: Lost| lost.squares;
    let step = if top > 15.0 { SMALL_STEP } else { STEP };
    let try_range = |best: &mut Best<'_, L>, shrink: u32| {
        let share = 1.0 - shrink as f32 * step;
        let before = best.grid;
        if let Some(zero) = lattice.fixed_zero() {
            // What a code more or less on a side is good for lies between the two.
            let needed = (-least / zero).max(largest / (top - zero).max(1.0));
            let whole = needed.max(2.0 * largest.max(-least) / top);
            best.take(Grid { scale: lattice.store(share * whole), zero }, squares);
        } else {
            let scale = lattice.store(share * (largest - least) / top);
            let ideal = -share * least / scale;
            for zero in [ideal.floor(), ideal.ceil()] {
                let zero = zero.max(lattice.least_zero()).min(top);
                best.take(Grid { scale, zero }, squares);
            }
        }
        best.grid != before
    };
    // Some of the ranges first, then those beside the best of them.
    let mut found = 0;
    for shrink in (0..SHRINKS).step_by(STRIDE as usize) {
        if try_range(&mut best, shrink) {
            found = shrink;
        }
    }
    for shrink in found.saturating_sub(STRIDE - 1)..SHRINKS.min(found + STRIDE) {
        if shrink != found {
            try_range(&mut best, shrink);
        }
    }
    for _ in 0..REFITS {
        if !best.take(fitted(lattice, values, best.grid, (None, false)), squares) {
            break;
        }
    }
    best.grid
}

/// Sums over a group, of which least squares are made.
#[derive(Clone, Copy, Debug)]
struct Sums {
    /// Of codes, counted from the zero point, and of their squares.
    codes: f64,
    squares: f64,
    /// Of the values that are wanted, and of their products with codes.
    wanted: f64,
    products: f64,
}

/// Returns the sums of a group on a grid. What is wanted are the values; what `shrinkage` leaves of errors is taken off.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn sums<L: Lattice>(lattice: L, values: &[f32], grid: Grid, shrinkage: Option<Shrinkage>) -> Sums {
    let (mut codes, mut wanted) = ([0f32; PIECE], [0f32; PIECE]);
    let mut lanes = [[0f64; LANES]; 4];
    for piece in values.chunks(PIECE) {
        let (codes, wanted) = (&mut codes[..piece.len()], &mut wanted[..piece.len()]);
        for (code, &value) in codes.iter_mut().zip(piece) {
            *code = lattice.code(value, grid) - grid.zero;
        }
        wanted.copy_from_slice(piece);
        if let Some(shrinkage) = shrinkage {
            shrinkage.take_off(wanted, codes, grid.scale);
        }
        let ((codes, rest), (wanted, wanted_rest)) = (codes.as_chunks(), wanted.as_chunks());
        for (codes, wanted) in codes.iter().zip(wanted) {
            add(&mut lanes, codes, wanted);
        }
        // Zeros add nothing.
        let (mut last, mut last_wanted) = ([0f32; LANES], [0f32; LANES]);
        last[..rest.len()].copy_from_slice(rest);
        last_wanted[..rest.len()].copy_from_slice(wanted_rest);
        add(&mut lanes, &last, &last_wanted);
    }
    let [codes, squares, wanted, products] = lanes.map(|lanes| lanes.iter().sum());
    Sums { codes, squares, wanted, products }
}

/// Adds codes, their squares, what is wanted and its products with codes to the sums of each lane.
#[inline]
fn add(
    [sums, squares, wanted_sums, products]: &mut [[f64; LANES]; 4],
    codes: &[f32; LANES],
    wanted: &[f32; LANES],
) {
    let (codes, wanted) = (codes.map(f64::from), wanted.map(f64::from));
    for lane in 0..LANES {
        sums[lane] += codes[lane];
        squares[lane] += codes[lane] * codes[lane];
    }
    for lane in 0..LANES {
        wanted_sums[lane] += wanted[lane];
        products[lane] += wanted[lane] * codes[lane];
    }
}

/// Returns the scale, and the zero point if it is `free`, with which the codes of a grid come nearest to what is wanted,
/// by least squares.
fn fitted<L: Lattice>(
    lattice: L,
    values: &[f32],
    grid: Grid,
    (shrinkage, is_free): (Option<Shrinkage>, bool),
) -> Grid {
    let Sums { codes, squares, wanted, products } = sums(lattice, values, grid, shrinkage);
    let count = values.len() as f64;
    // The slope is that of wanted values over codes, times the spread of the codes.
    let (spread, slope) = (count * squares - codes * codes, count * products - codes * wanted);
    if is_free && spread > 0.0 && slope > 0.0 {
        let zero = (codes - wanted * spread / slope) / count + f64::from(grid.zero);
        let zero = (zero as f32).clamp(lattice.least_zero(), lattice.top()).round_ties_even();
        // The scale that is best with the whole zero point.
        let shift = f64::from(grid.zero - zero);
        let scale = (products + shift * wanted) / (squares + 2.0 * shift * codes + count * shift * shift);
        return Grid { scale: lattice.store(scale as f32), zero };
    }
    Grid { scale: lattice.store((products / squares) as f32), zero: grid.zero }
}

#[cfg(test)]
mod tests;
