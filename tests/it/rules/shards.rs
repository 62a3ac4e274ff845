//! Cases of the rules in `diagnose/shards`.

use super::Case;

pub(super) const CASES: &[Case] = &[];
