//! Tests of `change`.

use super::*;
use crate::quant::decode::codes::Codes;
use crate::quant::decode::formula::Formula;
use crate::quant::decode::scaled::{Blocks, Scaled};
use crate::quant::dense;
use crate::tensor::Dtype;

/// A matrix whose value at row r is r everywhere (plus the column as a fraction).
fn matrix(rows: u64, columns: u64) -> (Vec<f32>, Vec<u8>) {
    let values: Vec<f32> =
        (0..rows * columns).map(|at| (at / columns) as f32 + (at % columns) as f32 / 64.0).collect();
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (values, bytes)
}

/// `w.reshape(heads, half, 2, columns).swapaxes(1, 2)`, index by index.
fn naive(values: &[f32], heads: usize, half: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for head in 0..heads {
        for second in 0..2 {
            for first in 0..half {
                let row = (head * half + first) * 2 + second;
                out.extend_from_slice(&values[row * columns..(row + 1) * columns]);
            }
        }
    }
    out
}

fn read(decoding: &Decoding, bytes: &[u8], block: u64) -> Vec<f32> {
    let mut out = Vec::new();
    let mut start = 0;
    while start < decoding.row_count() {
        let rows = start..decoding.row_count().min(start + block);
        let range = decoding.rows.codes(rows.clone());
        let at = out.len();
        out.resize(at + ((rows.end - rows.start) * decoding.row_len()) as usize, f32::NAN);
        decoding.rows.decode(rows.clone(), &bytes[range.start as usize..range.end as usize], &mut out[at..]);
        start = rows.end;
    }
    out
}

#[test]
fn rows_come_as_from_a_naive_reshape() {
    for (heads, half, columns) in [(1, 1, 1), (1, 4, 3), (2, 3, 5), (4, 32, 2), (3, 8, 1)] {
        let (values, bytes) = matrix(heads * half * 2, columns);
        let want = naive(&values, heads as usize, half as usize, columns as usize);
        let shape = [heads * half * 2, columns];
        for block in [1, 2, 3, 7, u64::MAX / 2] {
            let plain = dense::plain(0, Dtype::F32, &shape, bytes.len() as u64).unwrap();
            let changed = Change::RopeRows { heads }.over(plain).unwrap();
            assert_eq!(read(&changed, &bytes, block), want, "{heads} heads of {half}, {block} rows");
        }
    }
}

#[test]
fn a_bias_is_changed_within_its_one_row() {
    let (values, bytes) = matrix(24, 1);
    let plain = dense::plain(0, Dtype::F32, &[24], 96).unwrap();
    let changed = Change::RopeRows { heads: 3 }.over(plain).unwrap();
    assert_eq!(read(&changed, &bytes, 1), naive(&values, 3, 4, 1));
}

#[test]
fn one_less_is_of_f32() {
    let bytes: Vec<u8> = [1.0f32, 1.0 + f32::EPSILON, -3.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let plain = dense::plain(0, Dtype::F32, &[3], 12).unwrap();
    let changed = Change::MinusOne.over(plain).unwrap();
    assert_eq!(read(&changed, &bytes, 1), [0.0, f32::EPSILON, -4.5]);
}

#[test]
fn a_matrix_is_turned_whatever_rows_are_asked_for() {
    for (rows, columns) in [(1, 1), (1, 5), (5, 1), (6, 4), (3, 7)] {
        let (values, bytes) = matrix(rows, columns);
        let want: Vec<f32> = (0..columns)
            .flat_map(|column| (0..rows).map(move |row| (row * columns + column) as usize))
            .map(|at| values[at])
            .collect();
        for block in [1, 2, 3, u64::MAX / 2] {
            let plain = dense::plain(0, Dtype::F32, &[rows, columns], bytes.len() as u64).unwrap();
            let changed = Change::Turned.over(plain).unwrap();
            assert_eq!(changed.shape, [columns, rows]);
            assert_eq!(read(&changed, &bytes, block), want, "{rows} × {columns}, {block} rows");
        }
    }
    assert!(!Change::Turned.fits(&[4]) && !Change::Turned.fits(&[2, 2, 2]));
}

#[test]
fn heads_that_are_not_whole_are_refused() {
    for (heads, shape) in
        [(0, &[8, 2][..]), (3, &[8, 2]), (8, &[8, 2]), (1, &[]), (1, &[0, 2]), (1, &[2, 2, 2])]
    {
        assert!(!Change::RopeRows { heads }.fits(shape), "{heads} {shape:?}");
    }
    assert!(Change::RopeRows { heads: 4 }.fits(&[8, 2]));
}

#[test]
fn codes_come_in_the_order_of_the_values_unless_values_change() {
    let shape = [12, 5];
    let bytes: Vec<u8> = (0..60).map(|at| (at * 37 + 11) as u8).collect();
    let layer = |change: Change| {
        let blocks = Blocks::new(&shape, [1, 5], vec![1.0; 12], vec![]).unwrap();
        let codes = Codes::of(Dtype::U8).unwrap();
        let rows = Scaled::new(&shape, 60, codes, blocks, Formula::PRODUCT).unwrap();
        let mut plain = dense::plain(0, Dtype::F32, &shape, 240).unwrap();
        plain.rows = Box::new(rows);
        change.over(plain).unwrap()
    };
    for change in [Change::None, Change::RopeRows { heads: 3 }, Change::Turned] {
        let changed = layer(change);
        assert_eq!(
            (changed.rows.code_bits(), changed.rows.beside(Beside::Scales)),
            (Some(8), Some(vec![1.0; 12]))
        );
        let values = read(&changed, &bytes, 60);
        for some in [0..1, 2..5, 0..changed.row_count()] {
            let range = changed.rows.codes(some.clone());
            let row_len = changed.row_len() as usize;
            let mut codes = vec![u16::MAX; (some.end - some.start) as usize * row_len];
            let stored = &bytes[range.start as usize..range.end as usize];
            changed.rows.stored_codes(some.clone(), stored, &mut codes);
            let want =
                values[some.start as usize * row_len..][..codes.len()].iter().map(|&value| value as u16);
            assert!(codes.into_iter().eq(want), "{change:?} {some:?}");
        }
    }
    let less = layer(Change::MinusOne);
    assert_eq!((less.rows.code_bits(), less.rows.beside(Beside::Scales)), (None, None));
}
