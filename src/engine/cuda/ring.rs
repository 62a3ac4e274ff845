//! The ring: a few slots on each device, of a size that is held to; workers take one, fill it, and give it back.
//!
//! | device memory is short       | then                                                     |
//! |------------------------------|----------------------------------------------------------|
//! | for a further slot           | there are fewer                                          |
//! | for the first                | it is half as large, down to `LEAST`                     |
//! | for anything                 | what is kept of layers that are done is freed            |
//! | for what a layer's rows share | idle slots are given up, then all become half as large   |

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::driver::{Bytes, Context, Fault, Marks, Pinned, Queue};

/// Values of the smallest slot.
pub(super) const LEAST: usize = 64 << 10;
/// Bytes of a slot on the device for each of its values: codes, values in f32, and the result, each at most four.
const BYTES_OF_VALUE: usize = 12;

/// Memory for pieces of work, and the queue that they go through.
pub(super) struct Slot {
    /// Which of the devices it is on.
    pub(super) card: usize,
    pub(super) queue: Queue,
    /// Before a piece is copied to the device, behind that, and behind the kernels; what is left is the way back.
    pub(super) marks: Marks<3>,
    /// Before what the rows of a layer share is copied.
    pub(super) shared: Marks<1>,
    /// Codes on this side, and what comes back.
    pub(super) input: Pinned,
    pub(super) output: Pinned,
    /// Codes on the device, values in f32, and the result.
    pub(super) codes: Bytes,
    pub(super) values: Bytes,
    pub(super) out: Bytes,
    /// What kernels count.
    pub(super) seen: Bytes,
    pub(super) seen_here: Pinned,
    /// Values that it holds.
    pub(super) capacity: usize,
}

/// Bytes of the two counters.
pub(super) const SEEN: usize = 8;

impl Slot {
    fn new(card: usize, context: &Arc<Context>, capacity: usize) -> Result<Self, Fault> {
        let bytes = capacity * 4;
        Ok(Self {
            card,
            queue: Queue::new(context)?,
            marks: Marks::new(context)?,
            shared: Marks::new(context)?,
            input: Pinned::new(context, bytes)?,
            output: Pinned::new(context, bytes)?,
            codes: Bytes::new(context, bytes)?,
            values: Bytes::new(context, bytes)?,
            out: Bytes::new(context, bytes)?,
            seen: Bytes::new(context, SEEN)?,
            seen_here: Pinned::new(context, SEEN)?,
            capacity,
        })
    }
}

/// Returns the bytes of device memory of a slot.
pub(super) fn slot_bytes(capacity: usize) -> u64 {
    (capacity * BYTES_OF_VALUE + SEEN) as u64
}

/// The slots of all devices.
pub(super) struct Ring {
    contexts: Vec<Arc<Context>>,
    state: Mutex<State>,
    changed: Condvar,
    /// How often slots became smaller or fewer.
    pub(super) shrunk: AtomicU64,
}

struct State {
    idle: Vec<Slot>,
    cards: Vec<Share>,
}

/// The slots of a device.
#[derive(Clone, Copy)]
struct Share {
    /// How many there are.
    made: usize,
    /// How many there may be; 0 if the device has no memory for one.
    wanted: usize,
    /// Values of each.
    capacity: usize,
}

impl Ring {
    /// Returns a ring of so many slots on each device; none is made yet.
    pub(super) fn new(contexts: Vec<Arc<Context>>, slots: usize, capacity: usize) -> Self {
        let share = Share { made: 0, wanted: slots.max(1), capacity: capacity.max(LEAST) };
        let cards = vec![share; contexts.len()];
        let state = Mutex::new(State { idle: Vec::new(), cards });
        Self { contexts, state, changed: Condvar::new(), shrunk: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot, waiting for one; `None` if no device has memory for any.
    ///
    /// # Errors
    /// A device fails otherwise.
    pub(super) fn take(&self) -> Result<Option<Slot>, Fault> {
        let mut state = self.state();
        loop {
            if let Some(slot) = state.idle.pop() {
                return Ok(Some(slot));
            }
            // The device with the fewest: slots are whole, and so is a device's share.
            let fewest = (0..state.cards.len())
                .filter(|&card| state.cards[card].made < state.cards[card].wanted)
                .min_by_key(|&card| state.cards[card].made);
            if let Some(card) = fewest {
                if let Some(slot) = self.make(&mut state, card)? {
                    return Ok(Some(slot));
                }
                continue;
            }
            if state.cards.iter().all(|share| share.made == 0) {
                return Ok(None);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes a slot; `None` if memory is short, and then fewer or smaller ones are wanted.
    fn make(&self, state: &mut State, card: usize) -> Result<Option<Slot>, Fault> {
        let share = &mut state.cards[card];
        match Slot::new(card, &self.contexts[card], share.capacity) {
            Ok(slot) => {
                share.made += 1;
                Ok(Some(slot))
            }
            Err(fault) if fault.is_memory() => {
                self.shrunk.fetch_add(1, Ordering::Relaxed);
                if share.made > 0 {
                    share.wanted = share.made;
                } else if share.capacity / 2 >= LEAST {
                    share.capacity /= 2;
                } else {
                    share.wanted = 0;
                }
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Gives a slot back; one that is larger than slots may be now is given up.
    pub(super) fn give(&self, slot: Slot) {
        let mut state = self.state();
        let share = &mut state.cards[slot.card];
        if slot.capacity > share.capacity || share.made > share.wanted {
            share.made -= 1;
            // Freed before others may ask for its memory.
            drop(slot);
        } else {
            state.idle.push(slot);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Makes room on a device, of which the caller holds a slot: returns false if nothing more can be given up.
    pub(super) fn shrink(&self, card: usize) -> bool {
        let mut state = self.state();
        let idle = state.idle.iter().position(|slot| slot.card == card);
        let share = &mut state.cards[card];
        let given_up = if let Some(at) = idle {
            share.made -= 1;
            share.wanted = share.wanted.min(share.made).max(1);
            drop(state.idle.swap_remove(at));
            true
        } else if share.capacity / 2 >= LEAST {
            // Those that are in use are given up when they come back.
            share.capacity /= 2;
            true
        } else {
            false
        };
        drop(state);
        if given_up {
            self.shrunk.fetch_add(1, Ordering::Relaxed);
            self.changed.notify_all();
        }
        given_up
    }

    /// Replaces a slot that the caller holds by one of the size that slots have now.
    ///
    /// # Errors
    /// The device has no memory for that either, or fails.
    pub(super) fn smaller(&self, slot: Slot) -> Result<Option<Slot>, Fault> {
        let card = slot.card;
        let mut state = self.state();
        if slot.capacity <= state.cards[card].capacity {
            return Ok(Some(slot));
        }
        state.cards[card].made -= 1;
        drop(slot);
        loop {
            if let Some(slot) = self.make(&mut state, card)? {
                return Ok(Some(slot));
            }
            if state.cards[card].made > 0 || state.cards[card].wanted == 0 {
                return Ok(None);
            }
        }
    }
}
