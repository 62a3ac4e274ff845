//! The GPUs in the report of `doctor`: their gauges, and whether they compute.

use std::io::Write;

use serde::Serialize;

use crate::engine::cuda::probe::{Card, DRIVER_MIN, Probed, version_words};
use crate::gauges::{GpuSample, Reading, Sample};
use crate::name::escape;
use crate::units;

/// The PTX that the kernels are shipped in: what a driver must read.
const ISA: &str = "8.0";

/// What the gauges tell.
#[derive(Serialize)]
pub(super) struct Gpu<'a> {
    driver: Option<&'a str>,
    state: &'static str,
    why: &'a str,
    devices: Vec<Device<'a>>,
}

#[derive(Serialize)]
struct Device<'a> {
    label: String,
    name: Option<&'a str>,
    uuid: Option<&'a str>,
    total: Option<u64>,
    free: Option<u64>,
    utilization_percent: Option<u32>,
    temperature_celsius: Option<u32>,
    power_watts: Option<f64>,
    power_limit_watts: Option<f64>,
    pcie_generation: Option<u32>,
    pcie_lanes: Option<u32>,
    processes: Option<usize>,
}

/// What computes.
#[derive(Serialize)]
pub(super) struct Cuda {
    /// The newest CUDA that the driver serves.
    driver: Option<String>,
    usable: bool,
    why: Option<String>,
    kernels: Kernels,
    devices: Vec<Computing>,
}

#[derive(Serialize)]
struct Kernels {
    ptx_isa: &'static str,
    needs_cuda: String,
    /// Whether the driver reads it; `null` without a driver that says its version.
    driver_reads: Option<bool>,
}

#[derive(Serialize)]
struct Computing {
    ordinal: u32,
    name: String,
    uuid: String,
    capability: String,
    memory: u64,
    multiprocessors: u32,
    usable: bool,
    why: Option<String>,
    /// The gauge with the same identifier: `GPU1`.
    gauge: Option<String>,
}

impl<'a> Gpu<'a> {
    pub(super) fn new(sample: &'a Sample) -> Self {
        let state = &sample.gpu_state;
        Self {
            driver: state.driver.as_deref(),
            state: state.kind.name(),
            why: &state.why,
            devices: sample.gpus.iter().map(Device::new).collect(),
        }
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let driver = self.driver.map_or_else(String::new, |d| format!(", driver {}", escape(d)));
        let why = if self.why.is_empty() { String::new() } else { format!(": {}", escape(self.why)) };
        writeln!(out, "gpu       {}{driver}{why}", self.state)?;
        for device in &self.devices {
            device.write(out)?;
        }
        Ok(())
    }
}

impl<'a> Device<'a> {
    fn new(gpu: &'a GpuSample) -> Self {
        fn told<T: Copy>(reading: &Reading<T>) -> Option<T> {
            reading.as_ref().ok().copied()
        }
        Self {
            label: gpu.label(),
            name: gpu.name.as_deref().ok(),
            uuid: gpu.uuid.as_deref().ok(),
            total: told(&gpu.vram).map(|vram| vram.total),
            free: told(&gpu.vram).map(|vram| vram.free),
            utilization_percent: told(&gpu.utilization_percent),
            temperature_celsius: told(&gpu.temperature_celsius),
            power_watts: told(&gpu.power_watts).map(f64::from),
            power_limit_watts: told(&gpu.power_limit_watts).map(f64::from),
            pcie_generation: told(&gpu.pcie_link).map(|link| link.generation),
            pcie_lanes: told(&gpu.pcie_link).map(|link| link.lanes),
            processes: gpu.processes.as_ref().ok().map(Vec::len),
        }
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let name = escape(self.name.unwrap_or("name not reported"));
        let memory = match (self.free, self.total) {
            (Some(free), Some(total)) => format!("{} free of {}", units::bytes(free), units::bytes(total)),
            _ => "memory not reported".into(),
        };
        let link = match (self.pcie_generation, self.pcie_lanes) {
            (Some(generation), Some(lanes)) => format!("   PCIe {generation} x{lanes} now"),
            _ => String::new(),
        };
        let processes = self.processes.filter(|&count| count > 0);
        let processes = processes.map_or_else(String::new, |count| {
            format!("   {count} {}", if count == 1 { "process" } else { "processes" })
        });
        writeln!(out, "          {}  {name}   {memory}{link}{processes}", self.label)
    }
}

impl Cuda {
    pub(super) fn new(probed: &Probed, sample: &Sample) -> Self {
        let version = match probed {
            Probed::Absent(_) => None,
            Probed::Ready { driver, .. } => Some(*driver),
        };
        let why = probed.why_not();
        Self {
            driver: version.map(version_words),
            usable: why.is_none(),
            why,
            kernels: Kernels {
                ptx_isa: ISA,
                needs_cuda: version_words(DRIVER_MIN),
                driver_reads: version.map(|version| version >= DRIVER_MIN),
            },
            devices: probed.cards().iter().map(|card| Computing::new(card, sample)).collect(),
        }
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match (&self.driver, &self.why) {
            (Some(driver), _) => {
                let Kernels { ptx_isa, needs_cuda, driver_reads } = &self.kernels;
                let reads = if *driver_reads == Some(true) { "reads" } else { "does not read" };
                writeln!(
                    out,
                    "cuda      {driver}: the driver {reads} the built-in kernels (PTX {ptx_isa}, CUDA {needs_cuda} or newer)"
                )?;
            }
            (None, why) => writeln!(out, "cuda      {}", why.as_deref().unwrap_or("not asked"))?,
        }
        for device in &self.devices {
            device.write(out)?;
        }
        if !self.usable {
            writeln!(out, "          no GPU computes here: the processor does all the work")?;
        }
        Ok(())
    }
}

impl Computing {
    fn new(card: &Card, sample: &Sample) -> Self {
        let Card {
            ordinal,
            name,
            uuid,
            capability: [major, minor],
            memory,
            multiprocessors,
            refused,
            clock_khz: _,
        } = card.clone();
        let gauge = sample.gpus.iter().find(|gpu| gpu.uuid.as_ref() == Ok(&uuid));
        Self {
            ordinal,
            name,
            uuid,
            capability: format!("{major}.{minor}"),
            memory,
            multiprocessors,
            usable: refused.is_none(),
            why: refused,
            gauge: gauge.map(GpuSample::label),
        }
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Self { ordinal, name, capability, memory, multiprocessors, .. } = self;
        write!(out, "          cuda:{ordinal}  {name}   ")?;
        if let Some(why) = &self.why {
            return writeln!(out, "not used: {why}");
        }
        let gauge =
            self.gauge.as_deref().map_or("   no gauge of it".into(), |gauge| format!("   is {gauge}"));
        let memory = units::bytes(*memory);
        writeln!(out, "compute {capability}, {multiprocessors} multiprocessors, {memory}{gauge}")
    }
}
