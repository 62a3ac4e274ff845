//! Tests of `grid`.

use super::*;

/// `quotient` of kernels/rows.cuh.
fn quotient(value: u32, divisor: u64) -> u32 {
    let bits = (divisor >> 32) as u32;
    let high = ((u64::from(divisor as u32) * u64::from(value)) >> 32) as u32;
    if bits == 0 { value } else { (high + ((value - high) >> 1)) >> (bits - 1) }
}

#[test]
fn quotients_are_those_of_a_division() {
    let edges =
        [1, 2, 3, 5, 7, 16, 24, 127, 128, 4096, 5760, 65_535, 65_537, 1 << 31, u32::MAX - 1, u32::MAX];
    for by in edges.into_iter().chain(1..300) {
        let packed = divisor(by).unwrap();
        let near = (0..5).flat_map(|n| [by.saturating_mul(n), by.saturating_mul(n).saturating_sub(1)]);
        let last = u32::MAX / by * by;
        for value in near.chain(edges).chain([0, last, last.saturating_sub(1), 123_456_789]) {
            assert_eq!(quotient(value, packed), value / by, "{value} / {by}");
        }
    }
    assert_eq!(divisor(0), None);
}
