//! Timing what a queue does, by the device's own clock: marks are put into the queue and read when it was waited for
//! anyway, so that nothing waits for being timed.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::{Bytes, Context, Fault, Queue, named};

/// Marks in a queue, in an order; the end of what is waited for comes after them.
pub(in super::super) struct Marks<const N: usize> {
    context: Arc<Context>,
    marks: Vec<sys::CUevent>,
}

// SAFETY: as for `Queue`.
unsafe impl<const N: usize> Send for Marks<N> {}

impl<const N: usize> Marks<N> {
    pub(in super::super) fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        context.enter()?;
        // What is made is destroyed also where a later one fails.
        let mut made = Self { context: Arc::clone(context), marks: Vec::with_capacity(N) };
        for _ in 0..N {
            let mark = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
            made.marks.push(named("cuEventCreate", mark)?);
        }
        Ok(made)
    }

    /// Puts a mark behind what the queue has been given.
    pub(in super::super) fn set(&self, at: usize, queue: &Queue) -> Result<(), Fault> {
        self.context.enter()?;
        // SAFETY: both are of this context and alive.
        named("cuEventRecord", unsafe { result::event::record(self.marks[at], queue.stream) })
    }

    /// Returns the seconds from each mark to the next, and from the last to the end of what was waited for. All are set, in
    /// their order, and the queue was waited for behind them.
    pub(in super::super) fn seconds(&self, queue: &Queue) -> Result<[f64; N], Fault> {
        self.context.enter()?;
        let mut seconds = [0.0; N];
        for (at, seconds) in seconds.iter_mut().enumerate() {
            let next = self.marks.get(at + 1).copied().unwrap_or(queue.done);
            // SAFETY: both are events of this context.
            let milliseconds = unsafe { result::event::elapsed(self.marks[at], next) };
            *seconds = f64::from(named("cuEventElapsedTime", milliseconds)?) / 1e3;
        }
        Ok(seconds)
    }
}

impl<const N: usize> Drop for Marks<N> {
    fn drop(&mut self) {
        let _ignored = self.context.enter();
        for &mark in &self.marks {
            // SAFETY: made by `new`, destroyed once.
            let _ignored = unsafe { result::event::destroy(mark) };
        }
    }
}

impl Marks<1> {
    /// Returns the seconds that what `work` puts into the queue takes; waits for it.
    pub(in super::super) fn timed(
        &self,
        queue: &Queue,
        work: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<f64, Fault> {
        self.set(0, queue)?;
        let started = work();
        // What was started is waited for also where a later start failed.
        queue.wait()?;
        started?;
        let [seconds] = self.seconds(queue)?;
        Ok(seconds)
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
