//! What counts as a difference; what kernels make is tested with them.

use super::*;

#[test]
fn every_byte_counts_and_so_do_those_that_are_missing() {
    let should = [vec![1, 2, 3, 4], vec![5, 6]];
    let differing = |is: &[Vec<u8>]| check("to it".into(), 8, is, &should).differing;
    assert_eq!(differing(&should), 0);
    assert_eq!(differing(&[vec![1, 2, 0, 4], vec![5, 6]]), 1);
    assert_eq!(differing(&[vec![1, 2, 3, 4], vec![6, 5]]), 2);
    assert_eq!(differing(&[vec![1, 2, 3], vec![5, 6]]), 1);
    assert_eq!(differing(&[vec![1, 2, 3, 4]]), 2);
    assert_eq!(differing(&[vec![1, 2, 3, 4], vec![5, 6, 7], vec![8]]), 2);
    assert_eq!(differing(&[]), 6);
}
