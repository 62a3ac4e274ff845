//! Timing what a queue does, by the device's own clock.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::{Bytes, Context, Fault, Queue, named};

/// Two marks in a queue, and the time between them.
pub(in super::super) struct Timer {
    context: Arc<Context>,
    marks: [sys::CUevent; 2],
}

// SAFETY: as for `Queue`.
unsafe impl Send for Timer {}

impl Timer {
    pub(in super::super) fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        context.enter()?;
        let mark = || named("cuEventCreate", result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT));
        let first = mark()?;
        let second = mark().inspect_err(|_| {
            // SAFETY: just made.
            let _ignored = unsafe { result::event::destroy(first) };
        })?;
        Ok(Self { context: Arc::clone(context), marks: [first, second] })
    }

    /// Returns the seconds that what `work` puts into the queue takes; waits for it.
    pub(in super::super) fn seconds(
        &self,
        queue: &Queue,
        work: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<f64, Fault> {
        self.mark(0, queue)?;
        let started = work().and_then(|()| self.mark(1, queue));
        // What was started is waited for also where a later start failed.
        queue.wait()?;
        started?;
        // SAFETY: both are events of this context that the queue has passed.
        let milliseconds = unsafe { result::event::elapsed(self.marks[0], self.marks[1]) };
        Ok(f64::from(named("cuEventElapsedTime", milliseconds)?) / 1e3)
    }

    fn mark(&self, at: usize, queue: &Queue) -> Result<(), Fault> {
        self.context.enter()?;
        // SAFETY: both are of this context and alive.
        named("cuEventRecord", unsafe { result::event::record(self.marks[at], queue.stream) })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let _ignored = self.context.enter();
        for mark in self.marks {
            // SAFETY: made by `new`, destroyed once.
            let _ignored = unsafe { result::event::destroy(mark) };
        }
    }
}

impl Queue {
    /// Copies all bytes of `from` on the device to the beginning of `to`.
    pub(in super::super) fn copy_across(&self, from: &Bytes, to: &Bytes) -> Result<(), Fault> {
        assert!(from.len <= to.len, "{} bytes do not fit into {}", from.len, to.len);
        self.context.enter()?;
        // SAFETY: both hold so many bytes.
        let copied = unsafe { result::memcpy_dtod_async(to.at, from.at, from.len, self.stream) };
        named("cuMemcpyDtoDAsync", copied)
    }
}
