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
