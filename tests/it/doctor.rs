//! `ckpt doctor` against drivers of every kind: small `libcuda` libraries that are compiled here and found by the
//! loader in a process of their own. A machine without a C compiler skips those tests and says so.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::convert::{Scratch, put};

/// A driver with all that the engine calls, and two cards: one that computes, and one older than Volta.
const CUDA: &str = r#"
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifndef INIT
#define INIT 0
#endif
#ifndef VERSION
#define VERSION 12080
#endif
#ifndef COUNT
#define COUNT 2
#endif
#ifndef MODE
#define MODE 0
#endif
int cuInit(unsigned flags) {
#ifdef HANG
  for (;;) pause();
#endif
  return INIT; }
int cuDriverGetVersion(int *v) { *v = VERSION; return 0; }
int cuDeviceGetCount(int *n) { *n = COUNT; return 0; }
int cuDeviceGet(int *d, int i) { *d = i + 7; return i >= 0 && i < COUNT ? 0 : 101; }
int cuDeviceGetName(char *s, int n, int d) {
  snprintf(s, n, d == 7 ? "NVIDIA\x1b[31m Fake" : "GTX 1080"); return 0; }
int cuDeviceGetUuid(unsigned char *u, int d) { memset(u, 0x10 + d, 16); return 0; }
int cuDeviceTotalMem_v2(size_t *b, int d) { *b = 24ull << 30; return d == 7 ? 0 : LOST; }
int cuDeviceGetAttribute(int *v, int a, int d) {
  *v = a == 75 ? (d == 7 ? 9 : 6) : a == 76 ? (d == 7 ? 0 : 1) : a == 16 ? 132 : a == 20 ? MODE : 0; return 0; }
int cuGetErrorName(int code, const char **s) { *s = code == 700 ? "CUDA_ERROR_\x1b[1mODD" : 0; return code == 700 ? 0 : 1; }
#define F(name) int name(void) { return 999; }
F(cuGetErrorString) F(cuDevicePrimaryCtxRetain) F(cuDevicePrimaryCtxRelease_v2)
F(cuDevicePrimaryCtxSetFlags_v2) F(cuCtxGetCurrent)
F(cuCtxSetCurrent) F(cuCtxSynchronize) F(cuMemGetInfo_v2) F(cuStreamCreate) F(cuStreamDestroy_v2)
F(cuStreamSynchronize) F(cuStreamWaitEvent) F(cuEventCreate) F(cuEventDestroy_v2) F(cuEventRecord)
F(cuEventSynchronize) F(cuEventQuery) F(cuEventElapsedTime) F(cuMemAllocAsync) F(cuMemFree_v2)
F(cuMemFreeAsync) F(cuMemHostAlloc) F(cuMemFreeHost) F(cuMemsetD8Async) F(cuMemcpyHtoDAsync_v2)
F(cuMemcpyDtoHAsync_v2) F(cuMemcpyDtoDAsync_v2) F(cuModuleLoadData) F(cuModuleLoadDataEx) F(cuModuleUnload)
F(cuModuleGetFunction) F(cuFuncGetAttribute) F(cuLaunchKernel)
#ifndef HALF
F(cuMemAlloc_v2)
#endif
"#;

/// Gauges of the same two cards, in the other order.
const NVML: &str = r#"
#include <stdio.h>
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory2;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *s, unsigned n) { snprintf(s, n, "570.86"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *c) { *c = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetName(void *d, char *s, unsigned n) { snprintf(s, n, d == (void *)2 ? "NVIDIA Fake" : "GTX 1080"); return 0; }
int nvmlDeviceGetUUID(void *d, char *s, unsigned n) {
  snprintf(s, n, d == (void *)2 ? "GPU-17171717-1717-1717-1717-171717171717" : "GPU-18181818-1818-1818-1818-181818181818"); return 0; }
int nvmlDeviceGetMemoryInfo_v2(void *d, memory2 *m) {
  m->total = 24ull << 30; m->reserved = 1ull << 30; m->used = 7ull << 30; m->free = 16ull << 30; return 0; }
int nvmlDeviceGetCurrPcieLinkGeneration(void *d, unsigned *g) { *g = 5; return 0; }
int nvmlDeviceGetCurrPcieLinkWidth(void *d, unsigned *w) { *w = 16; return 0; }
"#;

/// Compiles a library into the folder; returns false where there is no C compiler.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn compile(folder: &Scratch, library: &str, source: &str, defines: &[&str]) -> bool {
    let (input, output) = (folder.join(&format!("{library}.c")), folder.join(library));
    put(&input, source.as_bytes());
    let mut compiler = Command::new("cc");
    compiler.args(["-w", "-shared", "-fPIC", "-DLOST=0", "-o"]).arg(&output).arg(&input).args(defines);
    let is_built = compiler.status().is_ok_and(|status| status.success());
    if !is_built {
        println!("skipped: no C compiler to build the fake {library}");
    }
    is_built
}

/// Runs the program with the libraries of a folder before the system's.
fn doctor(libraries: Option<&Scratch>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("doctor").args(args).env_remove("CUDA_VISIBLE_DEVICES");
    if let Some(folder) = libraries {
        command.env("LD_LIBRARY_PATH", folder.join(""));
    }
    command.output().unwrap()
}

fn first_line(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

/// Checks what is said of a driver; the bindings look for `libcuda.so` first, whatever else is installed.
fn check(name: &str, defines: &[&str], want: &str) -> Option<Value> {
    let folder = Scratch::new(&format!("doctor-{name}"));
    if !compile(&folder, "libcuda.so", CUDA, defines) {
        return None;
    }
    let output = doctor(Some(&folder), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let json = first_line(&output);
    let why = json["cuda"]["why"].as_str().unwrap_or_default();
    assert!(why.contains(want), "{name}: {why}");
    assert_eq!(json["cuda"]["usable"], want.is_empty(), "{name}");
    let text = String::from_utf8(doctor(Some(&folder), &[]).stdout).unwrap();
    assert!(text.contains(if want.is_empty() { "compute 9.0" } else { want }), "{name}: {text}");
    Some(json)
}

#[test]
fn every_way_in_which_a_driver_is_of_no_use_has_its_words() {
    check("stub", &["-DINIT=34"], "libcuda is the toolkit's stub");
    check("none", &["-DINIT=100"], "driver present, no CUDA device visible (CUDA_VISIBLE_DEVICES is not set");
    check("empty", &["-DCOUNT=0"], "driver present, no CUDA device visible");
    check("mismatch", &["-DINIT=803"], "driver and libcuda versions do not match: reboot");
    check("forward", &["-DINIT=804"], "no forward compatibility on this GPU");
    check("fabric", &["-DINIT=802"], "Fabric Manager");
    check("uvm", &["-DINIT=999"], "nvidia-uvm is not loaded");
    check(
        "old",
        &["-DVERSION=11080"],
        "driver too old for the built-in kernels (needs 525): it serves CUDA 11.8",
    );
    check("half", &["-DHALF"], "the driver lacks cuMemAlloc_v2");
    check("crowd", &["-DCOUNT=10000"], "the driver counts 10000 devices");
    check("negative", &["-DCOUNT=-3"], "the driver counts -3 devices");
    // Codes that no header of ours knows: as integers they are harmless.
    check("odd", &["-DINIT=700"], "the driver does not start: CUDA_ERROR_\\x1b[1mODD (700)");
    check("unknown", &["-DINIT=123456789"], "code 123456789, which the driver has no name for");
    check("minus", &["-DINIT=-7"], "code -7, which the driver has no name for");
    check("closed", &["-DMODE=2", "-DCOUNT=1"], "its compute mode is Prohibited");
}

#[test]
fn a_library_that_is_no_driver_is_half_installed() {
    let folder = Scratch::new("doctor-foreign");
    if !compile(&folder, "libcuda.so", "int nothing;", &[]) {
        return;
    }
    let output = doctor(Some(&folder), &["--json"]);
    assert_eq!(
        first_line(&output)["cuda"]["why"],
        "the driver lacks cuInit: libcuda is half installed, or not NVIDIA's own"
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn a_driver_that_hangs_is_waited_for_five_seconds() {
    let start = Instant::now();
    if check("hang", &["-DHANG"], "driver did not answer within 5 seconds").is_some() {
        // Once for JSON, once for text.
        let each = start.elapsed() / 2;
        assert!(each >= Duration::from_secs(5) && each < Duration::from_mins(1), "{each:?}");
    }
}

#[test]
fn cards_are_judged_one_by_one() {
    let Some(json) = check("two", &[], "") else { return };
    let cuda = &json["cuda"];
    assert_eq!((&cuda["driver"], &cuda["kernels"]["driver_reads"]), (&"12.8".into(), &true.into()));
    assert_eq!(cuda["kernels"]["ptx_isa"], "8.0");
    let [first, second] = cuda["devices"].as_array().unwrap().as_slice() else { panic!("{cuda}") };
    assert_eq!(first["name"], "NVIDIA\\x1b[31m Fake");
    assert_eq!(first["uuid"], "GPU-17171717-1717-1717-1717-171717171717");
    assert_eq!((&first["capability"], &first["multiprocessors"]), (&"9.0".into(), &132.into()));
    assert_eq!((&first["memory"], &first["usable"]), (&(24u64 << 30).into(), &true.into()));
    assert_eq!((&second["usable"], &second["capability"]), (&false.into(), &"6.1".into()));
    assert!(second["why"].as_str().unwrap().contains("GPU older than Volta"), "{second}");
    // What one card does not tell refuses that card alone; the code is named as the driver names it.
    let Some(json) = check("lost", &["-ULOST", "-DLOST=700"], "") else { return };
    let why = json["cuda"]["devices"][1]["why"].as_str().unwrap();
    assert_eq!(why, "it does not tell its memory: CUDA_ERROR_\\x1b[1mODD (700)");
}

#[test]
fn a_machine_without_a_driver_says_so_and_exits_as_without_a_gpu() {
    let json = first_line(&doctor(None, &["--json"]));
    if json["cuda"]["why"] != "no NVIDIA driver found (libcuda.so.1)" {
        println!("skipped: this machine has a CUDA driver: {}", json["cuda"]);
        return;
    }
    assert_eq!((&json["cuda"]["usable"], &json["cuda"]["driver"]), (&false.into(), &Value::Null));
    assert_eq!(json["cuda"]["kernels"]["driver_reads"], Value::Null);
    let text = String::from_utf8(doctor(None, &[]).stdout).unwrap();
    assert!(text.contains("cuda      no NVIDIA driver found (libcuda.so.1)\n"), "{text}");
    assert!(text.contains("no GPU computes here: the processor does all the work"), "{text}");
    let output = doctor(None, &["--gpu-selftest"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("nothing was tested: no GPU computes here"));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(words.trim_end(), "ckpt: no GPU to test: no NVIDIA driver found (libcuda.so.1)");
    let output = doctor(None, &["--gpu-selftest", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["selftest"]["ok"]), (2, &false.into()));
    assert_eq!((&lines[1]["event"], &lines[1]["kind"]), (&"error".into(), &"device".into()));
}

#[test]
fn gauges_are_matched_to_what_computes_by_their_identifier() {
    let folder = Scratch::new("doctor-match");
    if !compile(&folder, "libcuda.so", CUDA, &[]) || !compile(&folder, "libnvidia-ml.so.1", NVML, &[]) {
        return;
    }
    let json = first_line(&doctor(Some(&folder), &["--json"]));
    let gauges: Vec<&Value> =
        json["cuda"]["devices"].as_array().unwrap().iter().map(|device| &device["gauge"]).collect();
    assert_eq!(gauges, ["GPU1", "GPU0"], "NVML counts them the other way round");
    assert_eq!(json["gpu"]["devices"][0]["pcie_generation"], 5);
    let text = String::from_utf8(doctor(Some(&folder), &[]).stdout).unwrap();
    let from = text.find("gpu ").unwrap();
    let shown = text[from..].lines().take_while(|line| !line.starts_with("terminal")).collect::<Vec<_>>();
    insta::assert_snapshot!("two-gpus", shown.join("\n"));
}
