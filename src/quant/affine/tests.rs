//! Tests of `affine`.

use super::*;

#[test]
fn groups_are_runs_or_strewn() {
    let new = |groups| {
        Affine::new(vec![1.0, 2.0, 10.0, 20.0], Zeros::Each(vec![0.0, 1.0, 2.0, 3.0]), 2, groups, [2, 5])
    };
    let decoded = |affine: &Affine, first, count| {
        let mut values = vec![3.0; count];
        affine.apply(1, first, &mut values);
        values
    };
    let runs = new(in_order(vec![0, 0, 0, 1, 1], 3)).unwrap();
    assert!(matches!(runs.groups, Groups::Runs(3)));
    assert_eq!(decoded(&runs, 0, 5), [10.0, 10.0, 10.0, 0.0, 0.0]);
    assert_eq!(decoded(&runs, 2, 2), [10.0, 0.0]);
    let strewn = new(in_order(vec![1, 0, 1, 0, 0], 3)).unwrap();
    assert_eq!(decoded(&strewn, 1, 3), [10.0, 0.0, 10.0]);
    for bad in [Groups::Runs(0), Groups::Runs(2), Groups::Strewn(vec![0]), Groups::Strewn(vec![2; 5])] {
        assert!(new(bad).is_err());
    }
}

#[test]
fn outputs_share_scales_within_their_matrix() {
    // Two matrices of 3 outputs, blocks of 2 outputs: rows of scales 0 0 1, 2 2 3.
    let sharing = Sharing { outputs: 3, high: 2 };
    let scales = vec![0.0, 1.0, 2.0, 3.0];
    let new =
        |scales, outputs| Affine::shared(scales, Zeros::One(0.0), 1, Groups::Runs(1), sharing, [outputs, 1]);
    let affine = new(scales.clone(), 6).unwrap();
    let rows = (0..6).map(|output| {
        let mut value = [1.0];
        affine.apply(output, 0, &mut value);
        value[0]
    });
    assert!(rows.eq([0.0, 0.0, 1.0, 2.0, 2.0, 3.0]));
    assert!(new(scales, 9).is_err());
}

#[test]
fn kernels_divide_by_a_product() {
    const END: u64 = 1 << 31;
    for by in [1, 2, 3, 5, 7, 24, 127, 128, 129, 65_537, (1 << 20) + 1, END / 3, END - 1, END] {
        let [size, shift, factor] = division(by);
        assert!(size == by && u32::try_from(factor).is_ok(), "{by}");
        let quotients = [1, 2, 3, 1000, (END - 1) / by, (END - 1) / by / 2].map(|quotient| quotient * by);
        let edges = quotients.into_iter().flat_map(|n| [n.saturating_sub(1), n, n + 1]);
        for n in edges.chain([0, END - 2, END - 1]).filter(|&n| n < END) {
            assert_eq!((n * factor) >> shift, n / by, "{n} / {by}");
        }
    }
}

#[test]
fn kernels_are_told_shared_rows_and_are_not_made_of_what_they_cannot_count() {
    let numbers = |high: usize, outputs: usize, scales: usize| {
        let sharing = Sharing { outputs: 4, high };
        let shape = [outputs as u64, 6];
        let made =
            Affine::shared(vec![1.0; scales], Zeros::One(8.0), 2, Groups::Runs(4), sharing, shape).unwrap();
        made.kernel("any", [outputs, 6], [9]).unwrap().numbers
    };
    // Inputs, scales of a row, inputs of a group, the kind of zero points; outputs of a matrix, and how many share.
    let fixed = |numbers: &[u64]| numbers[..4].iter().map(|n| n & 0xffff_ffff).collect::<Vec<_>>();
    let own = numbers(1, 4, 8);
    assert_eq!((fixed(&own), own[4], own[5]), (vec![6, 2, 4, 0], 4 | 1 << 32, 9));
    assert_eq!(numbers(3, 8, 8)[4], 4 | 3 << 32);
    assert_eq!(numbers(4, 4, 2)[4], 4);
    assert_eq!(numbers(9, 8, 4)[4], 4 | 4 << 32);
    let one = Affine::new(vec![1.0], Zeros::One(0.0), 1, Groups::Runs(usize::MAX), [1, 6]).unwrap();
    assert!(one.kernel("any", [1, 6], []).is_some() && one.kernel("any", [1, 1 << 31], []).is_none());
}
