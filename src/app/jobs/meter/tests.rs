//! Tests of `meter`.

use super::*;
use crate::engine::busy::{Done, Stage};

fn counts(millis: u64, written: u64) -> Counts {
    let elapsed = Duration::from_millis(millis);
    let read = Done { bytes: written / 4, ..Done::default() };
    let write = Done { bytes: written, busy: elapsed / 2 };
    Counts { elapsed, worked: Worked { read, write, ..Worked::default() }, ..Counts::default() }
}

#[test]
fn rates_are_of_the_last_seconds() {
    let mut meter = Meter::default();
    for tick in 0..40 {
        // Ten bytes a tick, and a hundred after five seconds.
        let written = if tick < 20 { tick * 10 } else { 200 + (tick - 20) * 100 };
        meter.take(counts(tick * 250, written));
    }
    let speed = meter.speed(2).unwrap();
    assert!((390.0..=401.0).contains(&speed.write), "{}", speed.write);
    let bottleneck = speed.stages.bottleneck();
    assert_eq!((bottleneck.stage, bottleneck.share), (Stage::Write, 0.5));
    let left = meter.left(2100 + 400, &speed).unwrap();
    assert_eq!(left.as_secs(), 1);
    assert!((meter.ratio(4200) - 0.5).abs() < 0.01);
}

#[test]
fn there_is_no_rate_in_the_first_second_or_while_it_is_compared() {
    let mut meter = Meter::default();
    assert_eq!(meter.speed(1), None);
    meter.take(counts(0, 0));
    meter.take(counts(750, 1000));
    assert_eq!(meter.speed(1), None);
    meter.take(counts(1250, 1000));
    let speed = meter.speed(1).unwrap();
    assert_eq!(speed.write, 800.0);
    meter.take(Counts { is_proving: true, ..counts(1500, 1000) });
    assert_eq!(meter.speed(1), None);
}

#[test]
fn the_history_has_one_rate_a_second_of_the_last_minute() {
    let mut meter = Meter::default();
    for tick in 0..=20u64 {
        meter.take(counts(tick * 250, tick * tick));
    }
    let writes: Vec<f64> = meter.history().iter().map(|rates| rates.write).collect();
    assert_eq!(writes, [16.0, 48.0, 80.0, 112.0, 144.0]);
    meter.take(counts(8000, 400));
    assert_eq!(meter.history().len(), 8, "no counts for three seconds");
    meter.take(Counts { is_proving: true, ..counts(20_000, 400) });
    assert_eq!(meter.history().len(), 8);
    meter.take(counts(200_000, 400));
    assert_eq!(meter.history().len(), HISTORY_SECONDS);
}

#[test]
fn a_run_that_stands_still_has_no_end() {
    let mut meter = Meter::default();
    meter.take(counts(0, 100));
    meter.take(counts(2000, 100));
    let speed = meter.speed(1).unwrap();
    assert_eq!(meter.left(500, &speed), None);
}
