//! Every: the figures of many layers, shared out among threads.
//!
//! A layer is scanned by one thread, the largest first, so that all end at about the same time. One so large that a
//! thread alone would be the last is scanned by all of them before.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::scan::{Options, Watch, scan};
use super::share_out::share_out;
use super::source::{Of, Part, Source};
use super::summary::Summary;
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// What many layers are asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whose values.
    pub list: &'a [Of],
    /// Which of them.
    pub part: Part,
    /// Threads that read and compute, together.
    pub threads: usize,
    /// Bins of each histogram.
    pub bins: usize,
    /// True if the norms of rows and columns are wanted too.
    pub with_norms: bool,
}

impl Asked<'_> {
    /// Returns about how many bytes are looked at: what progress counts up to.
    #[must_use]
    pub fn bytes(&self, checkpoint: &Checkpoint) -> u64 {
        self.list.iter().map(|of| bytes(checkpoint, *of)).fold(0, u64::saturating_add)
    }

    /// Returns the figures of each, in their order, or why there are none. How often each value occurs is dropped: of
    /// many layers it would not fit. `progress` is told of bytes that are done.
    ///
    /// # Errors
    /// Each on its own: what cannot be read or decoded does not stop the others.
    #[must_use]
    pub fn scan(&self, checkpoint: &Checkpoint, progress: &(dyn Fn(u64) + Sync)) -> Vec<Result<Summary>> {
        let sizes: Vec<u64> = self.list.iter().map(|of| bytes(checkpoint, *of)).collect();
        let found: Vec<Mutex<Option<Result<Summary>>>> = self.list.iter().map(|_| Mutex::default()).collect();
        share_out(&sizes, self.threads, WIDE_BYTES_MIN, &|at, threads| {
            let figures = self.one(checkpoint, (self.list[at], sizes[at]), threads, progress);
            *found[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(figures);
        });
        // Each place was taken once, and filled.
        found.into_iter().filter_map(|of| of.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    fn one(
        &self,
        checkpoint: &Checkpoint,
        (of, bytes): (Of, u64),
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Summary> {
        let told = AtomicU64::new(0);
        let figures = Source::open(checkpoint, of, self.part).and_then(|source| {
            let options = Options { threads, with_sides: self.with_norms, bins: self.bins };
            let values = source.count().saturating_mul(source.passes()).max(1);
            let share = Share { progress, bytes, values, seen: AtomicU64::new(0), told: &told };
            scan(&source, &options, &share)
        });
        progress(bytes - told.into_inner());
        figures.map(Summary::without_counts)
    }
}

/// Bytes under which a layer is not worth several threads.
const WIDE_BYTES_MIN: u64 = 8 << 20;

/// Returns about how much work a layer or tensor is: the bytes of its tensors.
fn bytes(checkpoint: &Checkpoint, of: Of) -> u64 {
    match of {
        Of::Layer(layer) => checkpoint.layers.bytes(&checkpoint.files, layer),
        Of::Tensor(tensor) => checkpoint.files.tensors[tensor as usize].bytes,
    }
}

/// Tells of the bytes of one layer as its values are read, never of more than there are.
struct Share<'a> {
    progress: &'a (dyn Fn(u64) + Sync),
    bytes: u64,
    values: u64,
    seen: AtomicU64,
    told: &'a AtomicU64,
}

impl Watch for Share<'_> {
    fn read(&self, values: u64) {
        let seen = self.seen.fetch_add(values, Ordering::Relaxed).saturating_add(values).min(self.values);
        let done = (u128::from(self.bytes) * u128::from(seen) / u128::from(self.values)) as u64;
        let before = self.told.fetch_max(done, Ordering::Relaxed);
        (self.progress)(done.saturating_sub(before));
    }
}
