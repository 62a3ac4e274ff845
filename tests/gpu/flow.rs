//! A conversion on a GPU in the workbench, from the key to the proof, by the real program in a terminal: the choice in the
//! form, the memory it needs, what it holds while it runs, how cancelling frees that, and the job that waits behind it.
//!
//! GPUs are the simulated ones, by both of the driver's libraries. A launch waits as long as a file is there, so that a job
//! stands still while it is looked at.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use super::robot::Robot;
use super::samples::{Scratch, files};
use super::{SIMULATOR, sim, trial};

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (120, 36);
const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const RIGHT: &str = "\x1b[C";
const LEFT: &str = "\x1b[D";

pub(crate) fn trials() -> Vec<Trial> {
    // A real GPU does not wait to be looked at.
    if super::is_real() {
        return Vec::new();
    }
    vec![
        trial("flow: convert, cancel, and the next in the queue", || {
            flow(&["gptq-w4-g128-sym-v1-A/model"], "c", "Convert", "model-dense");
        }),
        trial("flow: merge, cancel, and the next in the queue", || {
            flow(&["base-A-bf16/model", "peft-bad-keys/good"], "m", "Merge", "model-good");
        }),
    ]
}

fn copy(from: &str, to: &Path) {
    std::fs::create_dir(to).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(from);
    for name in files(&from).keys() {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// What holds launches of a device.
struct Holds(PathBuf);

impl Holds {
    fn of(&self, device: u32) -> PathBuf {
        self.0.with_extension(device.to_string())
    }

    fn set(&self, device: u32) {
        std::fs::File::create_new(self.of(device)).unwrap();
    }

    fn release(&self, device: u32) {
        std::fs::remove_file(self.of(device)).unwrap();
    }
}

/// Returns the bytes behind a word: `this job  48.0 MiB`; `None` if it does not show.
fn bytes_behind(text: &str, word: &str) -> Option<f64> {
    let (_, behind) = text.split_once(word)?;
    let mut parts = behind.split_whitespace();
    let number: f64 = parts.next()?.parse().ok()?;
    let unit = match parts.next()?.trim_end_matches(',') {
        "byte" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number * unit)
}

/// Chooses a GPU in the form, whose button has the focus, and goes back to the button.
fn choose(robot: &mut Robot, device: u32) {
    // The driver is asked on a thread of its own: until it has answered there is nothing but the processor to choose.
    robot.press(UP).until("both GPUs to choose from", |screen| {
        let text = screen.contents();
        text.lines().any(|line| line.contains("▌device") && line.contains(" of 5"))
    });
    robot.press(&LEFT.repeat(4)).press(&RIGHT.repeat(2 + device as usize));
    robot.shows(&format!("‹ cuda:{device} ›")).shows(&format!("cuda:{device} is GPU{device} Simulated GPU"));
    robot.until("the memory it needs, and that it fits", |screen| {
        let text = screen.contents();
        let row = text.lines().find(|line| line.contains("VRAM")).unwrap_or_default().to_owned();
        row.contains(&format!("GPU{device}"))
            && row.contains("✓ fits")
            && bytes_behind(&row, "VRAM").is_some_and(|bytes| bytes > 0.0)
    });
    robot.shows(&format!("--device cuda:{device}")).press(DOWN).shows("Enter starts the job");
}

fn flow(inputs: &[&str], key: &str, title: &str, first: &str) {
    let nvml = sim::build_nvml(Path::new(&std::env::var_os(SIMULATOR).unwrap())).unwrap();
    let scratch = Scratch::new(&format!("flow-{key}"));
    copy(inputs[0], &scratch.join("model"));
    let model = scratch.join("model").display().to_string();
    let mut args = vec![model.clone()];
    if let Some(adapter) = inputs.get(1) {
        copy(adapter, &scratch.join("good"));
        args.extend(["-a".to_owned(), scratch.join("good").display().to_string()]);
    }
    let by_cpu = scratch.join("by-cpu");
    let verb = if key == "m" { "merge" } else { "convert" };
    let mut cpu = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    cpu.arg(verb).args(&args).args(["--device", "cpu", "-o"]).arg(&by_cpu);
    if key == "c" {
        cpu.args(["--to", "dense"]);
    }
    let output = cpu.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let holds = Holds(scratch.join("hold"));
    holds.set(0);
    holds.set(1);
    let libraries = std::env::join_paths([nvml, std::env::var_os(SIMULATOR).unwrap().into()]).unwrap();
    let report = scratch.join("report").display().to_string();
    // What the driver takes for a context, in one of the flows: it counts for the driver, and not for the job.
    let context = if key == "m" { 300 << 20 } else { 0u64 };
    let context_text = context.to_string();
    let settings = [
        ("SIM_CUDA_CONTEXT", context_text.as_str()),
        ("LD_LIBRARY_PATH", libraries.to_str().unwrap()),
        ("SIM_CUDA_DEVICES", "2"),
        ("SIM_CUDA_HOLD", holds.0.to_str().unwrap()),
        ("SIM_CUDA_REPORT", &report),
    ];
    let arguments: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut robot = Robot::start(&arguments, &settings);
    robot.shows("load ✓").shows("GPU0").shows("GPU1");
    if key == "m" {
        robot.shows("6 of 6 modules aligned");
    }

    // The form: which GPU, what it needs there.
    robot.press(key).shows(&format!("┌ {title}")).shows("✓ ready").shows("Enter starts the job");
    choose(&mut robot, 0);
    assert_eq!(names(&scratch), before(inputs.len()), "nothing is written before Enter");
    robot
        .press("\r")
        .shows("▶ running")
        .shows(&format!("→ {first}"))
        .shows("computes on cuda:0 Simulated GPU");
    for size in [SMALL, LARGE] {
        robot.resize(size).until("what the job holds, within the plan", |screen| {
            let text = screen.contents();
            let figures = ["this job", "peak", "plan"].map(|word| bytes_behind(&text, word));
            let [Some(now), Some(peak), Some(plan)] = figures else { return false };
            now > 0.0 && now <= peak && peak <= plan && text.contains(" of 8.00 GiB used")
        });
    }
    if context > 0 {
        robot.shows("beside it 300 MiB for the driver's context");
    }
    // The driver counts as much as the job does, and its context.
    robot.press("7").shows("[7 GPU]").until("the driver's figure and the job's to be the same", |screen| {
        let text = screen.contents();
        let figures = ["this program", "this job"].map(|word| bytes_behind(&text, word));
        let [Some(program), Some(job)] = figures else { return false };
        // They show in three digits.
        job > 0.0 && (program - job - context as f64).abs() <= 0.01 * program * (context.min(1) as f64)
    });

    // A second job waits, on the other GPU.
    robot.press("1").press(key).shows(&format!("┌ {title}")).shows("Enter starts the job");
    to_where(&mut robot);
    robot.press("\x15").shows("name the folder to make");
    robot.press(&scratch.join("second").display().to_string()).shows("/second").shows("✓ ready");
    to_button(&mut robot);
    choose(&mut robot, 1);
    robot.press("\r").shows("It starts when the job before it has ended").shows("· waiting").shows("2 jobs");
    robot.press("k").shows("▶ running").shows("this job");

    // Cancelled: its memory is free again, and the second one takes its own.
    robot.press("x").shows("Enter cancels it").press("\r").shows("▶ cancelling");
    holds.release(0);
    robot.shows("× cancelled").shows("▶ running").shows("nothing was written under the output's name");
    assert!(!scratch.join(first).exists());
    robot.press("7").until("the first GPU to be free and the second in use", |screen| {
        let text = screen.contents();
        text.contains("┌ GPU0") && text.contains("this program none now") && !text.contains("this job")
    });
    robot.press("j").shows("┌ GPU1").until("what the second job holds", |screen| {
        bytes_behind(&screen.contents(), "this job").is_some_and(|bytes| bytes > 0.0)
    });
    robot.press("6j").shows("computes on cuda:1 Simulated GPU");
    holds.release(1);
    robot.shows("✓ verified").shows("written and verified").shows("computed on cuda:1");
    assert_eq!(files(&scratch.join("second")), files(&by_cpu), "the same bytes as the processor's");
    robot.press("q");
    let (code, robot) = robot.ends();
    assert_eq!(code, 0);
    robot.is_restored();
    // Kernels ran, and nothing is held.
    let report = std::fs::read_to_string(report).unwrap();
    let numbers: Vec<u64> = report.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!(numbers[0] == 0 && numbers[1] > 0 && numbers[2] > 0, "held, peak, launches: {report}");
    let mut made = before(inputs.len());
    made.push("second".into());
    made.sort();
    assert_eq!(names(&scratch), made, "the cancelled job leaves nothing");
}

/// Goes from the button up to the folder.
fn to_where(robot: &mut Robot) {
    robot.press(&UP.repeat(3)).shows("▌where");
}

fn to_button(robot: &mut Robot) {
    robot.press(&DOWN.repeat(3)).shows("Enter starts the job");
}

/// The folders there are before a job is done.
fn before(inputs: usize) -> Vec<String> {
    let adapter = (inputs > 1).then_some("good");
    ["by-cpu"].into_iter().chain(adapter).chain(["model"]).map(str::to_owned).collect()
}

/// The folders in a folder, hidden ones too.
fn names(scratch: &Scratch) -> Vec<String> {
    let entries = std::fs::read_dir(scratch.join("")).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
