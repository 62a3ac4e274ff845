//! The GPU's code without a GPU: the kernels themselves as C++, behind a simulated driver (tests/gpu/sim), run by the
//! program's own CUDA code. What they make is held against the processor, bit for bit.
//!
//! The simulator is compiled by `c++` when the tests start; where there is none every test is counted as ignored, and
//! why is said. The tests run in a process that is started again with the simulator in front of any real driver.
//!
//! With `CKPT_TEST_REAL_GPU=1` the same tests run on the GPU that is there, by its own driver; there being none fails.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests end where they cannot go on")]
#![expect(clippy::print_stderr, reason = "why tests are ignored")]

mod encode;
mod faults;
mod flow;
mod ggml;
mod integers;
mod layers;
mod merge;
#[path = "../it/robot.rs"]
mod robot;
mod samples;
mod scaled;
mod selftest;
mod sim;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

/// Set in the process that has the simulator: the folder of its library.
const SIMULATOR: &str = "CKPT_SIMULATED_DRIVER";

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
        return libtest_mimic::run(&arguments, trials(false)).exit_code();
    }
    match sim::build("libcuda.so.1", &[]) {
        Ok(folder) => {
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(std::env::args_os().skip(1));
            again.env(SIMULATOR, &folder).env("LD_LIBRARY_PATH", &folder).env("SIM_CUDA_DEVICES", "2");
            if again.status().unwrap().success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("GPU tests are skipped: {why}");
            libtest_mimic::run(&arguments, trials(true)).exit_code()
        }
    }
}

fn trials(is_ignored: bool) -> Vec<Trial> {
    let all = [
        encode::trials(),
        faults::trials(),
        flow::trials(),
        ggml::trials(),
        integers::trials(),
        merge::trials(),
        samples::trials(),
        scaled::trials(),
        selftest::trials(),
    ];
    all.into_iter().flatten().map(|trial| trial.with_ignored_flag(is_ignored)).collect()
}

/// Makes a trial of a function that panics where something is wrong.
fn trial(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}
