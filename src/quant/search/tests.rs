//! Searches on groups of many kinds: no sum of squared errors rises, and where a range is poor it falls.

use super::*;
use crate::tensor::{Dtype, values};

/// A lattice of whole codes from 0, as the formats have it.
#[derive(Clone, Copy, Debug)]
struct Plain {
    bits: u32,
    fixed: Option<f32>,
    least: f32,
    dtype: Dtype,
}

impl Lattice for Plain {
    fn top(self) -> f32 {
        ((1u32 << self.bits) - 1) as f32
    }

    fn fixed_zero(self) -> Option<f32> {
        self.fixed
    }

    fn least_zero(self) -> f32 {
        self.least
    }

    fn store(self, scale: f32) -> f32 {
        values::round(self.dtype, scale)
    }

    #[inline]
    fn code(self, value: f32, grid: Grid) -> f32 {
        nearest((value / grid.scale + grid.zero).max(0.0).min(self.top()))
    }
}

impl Plain {
    /// The grid by the range alone.
    fn start(self, values: &[f32]) -> Grid {
        let [least, largest] = range(values);
        if let Some(zero) = self.fixed {
            return Grid { scale: self.store(2.0 * largest.max(-least).max(1e-4) / self.top()), zero };
        }
        let scale = self.store(((largest - least) / self.top()).max(1e-4));
        Grid { scale, zero: (-least / scale).round().clamp(self.least, self.top()) }
    }
}

/// Numbers that repeat from run to run, about normal, with deviation 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        let mut uniform = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 40) as f32 / (1u32 << 24) as f32 - 0.5
        };
        (0..12).map(|_| uniform()).sum()
    }

    fn list(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| values::round(Dtype::F16, self.next() * scale)).collect()
    }
}

/// Groups good and bad, with their names.
fn groups() -> Vec<(&'static str, Vec<f32>)> {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let mut outlier = noise.list(128, 0.02);
    outlier[77] = 3.0;
    let mut two = noise.list(64, 0.02);
    (two[0], two[63]) = (-1.5, 0.7);
    vec![
        ("noise", noise.list(128, 0.02)),
        ("a long row", noise.list(4099, 0.02)),
        ("not whole", noise.list(37, 0.5)),
        ("one", vec![0.375]),
        ("two", vec![-0.25, 1.0]),
        ("zeros", vec![0.0; 32]),
        ("negative zeros", vec![-0.0; 32]),
        ("all alike", vec![-0.125; 64]),
        ("positive", noise.list(128, 0.02).into_iter().map(f32::abs).collect()),
        ("negative", noise.list(128, 0.02).into_iter().map(|value| -value.abs()).collect()),
        ("outlier", outlier),
        ("two outliers", two),
        ("subnormal", (0..32u8).map(|i| f32::from(i) / 16_777_216.0).collect()),
        ("large", noise.list(128, 9000.0)),
        ("whole steps", (0..128u8).map(|i| f32::from(i % 15) * 0.5 - 3.5).collect()),
    ]
}

/// The sum of squared errors, one value after the other in f64.
fn squared(lattice: Plain, values: &[f32], grid: Grid) -> f64 {
    let error = |&value: &f32| {
        let code = (f64::from(value / grid.scale + grid.zero)).round_ties_even();
        let code = code.clamp(0.0, f64::from(lattice.top()));
        f64::from(value) - f64::from(grid.scale) * (code - f64::from(grid.zero))
    };
    values.iter().map(error).map(|error| error * error).sum()
}

fn lattices() -> impl Iterator<Item = Plain> {
    [2, 3, 4, 8].into_iter().flat_map(|bits| {
        [(Some((1u32 << (bits - 1)) as f32), 0.0), (None, 0.0), (None, 1.0)].into_iter().flat_map(
            move |(fixed, least)| [Dtype::F16, Dtype::BF16].map(|dtype| Plain { bits, fixed, least, dtype }),
        )
    })
}

#[test]
fn no_search_raises_the_squared_error_of_a_group() {
    let mut better = [0; 2];
    for (name, values) in groups() {
        for lattice in lattices() {
            let start = lattice.start(&values);
            let nearest = squared(lattice, &values, start);
            for (at, kind) in [Search::Mse, Search::Hqq].into_iter().enumerate() {
                let grid = search(kind, lattice, &values, start);
                let found = squared(lattice, &values, grid);
                assert!(found <= nearest * 1.000_001, "{name} {lattice:?} {kind:?}: {nearest} to {found}");
                assert_eq!(lattice.store(grid.scale), grid.scale, "{name}: a scale that cannot be stored");
                assert_eq!(lattice.fixed_zero().unwrap_or(grid.zero), grid.zero);
                let zeros = lattice.least_zero()..=lattice.top();
                assert!(zeros.contains(&grid.zero) && grid.zero.fract() == 0.0, "{name} {grid:?}");
                better[at] += u32::from(found < nearest * 0.999);
            }
            assert_eq!(search(Search::None, lattice, &values, start), start);
        }
    }
    // Of 15 groups on 24 lattices.
    assert!(better[0] > 200 && better[1] > 120, "{better:?}");
}

#[test]
fn a_clipped_outlier_leaves_steps_for_the_others() {
    let (_, values) = groups().into_iter().find(|(name, _)| *name == "two outliers").unwrap();
    let lattice = Plain { bits: 4, fixed: Some(8.0), least: 0.0, dtype: Dtype::F16 };
    let start = lattice.start(&values);
    let found = search(Search::Mse, lattice, &values, start);
    // All but two values are nearly 0 beside the range: only a range that clips gives them codes.
    assert!(found.scale < start.scale, "{found:?} {start:?}");
    assert!(squared(lattice, &values, found) < 0.7 * squared(lattice, &values, start));
}

#[test]
fn what_lies_on_a_grid_stays_on_it() {
    let (_, values) = groups().into_iter().find(|(name, _)| *name == "whole steps").unwrap();
    let lattice = Plain { bits: 4, fixed: Some(8.0), least: 0.0, dtype: Dtype::F16 };
    let start = Grid { scale: 0.5, zero: 8.0 };
    for kind in [Search::Mse, Search::Hqq] {
        assert_eq!(search(kind, lattice, &values, start), start, "{kind:?}");
    }
}

#[test]
fn hqq_lowers_magnitudes() {
    let lattice = Plain { bits: 3, fixed: None, least: 0.0, dtype: Dtype::F16 };
    let mut better = 0;
    for (name, values) in groups() {
        let start = lattice.start(&values);
        let magnitudes = |grid: Grid| lost(lattice, &values, grid).magnitudes;
        let found = search(Search::Hqq, lattice, &values, start);
        assert!(magnitudes(found) <= magnitudes(start), "{name}");
        better += u32::from(magnitudes(found) < 0.99 * magnitudes(start));
    }
    assert!(better >= 6, "{better} of 15 groups");
}

#[test]
fn rounding_is_to_even() {
    for (value, whole) in [(0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (-0.5, 0.0), (-3.5, -4.0), (254.499, 254.0)] {
        assert_eq!(nearest(value), whole);
    }
}

#[test]
fn codes_are_those_of_each_value() {
    let lattice = Plain { bits: 8, fixed: None, least: 0.0, dtype: Dtype::F16 };
    for (_, values) in groups() {
        let grid = lattice.start(&values);
        let mut out = vec![0; values.len()];
        codes(lattice, &values, grid, &mut out);
        assert!(out.iter().zip(&values).all(|(&code, &value)| f32::from(code) == lattice.code(value, grid)));
    }
    assert_eq!(range(&[1.0, 2.0]), [0.0, 2.0]);
    assert_eq!(range(&[-3.0; 40]), [-3.0, 0.0]);
}
