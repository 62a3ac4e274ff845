//! Cases of the rules in `diagnose/adapter`.

use super::Case;

pub(super) const CASES: &[Case] = &[];
