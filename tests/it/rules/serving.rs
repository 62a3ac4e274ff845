//! Cases of the rules in `diagnose/serving`.

use super::Case;

pub(super) const CASES: &[Case] = &[];
