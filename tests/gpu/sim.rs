//! Building the simulated driver.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the driver's library.
const LIBRARY: &str = "libcuda.so.1";

/// Returns a folder for the simulator: another one for each process, so that two test runs at a time do not take each
/// other's files away.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("simulated-{}", std::process::id()))
}

/// Compiles the simulator into a folder, with further `flags`; returns why that cannot be, in words.
pub(crate) fn build(folder: &Path, flags: &[&str]) -> Result<(), String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu/sim");
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let to = folder.join(LIBRARY);
    let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    compiler
        .args(["-O1", "-std=c++17", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden"])
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-extra", "-Wno-unused-function"])
        .args(flags)
        .arg(format!("-Wl,-soname,{LIBRARY}"))
        .arg("-I")
        .arg(&kernels)
        .arg("-I")
        .arg(&sources);
    for source in ["kernels.cpp", "cpu.cpp", "driver.cpp"] {
        compiler.arg(sources.join(source));
    }
    compiler.arg("-o").arg(&to).arg("-lpthread");
    let made = compiler.output().map_err(|error| format!("no C++ compiler (c++): {error}"))?;
    // A compiler that is there and refuses is no reason to skip.
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "the simulator does not compile: {said}");
    let other = folder.join("libcuda.so");
    let _ignored = std::fs::remove_file(&other);
    std::os::unix::fs::symlink(LIBRARY, &other).map_err(|error| error.to_string())
}
