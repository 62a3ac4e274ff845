//! What the driver takes of a GPU for the context of a job: beside what the job holds, and known only when there is one.

use std::sync::atomic::Ordering;

use super::Job;
use crate::app::{App, Effect};
use crate::engine::{CONTEXT_GUESS, Held};

/// What the driver takes for a context, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Bytes.
    pub bytes: u64,
    /// True if a job has measured it.
    pub is_measured: bool,
}

impl Context {
    const GUESS: Self = Self { bytes: CONTEXT_GUESS, is_measured: false };
}

impl Job {
    /// Returns what the driver took of a GPU for the job's context: what was free before, and then. `None` as long as that is
    /// not known; others may have taken memory meanwhile, which then counts too.
    #[must_use]
    pub fn context_of(&self, held: &Held) -> Option<u64> {
        let (_, before) = self.free_before.iter().find(|(uuid, _)| *uuid == held.uuid)?;
        let then = held.free_then.load(Ordering::Relaxed);
        before.checked_sub(then).filter(|&taken| then > 0 && taken > 0)
    }
}

impl App {
    /// Starts the job that is next, if none runs, and notes what is free of each GPU before.
    pub(super) fn start_next(&mut self) -> Vec<Effect> {
        let effects = self.jobs.start_next();
        let started = effects.iter().find_map(|effect| match effect {
            Effect::StartJob(id) => Some(*id),
            _ => None,
        });
        let free = self.gpus_now().iter().filter_map(|gpu| {
            let (uuid, vram) = (gpu.uuid.as_ref().ok()?, gpu.vram.as_ref().ok()?);
            Some((uuid.clone(), vram.free))
        });
        let free: Vec<(String, u64)> = free.collect();
        if let Some(job) = started.and_then(|id| self.jobs.by_id(id)) {
            job.free_before = free;
        }
        effects
    }

    /// Returns what the driver will take of a GPU for a context: as it was with the last job there, or by guess.
    #[must_use]
    pub fn context_of(&self, uuid: &str) -> Context {
        let jobs = self.jobs.list.iter().rev().filter(|_| !uuid.is_empty());
        let measured = jobs.into_iter().find_map(|job| {
            let held = job.progress.device.get()?.held.iter().find(|held| held.uuid == uuid)?;
            job.context_of(held)
        });
        measured.map_or(Context::GUESS, |bytes| Context { bytes, is_measured: true })
    }
}
