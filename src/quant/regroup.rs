//! Regroup: whether a layer that is encoded again keeps its stored scales.
//!
//! An encoder on a layer's own grid makes codes both on the stored scales and on new ones of the same groups. The
//! stored scales stay unless the new ones lose clearly less: then only codes that have to change do, and what was
//! searched for or calibrated is not thrown away.
//!
//! | strand       | holds, of the rows given                                               |
//! |--------------|------------------------------------------------------------------------|
//! | stored codes | on the stored scales                                                   |
//! | stored loss  | the sum of squared errors of each row on these, an f64                 |
//! | codes        | on new scales; these and what follows only where there may be new ones |
//! | scales       | the new ones                                                           |
//! | zeros        | their zero points, one byte each, where there are any                  |
//! | loss         | as above, on new scales; infinite where there are none                 |
//!
//! Sums are those of a group, which are added row by row: they do not hang on how rows were cut.

use multiversion::multiversion;

/// The share of the stored scales' squared errors below which a layer is regrouped. Rounding to a step `s` loses
/// `s² / 12` a value: so ranges that differ by 12 % differ by 25 % in what they lose, and that much lies between any two
/// ways to choose a range. Less than four fifths means that the stored ranges do not fit: values are clipped, or
/// groups have shrunken.
const FITS: f64 = 0.8;

/// Returns true if a layer gets new scales: given what each row loses on the stored ones and on new ones, an f64 each.
#[must_use]
pub(super) fn is_regrouped(stored: &[u8], new: &[u8]) -> bool {
    let sum =
        |lost: &[u8]| lost.as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).sum::<f64>();
    sum(new) < sum(stored) * FITS
}

/// Returns the sum of squared errors of values of a group that are read as others.
pub(super) fn lost(values: &[f32], read: &[f32]) -> f64 {
    /// Of so many errors sums run beside each other, before these are added.
    const PIECE: usize = 256;
    values
        .chunks(PIECE)
        .zip(read.chunks(PIECE))
        .fold(0.0, |lost, (values, read)| lost + squares(values, read))
}

/// Returns the sum of the squares of differences.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn squares(values: &[f32], read: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0f64; LANES];
    let (values, rest) = values.as_chunks::<LANES>();
    let (read, read_rest) = read.as_chunks::<LANES>();
    for (values, read) in values.iter().zip(read) {
        for lane in 0..LANES {
            let error = f64::from(values[lane]) - f64::from(read[lane]);
            sums[lane] += error * error;
        }
    }
    for ((&value, &read), sum) in rest.iter().zip(read_rest).zip(&mut sums) {
        let error = f64::from(value) - f64::from(read);
        *sum += error * error;
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::{is_regrouped, lost};

    #[test]
    fn stored_scales_stay_unless_they_are_clearly_worse() {
        for (stored, new, is_new) in [
            (0.0, 0.0, false),
            (1.0, 1.0, false),
            (1.0, 0.81, false),
            (1.0, 0.79, true),
            (1e-9, 0.0, true),
            (3.0, f64::INFINITY, false),
            (f64::INFINITY, 3.0, true),
            (f64::INFINITY, f64::INFINITY, false),
        ] {
            let rows = |lost: f64| [lost, 0.0].map(f64::to_le_bytes).concat();
            assert_eq!(is_regrouped(&rows(stored), &rows(new)), is_new, "{stored} {new}");
        }
    }

    #[test]
    fn every_error_counts_once() {
        for count in [0, 1, 7, 8, 9, 255, 256, 257, 600] {
            let values: Vec<f32> = (0..count).map(|at| at as f32).collect();
            let should: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
            assert_eq!(lost(&values, &vec![0.0; count]), should, "{count}");
        }
    }
}
