//! Tests of `busy`.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn done(bytes: u64, busy: Duration) -> Done {
    Done { bytes, busy }
}

/// Two GPUs beside four threads and six readers, one second after the start.
fn worked() -> Worked {
    let gib = 1 << 30;
    let gpus = OnGpus {
        count: 2,
        copies: done(gib, SECOND / 2),
        to: done(gib, SECOND / 5),
        kernels: done(3 * gib, SECOND / 50),
        from: done(2 * gib, SECOND * 3 / 2),
        within: SECOND * 3,
    };
    let (read, write) = (done(gib, SECOND * 3), done(2 * gib, SECOND / 2));
    Worked { read, computing: SECOND * 32 / 10, write, gpus: Some(gpus) }
}

#[test]
fn shares_are_of_all_that_do_a_stage_at_a_time() {
    let stages = worked().since(&Worked::default(), SECOND, 4);
    let is: Vec<_> = stages.iter().map(|rate| (rate.stage.word(), (rate.share * 1000.0).round())).collect();
    let should = [
        ("read", 500.0),
        ("compute", 50.0),
        ("copies", 125.0),
        ("to GPU", 100.0),
        ("kernels", 10.0),
        ("from GPU", 750.0),
        ("write", 500.0),
    ];
    assert_eq!(is, should);
    assert_eq!(stages.bottleneck().stage, Stage::FromGpu);
    // Bytes of all GPUs, in the time of one of them.
    let words = "read 2.0 · copies 8.0 · to GPU 10.0 · kernels 300 · from GPU 2.7 · write 4.0 GiB/s while at work, \
                 limited by from GPU: the bus from the GPU, 75 % of the time";
    assert_eq!(stages.words(), words);
}

#[test]
fn only_what_was_done_since_counts() {
    let mut later = worked();
    later.write = done(later.write.bytes + (1 << 30), later.write.busy + SECOND);
    let stages = later.since(&worked(), SECOND, 4);
    assert_eq!(stages.bottleneck().stage, Stage::Write);
    assert_eq!(stages.bottleneck().rate(), Some(f64::from(1 << 30)));
    assert!(stages.iter().filter(|rate| rate.stage != Stage::Write).all(|rate| rate.rate().is_none()));
}

#[test]
fn without_gpus_there_are_three_stages() {
    let worked = Worked { gpus: None, ..worked() };
    let stages = worked.since(&Worked::default(), SECOND, 4);
    let names: Vec<_> = stages.iter().map(|rate| rate.stage.word()).collect();
    assert_eq!(names, ["read", "compute", "write"]);
    assert_eq!(stages.bottleneck().stage, Stage::Compute);
    let idle = Worked::default().since(&Worked::default(), SECOND, 4);
    assert_eq!(idle.bottleneck().stage, Stage::Compute, "of equal ones that which computes");
}
