//! Cases of the rules in `diagnose/values`.

use super::Case;

pub(super) const CASES: &[Case] = &[];
