//! The real program on the simulated driver, with what goes wrong there planted: each is survived or said, nothing is
//! left half-written, and nothing of the driver is held at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Trial;
use serde_json::Value;

use super::samples::{Scratch, files};
use super::trial;

/// A model of 16 layers in nf4.
const NF4: &str = "bnb-nf4-A/model";

/// What a run had to do with the driver: what it still holds, the most memory of the first device, launches, the bytes that
/// went to devices and came back, and how often device memory was asked for.
struct Report {
    held: i64,
    peak: u64,
    launches: u64,
    to: u64,
    from: u64,
    allocations: u64,
}

/// A run of the program.
struct Ran {
    name: String,
    output: Output,
    scratch: Scratch,
    report: Option<Report>,
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

fn command(scratch: &Scratch, more: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("convert").arg(sample(NF4)).arg("-o").arg(scratch.join("out")).args(more);
    command.env("SIM_CUDA_REPORT", scratch.join("report"));
    command.envs(settings.iter().map(|(name, value)| (format!("SIM_CUDA_{name}"), value)));
    command
}

/// Converts the model on both devices, with settings of the simulator.
fn run(name: &str, more: &[&str], settings: &[(&str, &str)]) -> Ran {
    let scratch = Scratch::new(name);
    let device = if more.contains(&"--device") { &[][..] } else { &["--device", "cuda"] };
    let all = ["--to", "dense", "--json"].iter().chain(device).chain(more);
    let all: Vec<&str> = all.copied().collect();
    let output = command(&scratch, &all, settings).output().unwrap();
    let report = report(&scratch);
    Ran { name: name.to_owned(), output, scratch, report }
}

fn report(scratch: &Scratch) -> Option<Report> {
    let text = std::fs::read_to_string(scratch.join("report")).ok()?;
    let numbers: Vec<i64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [held, rest @ ..] = &numbers[..] else { panic!("{text}") };
    let rest: Vec<u64> = rest.iter().map(|&number| number as u64).collect();
    let [peak, launches, to, from, allocations] = rest[..] else { panic!("{text}") };
    Some(Report { held: *held, peak, launches, to, from, allocations })
}

impl Ran {
    fn events(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.output.stdout);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn said(&self) -> String {
        let out = String::from_utf8_lossy(&self.output.stdout);
        format!("{out}{}", String::from_utf8_lossy(&self.output.stderr))
    }

    fn result(&self) -> Value {
        self.events().into_iter().find(|event| event["event"] == "result").unwrap()
    }

    fn device(&self) -> String {
        self.result()["device"].as_str().unwrap().to_owned()
    }

    /// Returns a figure of a stage.
    fn stage(&self, word: &str, figure: &str) -> f64 {
        let result = self.result();
        let stages = result["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["stage"] == word).unwrap()[figure].as_f64().unwrap()
    }

    /// It is done, with the bytes that the processor makes; nothing of the driver is held.
    fn is_right(&self) -> &Self {
        assert!(self.output.status.success(), "{}", self.said());
        let other = Scratch::new(&format!("{}-by-cpu", self.name));
        let all = ["--to", "dense", "--device", "cpu"];
        assert!(command(&other, &all, &[]).output().unwrap().status.success());
        let (is, should) = (files(&self.scratch.join("out")), files(&other.join("out")));
        assert!(is == should, "the folder differs from the processor's");
        if let Some(report) = &self.report {
            assert_eq!(report.held, 0, "memory, streams or contexts are held at the end");
        }
        self
    }

    /// It failed with these words, and left nothing but what the test itself made.
    fn failed_with(&self, words: &str) -> &Self {
        assert_eq!(self.output.status.code(), Some(2), "{}", self.said());
        assert!(self.said().contains(words), "{}", self.said());
        let left: Vec<_> =
            std::fs::read_dir(self.scratch.join("")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "report"), "left: {left:?}");
        self
    }

    fn says(&self, words: &str) -> &Self {
        assert!(self.said().contains(words), "{words:?} is not said: {}", self.said());
        self
    }
}

fn all_goes_well() {
    let ran = run("well", &[], &[]);
    ran.is_right();
    assert_eq!(ran.device(), "cuda:0 Simulated GPU, cuda:1 Simulated GPU");
    assert!(ran.report.as_ref().is_some_and(|report| report.launches >= 14 && report.peak > 0));
    let one = run("one", &["--device", "cuda:1"], &[]);
    assert_eq!(one.is_right().device(), "cuda:1 Simulated GPU");
}

fn a_gpu_that_is_not_there_is_refused() {
    run("absent", &["--device", "cuda:7"], &[])
        .failed_with("there is no such GPU; there are: cuda:0, cuda:1");
}

fn without_a_gpu_the_processor_computes_and_it_is_said() {
    let planted = [
        ("DEVICES", "0", "no CUDA device"),
        ("VERSION", "11080", "needs"),
        ("FAIL", "cuInit:1+:100", "no CUDA device"),
        ("FAIL", "cuInit:1+:34", "stub"),
        ("FAIL", "cuModuleLoadDataEx:1:222", "222"),
        ("FAIL", "cuDevicePrimaryCtxRetain:1+:2", "cuDevicePrimaryCtxRetain"),
    ];
    for (name, value, words) in planted {
        let ran = run(&format!("without-{value}"), &[], &[(name, value)]);
        assert_eq!(
            ran.is_right().says(words).says("the cpu computes instead").device(),
            "cpu",
            "{name}={value}"
        );
    }
}

fn little_memory_makes_smaller_slots_and_none_the_processor() {
    // A slot of 8 MiB would need 48.
    let ran = run("little", &[], &[("MEMORY", "20000000")]);
    ran.is_right().says("slots became fewer or smaller");
    assert!(ran.report.as_ref().is_some_and(|report| report.launches > 0 && report.peak <= 20_000_000));
    let ran = run("none", &[], &[("MEMORY", "500000")]);
    ran.is_right().says("device memory was short");
    assert!(ran.report.as_ref().is_some_and(|report| report.launches == 0));
}

fn memory_that_others_take_meanwhile_shrinks_the_ring() {
    let slots = ["--slot-size", "1MiB", "--device", "cuda:0"];
    let ran = run("taken", &slots, &[("MEMORY", "40000000"), ("TAKEN", "3:39000000")]);
    ran.is_right();
    assert!(ran.report.as_ref().is_some_and(|report| report.launches > 3));
}

/// Slots of a part of a layer, of which some are packed: uploads of tables, codes, and pieces both ways.
fn stages_count_what_the_driver_copied() {
    for (name, more) in [("decode", &[][..]), ("encode", &["--to", "bnb-nf4", "--verify", "none"])] {
        let sample = if more.is_empty() { "gptq-w4-g128-sym-v1-A/model" } else { "base-A-bf16/model" };
        let scratch = Scratch::new(&format!("stages-{name}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
        command.arg("convert").arg(self::sample(sample)).arg("-o").arg(scratch.join("out"));
        command.args(["--slot-size", "64KiB", "--json", "--device", "cuda"]);
        command.args(if more.is_empty() { &["--to", "dense"] } else { more });
        let output = command.env("SIM_CUDA_REPORT", scratch.join("report")).output().unwrap();
        let report = report(&scratch).unwrap();
        let ran = Ran { name: name.into(), output, scratch, report: None };
        let moved = ["to GPU", "from GPU"].map(|stage| ran.stage(stage, "bytes") as u64);
        assert_eq!(moved, [report.to, report.from], "{}", ran.said());
        let result = ran.result();
        let words: Vec<&str> = result["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stage| stage["stage"].as_str().unwrap())
            .collect();
        assert_eq!(words, ["read", "compute", "copies", "to GPU", "kernels", "from GPU", "write"]);
        for word in ["copies", "to GPU", "kernels", "from GPU"] {
            let [bytes, busy, share] = ["bytes", "busy", "share"].map(|figure| ran.stage(word, figure));
            let elapsed = result["elapsed"].as_f64().unwrap();
            assert!(bytes > 0.0 && busy > 0.0 && busy < elapsed, "{word}: {result}");
            assert!(share > 0.0 && share <= 1.0, "{word}: {result}");
        }
        // Each piece is copied here once before and once after, but not what the rows of a layer share.
        assert!(ran.stage("copies", "bytes") < (report.to + report.from) as f64);
    }
}

fn the_slowest_stage_is_named() {
    for (stage, word) in [("to", "to GPU"), ("kernels", "kernels"), ("from", "from GPU")] {
        let slow = format!("{stage}:20000");
        let ran = run(&format!("slow-{stage}"), &["--device", "cuda:1"], &[("SLOW", &slow)]);
        assert_eq!(ran.is_right().result()["limited_by"], word);
        for other in ["copies", "to GPU", "kernels", "from GPU"].iter().filter(|other| **other != word) {
            assert!(ran.stage(word, "share") > 3.0 * ran.stage(other, "share"), "{other}: {}", ran.result());
        }
    }
    let output =
        command(&Scratch::new("words"), &["--to", "dense", "--device", "cuda"], &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line =
        said.lines().find(|line| line.contains("GiB/s while at work")).unwrap_or_else(|| panic!("{said}"));
    for word in ["read ", "copies ", "to GPU ", "kernels ", "from GPU ", "write ", "limited by "] {
        assert!(line.contains(word), "{word}: {line}");
    }
}

/// The pre-flight in the shell, by both libraries of the driver: what is free is held against run and context.
fn the_plan_says_what_fits_with_the_context() {
    let nvml = super::sim::build_nvml(Path::new(&std::env::var_os(super::SIMULATOR).unwrap())).unwrap();
    let libraries = std::env::join_paths([nvml, std::env::var_os(super::SIMULATOR).unwrap().into()]).unwrap();
    for (memory, fits) in [(800u64 << 20, true), (530 << 20, false)] {
        let scratch = Scratch::new("pre-flight");
        let all = ["--to", "dense", "--device", "cuda:1", "--slot-size", "1MiB", "--dry-run"];
        let memory = memory.to_string();
        let run = |more: &[&str]| {
            let all = [&all[..], more].concat();
            let mut command = command(&scratch, &all, &[("MEMORY", &memory)]);
            let output = command.env("LD_LIBRARY_PATH", &libraries).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let plan: Value = serde_json::from_str(&run(&["--json"])).unwrap();
        let most = plan["peak_vram"].as_u64().unwrap();
        assert!(most > 0 && plan["vram_context"] == 512u64 << 20, "{plan}");
        assert_eq!(plan["gpus"][0]["device"], "cuda:1");
        assert_eq!(plan["gpus"][0]["free"].as_u64().unwrap().to_string(), memory);
        assert_eq!(plan["gpus"][0]["fits"], fits, "{plan}");
        let said = run(&[]);
        assert!(said.contains("+ ≈ 512 MiB for the driver's context, by guess"), "{said}");
        assert_eq!(said.contains("cuda:1 Simulated GPU: 530 MiB free: does not fit"), !fits, "{said}");
    }
}

fn the_processor_has_no_stages_of_gpus() {
    let ran = run("stages-cpu", &["--device", "cpu"], &[]);
    assert_eq!(ran.is_right().result()["stages"], Value::Null);
    assert_eq!(ran.result()["limited_by"], Value::Null);
    let output = command(&Scratch::new("stages-cpu-words"), &["--to", "dense", "--device", "cpu"], &[]);
    let mut output = output;
    let said = String::from_utf8_lossy(&output.output().unwrap().stdout).into_owned();
    assert!(!said.contains("while at work"), "{said}");
}

fn a_device_that_does_not_say_its_times_computes_all_the_same() {
    let ran = run("no-times", &[], &[("FAIL", "cuEventElapsedTime:1+:500")]);
    ran.is_right();
    let report = ran.report.as_ref().unwrap();
    assert_eq!(ran.stage("to GPU", "bytes") as u64, report.to);
    assert_eq!(ran.stage("to GPU", "busy"), 0.0);
}

fn memory_of_layers_is_used_again() {
    let slots = ["--slot-size", "64KiB", "--threads", "1", "--device", "cuda:0"];
    let ran = run("again", &slots, &[]);
    ran.is_right();
    let report = ran.report.as_ref().unwrap();
    // Four slots of four each, and 14 layers of two, a few of which are made at a time.
    assert!(report.launches > 14 && report.allocations < 16 + 28, "{} allocations", report.allocations);
}

fn a_fault_ends_the_run_by_name() {
    for (call, code) in [
        ("cuLaunchKernel:4", 700),
        ("cuLaunchKernel:1", 719),
        ("cuMemcpyHtoDAsync_v2:3", 719),
        ("cuMemcpyDtoHAsync_v2:2", 700),
        ("cuEventSynchronize:2", 702),
        ("cuEventRecord:1", 400),
    ] {
        let ran = run(
            &format!("fault-{code}-{}", &call[call.len() - 1..]),
            &[],
            &[("FAIL", &format!("{call}:{code}"))],
        );
        let name = call.split([':', '_']).next().unwrap();
        ran.failed_with(name).failed_with(&format!("({code})")).failed_with("Simulated GPU");
    }
}

fn a_wait_that_is_forgotten_is_caught_by_the_proof() {
    // As if the program read its slots before the device had filled them, and used them again too early.
    let ran = run("forgotten", &["--verify", "full"], &[("FORGET", "wait")]);
    ran.failed_with("differs");
}

fn every_order_of_threads_gives_the_same_bytes() {
    for order in ["1", "7", "31"] {
        run(&format!("order-{order}"), &[], &[("ORDER", order)]).is_right();
    }
}

fn a_run_that_is_cancelled_frees_the_device() {
    let scratch = Scratch::new("cancelled");
    let slots = ["--to", "dense", "--device", "cuda", "--slot-size", "64KiB"];
    let mut running = command(&scratch, &slots, &[("LAUNCH_US", "100000")]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let is_told = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(is_told.success());
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert!(!scratch.join("out").exists());
    let report = report(&scratch).unwrap();
    assert!(report.launches > 0);
    assert_eq!(report.held, 0);
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("faults::all_goes_well", all_goes_well),
        trial("faults::a_gpu_that_is_not_there_is_refused", a_gpu_that_is_not_there_is_refused),
        trial(
            "faults::without_a_gpu_the_processor_computes_and_it_is_said",
            without_a_gpu_the_processor_computes_and_it_is_said,
        ),
        trial(
            "faults::little_memory_makes_smaller_slots_and_none_the_processor",
            little_memory_makes_smaller_slots_and_none_the_processor,
        ),
        trial(
            "faults::memory_that_others_take_meanwhile_shrinks_the_ring",
            memory_that_others_take_meanwhile_shrinks_the_ring,
        ),
        trial("faults::stages_count_what_the_driver_copied", stages_count_what_the_driver_copied),
        trial("faults::the_slowest_stage_is_named", the_slowest_stage_is_named),
        trial("faults::the_plan_says_what_fits_with_the_context", the_plan_says_what_fits_with_the_context),
        trial("faults::the_processor_has_no_stages_of_gpus", the_processor_has_no_stages_of_gpus),
        trial(
            "faults::a_device_that_does_not_say_its_times_computes_all_the_same",
            a_device_that_does_not_say_its_times_computes_all_the_same,
        ),
        trial("faults::memory_of_layers_is_used_again", memory_of_layers_is_used_again),
        trial("faults::a_fault_ends_the_run_by_name", a_fault_ends_the_run_by_name),
        trial(
            "faults::a_wait_that_is_forgotten_is_caught_by_the_proof",
            a_wait_that_is_forgotten_is_caught_by_the_proof,
        ),
        trial(
            "faults::every_order_of_threads_gives_the_same_bytes",
            every_order_of_threads_gives_the_same_bytes,
        ),
        trial("faults::a_run_that_is_cancelled_frees_the_device", a_run_that_is_cancelled_frees_the_device),
    ]
}
