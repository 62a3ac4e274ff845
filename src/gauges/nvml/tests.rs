//! Drives the NVML code against small libraries compiled here. A machine without a C compiler skips
//! those tests and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::gauges::{PcieLink, Vram};

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

/// What drivers before 510 have for memory: what the driver keeps counts as used.
const OLD_MEMORY: &str = r"
typedef struct { unsigned long long total, free, used; } memory1;
int nvmlDeviceGetMemoryInfo(void *d, memory1 *m) {
  m->total = 24ull << 30; m->free = 16ull << 30; m->used = 8ull << 30; return d == (void *)1 ? 0 : OLD; }
";

/// Links, clocks, and processes: the caller itself, process 1, and one that is nowhere.
const MORE: &str = r"
#include <unistd.h>
typedef struct { unsigned pid; unsigned long long bytes; unsigned gi, ci; } process;
int nvmlDeviceGetCurrPcieLinkGeneration(void *d, unsigned *g) { *g = 4; return d == (void *)1 ? 0 : 3; }
int nvmlDeviceGetCurrPcieLinkWidth(void *d, unsigned *w) { *w = 16; return 0; }
int nvmlDeviceGetPcieThroughput(void *d, int counter, unsigned *kb) {
  *kb = counter == 1 ? 2048 : 512; return d == (void *)1 ? 0 : 3; }
int nvmlDeviceGetClockInfo(void *d, int clock, unsigned *mhz) { *mhz = clock == 1 ? 1980 : 3201; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *r) { *r = d == (void *)1 ? 0x45 : 0x8; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *count, process *list) {
  process here[3] = {{1, ~0ull, ~0u, ~0u}, {getpid(), 3ull << 30, ~0u, ~0u}, {4000000000u, 5ull << 30, ~0u, ~0u}};
  if (d != (void *)1) { *count = 0; return 0; }
  if (*count < 3) { *count = 3; return 7; }
  for (int i = 0; i < 3; i++) list[i] = here[i];
  *count = 3; return 0; }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, unsigned *count, process *list) {
  process one = {getpid(), 3ull << 30, ~0u, ~0u};
  if (*count < 1) { *count = 1; return 7; }
  list[0] = one; *count = 1; return 0; }
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

    fn source(&self) -> NvmlSource {
        NvmlSource::with_library(self.0.join("libfake.so"))
    }

    fn read(&self) -> (GpuState, Vec<GpuSample>) {
        self.source().read()
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
    // The functions that this library lacks.
    let old = Missing::because("driver too old");
    assert_eq!((&first.pcie_link, &first.processor_mhz), (&Err(old.clone()), &Err(old.clone())));
    assert_eq!(first.slowed, Err(old));
    assert_eq!(first.processes, Err(Missing::because("driver too old to list processes (needs 510)")));
}

#[test]
fn links_clocks_and_processes_are_read_and_pcie_is_measured_from_the_second_look_on() {
    let source = format!("{BASE}{MEMORY}{MORE}");
    let Some(library) = Library::build("more", &source, &["-DMEMORY=0"]) else { return };
    let root = library.0.join("root");
    std::fs::create_dir_all(root.join("proc/1")).unwrap();
    let mut comm =
        std::fs::OpenOptions::new().create_new(true).write(true).open(root.join("proc/1/comm")).unwrap();
    std::io::Write::write_all(&mut comm, b"py\x1b[2J\xff\n").unwrap();
    let mut source = library.source().with_root(&root);
    let (_, gpus) = source.read();
    let [first, second] = gpus.as_slice() else { panic!("two GPUs, not {}", gpus.len()) };
    assert_eq!(first.pcie_link, Ok(PcieLink { generation: 4, lanes: 16 }));
    assert_eq!(second.pcie_link, Err(NOT_REPORTED));
    assert_eq!((&first.processor_mhz, &first.memory_mhz), (&Ok(1980), &Ok(3201)));
    assert_eq!(
        (&first.slowed, &second.slowed),
        (&Ok(vec!["power limit", "heat (hardware)"]), &Ok(vec!["hardware slowdown"]))
    );
    assert_eq!(first.pcie_rate, Err(Missing::because("not measured yet")));
    let processes = first.processes.as_ref().unwrap();
    let told: Vec<_> = processes.iter().map(|p| (p.pid, p.bytes.as_ref().ok().copied(), p.is_own)).collect();
    let own = std::process::id();
    assert_eq!(told, [(4_000_000_000, Some(5 << 30), false), (own, Some(3 << 30), true), (1, None, false)]);
    assert_eq!(processes[0].name, Err(Missing::because("not seen from here")));
    assert_eq!(processes[2].name.as_deref(), Ok("py\\x1b[2J\u{fffd}"));
    assert_eq!((first.own_bytes(), second.own_bytes()), (Some(3 << 30), Some(3 << 30)));
    let (_, gpus) = source.read();
    assert_eq!(gpus[0].pcie_rate, Ok(PcieRate { to_gpu: 2 << 20, from_gpu: 512 << 10 }));
    assert_eq!(gpus[1].pcie_rate, Err(NOT_REPORTED));
}

#[test]
fn an_old_driver_tells_its_memory_by_the_older_function() {
    let source = format!("{BASE}{OLD_MEMORY}");
    let Some(library) = Library::build("old-memory", &source, &["-DOLD=4"]) else { return };
    let (state, gpus) = library.read();
    assert_eq!(state.kind, GpuStateKind::Ready);
    assert_eq!(gpus[0].vram, Ok(Vram { used: 8 << 30, free: 16 << 30, total: 24 << 30 }));
    assert_eq!(gpus[1].vram, Err(CLOSED));
}

#[test]
fn many_gpus_take_turns_at_their_links() {
    let source = format!("{BASE}{MEMORY}{MORE}")
        .replace("d == (void *)1 ? 0 : 3; }\nint nvmlDeviceGetClock", "0; }\nint nvmlDeviceGetClock");
    let Some(library) = Library::build("turns", &source, &["-DMEMORY=0", "-DCOUNT=10"]) else { return };
    let mut source = library.source();
    let measured = |gpus: &[GpuSample]| gpus.iter().filter(|gpu| gpu.pcie_rate.is_ok()).count();
    let counts: Vec<usize> = (0..5).map(|_| measured(&source.read().1)).collect();
    assert_eq!(counts, [0, 4, 8, 10, 10]);
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
    check_state("old", BASE, &[], (Kind::TooOld, "driver too old to report memory"));
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
