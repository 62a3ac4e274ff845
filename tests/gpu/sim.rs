//! Building the simulated driver, and what it is told and asked.

use std::path::{Path, PathBuf};
use std::process::Command;

use libloading::{Library, Symbol};

/// Returns the folder of the simulator's library, compiled with further `flags`; why not, in words.
pub(crate) fn build(library: &str, flags: &[&str]) -> Result<PathBuf, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu/sim");
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    // Another folder for each process: two test runs at a time do not take each other's file away.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("simulated-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let to = folder.join(library);
    let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    compiler
        .args(["-O1", "-std=c++17", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden"])
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-extra", "-Wno-unused-function"])
        .args(flags)
        .arg("-Wl,-soname,libcuda.so.1")
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
    std::os::unix::fs::symlink(&to, &other).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// The simulator in this process.
pub(crate) struct Simulator(Library);

impl Simulator {
    /// Returns it as the program loads it.
    pub(crate) fn here() -> Self {
        let folder = PathBuf::from(std::env::var_os(super::SIMULATOR).unwrap());
        Self(open(&folder.join("libcuda.so.1")))
    }
}

#[expect(unsafe_code, reason = "a library of ours")]
fn open(path: &Path) -> Library {
    // SAFETY: its initializers only fill a map.
    unsafe { Library::new(path).unwrap() }
}

#[expect(unsafe_code, reason = "functions of a library of ours; see SAFETY")]
impl Simulator {
    /// Sets a setting (driver.cpp), and counts calls from 0 again.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let (name, value) = (std::ffi::CString::new(name).unwrap(), std::ffi::CString::new(value).unwrap());
        // SAFETY: its type in driver.cpp.
        let set: Symbol<'_, unsafe extern "C" fn(*const i8, *const i8)> =
            unsafe { self.0.get(b"sim_set").unwrap() };
        // SAFETY: two texts that end with a zero.
        unsafe { set(name.as_ptr().cast(), value.as_ptr().cast()) }
    }

    /// Returns how many things of the driver are held: memory, streams, contexts.
    pub(crate) fn held(&self) -> i32 {
        // SAFETY: its type in driver.cpp.
        let held: Symbol<'_, unsafe extern "C" fn() -> i32> = unsafe { self.0.get(b"sim_held").unwrap() };
        // SAFETY: it has no parameters.
        unsafe { held() }
    }

    /// Returns how many kernels were started since the last setting.
    pub(crate) fn launches(&self) -> i64 {
        // SAFETY: its type in driver.cpp.
        let launches: Symbol<'_, unsafe extern "C" fn() -> i64> =
            unsafe { self.0.get(b"sim_launches").unwrap() };
        // SAFETY: it has no parameters.
        unsafe { launches() }
    }
}
