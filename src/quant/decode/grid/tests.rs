//! Tests of `grid`.

use super::*;

/// `quotient` of kernels/rows.cuh.
fn quotient(value: u32, divisor: u64) -> u32 {
    let high = ((u64::from(divisor as u32) * u64::from(value)) >> 32) as u32;
    (high + value) >> (divisor >> 32)
}

/// What is divided at most.
const VALUE_MAX: u32 = DIVISOR_MAX - 1;

#[test]
fn quotients_are_those_of_a_division() {
    let edges =
        [1, 2, 3, 5, 7, 16, 24, 127, 128, 4096, 5760, 65_535, 65_537, (1 << 31) - 2, (1 << 31) - 1, 1 << 31];
    for by in edges.into_iter().chain(1..300) {
        let packed = divisor(by).unwrap();
        let near = (0..5).flat_map(|n| [by.saturating_mul(n), by.saturating_mul(n).saturating_sub(1)]);
        let last = VALUE_MAX / by * by;
        let others = [0, last, last.saturating_sub(1), 123_456_789];
        for value in near.chain(edges).chain(others).filter(|&value| value <= VALUE_MAX) {
            assert_eq!(quotient(value, packed), value / by, "{value} / {by}");
        }
    }
    assert_eq!([0, DIVISOR_MAX + 1, u32::MAX].map(divisor), [None; 3]);
}
