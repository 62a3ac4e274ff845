//! Tests of `shared`.

use super::*;

fn store(wanted: &[u32]) -> Shared {
    let wanted = wanted.iter().map(|&tensor| At { input: 1, tensor }).collect();
    Shared { wanted, held: Mutex::default() }
}

#[test]
fn what_is_shared_is_read_once_and_what_is_not_each_time() {
    let shared = store(&[1]);
    let mut reads = 0;
    for tensor in [1, 1, 2, 2] {
        let values = shared.get(At { input: 1, tensor }, || -> Result<Values, ()> {
            reads += 1;
            Ok((vec![tensor as f32], vec![1]))
        });
        assert_eq!(values.unwrap().0, [tensor as f32]);
    }
    assert_eq!(reads, 3);
    // What could not be read is asked for again.
    assert_eq!(store(&[1]).get(At { input: 1, tensor: 1 }, || Err("no")).unwrap_err(), "no");
}

#[test]
fn what_was_used_longest_ago_goes_when_too_much_is_held() {
    let shared = store(&[1, 2, 3]);
    let half = (HELD_BYTES / 8) as usize;
    let mut reads = Vec::new();
    for tensor in [1, 2, 1, 3, 1, 2] {
        let read = || -> Result<Values, ()> {
            reads.push(tensor);
            Ok((vec![0.0; half], vec![half as u64]))
        };
        shared.get(At { input: 1, tensor }, read).unwrap();
        let held = shared.held.lock().unwrap();
        assert!(held.iter().map(|(_, values)| bytes(values)).sum::<u64>() <= HELD_BYTES);
    }
    assert_eq!(reads, [1, 2, 3, 2]);
}
