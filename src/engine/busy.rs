//! Busy: how long each stage has worked, so that the one that holds up the others can be named.
//!
//! Sums of nanoseconds over all that do a stage at a time. Against the time that has passed and how many they are, they
//! are the share in which the stage was busy: the one near the whole is the bottleneck. What passes through GPUs is timed
//! by their own clocks, in the order of their queues, so that nothing waits for being timed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Progress, READ_AHEAD};

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
    add_time(sum, since.elapsed());
}

fn add_time(sum: &AtomicU64, time: Duration) {
    sum.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// A stage of a run, in the order in which bytes pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes come in.
    Read,
    /// The processor makes values of them.
    Compute,
    /// The processor copies them to and from memory that GPUs reach by themselves.
    Copies,
    /// They go over the bus to a GPU.
    ToGpu,
    /// A GPU makes values of them.
    Kernels,
    /// Those come back over the bus.
    FromGpu,
    /// Bytes go out.
    Write,
}

impl Stage {
    /// All, in their order.
    const ALL: [Self; 7] =
        [Self::Read, Self::Compute, Self::Copies, Self::ToGpu, Self::Kernels, Self::FromGpu, Self::Write];

    /// Returns its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Compute => "compute",
            Self::Copies => "copies",
            Self::ToGpu => "to GPU",
            Self::Kernels => "kernels",
            Self::FromGpu => "from GPU",
            Self::Write => "write",
        }
    }

    /// Returns what holds up a run whose bottleneck it is.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Read => "the disk that is read",
            Self::Compute => "the processor",
            Self::Copies => "copies to and from pinned memory",
            Self::ToGpu => "the bus to the GPU",
            Self::Kernels => "the GPU's kernels",
            Self::FromGpu => "the bus from the GPU",
            Self::Write => "the disk that is written, and syncing it",
        }
    }

    fn is_of_gpus(self) -> bool {
        matches!(self, Self::Copies | Self::ToGpu | Self::Kernels | Self::FromGpu)
    }
}

/// What a stage has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Bytes.
    pub bytes: u64,
    /// The time that it worked, over all that do it at a time.
    pub busy: Duration,
}

impl Done {
    /// Returns what was done since an earlier time.
    fn since(self, earlier: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(earlier.bytes), busy: self.busy.saturating_sub(earlier.busy) }
    }
}

/// A sum of what a stage does.
#[derive(Debug, Default)]
pub struct Sum {
    bytes: AtomicU64,
    nanos: AtomicU64,
}

impl Sum {
    /// Adds bytes, and the time that they took.
    pub(super) fn add(&self, bytes: u64, time: Duration) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        add_time(&self.nanos, time);
    }

    fn clear(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.nanos.store(0, Ordering::Relaxed);
    }

    fn done(&self) -> Done {
        let nanos = self.nanos.load(Ordering::Relaxed);
        Done { bytes: self.bytes.load(Ordering::Relaxed), busy: Duration::from_nanos(nanos) }
    }
}

/// What passes through the GPUs of a run, over all of them; read while it goes on.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Copies on this side, to and from pinned memory.
    pub(super) copies: Sum,
    /// Copies to devices: codes, and what the rows of a layer share.
    pub(super) to: Sum,
    /// Kernels: the codes that they read and the results that they write.
    pub(super) kernels: Sum,
    /// Copies from devices.
    pub(super) from: Sum,
    /// Nanoseconds in which threads had a GPU make pieces, or waited for one.
    pub(super) within: AtomicU64,
}

impl Traffic {
    /// Begins anew.
    pub(super) fn clear(&self) {
        [&self.copies, &self.to, &self.kernels, &self.from].into_iter().for_each(Sum::clear);
        self.within.store(0, Ordering::Relaxed);
    }

    /// Returns what has passed through so many GPUs.
    #[must_use]
    pub fn done(&self, count: usize) -> OnGpus {
        OnGpus {
            count,
            copies: self.copies.done(),
            to: self.to.done(),
            kernels: self.kernels.done(),
            from: self.from.done(),
            within: Duration::from_nanos(self.within.load(Ordering::Relaxed)),
        }
    }
}

/// What has passed through GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnGpus {
    /// How many there are.
    pub count: usize,
    /// Copies on this side, to and from pinned memory.
    pub copies: Done,
    /// Copies to devices.
    pub to: Done,
    /// Kernels.
    pub kernels: Done,
    /// Copies from devices.
    pub from: Done,
    /// The time in which threads had a GPU make pieces, or waited for one.
    pub within: Duration,
}

/// What the stages of a run have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// Reading.
    pub read: Done,
    /// Computing, with the time in which threads waited for GPUs.
    pub computing: Duration,
    /// Writing.
    pub write: Done,
    /// What has passed through GPUs, where those compute.
    pub gpus: Option<OnGpus>,
}

impl Worked {
    /// Reads a run's progress.
    #[must_use]
    pub fn of(progress: &Progress, gpus: Option<OnGpus>) -> Self {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let time = |number: &AtomicU64| Duration::from_nanos(of(number));
        Self {
            read: Done { bytes: of(&progress.read), busy: time(&progress.busy.reading) },
            computing: time(&progress.busy.computing),
            write: Done { bytes: of(&progress.written), busy: time(&progress.busy.writing) },
            gpus,
        }
    }

    /// Returns a stage's part since an earlier time, and how many do it at a time with so many threads.
    fn stage(&self, earlier: &Self, stage: Stage, threads: usize) -> (Done, usize) {
        let now = self.gpus.unwrap_or_default();
        let then = earlier.gpus.unwrap_or_default();
        let processor = |worked: &Self, gpus: OnGpus| Done {
            bytes: 0,
            busy: worked.computing.saturating_sub(gpus.within),
        };
        match stage {
            Stage::Read => (self.read.since(earlier.read), threads + READ_AHEAD),
            Stage::Compute => (processor(self, now).since(processor(earlier, then)), threads),
            Stage::Copies => (now.copies.since(then.copies), threads),
            Stage::ToGpu => (now.to.since(then.to), now.count),
            Stage::Kernels => (now.kernels.since(then.kernels), now.count),
            Stage::FromGpu => (now.from.since(then.from), now.count),
            Stage::Write => (self.write.since(earlier.write), 1),
        }
    }

    /// Returns how busy stages were since an earlier time, `wall` ago, with so many threads that compute.
    #[must_use]
    pub fn since(&self, earlier: &Self, wall: Duration, threads: usize) -> Stages {
        let rates = Stage::ALL.map(|stage| {
            let (done, at_a_time) = self.stage(earlier, stage, threads);
            let seconds = done.busy.as_secs_f64() / at_a_time.max(1) as f64;
            let share = (seconds / wall.as_secs_f64().max(1e-9)).min(1.0);
            StageRate { stage, bytes: done.bytes, seconds, share }
        });
        Stages { rates, has_gpus: self.gpus.is_some() }
    }
}

/// How busy a stage was, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageRate {
    /// Which.
    pub stage: Stage,
    /// Bytes that passed through; 0 where they are not counted.
    pub bytes: u64,
    /// Seconds in which it worked, of one of those that do it at a time.
    pub seconds: f64,
    /// The share of the time in which it worked, 0 to 1.
    pub share: f64,
}

impl StageRate {
    /// Returns bytes a second while it works; `None` where there were none, or no time was seen.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        (self.bytes > 0 && self.seconds > 0.0).then(|| self.bytes as f64 / self.seconds)
    }
}

/// How busy the stages of a run are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stages {
    rates: [StageRate; 7],
    has_gpus: bool,
}

impl Stages {
    /// Returns true if GPUs compute.
    #[must_use]
    pub fn has_gpus(&self) -> bool {
        self.has_gpus
    }

    /// Returns the stages that there are, in their order: those of GPUs only where these compute.
    pub fn iter(&self) -> impl Iterator<Item = &StageRate> {
        self.rates.iter().filter(|rate| self.has_gpus || !rate.stage.is_of_gpus())
    }

    /// Returns the stage that holds up the others: the busiest; of equal ones that which computes.
    #[must_use]
    pub fn bottleneck(&self) -> &StageRate {
        let [read, compute, others @ ..] = &self.rates;
        let busier = |most, rate| if self.is_busier(rate, most) { rate } else { most };
        std::iter::once(read).chain(others).rev().fold(compute, busier)
    }

    fn is_busier(&self, rate: &StageRate, than: &StageRate) -> bool {
        rate.share > than.share && (self.has_gpus || !rate.stage.is_of_gpus())
    }

    /// Returns rates and the bottleneck in words: `read 2.1 · to GPU 11.8 · write 1.9 GiB/s, limited by write: …`.
    #[must_use]
    pub fn words(&self) -> String {
        let gib = |rate: f64| rate / (1u64 << 30) as f64;
        let rates = self.iter().filter_map(|rate| {
            let gib = gib(rate.rate()?);
            let digits = match gib {
                100.0.. => 0,
                1.0.. => 1,
                _ => 2,
            };
            Some(format!("{} {gib:.digits$}", rate.stage.word()))
        });
        let rates = rates.collect::<Vec<_>>().join(" · ");
        let StageRate { stage, share, .. } = self.bottleneck();
        let percent = 100.0 * share;
        format!(
            "{rates} GiB/s while at work, limited by {}: {}, {percent:.0} % of the time",
            stage.word(),
            stage.what()
        )
    }
}

#[cfg(test)]
mod tests;
