//! Tests: bins, quantiles and ends against counting one by one.

use super::*;
use crate::stats::counts::Keys;
use crate::tensor::Dtype;

/// Counts values of 16 bits.
fn counted(values: &[f32]) -> Distribution {
    let mut bytes = vec![0; values.len() * 2];
    assert!(crate::tensor::values::from_f32(Dtype::F16, values, &mut bytes));
    let mut counts = Counts::new(Keys::of(Dtype::F16));
    counts.add_patterns(&bytes);
    Distribution::of(&counts)
}

#[test]
fn bins_of_any_range_are_those_of_counting_one_by_one() {
    let values: Vec<f32> = (0..2000).map(|at| ((at * 7919 % 2003) as f32 - 1000.0) / 512.0).collect();
    let of = counted(&values);
    assert_eq!((of.total(), of.is_exact()), (2000, true));
    for (low, high, bins) in [(-3.0, 3.0, 7), (-0.25, 1.0, 55), (0.0, 0.125, 1), (5.0, 6.0, 4)] {
        let histogram = of.bins(low, high, bins);
        for (bin, count) in histogram.counts.iter().enumerate() {
            let (from, to) = (histogram.edges[bin], histogram.edges[bin + 1]);
            let is_last = bin + 1 == bins;
            let inside = values.iter().map(|value| f64::from(*value));
            let inside = inside.filter(|v| *v >= from && (*v < to || is_last && *v == to));
            assert_eq!(*count, inside.count() as u64, "{low} to {high}, bin {bin}");
        }
        let below = values.iter().filter(|value| f64::from(**value) < low).count() as u64;
        assert_eq!(
            (of.below(low), of.total() - of.at_most(high)),
            (below, { values.iter().filter(|value| f64::from(**value) > high).count() as u64 })
        );
    }
}

#[test]
fn a_quantile_is_the_value_of_its_rank() {
    let of = counted(&[3.0, 1.0, 2.0, 2.0, 5.0]);
    let at = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| of.quantile(share));
    assert_eq!(at, [Some(1.0), Some(2.0), Some(2.0), Some(3.0), Some(5.0)]);
    assert_eq!(of.single(4).map(<[_]>::len), Some(4));
    assert!(of.single(3).is_none());
}

#[test]
fn nothing_has_no_quantile_and_empty_bins() {
    let of = counted(&[]);
    assert_eq!((of.quantile(0.5), of.below(1.0), of.at_most(1.0)), (None, 0, 0));
    assert_eq!(of.bins(-1.0, 1.0, 3).counts, [0, 0, 0]);
}

#[test]
fn wider_values_lie_evenly_in_their_buckets() {
    let mut counts = Counts::new(Keys::F32);
    // All of 1.0 to 1.0078125, whose upper 16 bits are alike.
    counts.add_upper(&[0x3f80u16; 1000], |upper| *upper);
    let of = Distribution::of(&counts);
    assert_eq!((of.below(1.0), of.below(1.003_906_25), of.below(1.01)), (0, 500, 1000));
    assert!(!of.is_exact() && of.single(4).is_none());
    let all_one = of.within(1.0, 1.0);
    assert_eq!((all_one.below(1.0), all_one.at_most(1.0)), (0, 1000));
    assert_eq!(all_one.single(1).map(|single| single[0].count), Some(1000));
}
