//! Tests of the report; what a card computes is tested with the kernels.

use super::*;
use crate::engine::cuda::probe::tests::card;
use crate::engine::cuda::selftest::{Check, Rate, Unit};

fn two() -> Probed {
    Probed::Ready { driver: 12_080, cards: vec![card(0, None), card(1, Some("GPU older than Volta"))] }
}

fn tested(differing: u64) -> Tested {
    Tested {
        checks: vec![Check {
            name: "bnb-nf4 to bf16".into(),
            values: 4_194_304,
            differing,
            unit: Unit::Values,
        }],
        rates: vec![Rate { name: "host to device".into(), bytes_per_second: 2.0 * (1u64 << 30) as f64 }],
    }
}

fn text(report: &SelfTest) -> String {
    let mut out = Vec::new();
    report.write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn only_usable_cards_are_tested_and_equal_bits_are_ok() {
    let report = SelfTest::of(&two(), |_| Ok(tested(0)));
    assert_eq!((report.ok, report.cards.len(), report.found_a_difference()), (true, 1, false));
    assert!(report.error().is_none());
    insta::assert_snapshot!(text(&report), @r"
    selftest  cuda:0 Fake   kernels and processor agree in every bit
              ✓ bnb-nf4 to bf16                  4,194,304 values, all bits equal
                host to device                   2.00 GiB/s
    ");
}

#[test]
fn one_bit_is_a_difference() {
    let report = SelfTest::of(&two(), |_| Ok(tested(3)));
    assert!(!report.ok && report.found_a_difference() && report.error().is_none());
    insta::assert_snapshot!(text(&report), @r"
    selftest  cuda:0 Fake   kernels and processor do not agree
              ✗ bnb-nf4 to bf16                  4,194,304 values, 3 values differ
                host to device                   2.00 GiB/s
    ");
}

#[test]
fn a_test_that_compares_nothing_is_not_ok() {
    let report = SelfTest::of(&two(), |_| Ok(Tested::default()));
    assert!(!report.ok && report.found_a_difference());
    assert!(text(&report).contains("nothing was compared"));
}

#[test]
fn a_test_that_fails_and_a_machine_without_a_gpu_are_errors() {
    let report = SelfTest::of(&two(), |_| Err(Error::new(ErrorKind::Device, "kernel fault")));
    assert_eq!(report.error().unwrap().message, "self-test of cuda:0: kernel fault");
    assert!(!report.ok && !report.found_a_difference());
    let report = SelfTest::of(&Probed::Absent("no NVIDIA driver found".into()), |_| Ok(tested(0)));
    assert_eq!(report.error().unwrap().message, "no GPU to test: no NVIDIA driver found");
    assert!(!report.ok && report.cards.is_empty());
}
