//! Seeking against looking at each place.

use super::super::tests::{Folder, Quiet};
use super::super::{Of, Part};
use super::*;
use crate::error::ErrorKind;

/// A folder of F32 values that are all zero but for those of the places.
fn folder(name: &str, shape: [u64; 2], places: &[[u64; 2]], value: f32) -> Folder {
    let mut values = vec![0f32; (shape[0] * shape[1]) as usize];
    for [row, column] in places {
        values[(row * shape[1] + column) as usize] = value;
    }
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Folder::with(&format!("seek-{name}"), "F32", &shape, &bytes)
}

/// Walks all that differs, from every kind of place.
fn check(name: &str, shape: [u64; 2], places: &[[u64; 2]]) {
    let folders =
        [folder(&format!("{name}-a"), shape, places, 1.0), folder(&format!("{name}-b"), shape, &[], 0.0)];
    let [a, b] = folders.each_ref().map(Folder::checkpoint);
    let [a, b] = [&a, &b].map(|of| Source::open(of, Of::Tensor(0), Part::Weights).expect("plain values"));
    let last = [shape[0] - 1, shape[1] - 1];
    for from in places.iter().copied().chain([[0, 0], last, [shape[0] / 2, shape[1] / 2]]) {
        let next =
            |forward| next_difference(&a, &b, From { place: from, forward }, &Quiet).expect("nobody cancels");
        let after = places.iter().filter(|place| **place > from).min().or(places.iter().min());
        let before = places.iter().filter(|place| **place < from).max().or(places.iter().max());
        assert_eq!(next(true), after.copied(), "{name} forward from {from:?}");
        assert_eq!(next(false), before.copied(), "{name} back from {from:?}");
    }
}

#[test]
fn places_come_in_order_and_round_the_ends() {
    check("small", [5, 7], &[[0, 3], [2, 0], [2, 6], [4, 6]]);
    check("one", [5, 7], &[[3, 3]]);
    check("none", [5, 7], &[]);
    // Several blocks of rows, and rows of several blocks.
    check("high", [700, 300], &[[0, 0], [217, 299], [218, 0], [699, 299]]);
    check("wide", [3, 70_000], &[[0, 65_535], [0, 65_536], [1, 69_999], [2, 0]]);
}

#[test]
fn two_that_are_no_numbers_do_not_differ() {
    let values = |of: [f32; 4]| -> Vec<u8> { of.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let nan = f32::NAN;
    let a = Folder::with("seek-nan-a", "F32", &[2, 2], &values([nan, -0.0, nan, f32::INFINITY]));
    let b = Folder::with("seek-nan-b", "F32", &[2, 2], &values([nan, 0.0, 1.0, f32::INFINITY]));
    let [a, b] = [&a, &b].map(Folder::checkpoint);
    let [a, b] = [&a, &b].map(|of| Source::open(of, Of::Tensor(0), Part::Weights).expect("plain values"));
    let from = From { place: [0, 0], forward: true };
    assert_eq!(next_difference(&a, &b, from, &Quiet).expect("nobody cancels"), Some([1, 0]));
}

#[test]
fn it_ends_when_nobody_waits() {
    struct Gone;
    impl Watch for Gone {
        fn check(&self) -> Result<()> {
            Err(Error::new(ErrorKind::Cancelled, "gone"))
        }
    }
    let of = folder("gone", [5, 7], &[], 0.0);
    let of = of.checkpoint();
    let a = Source::open(&of, Of::Tensor(0), Part::Weights).expect("plain values");
    let from = From { place: [0, 0], forward: true };
    let error = next_difference(&a, &a, from, &Gone).expect_err("it was cancelled");
    assert_eq!(error.kind, ErrorKind::Cancelled);
}
