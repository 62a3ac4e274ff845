//! Regroup: whether a layer that is encoded again keeps its stored scales.
//!
//! An encoder on a layer's own grid makes codes both on the stored scales and on new ones of the same groups. The
//! stored scales stay unless the new ones lose clearly less: then only codes that have to change do, and what was
//! searched for or calibrated is not thrown away.

/// The share of the stored scales' squared errors below which a layer is regrouped. Rounding to a step `s` loses
/// `s² / 12` a value: so ranges that differ by 12 % differ by 25 % in what they lose, and that much lies between any two
/// ways to choose a range. Less than four fifths means that the stored ranges do not fit: values are clipped, or
/// groups have shrunken.
const FITS: f64 = 0.8;

/// Returns true if a layer gets new scales: given the sums of squared errors on the stored ones and on new ones.
#[must_use]
pub(super) fn is_regrouped(stored: f64, new: f64) -> bool {
    new < stored * FITS
}

#[cfg(test)]
mod tests {
    use super::is_regrouped;

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
            assert_eq!(is_regrouped(stored, new), is_new, "{stored} {new}");
        }
    }
}
