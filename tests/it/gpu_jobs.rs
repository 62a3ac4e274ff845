//! Jobs on GPUs in the workbench: the choice in the form, what the plan needs there, and the memory while one runs.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ckpt::app::Event;
use ckpt::app::jobs::meter::Counts;
use ckpt::engine::busy::{Done, OnGpus, Worked};
use ckpt::engine::cuda::probe::{Card, Probed};
use ckpt::engine::{Computing, Held, Outcome};
use ckpt::gauges::{GpuProcess, GpuSample, GpuSource, GpuState, GpuStateKind, Missing, Vram};
use unicode_width::UnicodeWidthStr as _;

use crate::gpu::{gib, sampled};
use crate::jobs::{LARGE, Robot, SMALL, counts, outcome};
use crate::pty::Scratch;

const GPTQ: &str = "samples/gptq-w4-g128-sym-v1-A/model";
const MIB: u64 = 1 << 20;

fn uuid(index: u32) -> String {
    format!("GPU-0000000{index}-0000-0000-0000-000000000000")
}

/// Two GPUs, of each what is used.
struct Two {
    used: [u64; 2],
    own: Option<u64>,
}

impl GpuSource for Two {
    fn read(&mut self) -> (GpuState, Vec<GpuSample>) {
        let gpu = |index: u32, used: u64, own: Option<u64>| {
            let process =
                |bytes| GpuProcess { pid: 4121, name: Ok("ckpt".into()), bytes: Ok(bytes), is_own: true };
            GpuSample {
                index,
                name: Ok("NVIDIA L4".into()),
                uuid: Ok(uuid(index)),
                vram: Ok(Vram { used, free: gib(22.5) - used, total: gib(22.5) }),
                utilization_percent: Ok(63),
                processes: Ok(own.map(process).into_iter().collect()),
                ..GpuSample::missing(index, &Missing::because("not asked"))
            }
        };
        let gpus = vec![gpu(0, self.used[0], self.own), gpu(1, self.used[1], None)];
        (GpuState::new(GpuStateKind::Ready, ""), gpus)
    }
}

/// CUDA counts the GPUs in the order that `at` gives to those of the driver.
fn cards(at: [u32; 2]) -> Probed {
    let card = |ordinal: u32| Card {
        ordinal,
        name: "NVIDIA L4".into(),
        uuid: uuid(at[ordinal as usize]),
        capability: [8, 9],
        memory: gib(22.5),
        multiprocessors: 58,
        clock_khz: None,
        refused: None,
    };
    Probed::Ready { driver: 12_080, cards: vec![card(0), card(1)] }
}

fn robot(used: [u64; 2], at: [u32; 2]) -> Robot {
    let mut robot = Robot::open(GPTQ);
    robot.app.update(Event::Probed(Box::new(cards(at))));
    see(&mut robot, used, None);
    robot
}

fn see(robot: &mut Robot, used: [u64; 2], own: Option<u64>) {
    let sample = sampled(Two { used, own }, 1).remove(0);
    robot.app.update(Event::Sampled(Box::new(sample)));
}

const FREE: [u64; 2] = [300 * MIB, 6 * MIB];

/// Counts of a run whose results come back over a bus that is slower than the disk.
fn passed(millis: u64, written: u64, count: u32) -> Counts {
    let done = |bytes: u64, percent: u64| Done {
        bytes: bytes << 12,
        busy: Duration::from_millis(millis * u64::from(count) * percent / 100),
    };
    let counts = counts(millis, written);
    let gpus = OnGpus {
        count: count as usize,
        copies: done(4 * written, 80),
        to: done(written, 9),
        kernels: done(4 * written, 1),
        from: done(3 * written, 94),
        within: Duration::from_millis(millis * 18 / 10),
    };
    let write = Done { busy: Duration::from_millis(millis * 60 / 100), ..counts.worked.write };
    Counts { worked: Worked { write, gpus: Some(gpus), ..counts.worked }, ..counts }
}

/// A job on two GPUs, some seconds after it has begun; and what it holds of the first.
fn running(keys: &str, name: &str, devices: u32) -> (Robot, Arc<Held>) {
    let mut robot = robot(FREE, [0, 1]);
    robot.press(keys);
    let held: Vec<Arc<Held>> = (0..devices)
        .map(|ordinal| {
            let uuid = uuid(ordinal);
            Arc::new(Held {
                ordinal,
                uuid,
                now: AtomicU64::new(96 * MIB),
                peak: AtomicU64::new(144 * MIB),
                ..Held::default()
            })
        })
        .collect();
    let first = Arc::clone(&held[0]);
    let job = robot.app.jobs.running().expect("a job runs");
    job.progress
        .device
        .set(Computing { name: name.into(), why: String::new(), held, traffic: None })
        .unwrap();
    robot.tick(passed(250, 40_000, devices)).tick(passed(3250, 400_000, devices));
    see(&mut robot, [FREE[0] + 96 * MIB, FREE[1] + 96 * MIB], Some(396 * MIB));
    (robot, first)
}

const CUDA_0: &str = "c up right right";

fn pictures() -> Vec<(&'static str, Robot)> {
    let mut pictures = Vec::new();
    let mut add = |name, used, at, keys: &str| {
        let mut robot = robot(used, at);
        robot.press(keys);
        pictures.push((name, robot));
    };
    add("form-auto", FREE, [0, 1], "c up");
    add("form-cuda", FREE, [0, 1], CUDA_0);
    add("form-cuda-swapped", FREE, [1, 0], CUDA_0);
    add("form-all", FREE, [0, 1], "c up right right right right");
    add("form-full", [gib(22.4), 6 * MIB], [0, 1], CUDA_0);
    let start = format!("{CUDA_0} down enter");
    pictures.push(("running", running(&start, "cuda:0 NVIDIA L4", 1).0));
    let both = "c up right right right right down enter";
    pictures.push(("running-both", running(both, "cuda:0,1 NVIDIA L4", 2).0));
    let mut robot = running(&start, "cuda:0 NVIDIA L4", 1).0;
    let second = Duration::from_secs(1);
    let stages = passed(3500, 674_000, 1).worked.since(&Worked::default(), second * 7 / 2, 8);
    let device = "cuda:0 NVIDIA L4".into();
    robot.end(Ok(Outcome { device, stages: Some(Box::new(stages)), ..outcome() }));
    pictures.push(("ended", robot));
    let mut robot = running(&start, "cuda:0 NVIDIA L4", 1).0;
    robot.press("7");
    pictures.push(("tab", robot));
    let mut robot = running(&start, "cuda:0 NVIDIA L4", 1).0;
    see(&mut robot, [FREE[0] + 96 * MIB, FREE[1]], None);
    robot.press("7");
    pictures.push(("tab-not-listed", robot));
    let mut robot = running(&start, "cuda:0 NVIDIA L4", 1).0;
    robot.press("1 c up up up ctrl-u type:second down down right right down enter");
    pictures.push(("queued", robot));
    pictures
}

#[test]
fn jobs_on_gpus_are_as_they_were_looked_at() {
    for (name, mut robot) in pictures() {
        for size in [LARGE, SMALL] {
            let text = robot.draw(size);
            let widest = text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= usize::from(size.0), "{name}: {text}");
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text);
        }
    }
}

#[test]
fn a_gpu_is_known_by_what_both_call_it_and_not_by_its_place() {
    let text = robot([gib(22.4), 6 * MIB], [1, 0]).press(CUDA_0).draw(LARGE);
    let row = text.lines().find(|line| line.contains("VRAM")).unwrap();
    assert!(row.contains("GPU1") && row.contains("✓ fits"), "{text}");
    assert!(text.contains("cuda:0 is GPU1 NVIDIA L4"), "{text}");
    let text = robot([gib(22.4), 6 * MIB], [0, 1]).press(CUDA_0).draw(LARGE);
    let row = text.lines().find(|line| line.contains("VRAM")).unwrap();
    assert!(row.contains("GPU0") && row.contains("✗ does not fit"), "{text}");
}

#[test]
fn what_a_job_holds_is_live_and_gone_when_it_has_ended() {
    let (mut robot, held) = running(&format!("{CUDA_0} down enter"), "cuda:0 NVIDIA L4", 1);
    for size in [LARGE, SMALL] {
        assert!(robot.draw(size).contains("this job 96.0 MiB   peak  144 MiB   plan  192 MiB ✓"));
    }
    held.now.store(7 * MIB, Ordering::Relaxed);
    held.peak.store(9 << 30, Ordering::Relaxed);
    for size in [LARGE, SMALL] {
        let text = robot.draw(size);
        assert!(text.contains("this job 7.00 MiB   peak 9.00 GiB   plan  192 MiB ▲"), "{text}");
        assert!(text.lines().all(|line| line.width() <= usize::from(size.0)), "{text}");
    }
    assert!(robot.press("7").draw(LARGE).contains("of it this job 7.00 MiB, at most 9.00 GiB"));
    robot.tick(Counts { is_proving: true, ..counts(3500, 674_000) });
    robot.end(Ok(Outcome { device: "cuda:0 NVIDIA L4".into(), ..outcome() }));
    assert!(!robot.draw(LARGE).contains("this job"));
    assert!(!robot.press("6").draw(LARGE).contains("this job"));
}

#[test]
fn auto_says_what_a_gpu_would_need_where_one_may_be_started() {
    let scratch = Scratch::new("auto");
    let (rows, bytes) = (1u64 << 18, 1u64 << 28);
    let scales = format!(
        r#""w.weight_scale_inv":{{"dtype":"F32","shape":[{},8],"data_offsets":[{bytes},{}]}}"#,
        rows / 128,
        bytes + rows / 4
    );
    let codes =
        format!(r#""w.weight":{{"dtype":"F8_E4M3","shape":[{rows},1024],"data_offsets":[0,{bytes}]}}"#);
    let tensor = format!("{{{codes},{scales}}}");
    let fp8 = r#"{"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]}}"#;
    let mut config = std::fs::File::create_new(scratch.0.join("config.json")).unwrap();
    config.write_all(fp8.as_bytes()).unwrap();
    // A hole: it takes no room.
    let mut file = std::fs::File::create_new(scratch.0.join("model.safetensors")).unwrap();
    file.write_all(&(tensor.len() as u64).to_le_bytes()).unwrap();
    file.write_all(tensor.as_bytes()).unwrap();
    file.set_len(8 + tensor.len() as u64 + bytes + rows / 4).unwrap();
    let mut robot = Robot::open(&scratch.0.display().to_string());
    robot.app.update(Event::Probed(Box::new(cards([0, 1]))));
    see(&mut robot, FREE, None);
    robot.press("c up");
    for size in [LARGE, SMALL] {
        let text = robot.draw(size);
        let rows: Vec<&str> =
            text.lines().filter(|line| line.contains("GPU") && line.contains("✓ fits")).collect();
        assert!(rows.len() == 2 && rows[0].contains("VRAM"), "{text}");
        assert!(text.contains("device  auto: one GPU, or the cpu"), "{text}");
    }
}

/// What of the driver's own counts: by guess until a job has seen it, and then as it was.
#[test]
fn the_memory_of_the_context_is_part_of_what_has_to_fit() {
    // The plan takes 192 MiB, the context 512 by guess.
    for (left, fits) in [(720, true), (700, false)] {
        let text = robot([gib(22.5) - left * MIB, 6 * MIB], [0, 1]).press(CUDA_0).draw(LARGE);
        let row = text.lines().find(|line| line.contains("VRAM")).unwrap();
        assert_eq!((row.contains("✓ fits"), row.contains("✗ does not fit")), (fits, !fits), "{text}");
        assert_eq!(text.contains("▲ with less it takes fewer"), !fits, "{text}");
        assert!(text.contains("+ ≈ 512 MiB for the driver's context, by guess"), "{text}");
    }
    let (mut robot, held) = running(&format!("{CUDA_0} down enter"), "cuda:0 NVIDIA L4", 1);
    assert!(!robot.draw(LARGE).contains("driver's context"), "not known yet");
    held.free_then.store(gib(22.5) - FREE[0] - 310 * MIB, Ordering::Relaxed);
    for size in [LARGE, SMALL] {
        assert!(robot.draw(size).contains("beside it 310 MiB for the driver's context"));
    }
    robot.tick(Counts { is_proving: true, ..counts(3500, 674_000) });
    robot.end(Ok(Outcome { device: "cuda:0 NVIDIA L4".into(), ..outcome() }));
    see(&mut robot, [gib(22.5) - 510 * MIB, 6 * MIB], None);
    let text = robot.press(&format!("1 {CUDA_0}")).draw(LARGE);
    assert!(text.contains("+ 310 MiB for the driver's context, as before"), "{text}");
    assert!(text.lines().any(|line| line.contains("VRAM") && line.contains("✓ fits")), "{text}");
}

#[test]
fn without_gauges_the_plan_says_what_a_gpu_needs_all_the_same() {
    let mut robot = Robot::open(GPTQ);
    robot.app.update(Event::Probed(Box::new(cards([0, 1]))));
    let text = robot.press(CUDA_0).draw(LARGE);
    assert!(text.contains("VRAM     192 MiB at most"), "{text}");
    let text = robot.press("left").draw(LARGE);
    assert!(text.contains("--device cpu") && !text.contains("VRAM"), "{text}");
}
