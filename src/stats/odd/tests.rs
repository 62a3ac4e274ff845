//! What looks odd, and what does not.

use super::super::counts::{Counts, Keys};
use super::super::summary::{Extreme, Summary};
use super::{LOOKS, odd, role};
use crate::tensor::Dtype;

/// The figures of a thousand rows of a thousand values, about normal.
fn fine(std: f64) -> Summary {
    let extreme = |value| Some(Extreme { value, at: 2_003 });
    Summary {
        shape: vec![1000, 1000],
        dtype: Dtype::BF16,
        count: 1_000_000,
        nan: 0,
        infinite: 0,
        zeros: 12,
        min: extreme(-5.0 * std),
        max: extreme(5.0 * std),
        mean: Some(0.0),
        std: Some(std),
        quantiles: Vec::new(),
        is_exact: true,
        outliers: Vec::new(),
        rows_zero: Some(0),
        rows: 1000,
        counts: Counts::new(Keys::F32),
        histogram: None,
        sides: None,
    }
}

/// Returns the names of the tests that find the change of one layer odd, among three that are fine, and what they say.
fn found(change: impl Fn(&mut Summary)) -> Vec<(&'static str, String)> {
    let mut layers: Vec<Summary> = [0.02, 0.03, 0.04].map(fine).into();
    layers.push(fine(0.03));
    change(&mut layers[3]);
    let names: Vec<String> = (0..4).map(|at| format!("model.layers.{at}.mlp.up_proj")).collect();
    let given: Vec<(&str, &Summary)> = names.iter().map(String::as_str).zip(&layers).collect();
    let mut odd = odd(&given);
    let last = odd.pop().expect("four layers");
    assert_eq!(odd, vec![Vec::new(); 3], "the others are fine");
    last.into_iter().map(|odd| (LOOKS[odd.look].name, odd.says)).collect()
}

#[test]
fn each_test_sees_its_fault_at_its_threshold_and_not_below() {
    assert_eq!(found(|_| ()), []);
    let is = |name, says: &str| vec![(name, says.to_owned())];
    assert_eq!(found(|of| of.nan = 1), is("nan", "1 NaN"));
    assert_eq!(found(|of| of.infinite = 1234), is("inf", "1,234 infinite"));
    assert_eq!(found(|of| of.zeros = 999_999), []);
    let all_zero = |of: &mut Summary| {
        (of.zeros, of.rows_zero, of.std) = (1_000_000, Some(1000), Some(0.0));
        (of.min, of.max) = (of.min.map(|min| super::super::Extreme { value: 0.0, ..min }), None);
    };
    assert_eq!(found(all_zero), is("all-zero", "all 1,000,000 values are zero"));
    assert_eq!(found(|of| of.rows_zero = Some(3)), is("zero-rows", "3 of 1,000 rows all zero"));
    // The median of 0.02, 0.03, 0.04 and itself.
    assert_eq!(found(|of| *of = fine(3.9)), []);
    let above = is("wild-scale", "std 102.5 of the median of 4 layers like it");
    assert_eq!(found(|of| *of = fine(4.1)), above);
    let below = is("wild-scale", "std 1/150 of the median of 4 layers like it");
    assert_eq!(found(|of| *of = fine(0.0002)), below);
    // sqrt(2 ln 1e6) = 5.257 and 30.
    let reach = |times: f64| {
        found(move |of| {
            of.max = of.max.map(|max| super::super::Extreme { value: 0.03 * times, ..max });
        })
    };
    assert_eq!(reach(35.2), []);
    assert_eq!(reach(35.3), is("outlier", "1.059 at [2, 3] lies 35.3 std from the mean"));
}

#[test]
fn two_layers_have_no_median_and_other_shapes_are_not_alike() {
    let (a, mut b) = (fine(0.02), fine(9.0));
    assert_eq!(odd(&[("l.0.x", &a), ("l.1.x", &b)]), vec![Vec::new(); 2]);
    b.shape = vec![10, 100_000];
    let four = [("l.0.x", &a), ("l.1.x", &a), ("l.2.x", &a), ("l.3.x", &b)];
    assert_eq!(odd(&four), vec![Vec::new(); 4]);
    assert_eq!(role("model.layers.11.experts.3.up2"), "model.layers.#.experts.#.up2");
}
