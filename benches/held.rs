//! Memory, for measures from disk to disk: the most that was held, and how fast it is copied.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

/// Lets the system count anew the most memory that is held: the copies in memory hold whole files.
pub(crate) fn forget_peak() -> io::Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    std::fs::File::options().write(true).open("/proc/self/clear_refs")?.write_all(b"5")
}

/// Seconds to copy a file's bytes from memory to memory.
pub(crate) fn memory_copy(file: &Path) -> io::Result<f64> {
    let from = std::fs::read(file)?;
    let mut to = vec![1u8; from.len()];
    let start = Instant::now();
    to.copy_from_slice(&from);
    let seconds = start.elapsed().as_secs_f64();
    std::hint::black_box(&to);
    Ok(seconds)
}
