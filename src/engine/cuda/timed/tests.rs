//! Tests of `timed`.

use super::*;

fn seconds(worked: [Duration; 3]) -> [f64; 3] {
    worked.map(|time| (time.as_secs_f64() * 1e6).round() / 1e6)
}

#[test]
fn times_that_overlap_count_once() {
    let mut until = [0.0; 3];
    // To 1..2, kernels 2..2.5, back 2.5..4.
    assert_eq!(seconds(worked(4.0, [1.0, 0.5, 1.5], &mut until)), [1.0, 0.5, 1.5]);
    assert_eq!(until, [2.0, 2.5, 4.0]);
    // Another slot: to 1..3 (it waited for the first until 2), kernels 3..3.5, back 3.5..5 (it waited until 4).
    assert_eq!(seconds(worked(5.0, [2.0, 0.5, 1.5], &mut until)), [1.0, 0.5, 1.0]);
    assert_eq!(until, [3.0, 3.5, 5.0]);
    // One that is heard of late: all its times were counted.
    assert_eq!(seconds(worked(4.0, [1.0, 0.5, 0.5], &mut until)), [0.0, 0.0, 0.0]);
    assert_eq!(until, [3.0, 3.5, 5.0]);
}

#[test]
fn what_a_device_does_not_say_is_no_time() {
    let mut until = [0.0; 3];
    assert_eq!(worked(4.0, [0.0; 3], &mut until), [Duration::ZERO; 3]);
    assert_eq!(until, [0.0; 3], "a stage that did nothing has not worked until now");
    assert_eq!(worked(4.0, [f64::NAN, -1.0, 0.5], &mut until)[..2], [Duration::ZERO; 2]);
}
