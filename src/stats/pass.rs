//! A pass: all values of a source, or of two beside each other, are read once, by several threads.
//!
//! The values are cut into stripes, each read from its begin to its end by one thread into a state of its own; the states
//! are put together in the order of the stripes. So no figure depends on how many threads there are.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::compare::Compared;
use super::source::{Buffers, Source};
use super::summary::Summary;
use crate::checkpoint::joined;
use crate::error::Result;

/// How often who watches gets to see what there is so far.
const LOOK: Duration = Duration::from_millis(150);
/// Stripes of a tensor, at most.
const STRIPES_MAX: u64 = 8;

/// Who watches a pass.
pub trait Watch: Sync {
    /// Fails when the pass is to end.
    ///
    /// # Errors
    /// It was cancelled.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// So many values more have been read.
    fn read(&self, _values: u64) {}

    /// Returns true if summaries are wanted while the pass runs.
    fn wants_looks(&self) -> bool {
        false
    }

    /// Takes the figures of what was read so far.
    fn look(&self, _so_far: Summary) {}

    /// Takes what was found so far of how two lie apart.
    fn look_compared(&self, _so_far: Compared) {}
}

/// What a pass reads.
pub(super) trait Pieces: Sync {
    /// Memory that a reader keeps from piece to piece.
    type Buffers: Default;
    /// The bytes of some neighboring values.
    type Piece<'b>;

    /// Returns how many values there are.
    fn count(&self) -> u64;

    /// Returns how many values a piece has.
    fn piece(&self) -> u64;

    /// Returns the bytes of values.
    fn read<'b>(&self, range: Range<u64>, buffers: &'b mut Self::Buffers) -> Result<Self::Piece<'b>>;
}

impl Pieces for Source<'_> {
    type Buffers = Buffers;
    type Piece<'b> = &'b [u8];

    fn count(&self) -> u64 {
        self.count()
    }

    fn piece(&self) -> u64 {
        self.piece()
    }

    fn read<'b>(&self, range: Range<u64>, buffers: &'b mut Buffers) -> Result<&'b [u8]> {
        self.read(range, buffers)
    }
}

/// Takes the bytes of the values from that of the number on.
type Take<'a, S, P> = dyn for<'b> Fn(&mut S, u64, <P as Pieces>::Piece<'b>) -> Result<()> + Sync + 'a;

/// What is done to the values of a stripe.
pub(super) struct Steps<'a, S, P: Pieces + 'a> {
    /// Makes the state of a stripe.
    pub(super) begin: &'a (dyn Fn() -> S + Sync),
    /// Takes the bytes of the values from that of the number on.
    pub(super) take: &'a Take<'a, S, P>,
    /// Called after the last piece of a stripe.
    pub(super) end: &'a (dyn Fn(&mut S) + Sync),
    /// Shown the states now and then.
    pub(super) look: &'a dyn Fn(&[Mutex<S>]),
}

/// Reads all values; returns the states in the order of the stripes.
///
/// # Errors
/// A piece cannot be read, or it was cancelled.
pub(super) fn run<S: Send, P: Pieces>(
    source: &P,
    threads: usize,
    watch: &dyn Watch,
    steps: &Steps<'_, S, P>,
) -> Result<Vec<S>> {
    let stripes = stripes(source);
    let states: Vec<Mutex<S>> = stripes.iter().map(|_| Mutex::new((steps.begin)())).collect();
    let (take, end_stripe) = (steps.take, steps.end);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<()> {
        let mut buffers = P::Buffers::default();
        while let Some((stripe, state)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            stripes.get(at).zip(states.get(at))
        } {
            let mut at = stripe.start;
            while at < stripe.end && !failed.load(Ordering::Relaxed) {
                watch.check()?;
                let end = stripe.end.min(at + source.piece());
                let bytes = source.read(at..end, &mut buffers)?;
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                take(&mut state, at, bytes)?;
                watch.read(end - at);
                at = end;
            }
            end_stripe(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(())
    };
    let work = || work().inspect_err(|_| failed.store(true, Ordering::Relaxed));
    let threads = threads.clamp(1, stripes.len().max(1));
    if threads == 1 && !watch.wants_looks() {
        work()?;
    } else {
        let (running, has_ended) = (Mutex::new(threads), Condvar::new());
        std::thread::scope(|scope| {
            let spawned: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let _ended = Ended(&running, &has_ended);
                        work()
                    })
                })
                .collect();
            let mut left = running.lock().unwrap_or_else(PoisonError::into_inner);
            while *left > 0 {
                let waited = has_ended.wait_timeout(left, LOOK).unwrap_or_else(PoisonError::into_inner);
                left = waited.0;
                if *left > 0 && watch.wants_looks() {
                    (steps.look)(&states);
                }
            }
            drop(left);
            // All are waited for, also after one that failed.
            let ends: Vec<Result<()>> = spawned.into_iter().map(joined).collect();
            ends.into_iter().collect::<Result<()>>()
        })?;
    }
    Ok(states.into_iter().map(|state| state.into_inner().unwrap_or_else(PoisonError::into_inner)).collect())
}

/// Tells that a thread has ended, however it did.
struct Ended<'a>(&'a Mutex<usize>, &'a Condvar);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.1.notify_all();
    }
}

/// Returns where values are cut: at whole pieces, as many to each stripe.
fn stripes(source: &impl Pieces) -> Vec<Range<u64>> {
    let (count, piece) = (source.count(), source.piece().max(1));
    let pieces = count.div_ceil(piece);
    // A stripe of a few pieces is not worth a state of its own.
    let stripes = pieces.div_ceil(4).clamp(1, STRIPES_MAX);
    let each = pieces.div_ceil(stripes).max(1) * piece;
    (0..stripes).map(|at| at * each..count.min((at + 1) * each)).filter(|stripe| !stripe.is_empty()).collect()
}
