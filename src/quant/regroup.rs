//! Regroup: whether a layer that is encoded again keeps its stored scales.
//!
//! An encoder on a layer's own grid makes codes both on the stored scales and on new ones of the same groups. The
//! stored scales stay unless they lose clearly more: then only codes that have to change do, and what was searched for
//! or calibrated is not thrown away.

/// How much larger the sum of squared errors on the stored scales may be. Two scales of about the same size differ by
/// so much from one set of weights to another, without either being better.
const ABOUT_EQUAL: f64 = 1.05;

/// Returns true if a layer stays on its stored scales: given the sums of squared errors on them and on new ones.
#[must_use]
pub(super) fn stays(stored: f64, new: f64) -> bool {
    // What is not a number is no better.
    !(stored > ABOUT_EQUAL * new)
}

#[cfg(test)]
mod tests {
    use super::stays;

    #[test]
    fn stored_scales_stay_unless_they_are_clearly_worse() {
        for (stored, new, stay) in [
            (0.0, 0.0, true),
            (1.0, 1.0, true),
            (1.04, 1.0, true),
            (1.06, 1.0, false),
            (1e-9, 0.0, false),
            (3.0, f64::INFINITY, true),
            (f64::INFINITY, 3.0, false),
        ] {
            assert_eq!(stays(stored, new), stay, "{stored} {new}");
        }
    }
}
