//! `ckpt doctor`: what this machine has, so that a user can report a problem. Exit 0, also without a GPU.

use std::io::{IsTerminal as _, Write};

use serde::Serialize;

use super::{DONE, json, stdout_error};
use crate::checkpoint::hub_cache;
use crate::error::Result;
use crate::gauges::{GpuSample, Sample, Sampler};
use crate::name::escape;
use crate::ui::degrade::{self, ColorFlag};
use crate::units;

/// Runs the command.
///
/// # Errors
/// Stdout fails.
pub fn run(as_json: bool, out: &mut dyn Write) -> Result<u8> {
    let sample = Sampler::new().sample();
    let report = Report::new(&sample);
    if as_json {
        json::write_line(out, &report)?;
    } else {
        report.write(out).map_err(|e| stdout_error(&e))?;
    }
    Ok(DONE)
}

/// The JSON document.
#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    cpu: Cpu,
    memory: Option<u64>,
    gpu: Gpu<'a>,
    terminal: Terminal,
    caches: Vec<Cache>,
}

#[derive(Serialize)]
struct Cpu {
    arch: &'static str,
    features: Vec<&'static str>,
    threads: Option<usize>,
}

#[derive(Serialize)]
struct Gpu<'a> {
    driver: Option<&'a str>,
    state: &'static str,
    why: &'a str,
    devices: Vec<Device<'a>>,
}

#[derive(Serialize)]
struct Device<'a> {
    name: Option<&'a str>,
    total: Option<u64>,
    free: Option<u64>,
    utilization_percent: Option<u32>,
    temperature_celsius: Option<u32>,
    power_watts: Option<f64>,
}

#[derive(Serialize)]
struct Terminal {
    interactive: bool,
    columns: Option<u16>,
    rows: Option<u16>,
    term: Option<String>,
    colors: String,
    ascii: bool,
}

#[derive(Serialize)]
struct Cache {
    path: String,
    exists: bool,
    checkpoints: usize,
}

impl<'a> Report<'a> {
    fn new(sample: &'a Sample) -> Self {
        let state = &sample.gpu_state;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cpu: Cpu {
                arch: std::env::consts::ARCH,
                features: cpu_features(),
                threads: std::thread::available_parallelism().ok().map(usize::from),
            },
            memory: sample.ram.as_ref().ok().map(|ram| ram.total),
            gpu: Gpu {
                driver: state.driver.as_deref(),
                state: state.kind.name(),
                why: &state.why,
                devices: sample.gpus.iter().map(Device::new).collect(),
            },
            terminal: terminal(),
            caches: hub_cache::roots().iter().map(|root| cache(root)).collect(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "ckpt      {}", self.version)?;
        let threads = self.cpu.threads.map_or_else(|| "?".into(), |n| units::plural(n, "thread"));
        writeln!(out, "cpu       {}, {threads}: {}", self.cpu.arch, self.cpu.features.join(" "))?;
        writeln!(out, "memory    {}", self.memory.map_or_else(|| "not known".into(), units::bytes))?;
        let driver = self.gpu.driver.map_or_else(String::new, |d| format!(", driver {}", escape(d)));
        let why = if self.gpu.why.is_empty() { String::new() } else { format!(": {}", escape(self.gpu.why)) };
        writeln!(out, "gpu       {}{driver}{why}", self.gpu.state)?;
        for device in &self.gpu.devices {
            let memory = match (device.free, device.total) {
                (Some(free), Some(total)) => {
                    format!("{} free of {}", units::bytes(free), units::bytes(total))
                }
                _ => "memory not reported".into(),
            };
            writeln!(out, "          {}   {memory}", escape(device.name.unwrap_or("name not reported")))?;
        }
        let terminal = &self.terminal;
        let size = match (terminal.columns, terminal.rows) {
            (Some(columns), Some(rows)) if terminal.interactive => format!("{columns}x{rows}, "),
            _ => "none, ".into(),
        };
        let glyphs = if terminal.ascii { "ASCII" } else { "Unicode" };
        writeln!(out, "terminal  {size}{} colors, {glyphs}", terminal.colors)?;
        for cache in &self.caches {
            let what = if cache.exists {
                units::plural(cache.checkpoints, "checkpoint")
            } else {
                "not there".into()
            };
            writeln!(out, "cache     {}   {what}", escape(&cache.path))?;
        }
        Ok(())
    }
}

impl<'a> Device<'a> {
    fn new(gpu: &'a GpuSample) -> Self {
        Self {
            name: gpu.name.as_deref().ok(),
            total: gpu.vram.as_ref().ok().map(|v| v.total),
            free: gpu.vram.as_ref().ok().map(|v| v.free),
            utilization_percent: gpu.utilization_percent.as_ref().ok().copied(),
            temperature_celsius: gpu.temperature_celsius.as_ref().ok().copied(),
            power_watts: gpu.power_watts.as_ref().ok().map(|&v| f64::from(v)),
        }
    }
}

/// Returns the vector extensions that decoding can use here.
fn cpu_features() -> Vec<&'static str> {
    let mut features = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let known = [
            ("sse4.2", std::arch::is_x86_feature_detected!("sse4.2")),
            ("avx", std::arch::is_x86_feature_detected!("avx")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("f16c", std::arch::is_x86_feature_detected!("f16c")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ];
        features.extend(known.iter().filter(|(_, here)| *here).map(|(name, _)| *name));
    }
    #[cfg(target_arch = "aarch64")]
    {
        let known = [
            ("neon", std::arch::is_aarch64_feature_detected!("neon")),
            ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ];
        features.extend(known.iter().filter(|(_, here)| *here).map(|(name, _)| *name));
    }
    features
}

/// Returns what the terminal is and what the workbench would draw in it.
fn terminal() -> Terminal {
    let decided = degrade::decide(&super::environment(), ColorFlag::Auto, false);
    let interactive = std::io::stdout().is_terminal();
    let size = crossterm::terminal::size().ok();
    Terminal {
        interactive,
        columns: size.map(|(columns, _)| columns),
        rows: size.map(|(_, rows)| rows),
        term: std::env::var("TERM").ok(),
        colors: format!("{:?}", decided.colors).to_lowercase(),
        ascii: decided.is_ascii,
    }
}

fn cache(root: &std::path::Path) -> Cache {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let checkpoints = entries.filter(|e| e.file_name().to_string_lossy().starts_with("models--")).count();
    Cache { path: root.display().to_string(), exists: root.is_dir(), checkpoints }
}
