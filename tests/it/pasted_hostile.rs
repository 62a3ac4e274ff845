//! Pasted texts that are made to keep the search busy: long, and full of what it looks for.

use std::time::{Duration, Instant};

use ckpt::diagnose::message::explain;

/// What a text of this size took when every match looked at its whole line: minutes.
const TIME_MAX: Duration = Duration::from_secs(30);

#[test]
fn one_long_line_full_of_a_message_is_read_in_time() {
    let text = "_Missing key(s) in state_dict: \"".repeat(16_000);
    let since = Instant::now();
    let answer = explain(&text, None);
    let took = since.elapsed();
    assert_eq!(answer.lines, 1);
    assert!(took < TIME_MAX, "{took:?}");
}
