//! Tests of `kept`.

use super::*;

/// Memory of these bytes that was used and is idle again, at addresses that are the bytes.
fn kept(room: usize, idle: &[usize]) -> Kept {
    let used = idle.iter().sum();
    Kept { idle: idle.iter().map(|&bytes| (bytes as u64, bytes)).collect(), used: 0, room: room.max(used) }
}

#[test]
fn the_smallest_that_fits_is_taken_and_nothing_much_larger() {
    let mut list = kept(0, &[400, 150, 120, 90]);
    assert_eq!(list.fitting(100), Some((120, 120)));
    assert_eq!(list.used, 120);
    assert_eq!(list.fitting(100), Some((150, 150)));
    assert_eq!(list.fitting(100), None, "400 is too much, 90 too little");
    assert_eq!(list.fitting(267), Some((400, 400)));
    assert_eq!((list.used, list.idle_bytes()), (670, 90));
}

#[test]
fn all_take_no_more_than_there_is_room_for() {
    let mut list = kept(1000, &[300, 200, 100]);
    assert_eq!(list.add(400), [], "all of it fits");
    assert_eq!(list.add(250), [(300, 300)], "the longest unused goes");
    assert_eq!((list.used, list.idle_bytes(), list.room), (650, 300, 1000));
    // What is in use at once is room, whatever was planned.
    assert_eq!(list.add(900), [(200, 200), (100, 100)]);
    assert_eq!((list.used, list.idle_bytes(), list.room), (1550, 0, 1550));
}
