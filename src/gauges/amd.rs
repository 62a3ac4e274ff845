//! AMD GPUs through the files of the `amdgpu` driver; nothing is loaded.
//!
//! | file below `/sys/class/drm/cardN/device` | holds                                        |
//! |------------------------------------------|----------------------------------------------|
//! | `vendor`                                 | `0x1002`                                     |
//! | `mem_info_vram_total`, `…_used`          | bytes                                        |
//! | `gpu_busy_percent`                       | 0 to 100                                     |
//! | `product_name`, `unique_id`              | text; empty on cards for a desk              |
//! | `current_link_speed`, `…_width`          | `16.0 GT/s PCIe`, `16`                       |
//! | `hwmon/hwmonN/temp1_input`               | thousandths of a degree                      |
//! | `hwmon/hwmonN/power1_average`, `…_input` | millionths of a watt; which one, by the card |
//! | `hwmon/hwmonN/power1_cap`                | millionths of a watt                         |
//! | `hwmon/hwmonN/freq1_input`, `freq2_input` | Hz of the processors, of the memory         |
//!
//! Source: the kernel's `Documentation/gpu/amdgpu`. Such a GPU does not compute here; its gauges tell whether a model
//! would fit.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{GpuSample, GpuSource, GpuState, GpuStateKind, Missing, PcieLink, Reading, Vram};
use crate::name::{cut_middle, escape};

/// A file of the kernel here is one short line.
const LINE_BYTES_MAX: u64 = 256;
/// More GPUs than any machine holds.
const CARDS_MAX: usize = 64;
/// Cells of a name.
const NAME_CELLS_MAX: usize = 64;
/// AMD's number among the makers of PCI devices.
const VENDOR: &str = "0x1002";

const NOT_REPORTED: Missing = Missing(std::borrow::Cow::Borrowed("not reported by this GPU"));

/// The GPUs of the `amdgpu` driver.
pub struct AmdSource {
    root: PathBuf,
}

impl AmdSource {
    /// Returns a source that finds `sys` under `root` (`/`, but for tests).
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }
}

impl GpuSource for AmdSource {
    fn read(&mut self) -> (GpuState, Vec<GpuSample>) {
        let gpus: Vec<GpuSample> =
            cards(&self.root).iter().enumerate().map(|(index, card)| sample(index as u32, card)).collect();
        if gpus.is_empty() {
            return (GpuState::new(GpuStateKind::Absent, "no AMD GPU"), gpus);
        }
        let version = line(&self.root.join("sys/module/amdgpu/version")).ok();
        let state = GpuState::new(GpuStateKind::Ready, "");
        (GpuState { driver: version.map(|version| format!("amdgpu {version}")), ..state }, gpus)
    }
}

/// Returns the folders of AMD's GPUs, in the order of their numbers.
fn cards(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("sys/class/drm")).into_iter().flatten().flatten();
    let mut cards: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            // `card0-DP-1` is a plug of `card0`.
            let number = entry.file_name().to_str()?.strip_prefix("card")?.parse().ok()?;
            let device = entry.path().join("device");
            let is_amd = line(&device.join("vendor")).is_ok_and(|vendor| vendor == VENDOR);
            (is_amd && device.join("mem_info_vram_total").exists()).then_some((number, device))
        })
        .take(CARDS_MAX)
        .collect();
    cards.sort();
    cards.into_iter().map(|(_, device)| device).collect()
}

fn sample(index: u32, device: &Path) -> GpuSample {
    let sensor = |names: &[&str]| {
        let folder = hwmon(device)?;
        names.iter().find_map(|name| number(&folder.join(name)).ok()).ok_or(NOT_REPORTED)
    };
    let watts = |millionths: u64| (millionths as f64 / 1e6) as f32;
    let narrow = |value: u64| u32::try_from(value).map_err(|_too_large| NOT_REPORTED);
    GpuSample {
        name: Ok(name(device)),
        uuid: line(&device.join("unique_id")).and_then(filled),
        vram: vram(device),
        utilization_percent: number(&device.join("gpu_busy_percent")).map(|share| share.min(100) as u32),
        temperature_celsius: sensor(&["temp1_input"]).and_then(|value| narrow(value / 1000)),
        power_watts: sensor(&["power1_average", "power1_input"]).map(watts),
        power_limit_watts: sensor(&["power1_cap"]).map(watts),
        pcie_link: pcie_link(device),
        processor_mhz: sensor(&["freq1_input"]).and_then(|hz| narrow(hz / 1_000_000)),
        memory_mhz: sensor(&["freq2_input"]).and_then(|hz| narrow(hz / 1_000_000)),
        ..GpuSample::missing(index, &Missing::because("not read from amdgpu"))
    }
}

fn vram(device: &Path) -> Reading<Vram> {
    let total = number(&device.join("mem_info_vram_total"))?;
    let used = number(&device.join("mem_info_vram_used"))?;
    Ok(Vram { used, free: total.saturating_sub(used), total })
}

/// Cards for a desk have no name of their own: then the number of the kind of card says what it is.
fn name(device: &Path) -> String {
    let named = line(&device.join("product_name")).and_then(filled);
    named.unwrap_or_else(|_| match line(&device.join("device")).and_then(filled) {
        Ok(kind) => format!("AMD {kind}"),
        Err(_) => "AMD".into(),
    })
}

fn pcie_link(device: &Path) -> Reading<PcieLink> {
    let speed = line(&device.join("current_link_speed"))?;
    // Gigatransfers a second of a lane, by generation.
    let known = [("2.5", 1), ("5.0", 2), ("8.0", 3), ("16.0", 4), ("32.0", 5), ("64.0", 6)];
    let generation = known.iter().find(|(start, _)| speed.split(' ').next() == Some(start));
    let (_, generation) = *generation.ok_or(NOT_REPORTED)?;
    let lanes = number(&device.join("current_link_width"))?;
    Ok(PcieLink { generation, lanes: u32::try_from(lanes).map_err(|_too_large| NOT_REPORTED)? })
}

/// Returns the folder of a card's sensors; it has one.
fn hwmon(device: &Path) -> Reading<PathBuf> {
    let entries = std::fs::read_dir(device.join("hwmon")).map_err(|_gone| NOT_REPORTED)?;
    let first = entries.flatten().map(|entry| entry.path()).min();
    first.ok_or(NOT_REPORTED)
}

fn filled(text: String) -> Reading<String> {
    if text.is_empty() { Err(NOT_REPORTED) } else { Ok(text) }
}

fn number(path: &Path) -> Reading<u64> {
    line(path)?.parse().map_err(|_not_a_number| NOT_REPORTED)
}

/// Returns the line of a file, with control characters spelled out.
fn line(path: &Path) -> Reading<String> {
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Missing::because("closed to this user"),
        _ => NOT_REPORTED,
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(missing)?.take(LINE_BYTES_MAX).read_to_end(&mut bytes).map_err(missing)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(cut_middle(&escape(text.trim()), NAME_CELLS_MAX).into_owned())
}

#[cfg(test)]
mod tests;
