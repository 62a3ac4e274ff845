//! Memory: how freed memory goes back to the system.
//!
//! Opening a checkpoint takes several times the memory that it keeps. glibc holds on to what was freed: it
//! raises the size from which blocks are mapped to the largest one freed so far, and keeps the free pages of
//! each thread's arena. A million tensors then show as 320 MB for the 110 MB that are in use. Other
//! allocators are left alone.

/// Blocks from this size on are mapped, and unmapped when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES_MIN: i32 = 1 << 20;

/// Keeps the size from which blocks are mapped where it is. To be called once, at the start.
pub fn map_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a call into the C library; see SAFETY")]
    // SAFETY: `mallopt` takes two integers and locks what it sets; a value out of range is refused.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
    }
}

/// Gives free pages back to the system. Takes milliseconds after a large checkpoint: not for the screen's thread.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a call into the C library; see SAFETY")]
    // SAFETY: `malloc_trim` takes an integer, locks each arena, and touches none but free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Returns the most memory that the process has held, mapped file pages included; `None` where the system does
/// not tell.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}
