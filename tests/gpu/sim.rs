//! Building the simulated driver.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The name of the driver's library.
const LIBRARY: &str = "libcuda.so.1";
/// Flags of every library.
const FLAGS: [&str; 4] = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall"];
/// What executes PTX, with loops over lanes, and the rest of the driver.
const PTX: [&str; 6] = ["ptx_ops", "ptx_convert", "ptx_memory", "ptx_run", "ptx_parse", "ptx_decode"];
const DRIVER: [&str; 2] = ["driver", "launch"];
/// The kernels as C++, and what runs them.
const CPP: [&str; 2] = ["kernels", "cpu"];

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

/// Compiles the simulator into a folder; returns why that cannot be, in words.
pub(crate) fn build(folder: &Path) -> Result<(), String> {
    compile(folder, &[(&PTX, &["-O2", "-ftree-vectorize"]), (&DRIVER, &["-O1"])])?;
    link(folder, &[(folder, &PTX), (folder, &DRIVER)], &[])
}

/// Compiles a simulator of kernels as C++ into a folder, with further `flags`; what executes PTX is that of another one.
pub(crate) fn build_of_cpp(folder: &Path, other: &Path, flags: &[&str]) -> Result<(), String> {
    let flags: Vec<&str> = [&["-O1"], flags].concat();
    compile(folder, &[(&CPP, &flags), (&DRIVER, &flags)])?;
    link(folder, &[(folder, &CPP), (folder, &DRIVER), (other, &PTX)], &flags)
}

/// Compiles sources to objects, all at once.
fn compile(folder: &Path, sources: &[(&[&str], &[&str])]) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut compilers = Vec::new();
    for (names, flags) in sources {
        for name in *names {
            let mut compiler = compiler();
            compiler
                .args(["-ffp-contract=off", "-fno-strict-aliasing"])
                .args(["-Wno-unknown-pragmas", "-Wno-extra", "-Wno-unused-function"])
                .args(*flags)
                .arg("-I")
                .arg(&kernels)
                .arg("-I")
                .arg(self::sources())
                .arg("-c")
                .arg(self::sources().join(format!("{name}.cpp")))
                .arg("-o")
                .arg(folder.join(format!("{name}.o")));
            compilers.push(started(&mut compiler)?);
        }
    }
    compilers.into_iter().try_for_each(made)
}

fn link(folder: &Path, objects: &[(&Path, &[&str])], flags: &[&str]) -> Result<(), String> {
    let mut linker = compiler();
    linker.args(flags).args(["-shared", &format!("-Wl,-soname,{LIBRARY}")]);
    for (from, names) in objects {
        linker.args(names.iter().map(|name| from.join(format!("{name}.o"))));
    }
    made(started(linker.arg("-o").arg(folder.join(LIBRARY)).arg("-lpthread"))?)?;
    let other = folder.join("libcuda.so");
    let _ignored = std::fs::remove_file(&other);
    std::os::unix::fs::symlink(LIBRARY, &other).map_err(|error| error.to_string())
}
