//! Pairs: the values of many pairs of layers held against each other, shared out among threads.

use std::sync::atomic::{AtomicU64, Ordering};

use super::compare::{Compared, figures};
use super::matched::Pair;
use super::pass::Watch;
use super::scan::Options;
use super::share_out::share_out;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::tensor::elements;

/// Values from which on a pair is worth several threads.
const WIDE_MIN: u64 = 4 << 20;

/// Two checkpoints.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    /// The first.
    pub a: &'a Checkpoint,
    /// The one that it is compared with.
    pub b: &'a Checkpoint,
}

impl Of<'_> {
    /// Returns how many values a pair has, by its headers.
    #[must_use]
    pub fn count(&self, pair: &Pair) -> u64 {
        match pair.bias {
            Some([a, _]) => elements(self.a.files.shape(&self.a.files.tensors[a as usize])).unwrap_or(0),
            None => elements(&self.a.layers.spec(pair.a).shape).unwrap_or(0),
        }
    }

    /// Holds the values of pairs against each other, and gives each to `found` with its place when it is done, from any
    /// thread, without the counts of values. What cannot be read, decoded or compared does not stop the others. `watch`
    /// is asked whether to go on, and told of as many values as the pairs have by their headers.
    pub fn compare(
        &self,
        pairs: &[&Pair],
        threads: usize,
        watch: &dyn Watch,
        found: &(dyn Fn(usize, Result<Compared>) + Sync),
    ) {
        let counts: Vec<u64> = pairs.iter().map(|pair| self.count(pair)).collect();
        share_out(&counts, threads, WIDE_MIN, &|at, threads| {
            let told = Told { watch, count: counts[at], seen: AtomicU64::new(0) };
            let options = Options { threads, ..Options::default() };
            let compared = pairs[at].open(self.a, self.b).and_then(|[a, b]| figures(&a, &b, &options, &told));
            watch.read(told.count - told.seen.into_inner());
            found(at, compared);
        });
    }
}

/// Tells who watches of the values of one pair, never of more than there are.
struct Told<'a> {
    watch: &'a dyn Watch,
    count: u64,
    seen: AtomicU64,
}

impl Watch for Told<'_> {
    fn check(&self) -> Result<()> {
        self.watch.check()
    }

    fn read(&self, values: u64) {
        let before = self.seen.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| {
            Some(seen.saturating_add(values).min(self.count))
        });
        let before = before.unwrap_or(self.count);
        self.watch.read(values.min(self.count - before));
    }
}
