//! `ckpt doctor`: what this machine has, so that a user can report a problem. Exit 0, also without a GPU.
//!
//! With `--gpu-selftest` the GPUs that compute are tested too: exit 1 if kernels and processor differ, 2 if there
//! was nothing to test.

mod gpus;
mod selftest;

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use self::gpus::{Cuda, Gpu};
use self::selftest::SelfTest;
use super::{DONE, FOUND, json, stdout_error};
use crate::checkpoint::hub_cache;
use crate::engine::cuda::probe::{Card, Probed, probe};
use crate::engine::cuda::selftest::{self as device_test, Tested};
use crate::error::Result;
use crate::gauges::{Sample, Sampler};
use crate::name::escape;
use crate::ui::degrade::{self, ColorFlag};
use crate::units;

/// What `doctor` is asked.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Compute on each GPU and on the processor, compare bit for bit, and measure the speeds. Exit 1 if
    /// anything differs, 2 if no GPU can be tested.
    #[arg(long)]
    pub gpu_selftest: bool,
    /// Print one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Stdout fails; a self-test was asked for and did not end, or there is no GPU for it.
pub fn run(asked: &Doctor, out: &mut dyn Write) -> Result<u8> {
    let sample = Sampler::new().sample();
    let probed = probe();
    let selftest = asked.gpu_selftest.then(|| SelfTest::of(&probed, tested));
    let report = Report::new(&sample, &probed, selftest);
    if asked.json {
        json::write_line(out, &report)?;
    } else {
        report.write(out).map_err(|e| stdout_error(&e))?;
    }
    let Some(selftest) = &report.selftest else { return Ok(DONE) };
    match selftest.error() {
        Some(error) => Err(error),
        None if selftest.found_a_difference() => Ok(FOUND),
        None => Ok(DONE),
    }
}

/// How long a self-test measures speeds.
const SELF_TEST: Duration = Duration::from_secs(10);

/// Tests a card.
fn tested(card: &Card) -> Result<Tested> {
    device_test::run(card, SELF_TEST)
}

/// The JSON document.
#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    cpu: Cpu,
    memory: Option<u64>,
    gpu: Gpu<'a>,
    cuda: Cuda,
    /// Only if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    selftest: Option<SelfTest>,
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
    fn new(sample: &'a Sample, probed: &Probed, selftest: Option<SelfTest>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cpu: Cpu {
                arch: std::env::consts::ARCH,
                features: cpu_features(),
                threads: std::thread::available_parallelism().ok().map(usize::from),
            },
            memory: sample.ram.as_ref().ok().map(|ram| ram.total),
            gpu: Gpu::new(sample),
            cuda: Cuda::new(probed, sample),
            selftest,
            terminal: terminal(),
            caches: hub_cache::roots().iter().map(|root| cache(root)).collect(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "ckpt      {}", self.version)?;
        let threads = self.cpu.threads.map_or_else(|| "?".into(), |n| units::plural(n, "thread"));
        writeln!(out, "cpu       {}, {threads}: {}", self.cpu.arch, self.cpu.features.join(" "))?;
        writeln!(out, "memory    {}", self.memory.map_or_else(|| "not known".into(), units::bytes))?;
        self.gpu.write(out)?;
        self.cuda.write(out)?;
        if let Some(selftest) = &self.selftest {
            selftest.write(out)?;
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
