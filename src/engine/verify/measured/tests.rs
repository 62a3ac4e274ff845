//! Sums against those of one value after the other.

use super::{LANES, Sums};

/// Many lanes.
const PIECE: usize = 64 * LANES;

fn wave(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * step).sin() * 3.0 + (at % 7) as f32 * 0.01).collect()
}

#[test]
fn sums_are_those_of_each_value_whatever_the_count() {
    for count in [0, 1, LANES - 1, LANES, LANES + 3, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + LANES + 5] {
        let (meant, is, before) = (wave(count, 0.37), wave(count, 0.371), wave(count, 0.11));
        let sums = Sums::of(&meant, &is, Some(&before));
        let mut slow = Sums::default();
        for ((&meant, &is), &before) in meant.iter().zip(&is).zip(&before) {
            let (meant, is, before) = (f64::from(meant), f64::from(is), f64::from(before));
            slow.lost += (is - meant).powi(2);
            slow.all += meant.powi(2);
            slow.kept += (meant - before) * (is - before);
            slow.change += (meant - before).powi(2);
        }
        let pairs = [
            (sums.lost, slow.lost),
            (sums.all, slow.all),
            (sums.kept, slow.kept),
            (sums.change, slow.change),
        ];
        for (quick, slow) in pairs {
            assert!((quick - slow).abs() <= 1e-12 * slow.abs(), "{count} values: {quick}, not {slow}");
        }
        assert_eq!(Sums::of(&meant, &is, None), Sums { kept: 0.0, change: 0.0, ..sums });
    }
}

#[test]
fn a_value_that_is_not_finite_shows_wherever_it_stands() {
    for at in [0, LANES, PIECE - 1, PIECE, PIECE + 2] {
        let meant = wave(PIECE + 3, 0.37);
        let mut is = meant.clone();
        is[at] = f32::INFINITY;
        assert!(Sums::of(&meant, &is, None).relative_error().is_infinite(), "at {at}");
        is[at] = f32::NAN;
        assert!(Sums::of(&meant, &is, None).relative_error().is_nan(), "at {at}");
    }
}
