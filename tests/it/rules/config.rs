//! Cases of the rules in `diagnose/config`.

use super::Case;

pub(super) const CASES: &[Case] = &[];
