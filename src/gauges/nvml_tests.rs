//! Drives the NVML code against small libraries compiled here. A machine without a C compiler skips
//! those tests and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// The functions that every fake has. The second GPU has no fan of sensors: only memory.
const BASE: &str = r#"
#include <stdio.h>
#ifndef INIT
#define INIT 0
#endif
#ifndef COUNT
#define COUNT 2
#endif
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory2;
typedef struct { unsigned gpu, memory; } rates;
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *s, unsigned n) { snprintf(s, n, "999.01"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *c) { *c = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetName(void *d, char *s, unsigned n) { snprintf(s, n, "Fake\x1b[31m L4"); return 0; }
int nvmlDeviceGetUtilizationRates(void *d, rates *r) { r->gpu = 42; r->memory = 17; return d == (void *)1 ? 0 : 3; }
int nvmlDeviceGetPowerUsage(void *d, unsigned *mw) { *mw = 58250; return d == (void *)1 ? 0 : 4; }
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *c) { *c = 41; return d == (void *)1 ? 0 : 15; }
"#;

const MEMORY: &str = r"
int nvmlDeviceGetMemoryInfo_v2(void *d, memory2 *m) {
  m->total = 24ull << 30; m->reserved = 1ull << 30; m->used = 7ull << 30; m->free = 16ull << 30; return MEMORY; }
";

const SLICES: &str = r"
int nvmlDeviceGetMigMode(void *d, unsigned *current, unsigned *pending) { *current = *pending = 1; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(void *d, unsigned *c) { *c = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *d, unsigned i, void **part) { *part = (void *)(100l + i); return i < 2 ? 0 : 6; }
";

/// A compiled library in a folder of its own, removed at the end of its test.
struct Library(PathBuf);

impl Library {
    /// Compiles `source`, or returns `None` where there is no C compiler.
    fn build(name: &str, source: &str, defines: &[&str]) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("ckpt-nvml-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (input, library) = (folder.join("fake.c"), folder.join("libfake.so"));
        let mut file =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(&input).unwrap();
        std::io::Write::write_all(&mut file, source.as_bytes()).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-w", "-shared", "-fPIC", "-o"]).arg(&library).arg(&input).args(defines);
        let is_built = compiler.status().is_ok_and(|status| status.success());
        if !is_built {
            println!("skipped: no C compiler to build the fake NVML of `{name}`");
            let _ = std::fs::remove_dir_all(&folder);
            return None;
        }
        Some(Self(folder))
    }

    fn read(&self) -> (GpuState, Vec<GpuSample>) {
        NvmlSource::with_library(self.0.join("libfake.so")).read()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn check_state(name: &str, source: &str, defines: &[&str], want: (GpuStateKind, &str)) {
    let Some(library) = Library::build(name, source, defines) else { return };
    let (state, _) = library.read();
    assert_eq!((state.kind, state.why.as_ref()), want, "{name}");
}

#[test]
fn each_gauge_degrades_alone() {
    let Some(library) = Library::build("sensors", &format!("{BASE}{MEMORY}"), &["-DMEMORY=0"]) else {
        return;
    };
    let (state, gpus) = library.read();
    assert_eq!(state.kind, GpuStateKind::Ready);
    assert_eq!(state.driver.as_deref(), Some("999.01"));
    let [first, second] = gpus.as_slice() else { panic!("two GPUs, not {}", gpus.len()) };
    assert_eq!(first.vram, Ok(Vram { used: 7 << 30, free: 16 << 30, total: 24 << 30 }));
    assert_eq!(first.name.as_deref(), Ok("Fake\\x1b[31m L4"));
    assert_eq!((&first.utilization_percent, &first.temperature_celsius), (&Ok(42), &Ok(41)));
    assert_eq!(first.power_watts, Ok(58.25));
    assert_eq!(first.uuid, Err(Missing::because("driver too old")));
    assert!(second.vram.is_ok());
    assert_eq!(second.utilization_percent, Err(NOT_REPORTED));
    assert_eq!(second.power_watts, Err(CLOSED));
    assert_eq!(second.temperature_celsius, Err(Missing::because("GPU fell off the bus")));
}

#[test]
fn a_split_gpu_lists_its_slices() {
    let source = format!("{BASE}{MEMORY}{SLICES}");
    let Some(library) = Library::build("slices", &source, &["-DMEMORY=0", "-DCOUNT=1"]) else { return };
    let (_, gpus) = library.read();
    let labels: Vec<String> = gpus.iter().map(GpuSample::label).collect();
    assert_eq!(labels, ["GPU0", "GPU0/0", "GPU0/1"]);
    assert_eq!(gpus[0].utilization_percent, Err(Missing::because("split by MIG")));
}

#[test]
fn every_way_to_have_no_gpu_is_said_in_words() {
    use GpuStateKind as Kind;
    let unloaded = (Kind::Absent, "NVIDIA driver is not loaded");
    check_state("unloaded", BASE, &["-DINIT=9"], unloaded);
    let mismatch =
        (Kind::Mismatch, "NVIDIA library and kernel module versions differ: reboot, or reload the driver");
    check_state("mismatch", BASE, &["-DINIT=18"], mismatch);
    check_state("denied", BASE, &["-DINIT=4"], (Kind::Denied, "NVML is closed to this user"));
    check_state(
        "blocked",
        BASE,
        &["-DINIT=17"],
        (Kind::Denied, "NVML is blocked by the system or container"),
    );
    check_state("none", BASE, &["-DCOUNT=0"], (Kind::Absent, "NVIDIA driver found, but no GPU"));
    check_state("old", BASE, &[], (Kind::TooOld, "driver too old to report memory (needs 510)"));
    check_state(
        "empty",
        "int nothing;",
        &[],
        (Kind::TooOld, "the driver lacks functions of NVML 7 or newer"),
    );
    let unified = format!("{BASE}{MEMORY}");
    check_state("unified", &unified, &["-DMEMORY=3"], (Kind::Ready, ""));
}

#[test]
fn a_missing_library_is_an_absent_gpu_and_a_broken_one_a_fault() {
    let (state, gpus) = NvmlSource::with_library("/nonexistent/libnvidia-ml.so.1").read();
    assert_eq!((state.kind, state.why.as_ref()), (GpuStateKind::Absent, "libnvidia-ml.so not found"));
    assert!(gpus.is_empty());
    let not_a_library = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let (state, _) = NvmlSource::with_library(not_a_library).read();
    assert_eq!(state.kind, GpuStateKind::Failed);
    assert!(state.why.starts_with("libnvidia-ml.so does not load: "), "{}", state.why);
}
