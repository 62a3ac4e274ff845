//! Tests of `job`.

use super::*;
use std::sync::mpsc::channel;

#[test]
fn a_panic_in_a_job_becomes_a_message() {
    let (sender, receiver) = channel();
    spawn(
        "test",
        sender,
        |_| if std::hint::black_box(true) { panic!("as planned") } else { None },
        |text| text,
    );
    assert_eq!(receiver.recv().unwrap(), "a fault of this program: as planned");
    assert!(receiver.recv().is_err(), "once");
}

#[test]
fn work_that_never_began_says_so_and_work_that_ended_does_not() {
    let (sender, receiver) = channel();
    drop(Failure { sender: sender.clone(), message: Some(|text| text) });
    assert_eq!(receiver.recv().unwrap(), "the system could not start a thread");
    spawn("test", sender, |_| Some("done".to_owned()), |text| text);
    assert_eq!(receiver.recv().unwrap(), "done");
    assert!(receiver.recv().is_err());
}
