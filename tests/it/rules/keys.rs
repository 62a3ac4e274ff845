//! Cases of the rules in `diagnose/keys`.

use super::Case;

pub(super) const CASES: &[Case] = &[];
