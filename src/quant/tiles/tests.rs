//! Tiles of matrices and stacks, and codes at the edges of what they can hold.

use super::*;

#[test]
fn rows_are_cut_where_tiles_and_matrices_end() {
    let bands = |shape: &[u64], block: [u64; 2], first: u64, rows: usize| {
        let tiling = Tiling::new(shape, block).unwrap();
        let values = vec![0.0; rows * tiling.inputs];
        let sizes = tiling.bands(&values, first).map(|(band, values)| (band, values.len() / tiling.inputs));
        (tiling.rows_apart(), sizes.collect::<Vec<_>>())
    };
    assert_eq!(bands(&[5, 7], [1, 7], 1, 3), (1, vec![(1, 1), (2, 1), (3, 1)]));
    assert_eq!(bands(&[300, 3], [128, 2], 0, 300), (300, vec![(0, 128), (1, 128), (2, 44)]));
    assert_eq!(bands(&[256, 3], [128, 2], 128, 128), (128, vec![(1, 128)]));
    // Two matrices of three rows in tiles of two.
    assert_eq!(bands(&[2, 3, 4], [2, 4], 0, 6), (3, vec![(0, 2), (1, 1), (2, 2), (3, 1)]));
    assert_eq!(bands(&[2, 3, 4], [2, 4], 3, 3), (3, vec![(2, 2), (3, 1)]));
    // Tiles are never larger than a matrix.
    assert_eq!(bands(&[5, 3], [128, 128], 0, 5), (5, vec![(0, 5)]));
    for (shape, block) in [(&[0, 4][..], [1, 1]), (&[4, 0], [1, 1]), (&[4], [1, 1]), (&[4, 4], [0, 1])] {
        assert!(Tiling::new(shape, block).is_err(), "{shape:?} {block:?}");
    }
}

#[test]
fn codes_stay_in_their_range() {
    let values = [-1e30, -8.6, -8.5, -0.5, -0.0, 0.5, 1.5, 6.5, 7.5, 1e30, f32::INFINITY];
    let codes = |code: Code, step: Step| {
        let (mut scratch, mut out) = (Vec::new(), [0; 11]);
        Coder::nearest(code).row(&values, 11, &[step], &mut scratch, &mut out);
        out
    };
    let ints = codes(Code::Int(4), Step::of(1.0, 0.0)).map(|byte| byte as i8);
    assert_eq!(ints, [-8, -8, -8, 0, 0, 0, 2, 6, 7, 7, 7]);
    let shifted = codes(Code::Int(4), Step::of(1.0, -3.0)).map(|byte| byte as i8);
    assert_eq!(shifted, [-8, -8, -8, -4, -3, -2, -2, 4, 4, 7, 7]);
    assert_eq!(codes(Code::E2M1, Step::of(1.0, 0.0)), [15, 15, 15, 9, 8, 1, 3, 7, 7, 7, 7]);
    // A scale of 0 makes everything 0.
    assert_eq!(codes(Code::E2M1, Step::held(0.0, 0.0))[..10], [8, 8, 8, 8, 8, 0, 0, 0, 0, 0]);
}

#[test]
fn powers_of_two_are_stored_as_their_exponent() {
    for byte in 0..=254 {
        let mut out = Vec::new();
        store(Dtype::U8, power_of_two(byte), &mut out);
        assert_eq!(out, [byte as u8]);
    }
    assert_eq!((power_of_two(-3), power_of_two(300)), (2f32.powi(-127), 2f32.powi(127)));
}

#[test]
fn ranges_are_widened_by_every_value_whatever_the_width() {
    let row: Vec<f32> = (0..200).map(|at| ((at * 37 % 101) as f32 - 50.0) / 8.0).collect();
    for wide in [1, 3, 8, 15, 16, 17, 31, 32, 48, 100, 200, 1000] {
        let mut ranges = vec![[0f32, 0.5]; row.len().div_ceil(wide)];
        super::widen(&mut ranges, &row, wide);
        for (range, values) in ranges.iter().zip(row.chunks(wide)) {
            let least = values.iter().fold(0f32, |a, &b| a.min(b));
            let largest = values.iter().fold(0.5f32, |a, &b| a.max(b));
            assert_eq!(*range, [least, largest], "tiles of {wide}");
        }
    }
}
