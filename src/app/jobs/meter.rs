//! Meter: rates, shares and the time left of a job, from counts that the loop takes while it runs.
//!
//! Rates are those of the last few seconds. In the first second, and while the result is compared, there is
//! none: a figure that jumps is worse than none.

use std::collections::VecDeque;
use std::time::Duration;

use crate::engine::busy::{Stages, Worked};

/// Where a run is, as the loop has read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Time since it started.
    pub elapsed: Duration,
    /// What its stages have done.
    pub worked: Worked,
    /// Tensors done.
    pub tensors: u64,
    /// True while the result is compared.
    pub is_proving: bool,
}

impl Counts {
    /// Returns the bytes that were read.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.worked.read.bytes
    }

    /// Returns the bytes that were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.worked.write.bytes
    }
}

/// How fast a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Bytes read a second.
    pub read: f64,
    /// Bytes written a second.
    pub write: f64,
    /// How busy each stage was.
    pub stages: Stages,
}

/// Counts of the last seconds, and rates of the last minute.
#[derive(Debug, Default)]
pub struct Meter {
    window: VecDeque<Counts>,
    history: VecDeque<Rates>,
    /// The counts up to which the history goes.
    told: Counts,
}

/// Bytes a second, in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Bytes read.
    pub read: f64,
    /// Bytes written.
    pub write: f64,
}

/// Seconds of the history.
pub const HISTORY_SECONDS: usize = 60;

/// Rates are taken over this time.
const WINDOW: Duration = Duration::from_secs(4);
/// Before that a rate says nothing.
const SETTLED: Duration = Duration::from_secs(1);
/// Counts come four times a second; more than the window holds were not taken by the loop.
const COUNTS_MAX: usize = 64;

impl Meter {
    /// Takes counts that are newer than the ones before.
    pub fn take(&mut self, counts: Counts) {
        self.tell(counts);
        self.window.push_back(counts);
        while self.window.len() > 2
            && (self.window.len() > COUNTS_MAX
                || self
                    .window
                    .get(1)
                    .is_some_and(|next| counts.elapsed.saturating_sub(next.elapsed) > WINDOW))
        {
            self.window.pop_front();
        }
    }

    /// Adds the seconds that have passed to the history; those of the proof are none of the run's.
    fn tell(&mut self, counts: Counts) {
        let passed = counts.elapsed.saturating_sub(self.told.elapsed);
        if counts.is_proving || passed.as_secs() == 0 {
            return;
        }
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / passed.as_secs_f64();
        let rates = Rates {
            read: rate(self.told.read(), counts.read()),
            write: rate(self.told.written(), counts.written()),
        };
        // More than one where the loop took no counts for a while.
        for _ in 0..passed.as_secs().min(HISTORY_SECONDS as u64) {
            self.history.push_back(rates);
        }
        self.history.drain(..self.history.len().saturating_sub(HISTORY_SECONDS));
        self.told = counts;
    }

    /// Returns the rates of the last minute, one a second, the newest last.
    #[must_use]
    pub fn history(&self) -> &VecDeque<Rates> {
        &self.history
    }

    /// Returns the newest counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.window.back().copied().unwrap_or_default()
    }

    /// Returns how fast it is, with so many threads that compute.
    #[must_use]
    pub fn speed(&self, threads: usize) -> Option<Speed> {
        let (first, last) = (self.window.front()?, self.window.back()?);
        let passed = last.elapsed.saturating_sub(first.elapsed);
        let seconds = passed.as_secs_f64();
        if last.elapsed < SETTLED || last.is_proving || seconds < 0.5 {
            return None;
        }
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        Some(Speed {
            read: rate(first.read(), last.read()),
            write: rate(first.written(), last.written()),
            stages: last.worked.since(&first.worked, passed, threads),
        })
    }

    /// Returns the share that is done of `total` bytes.
    #[must_use]
    pub fn ratio(&self, total: u64) -> f64 {
        (self.counts().written() as f64 / total.max(1) as f64).min(1.0)
    }

    /// Returns the time until `total` bytes are written, the proof not counted.
    #[must_use]
    pub fn left(&self, total: u64, speed: &Speed) -> Option<Duration> {
        let rest = total.saturating_sub(self.counts().written()) as f64;
        Duration::try_from_secs_f64(rest / speed.write).ok().filter(|_| speed.write >= 1.0)
    }
}

#[cfg(test)]
mod tests;
