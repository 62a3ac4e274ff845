//! RULES: every rule, one row each. Causes stand before consequences: findings of one severity come in this order.

use super::rule::Rule;
use super::{container, quant};

/// Every rule.
pub static RULES: &[&Rule] = &[
    // Files that are not what they should be.
    &container::lfs_pointer::RULE,
    // Quantized bases.
    &quant::already_quantized::RULE,
];
