//! Timed: how long the bus and the kernels of a device work, by its own clock.
//!
//! A slot's marks say how long each of its stages took, and the end of the last is when the queue was waited for. Slots
//! wait for each other within a stage: of times that overlap, that of the later one counts from where the earlier ended.
//! So the sum is the time in which a stage worked, and no more than the time that has passed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::layer::Moved;
use super::ring::Slot;
use crate::engine::busy::Traffic;

/// The clocks of a device.
pub(super) struct Timed {
    traffic: Arc<Traffic>,
    start: Instant,
    /// Until when each stage has worked, in seconds since the start: to the device, kernels, back.
    until: Mutex<[f64; 3]>,
}

/// Bytes of a piece, stage by stage: to the device, those that kernels read and write, and back.
pub(super) type Passed = [u64; 3];

impl Timed {
    pub(super) fn new(traffic: &Arc<Traffic>) -> Self {
        Self { traffic: Arc::clone(traffic), start: Instant::now(), until: Mutex::default() }
    }

    /// Counts a piece whose slot was just waited for.
    pub(super) fn piece(&self, slot: &Slot, passed: Passed) {
        // A device that does not say how long it took is no fault of the piece: then its bytes alone are counted.
        let seconds = slot.marks.seconds(&slot.queue).unwrap_or_default();
        self.add(seconds, passed);
    }

    /// Counts what was copied for a layer, and was just waited for.
    pub(super) fn shared(&self, moved: Moved) {
        self.add([moved.seconds.unwrap_or_default(), 0.0, 0.0], [moved.bytes, 0, 0]);
    }

    /// Copies bytes on this side, between a piece and pinned memory, and counts that.
    pub(super) fn copy<T>(&self, bytes: usize, copy: impl FnOnce() -> T) -> T {
        let since = Instant::now();
        let copied = copy();
        self.traffic.copies.add(bytes as u64, since.elapsed());
        copied
    }

    fn add(&self, seconds: [f64; 3], [to, kernels, from]: Passed) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let [in_to, in_kernels, in_from] = worked(self.start.elapsed().as_secs_f64(), seconds, &mut until);
        drop(until);
        self.traffic.to.add(to, in_to);
        self.traffic.kernels.add(kernels, in_kernels);
        self.traffic.from.add(from, in_from);
    }
}

/// Returns for how long of stages that follow each other, the last of which ended at `end`, none had worked yet.
fn worked(mut end: f64, seconds: [f64; 3], until: &mut [f64; 3]) -> [Duration; 3] {
    let mut worked = [Duration::ZERO; 3];
    for ((worked, until), seconds) in worked.iter_mut().zip(until).zip(seconds).rev() {
        let begin = end - seconds;
        if seconds > 0.0 {
            // A time that is no number, or below nothing, is none.
            *worked = Duration::try_from_secs_f64(end - begin.max(*until)).unwrap_or_default();
            *until = until.max(end);
        }
        end = begin;
    }
    worked
}

#[cfg(test)]
mod tests;
