//! Building the simulated driver.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the driver's library.
const LIBRARY: &str = "libcuda.so.1";
/// Flags of every library.
const FLAGS: [&str; 6] = ["-O1", "-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall"];

/// Returns a folder for the simulator: another one for each process, so that two test runs at a time do not take each
/// other's files away.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("simulated-{}", std::process::id()))
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu/sim")
}

fn compiler() -> Command {
    let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    compiler.args(FLAGS).args(["-Wextra", "-Werror"]);
    compiler
}

fn made(compiler: &mut Command) -> Result<(), String> {
    let made = compiler.output().map_err(|error| format!("no C++ compiler (c++): {error}"))?;
    // A compiler that is there and refuses is no reason to skip.
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "the simulator does not compile: {said}");
    Ok(())
}

/// Returns the folder of a simulated NVML, made in that of the simulator: who has it in front sees the simulator's GPUs.
pub(crate) fn build_nvml(simulator: &Path) -> Result<PathBuf, String> {
    let folder = simulator.join("nvml");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut compiler = compiler();
    compiler.arg("-Wl,-soname,libnvidia-ml.so.1").arg(sources().join("nvml.cpp"));
    made(compiler.arg("-o").arg(folder.join("libnvidia-ml.so.1")).arg("-ldl"))?;
    Ok(folder)
}

/// Compiles the simulator into a folder, with further `flags`; returns why that cannot be, in words.
pub(crate) fn build(folder: &Path, flags: &[&str]) -> Result<(), String> {
    let sources = sources();
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let to = folder.join(LIBRARY);
    let mut compiler = compiler();
    compiler
        .args(["-ffp-contract=off", "-Wno-unknown-pragmas", "-Wno-extra", "-Wno-unused-function"])
        .args(flags)
        .arg(format!("-Wl,-soname,{LIBRARY}"))
        .arg("-I")
        .arg(&kernels)
        .arg("-I")
        .arg(&sources);
    for source in ["kernels.cpp", "cpu.cpp", "driver.cpp"] {
        compiler.arg(sources.join(source));
    }
    made(compiler.arg("-o").arg(&to).arg("-lpthread"))?;
    let other = folder.join("libcuda.so");
    let _ignored = std::fs::remove_file(&other);
    std::os::unix::fs::symlink(LIBRARY, &other).map_err(|error| error.to_string())
}
