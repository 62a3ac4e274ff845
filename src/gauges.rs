//! Gauges: what the machine does now: each GPU's memory, load, heat and power, RAM, and our own I/O.
//!
//! A `Sampler` is owned by the thread that samples (a job, once a second); nothing here starts a thread,
//! and nothing is loaded before the first `sample`, because opening NVML can take hundreds of
//! milliseconds. Every figure is a `Reading`: a number, or the words that say why there is none. A GPU
//! without a power sensor loses that one gauge and keeps the others.
//!
//! The sources are `gauges/nvml.rs` and `gauges/amd.rs` (GPUs; `gauges/several.rs` makes one of the two),
//! `gauges/ram.rs` and `gauges/io.rs`; how a sample looks on screen is `ui/gauge_bar.rs` and `ui/gpu.rs`.

pub mod amd;
pub mod io;
pub mod nvml;
pub mod ram;
pub mod several;
#[cfg(test)]
mod testing;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::time::Instant;

pub use io::Io;
pub use ram::Ram;

/// Why a figure is missing, in words that fit a gauge: `not reported by this GPU`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub Cow<'static, str>);

impl Missing {
    /// Returns the reason for a fixed text.
    #[must_use]
    pub fn because(why: &'static str) -> Self {
        Self(Cow::Borrowed(why))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A figure, or why there is none.
pub type Reading<T> = Result<T, Missing>;

/// One look at the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Whether GPUs can be read at all, and why not.
    pub gpu_state: GpuState,
    /// One entry a GPU, in NVML's order; a GPU split by MIG is followed by its slices.
    pub gpus: Vec<GpuSample>,
    /// Main memory, as far as this process may use it.
    pub ram: Reading<Ram>,
    /// What this process reads and writes.
    pub io: Reading<Io>,
}

/// Whether GPUs can be read; `doctor` prints `name` and `why`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuState {
    /// The verdict in one word.
    pub kind: GpuStateKind,
    /// The verdict in words; empty when ready, unless the GPUs of another maker are at fault.
    pub why: Cow<'static, str>,
    /// The driver's version, where it says one.
    pub driver: Option<String>,
}

/// The verdicts of `doctor` on the GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuStateKind {
    /// At least one GPU answers.
    Ready,
    /// No NVIDIA driver, or no GPU behind it.
    Absent,
    /// The driver lacks a function that its gauges need.
    TooOld,
    /// Library and kernel module are of different versions.
    Mismatch,
    /// The operating system keeps this user or container out.
    Denied,
    /// The driver answered with a fault.
    Failed,
}

impl GpuStateKind {
    /// Returns the word that `doctor --json` uses as `gpu.state`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Absent => "absent",
            Self::TooOld => "too old",
            Self::Mismatch => "driver mismatch",
            Self::Denied => "no permission",
            Self::Failed => "failed",
        }
    }
}

impl GpuState {
    /// Returns a state with no driver version.
    #[must_use]
    pub fn new(kind: GpuStateKind, why: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, why: why.into(), driver: None }
    }
}

/// One GPU, or one MIG slice of it.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuSample {
    /// Its place among the GPUs of this machine: NVML's index, then those of other makers. CUDA may count otherwise.
    pub index: u32,
    /// The MIG slice, where this entry is one.
    pub slice: Option<u32>,
    /// The name as the driver gives it, with control characters spelled out: `NVIDIA L4`.
    pub name: Reading<String>,
    /// The identifier that CUDA shares.
    pub uuid: Reading<String>,
    /// Device memory in bytes.
    pub vram: Reading<Vram>,
    /// Share of the last sampling period in which a kernel ran, in percent.
    pub utilization_percent: Reading<u32>,
    /// Temperature of the die.
    pub temperature_celsius: Reading<u32>,
    /// Power drawn.
    pub power_watts: Reading<f32>,
    /// Power the GPU is held to.
    pub power_limit_watts: Reading<f32>,
    /// The link to the processor as it is now: idle GPUs slow it down.
    pub pcie_link: Reading<PcieLink>,
    /// What goes over that link.
    pub pcie_rate: Reading<PcieRate>,
    /// Clock of the multiprocessors in MHz.
    pub processor_mhz: Reading<u32>,
    /// Clock of the device memory in MHz.
    pub memory_mhz: Reading<u32>,
    /// Why the clocks are held down now, in words; empty if nothing holds them.
    pub slowed: Reading<Vec<&'static str>>,
    /// The processes that hold device memory, most first.
    pub processes: Reading<Vec<GpuProcess>>,
}

/// A PCIe link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcieLink {
    /// Generation: 5 has 32 GT/s a lane.
    pub generation: u32,
    /// Lanes: 16 of a full slot.
    pub lanes: u32,
}

/// What goes over a PCIe link, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcieRate {
    /// Into the GPU.
    pub to_gpu: u64,
    /// Out of the GPU.
    pub from_gpu: u64,
}

/// A process that holds device memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuProcess {
    /// Its number, as the driver gives it: in a container that may be the number outside.
    pub pid: u32,
    /// Its name, with control characters spelled out.
    pub name: Reading<String>,
    /// Device memory it holds, in bytes.
    pub bytes: Reading<u64>,
    /// True for this process.
    pub is_own: bool,
}

/// Device memory in bytes; `used + free` is below `total` by what the driver keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vram {
    /// Held by processes.
    pub used: u64,
    /// What an allocation could get.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

impl GpuSample {
    /// Returns the label of the gauge: `GPU0`, or `GPU0/1` for a MIG slice.
    #[must_use]
    pub fn label(&self) -> String {
        match self.slice {
            Some(slice) => format!("GPU{}/{slice}", self.index),
            None => format!("GPU{}", self.index),
        }
    }

    /// Returns the bytes that this process holds there, by the driver's list; `None` if it is not on the list, or
    /// without a figure.
    #[must_use]
    pub fn own_bytes(&self) -> Option<u64> {
        let own = self.processes.as_ref().ok()?.iter().filter(|process| process.is_own);
        own.filter_map(|process| process.bytes.as_ref().ok()).copied().reduce(u64::saturating_add)
    }

    /// Returns a sample in which every figure is missing for the same reason.
    #[must_use]
    pub fn missing(index: u32, why: &Missing) -> Self {
        Self {
            index,
            slice: None,
            name: Err(why.clone()),
            uuid: Err(why.clone()),
            vram: Err(why.clone()),
            utilization_percent: Err(why.clone()),
            temperature_celsius: Err(why.clone()),
            power_watts: Err(why.clone()),
            power_limit_watts: Err(why.clone()),
            pcie_link: Err(why.clone()),
            pcie_rate: Err(why.clone()),
            processor_mhz: Err(why.clone()),
            memory_mhz: Err(why.clone()),
            slowed: Err(why.clone()),
            processes: Err(why.clone()),
        }
    }
}

/// Something that can be asked for its GPUs.
pub trait GpuSource {
    /// Returns whether GPUs can be read, and what each of them says now.
    fn read(&mut self) -> (GpuState, Vec<GpuSample>);
}

/// Takes samples; keeps the driver open and the last I/O counters.
pub struct Sampler {
    gpus: Box<dyn GpuSource + Send>,
    ram: ram::RamMeter,
    io: io::IoMeter,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// Returns a sampler of this machine. It opens nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let root = Path::new("/");
        Self::with_gpus(Box::new(several::Several::new(vec![
            Box::new(nvml::NvmlSource::new()),
            Box::new(amd::AmdSource::new(root)),
        ])))
    }

    /// Returns a sampler whose GPUs come from `gpus`.
    #[must_use]
    pub fn with_gpus(gpus: Box<dyn GpuSource + Send>) -> Self {
        Self { gpus, ram: ram::RamMeter::new(Path::new("/")), io: io::IoMeter::default() }
    }

    /// Returns one look at the machine. The first call loads the GPU driver's library.
    pub fn sample(&mut self) -> Sample {
        let (gpu_state, gpus) = self.gpus.read();
        let io =
            io::read_counters(Path::new("/proc/self/io")).and_then(|now| self.io.rate(now, Instant::now()));
        Sample { gpu_state, gpus, ram: self.ram.read(), io }
    }
}

#[cfg(test)]
mod tests;
