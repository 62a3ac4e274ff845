//! Main memory, as far as this process may use it: the machine's, or its control group's where that is
//! less (containers, batch systems).
//!
//! | version | own group          | limit                   | use                      | cache in that use             |
//! |---------|--------------------|-------------------------|--------------------------|-------------------------------|
//! | v2      | line `0::/path`    | `memory.max`            | `memory.current`         | `memory.stat: inactive_file`  |
//! | v1      | line `N:memory:/p` | `memory.limit_in_bytes` | `memory.usage_in_bytes`  | `… total_inactive_file`       |
//!
//! The groups are read from `/proc/self/cgroup` under `/sys/fs/cgroup` (v1: `/sys/fs/cgroup/memory`).
//! Every ancestor may set a limit; the one that leaves least is the one that will kill us. Inside a
//! container the path may not exist: the mount itself is then the group. Page cache that the kernel can
//! drop is not counted as used. Sources: the kernel's cgroup-v2 and cgroup-v1/memory documents.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use sysinfo::{MemoryRefreshKind, System};

use super::{Missing, Reading};

/// `memory.stat` has about 60 lines; the other files one.
const GROUP_FILE_BYTES_MAX: u64 = 64 << 10;
/// Groups nest a handful deep; the kernel's default `cgroup.max.depth` is no limit at all.
const GROUP_DEPTH_MAX: usize = 32;

/// Main memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ram {
    /// In use, without cache that can be dropped.
    pub used: u64,
    /// What there is for this process.
    pub total: u64,
    /// Who sets `total`.
    pub limit: RamLimit,
}

/// Who sets the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RamLimit {
    /// The machine's own size.
    Machine,
    /// A control group: a container's or a batch job's share.
    Group,
}

impl Ram {
    /// Returns the bytes that are left.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

/// Reads main memory.
pub struct RamMeter {
    system: Reading<System>,
    root: PathBuf,
}

impl RamMeter {
    /// Returns a meter that finds `proc` and `sys` under `root` (`/`, but for tests).
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let system = System::new().map_err(|error| Missing(format!("memory: {error}").into()));
        Self { system, root: root.to_path_buf() }
    }

    /// Returns the memory now.
    ///
    /// # Errors
    /// The system does not say how much memory it has.
    pub fn read(&mut self) -> Reading<Ram> {
        let system = self.system.as_mut().map_err(|why| why.clone())?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let total = system.total_memory();
        if total == 0 {
            return Err(Missing::because("this system does not report its memory"));
        }
        let used = total.saturating_sub(system.available_memory());
        Ok(tightest(Ram { used, total, limit: RamLimit::Machine }, &groups(&self.root)))
    }
}

/// Returns the memory of whoever leaves least: the machine, or one of the groups `(used, limit)`.
fn tightest(machine: Ram, groups: &[(u64, u64)]) -> Ram {
    let limits = groups.iter().filter(|(_, total)| (1..machine.total).contains(total));
    let group = limits.min_by_key(|(used, total)| total.saturating_sub(*used));
    match group {
        // The machine itself can be fuller than the group's share of it.
        Some(&(used, total)) => {
            let free = total.saturating_sub(used).min(machine.free());
            Ram { used: total - free, total, limit: RamLimit::Group }
        }
        None => machine,
    }
}

/// Returns `(used, limit)` of this process's memory group and its ancestors, where they set a limit.
fn groups(root: &Path) -> Vec<(u64, u64)> {
    let Some(own) = read(&root.join("proc/self/cgroup")) else { return Vec::new() };
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if controllers.is_empty() {
            // A hybrid machine mounts v2 beside v1, usually without the memory controller.
            let files = ["memory.max", "memory.current", "inactive_file"];
            climb(&root.join("sys/fs/cgroup"), path, files, &mut found);
        } else if controllers.split(',').any(|name| name == "memory") {
            let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
            climb(&root.join("sys/fs/cgroup/memory"), path, files, &mut found);
        }
    }
    found
}

/// Reads the limit at `mount`/`path` and at every folder above it up to `mount`.
fn climb(mount: &Path, path: &str, files: [&str; 3], found: &mut Vec<(u64, u64)>) {
    let relative = Path::new(path.trim_start_matches('/'));
    // A group outside our namespace reads `/../..`: then only the mount is ours to read.
    let is_inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let own = if is_inside { mount.join(relative) } else { mount.to_path_buf() };
    for folder in own.ancestors().take(GROUP_DEPTH_MAX).take_while(|folder| folder.starts_with(mount)) {
        let number = |file: &str| read(&folder.join(file))?.trim().parse::<u64>().ok();
        let [limit, usage, cache] = files;
        if let (Some(limit), Some(used)) = (number(limit), number(usage)) {
            let stat = read(&folder.join("memory.stat")).unwrap_or_default();
            found.push((used.saturating_sub(stat_field(&stat, cache)), limit));
        }
    }
}

fn stat_field(stat: &str, name: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(GROUP_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests;
