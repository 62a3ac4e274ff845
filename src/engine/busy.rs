//! Busy: how long each stage has worked, so that the one that holds up the others can be named.
//!
//! Sums of nanoseconds over all threads of a stage. Against the time that has passed and the threads that the
//! stage has, they are the share in which it was busy: the stage near the whole is the bottleneck.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Nanoseconds of work.
#[derive(Debug, Default)]
pub struct Busy {
    /// Waiting for the inputs, over all readers.
    pub reading: AtomicU64,
    /// Decoding and rounding, over all threads that compute.
    pub computing: AtomicU64,
    /// Writing and syncing, of the one writer.
    pub writing: AtomicU64,
}

/// Adds the time since `since` to a sum.
pub(super) fn add(sum: &AtomicU64, since: Instant) {
    let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    sum.fetch_add(nanos, Ordering::Relaxed);
}
