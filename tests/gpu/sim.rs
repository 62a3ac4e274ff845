//! Building the simulated driver.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The name of the driver's library.
const LIBRARY: &str = "libcuda.so.1";
/// Flags of every library.
const FLAGS: [&str; 4] = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall"];
/// The driver's sources, and how far each is optimized: what interprets instructions has loops over lanes.
const SOURCES: [(&str, &[&str]); 10] = [
    ("kernels", &["-O1"]),
    ("ptx_ops", &["-O2", "-ftree-vectorize"]),
    ("ptx_memory", &["-O2"]),
    ("ptx_convert", &["-O2", "-ftree-vectorize"]),
    ("cpu", &["-O1"]),
    ("driver", &["-O1"]),
    ("launch", &["-O1"]),
    ("ptx_parse", &["-O1"]),
    ("ptx_decode", &["-O1"]),
    ("ptx_run", &["-O2"]),
];

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

fn started(compiler: &mut Command) -> Result<Child, String> {
    let compiler = compiler.stdout(Stdio::null()).stderr(Stdio::piped());
    compiler.spawn().map_err(|error| format!("no C++ compiler (c++): {error}"))
}

fn made(compiler: Child) -> Result<(), String> {
    let made = compiler.wait_with_output().map_err(|error| format!("no C++ compiler (c++): {error}"))?;
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
    compiler.args(["-O1", "-shared", "-Wl,-soname,libnvidia-ml.so.1"]).arg(sources().join("nvml.cpp"));
    made(started(compiler.arg("-o").arg(folder.join("libnvidia-ml.so.1")).arg("-ldl"))?)?;
    Ok(folder)
}

/// Compiles the simulator into a folder, with further `flags`; returns why that cannot be, in words.
pub(crate) fn build(folder: &Path, flags: &[&str]) -> Result<(), String> {
    let sources = sources();
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    // All at once: the kernels take as long as all others together.
    let mut compilers = Vec::new();
    let mut link = compiler();
    link.args(flags).args(["-shared", &format!("-Wl,-soname,{LIBRARY}")]);
    for (source, optimized) in SOURCES {
        let object = folder.join(format!("{source}.o"));
        let mut compiler = compiler();
        compiler
            .args(["-ffp-contract=off", "-fno-strict-aliasing"])
            .args(["-Wno-unknown-pragmas", "-Wno-extra", "-Wno-unused-function"])
            .args(optimized)
            .args(flags)
            .arg("-I")
            .arg(&kernels)
            .arg("-I")
            .arg(&sources)
            .arg("-c")
            .arg(sources.join(format!("{source}.cpp")))
            .arg("-o")
            .arg(&object);
        compilers.push(started(&mut compiler)?);
        link.arg(object);
    }
    compilers.into_iter().try_for_each(made)?;
    made(started(link.arg("-o").arg(folder.join(LIBRARY)).arg("-lpthread"))?)?;
    let other = folder.join("libcuda.so");
    let _ignored = std::fs::remove_file(&other);
    std::os::unix::fs::symlink(LIBRARY, &other).map_err(|error| error.to_string())
}
