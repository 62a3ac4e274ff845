//! Tests of `scale_values`.

use super::*;

#[test]
fn what_is_not_finite_is_counted() {
    let seen = Seen { looked: 8, total: 8, nan: 3, infinite: 1, zeros: 0, min: 0.5, max: 2.0 };
    assert_eq!(seen.not_finite().unwrap(), "3 of 8 are NaN, 1 infinite");
    assert_eq!(seen.describe(), "8 values, 0.5 … 2, 3 of 8 are NaN, 1 infinite");
}
