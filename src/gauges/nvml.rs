//! NVIDIA GPUs through NVML (`libnvidia-ml.so.1`), loaded at run time.
//!
//! | what is wrong                              | state           | what the user reads                              |
//! |--------------------------------------------|-----------------|--------------------------------------------------|
//! | no library                                 | absent          | libnvidia-ml.so not found                        |
//! | library, but no kernel module              | absent          | NVIDIA driver is not loaded                      |
//! | no device                                  | absent          | NVIDIA driver found, but no GPU                  |
//! | library and module differ                  | driver mismatch | … versions differ: reboot, or reload the driver  |
//! | a function missing                         | too old         | the driver lacks …                               |
//! | closed to this user or container           | no permission   | …                                                |
//!
//! A sensor that fails takes only its own gauge away. `nvmlDeviceGetMemoryInfo_v2` came with driver 510; an
//! older driver is asked by the function before it (`nvml/memory.rs`). The figures are read in `nvml/sensors.rs`.
//!
//! The driver measures what goes over PCIe for 20 ms inside the call, once a direction. So the first read leaves
//! that out (who looks once does not wait for it), and the later ones ask a few GPUs in turn.

mod memory;
mod sensors;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nvml_wrapper::Nvml;
use nvml_wrapper::device::Device;
use nvml_wrapper::error::NvmlError;

use super::{GpuSample, GpuSource, GpuState, GpuStateKind, Missing, PcieRate, Reading};
use crate::name;

/// More GPUs than any machine holds (DGX: 16); it bounds the loop against a broken driver.
const GPU_COUNT_MAX: u32 = 64;
/// An H100 or H200 splits into seven slices at most (MIG user guide).
const SLICE_COUNT_MAX: u32 = 8;
/// A driver's strings are at most 96 bytes (`NVML_DEVICE_NAME_V2_BUFFER_SIZE`); loader messages are longer.
const TEXT_BYTES_MAX: usize = 256;
/// `nvmlDeviceSetMigMode`'s "on" (`NVML_DEVICE_MIG_ENABLE`).
const MIG_ENABLED: u32 = 1;
/// GPUs whose PCIe link is measured in one read: 40 ms each.
const RATES_MAX: usize = 4;

/// The GPUs of NVML. The library is opened by the first `read`, on the thread that reads.
pub struct NvmlSource {
    path: Option<OsString>,
    /// Where processes have their names: `/`, but for tests.
    root: PathBuf,
    opened: Option<Result<Nvml, GpuState>>,
    rates: Rates,
}

/// What goes over PCIe, as it was measured last.
#[derive(Default)]
struct Rates {
    known: BTreeMap<u32, Reading<PcieRate>>,
    /// The GPU that is measured first in the next read; `None` before the first read.
    next: Option<u32>,
}

impl Rates {
    /// Measures some of `count` GPUs, in turn.
    fn measure(&mut self, nvml: &Nvml, count: u32) {
        let Some(first) = self.next.replace(0) else { return };
        let turn = (0..count).map(|by| (first + by) % count).take(RATES_MAX);
        for index in turn {
            if let Ok(device) = nvml.device_by_index(index) {
                self.known.insert(index, sensors::pcie_rate(&device));
            }
            self.next = Some((index + 1) % count);
        }
    }

    fn of(&self, index: u32) -> Reading<PcieRate> {
        self.known.get(&index).cloned().unwrap_or(Err(Missing::because("not measured yet")))
    }
}

impl Default for NvmlSource {
    fn default() -> Self {
        Self::new()
    }
}

impl NvmlSource {
    /// Returns a source over the system's library.
    #[must_use]
    pub fn new() -> Self {
        Self { path: None, root: PathBuf::from("/"), opened: None, rates: Rates::default() }
    }

    /// Returns a source over the library at `path`.
    #[must_use]
    pub fn with_library(path: impl Into<OsString>) -> Self {
        Self { path: Some(path.into()), ..Self::new() }
    }

    /// Returns the source with the names of processes under `root`/`proc`.
    #[must_use]
    pub fn with_root(self, root: &Path) -> Self {
        Self { root: root.to_path_buf(), ..self }
    }
}

impl GpuSource for NvmlSource {
    fn read(&mut self) -> (GpuState, Vec<GpuSample>) {
        let path = self.path.as_deref();
        let opened = self.opened.get_or_insert_with(|| {
            let mut builder = Nvml::builder();
            if let Some(path) = path {
                builder.lib_path(path);
            }
            builder.init().map_err(|error| state_of(&error))
        });
        match opened {
            Ok(nvml) => read_all(nvml, &self.root, &mut self.rates),
            Err(state) => (state.clone(), Vec::new()),
        }
    }
}

fn read_all(nvml: &Nvml, root: &Path, rates: &mut Rates) -> (GpuState, Vec<GpuSample>) {
    let driver = nvml.sys_driver_version().ok().map(|text| clean(&text));
    let count = match nvml.device_count() {
        Ok(count) => count.min(GPU_COUNT_MAX),
        Err(error) => return (GpuState { driver, ..state_of(&error) }, Vec::new()),
    };
    let mut gpus = Vec::new();
    rates.measure(nvml, count);
    for index in 0..count {
        match nvml.device_by_index(index) {
            Ok(device) => {
                let whole = sensors::read(index, None, (nvml, &device), root);
                read_device(
                    GpuSample { pcie_rate: rates.of(index), ..whole },
                    (nvml, &device),
                    root,
                    &mut gpus,
                );
            }
            Err(error) => gpus.push(GpuSample::missing(index, &why_missing(&error))),
        }
    }
    let state = if count == 0 {
        GpuState::new(GpuStateKind::Absent, "NVIDIA driver found, but no GPU")
    } else if let Some(why) = common_fault(&gpus) {
        why
    } else {
        GpuState::new(GpuStateKind::Ready, "")
    };
    (GpuState { driver, ..state }, gpus)
}

/// Returns the fault when no GPU tells even its memory: such GPUs are of no use as gauges.
fn common_fault(gpus: &[GpuSample]) -> Option<GpuState> {
    let faults: Vec<&Missing> = gpus.iter().map_while(|gpu| gpu.vram.as_ref().err()).collect();
    let first = faults.first().filter(|_| faults.len() == gpus.len())?;
    // Unified memory (Jetson, GB10) reports no memory and is no fault.
    if **first == NOT_REPORTED {
        return None;
    }
    let kind = if first.0.starts_with("driver too old") {
        GpuStateKind::TooOld
    } else if **first == CLOSED {
        GpuStateKind::Denied
    } else {
        GpuStateKind::Failed
    };
    Some(GpuState::new(kind, first.0.clone()))
}

/// Adds a GPU, and its slices if it is split.
fn read_device(
    mut whole: GpuSample,
    (nvml, device): (&Nvml, &Device<'_>),
    root: &Path,
    gpus: &mut Vec<GpuSample>,
) {
    // Most GPUs answer "not supported" here, and drivers before 450 have no such function.
    let is_split = device.mig_mode().is_ok_and(|mode| mode.current == MIG_ENABLED);
    if is_split {
        whole.utilization_percent = Err(Missing::because("split by MIG"));
    }
    let index = whole.index;
    gpus.push(whole);
    let slices = if is_split { device.mig_device_count().unwrap_or(0).min(SLICE_COUNT_MAX) } else { 0 };
    for slice in 0..slices {
        // Slots may be empty.
        if let Ok(part) = device.mig_device_by_index(slice) {
            gpus.push(sensors::read(index, Some(slice), (nvml, &part), root));
        }
    }
}

fn reading<T>(result: Result<T, NvmlError>) -> Reading<T> {
    result.map_err(|error| why_missing(&error))
}

const NOT_REPORTED: Missing = Missing(std::borrow::Cow::Borrowed("not reported by this GPU"));
const CLOSED: Missing = Missing(std::borrow::Cow::Borrowed("closed to this user"));

fn why_missing(error: &NvmlError) -> Missing {
    match error {
        NvmlError::NotSupported | NvmlError::NoData => NOT_REPORTED,
        NvmlError::NoPermission => CLOSED,
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => Missing::because("driver too old"),
        NvmlError::GpuLost => Missing::because("GPU fell off the bus"),
        NvmlError::ResetRequired => Missing::because("GPU needs a reset"),
        NvmlError::OperatingSystem => Missing::because("blocked by the system or container"),
        error => Missing(clean(&error.to_string()).into()),
    }
}

fn state_of(error: &NvmlError) -> GpuState {
    use GpuStateKind as Kind;
    let (kind, why): (Kind, std::borrow::Cow<'static, str>) = match error {
        NvmlError::LibloadingError(error) => match clean(&error.to_string()) {
            text if is_not_found(&text) => (Kind::Absent, "libnvidia-ml.so not found".into()),
            text => (Kind::Failed, format!("libnvidia-ml.so does not load: {text}").into()),
        },
        NvmlError::LibraryNotFound => (Kind::Absent, "a library of the NVIDIA driver is missing".into()),
        NvmlError::DriverNotLoaded => (Kind::Absent, "NVIDIA driver is not loaded".into()),
        NvmlError::LibRmVersionMismatch => (
            Kind::Mismatch,
            "NVIDIA library and kernel module versions differ: reboot, or reload the driver".into(),
        ),
        NvmlError::NoPermission => (Kind::Denied, "NVML is closed to this user".into()),
        NvmlError::OperatingSystem => (Kind::Denied, "NVML is blocked by the system or container".into()),
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            (Kind::TooOld, "the driver lacks functions of NVML 7 or newer".into())
        }
        error => (Kind::Failed, format!("NVML: {}", clean(&error.to_string())).into()),
    };
    GpuState::new(kind, why)
}

/// The loader says it in words only. glibc: "cannot open shared object file: No such file or directory";
/// musl: "Error loading shared library …: No such file or directory".
fn is_not_found(text: &str) -> bool {
    text.contains("No such file") || text.contains("not found")
}

/// A driver is trusted to run, but a name goes to a terminal.
fn clean(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).find(|&at| at >= TEXT_BYTES_MAX).unwrap_or(text.len());
    name::escape(&text[..end]).into_owned()
}

#[cfg(test)]
mod tests;
