//! Device memory that is used again: freeing has a device finish all that is under way, of every queue.
//!
//! What the rows of a layer share lies in such memory. When the layer is done its memory goes to a list, from which later
//! layers take what fits. Who gives memory back has waited for the queue that used it. The list is short: with what is in
//! use it takes no more than there may be, or than was in use at once; and it is freed where memory is short.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Bytes, Context, Fault};

/// Memory that may be used again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Addresses and bytes of what nobody uses; the longest unused comes first.
    idle: Vec<(u64, usize)>,
    /// Bytes in use.
    used: usize,
    /// What all may take: as a plan says, and at least what was in use at once.
    room: usize,
}

impl Kept {
    fn idle_bytes(&self) -> usize {
        self.idle.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Takes the smallest that holds so many bytes and not half as many again.
    fn fitting(&mut self, len: usize) -> Option<(u64, usize)> {
        let fits = |bytes: usize| (len..=len.saturating_add(len / 2)).contains(&bytes);
        let at =
            (0..self.idle.len()).filter(|&at| fits(self.idle[at].1)).min_by_key(|&at| self.idle[at].1)?;
        let found = self.idle.remove(at);
        self.used += found.1;
        Some(found)
    }

    /// Counts so many bytes more as used, and takes off the list what there is no room for beside them.
    fn add(&mut self, len: usize) -> Vec<(u64, usize)> {
        self.used += len;
        self.room = self.room.max(self.used);
        let mut over = (self.used + self.idle_bytes()).saturating_sub(self.room);
        let mut count = 0;
        while let Some((_, bytes)) = self.idle.get(count).filter(|_| over > 0) {
            over = over.saturating_sub(*bytes);
            count += 1;
        }
        self.idle.drain(..count).collect()
    }
}

impl Context {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what memory that is used again may take, with what is in use.
    pub(in super::super) fn may_keep(&self, bytes: usize) {
        self.kept().room = bytes;
    }

    /// Returns memory of so many bytes, of an earlier layer or new; at least one byte.
    pub(super) fn again(self: &Arc<Self>, len: usize) -> Result<Bytes, Fault> {
        let len = len.max(1);
        let found = self.kept().fitting(len);
        if let Some((at, room)) = found {
            return Ok(Bytes { context: Arc::clone(self), at, len, room, is_kept: true });
        }
        let over = self.kept().add(len);
        self.free(over);
        match self.allocate(len) {
            Ok(at) => Ok(Bytes { context: Arc::clone(self), at, len, room: len, is_kept: true }),
            Err(fault) => {
                self.kept().used -= len;
                Err(fault)
            }
        }
    }

    /// Takes back what nobody uses any more.
    pub(super) fn keep(&self, at: u64, room: usize) {
        let mut kept = self.kept();
        kept.used = kept.used.saturating_sub(room);
        kept.idle.push((at, room));
    }

    /// Frees the list; returns false if there was nothing in it.
    pub(super) fn trim(&self) -> bool {
        let idle = std::mem::take(&mut self.kept().idle);
        let is_any = !idle.is_empty();
        self.free(idle);
        is_any
    }

    fn free(&self, list: Vec<(u64, usize)>) {
        for (at, room) in list {
            self.release(at, room);
        }
    }
}

#[cfg(test)]
mod tests;
