//! Tests of what needs no library; the driver's answers are tested in processes of their own (`tests/it/doctor.rs`).

use super::*;

pub(crate) fn card(ordinal: u32, refused: Option<&str>) -> Card {
    Card {
        ordinal,
        name: "Fake".into(),
        uuid: format!("GPU-{ordinal}"),
        capability: [9, 0],
        memory: 1 << 30,
        multiprocessors: 132,
        clock_khz: None,
        refused: refused.map(str::to_owned),
    }
}

#[test]
fn a_driver_that_hangs_is_left_alone() {
    let hang = || {
        std::thread::sleep(Duration::from_mins(1));
        Probed::Absent("too late".into())
    };
    let answer = within(Duration::from_millis(20), hang);
    assert_eq!(answer, Probed::Absent("driver did not answer within 0 seconds".into()));
}

#[test]
fn a_driver_that_ends_the_thread_is_no_driver() {
    let answer = within(ANSWER_TIME, || std::panic::resume_unwind(Box::new("ended")));
    assert_eq!(answer, Probed::Absent("driver did not answer: asking it ended badly".into()));
}

#[test]
fn one_refused_card_leaves_the_others() {
    let cards = vec![card(0, Some("GPU older than Volta")), card(1, None)];
    let probed = Probed::Ready { driver: 12_080, cards };
    assert_eq!(probed.usable().map(|card| card.ordinal).collect::<Vec<_>>(), [1]);
    assert_eq!(probed.why_not(), None);
    let probed = Probed::Ready { driver: 12_080, cards: vec![card(0, Some("GPU older than Volta"))] };
    assert_eq!(probed.why_not().as_deref(), Some("CUDA 0 Fake: GPU older than Volta"));
}

#[test]
fn versions_are_written_as_people_know_them() {
    assert_eq!([12_080, 11_080, 13_000, 12_000].map(version_words), ["12.8", "11.8", "13.0", "12.0"]);
}
