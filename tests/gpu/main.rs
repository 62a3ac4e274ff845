//! The GPU's code without a GPU: the PTX that the program ships, executed by a simulated driver (tests/gpu/sim) for the
//! program's own CUDA code. What kernels make is held against the processor, bit for bit; every access to memory is
//! checked on the way, and each kernel has to have been launched by a test. Behind that the sources of the kernels, as
//! C++, make layers of all shapes once more (`[C++]`): what differs there alone is the compiler's doing.
//!
//! The simulator is compiled by `c++` when the tests start; where there is none every test is counted as ignored, and
//! why is said. The tests run in a process that is started again with the simulator in front of any real driver.
//!
//! With `CKPT_TEST_REAL_GPU=1` the same tests run on the GPU that is there, by its own driver; there being none fails.
//! With `CKPT_TEST_SAMPLES=FOLDER` the checkpoints of that folder are taken for those of samples/.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests end where they cannot go on")]
#![expect(clippy::print_stderr, reason = "why tests are ignored")]

mod changed;
mod choice;
mod conv1d;
mod encode;
mod faults;
mod flow;
mod ggml;
mod ggml_encode;
mod integers;
mod largest;
mod layers;
mod memory;
mod merge;
mod own;
mod ptx;
#[path = "../it/robot.rs"]
mod robot;
mod samples;
mod sanitized;
mod scaled;
mod selftest;
mod sim;
#[path = "../it/weights.rs"]
mod weights;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

/// Set in the process that has the simulator: the folder of its library.
const SIMULATOR: &str = "CKPT_SIMULATED_DRIVER";

/// Set beside it where that library has the kernels as C++, and does not execute PTX.
const CPP: &str = "CKPT_SIMULATED_CPP";

/// Set to run on a GPU instead of the simulator.
const REAL: &str = "CKPT_TEST_REAL_GPU";

/// Returns true if the tests run on a GPU.
fn is_real() -> bool {
    std::env::var_os(REAL).is_some_and(|value| value == "1")
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if is_real() {
        return match ckpt::engine::cuda::measure::cards() {
            Ok(_) => libtest_mimic::run(&arguments, trials(false)).exit_code(),
            Err(why) => {
                eprintln!("{REAL} is set, but no GPU can compute: {why}");
                ExitCode::FAILURE
            }
        };
    }
    if std::env::var_os(SIMULATOR).is_some() {
        let trials = if std::env::var_os(CPP).is_some() { of_sources() } else { trials(false) };
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let (folder, sources) = (sim::folder(), sim::folder().join("cpp"));
    let built = sim::build(&folder).and_then(|()| sim::build_of_cpp(&sources, &folder, &[]));
    if let Err(why) = built {
        eprintln!("GPU tests are skipped: {why}");
        let all = trials(true).into_iter().chain(of_sources().into_iter().map(ignored)).collect();
        return libtest_mimic::run(&arguments, all).exit_code();
    }
    let again = |simulator: &Path, more: &[(&str, &OsStr)]| {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(std::env::args_os().skip(1)).envs(more.iter().copied());
        again.env(SIMULATOR, simulator).env("LD_LIBRARY_PATH", simulator).env("SIM_CUDA_DEVICES", "2");
        again.status().unwrap().success()
    };
    // All launches would take nearly twice the time; a kernel's first ones are of many shapes.
    let races = std::env::var_os("SIM_CUDA_RACES").unwrap_or_else(|| "16".into());
    let launched = folder.join("launched");
    let by_ptx = again(&folder, &[("SIM_CUDA_RACES", &races), ("SIM_CUDA_PTX_RAN", launched.as_os_str())]);
    let by_sources = again(&sources, &[(CPP, OsStr::new("1"))]);
    let launched = std::fs::read_to_string(&launched).unwrap_or_default();
    let missed = if by_ptx && is_all(&arguments) { ptx::missed(&launched) } else { Vec::new() };
    let _kept = std::fs::remove_dir_all(&folder);
    if !missed.is_empty() {
        eprintln!("no test launches these kernels: {}", missed.join(", "));
    }
    if by_ptx && by_sources && missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns true if all tests run.
fn is_all(arguments: &Arguments) -> bool {
    let is_listed = arguments.list || arguments.ignored || arguments.bench;
    arguments.filter.is_none() && arguments.skip.is_empty() && !is_listed
}

fn trials(is_ignored: bool) -> Vec<Trial> {
    let on_any = [
        choice::trials(),
        changed::trials(),
        conv1d::trials(),
        encode::trials(),
        ggml::trials(),
        ggml_encode::trials(),
        integers::trials(),
        largest::trials(),
        memory::trials(),
        merge::trials(),
        samples::trials(),
        scaled::trials(),
        selftest::trials(),
    ];
    // What is planted is planted in the simulator.
    let simulated = [faults::trials(), flow::trials(), ptx::trials(), sanitized::trials()];
    let simulated = simulated.into_iter().flatten();
    let simulated = simulated.map(|trial| if is_real() { ignored(trial) } else { trial });
    let all = on_any.into_iter().flatten().chain(simulated);
    all.map(|trial| if is_ignored { ignored(trial) } else { trial }).collect()
}

/// Returns the tests of layers of random shapes, for kernels as C++.
fn of_sources() -> Vec<Trial> {
    let layers = [
        changed::trials(),
        encode::trials(),
        ggml::trials(),
        ggml_encode::trials(),
        integers::trials(),
        largest::trials(),
        merge::trials(),
        scaled::trials(),
    ];
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let is_of_sample =
        |trial: &Trial| trial.name().split("::").nth(1).is_some_and(|name| samples.join(name).is_dir());
    let layers = layers.into_iter().flatten().filter(|trial| !is_of_sample(trial));
    layers.map(|trial| trial.with_kind("C++")).collect()
}

fn ignored(trial: Trial) -> Trial {
    trial.with_ignored_flag(true)
}

/// Makes a trial of a function that panics where something is wrong.
fn trial(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}
