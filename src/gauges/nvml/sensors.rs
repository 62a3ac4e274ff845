//! The figures of one device, each with its own reason where it is missing.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::device::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, PcieUtilCounter, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;

use super::{NOT_REPORTED, clean, memory, reading, why_missing};
use crate::gauges::{GpuProcess, GpuSample, Missing, PcieLink, PcieRate, Reading};
use crate::name::{cut_middle, escape};

/// `/proc/PID/comm` has 16 bytes (`TASK_COMM_LEN`); what is no such file may have any number.
const COMM_BYTES_MAX: u64 = 64;
/// Cells of a process's name.
const NAME_CELLS_MAX: usize = 32;

/// Returns all figures of a device but what goes over PCIe.
pub(super) fn read(
    index: u32,
    slice: Option<u32>,
    (nvml, device): (&Nvml, &Device<'_>),
    root: &Path,
) -> GpuSample {
    GpuSample {
        index,
        slice,
        name: reading(device.name()).map(|text| clean(&text)),
        uuid: reading(device.uuid()).map(|text| clean(&text)),
        vram: memory::read(nvml, device),
        utilization_percent: reading(device.utilization_rates()).map(|rates| rates.gpu.min(100)),
        temperature_celsius: reading(device.temperature(TemperatureSensor::Gpu)),
        power_watts: reading(device.power_usage()).map(watts),
        power_limit_watts: reading(device.enforced_power_limit()).map(watts),
        pcie_link: pcie_link(device),
        pcie_rate: Err(Missing::because("measured for the whole GPU")),
        processor_mhz: reading(device.clock_info(Clock::SM)),
        memory_mhz: reading(device.clock_info(Clock::Memory)),
        slowed: reading(device.current_throttle_reasons()).map(slowed),
        processes: processes(device, root),
    }
}

/// Measures what goes over PCIe: takes 40 ms.
pub(super) fn pcie_rate(device: &Device<'_>) -> Reading<PcieRate> {
    // NVML counts in KB, and from the GPU's side: it receives what goes to it.
    let bytes = |counter| Ok(u64::from(reading(device.pcie_throughput(counter))?) << 10);
    Ok(PcieRate { to_gpu: bytes(PcieUtilCounter::Receive)?, from_gpu: bytes(PcieUtilCounter::Send)? })
}

fn pcie_link(device: &Device<'_>) -> Reading<PcieLink> {
    Ok(PcieLink {
        generation: reading(device.current_pcie_link_gen())?,
        lanes: reading(device.current_pcie_link_width())?,
    })
}

fn watts(milliwatts: u32) -> f32 {
    milliwatts as f32 / 1000.0
}

/// Says what holds the clocks down. An idle GPU is no such reason, nor are clocks that somebody has set.
fn slowed(reasons: ThrottleReasons) -> Vec<&'static str> {
    let known = [
        (ThrottleReasons::SW_POWER_CAP, "power limit"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "heat"),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "heat (hardware)"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
        (ThrottleReasons::SYNC_BOOST, "another GPU of its group"),
    ];
    let mut words: Vec<&'static str> =
        known.iter().filter(|(reason, _)| reasons.contains(*reason)).map(|(_, words)| *words).collect();
    // The sum of the hardware's reasons, said alone only where none of them is.
    if words.is_empty() && reasons.contains(ThrottleReasons::HW_SLOWDOWN) {
        words.push("hardware slowdown");
    }
    words
}

/// Lists the processes that compute or draw, most memory first.
fn processes(device: &Device<'_>, root: &Path) -> Reading<Vec<GpuProcess>> {
    let computing = device.running_compute_processes().map_err(|error| match error {
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            Missing::because("driver too old to list processes (needs 510)")
        }
        error => why_missing(&error),
    })?;
    // GPUs without a display, and slices, do not support this one.
    let drawing = device.running_graphics_processes().unwrap_or_default();
    let mut list: Vec<GpuProcess> = Vec::new();
    for process in computing.iter().chain(&drawing) {
        // One that does both is listed twice, with the same figure.
        if !list.iter().any(|known| known.pid == process.pid) {
            list.push(told(process, root));
        }
    }
    list.sort_by_key(|process| {
        (std::cmp::Reverse(process.bytes.as_ref().copied().unwrap_or(0)), process.pid)
    });
    Ok(list)
}

fn told(process: &ProcessInfo, root: &Path) -> GpuProcess {
    GpuProcess {
        pid: process.pid,
        name: name_of(process.pid, root),
        bytes: match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Ok(bytes),
            UsedGpuMemory::Unavailable => Err(NOT_REPORTED),
        },
        is_own: process.pid == std::process::id(),
    }
}

/// Returns the name of a process. In a container the driver may give numbers of the machine outside.
fn name_of(pid: u32, root: &Path) -> Reading<String> {
    let gone = |_: std::io::Error| Missing::because("not seen from here");
    let file = File::open(root.join(format!("proc/{pid}/comm"))).map_err(gone)?;
    let mut bytes = Vec::new();
    file.take(COMM_BYTES_MAX).read_to_end(&mut bytes).map_err(gone)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(cut_middle(&escape(text.trim_end_matches('\n')), NAME_CELLS_MAX).into_owned())
}
