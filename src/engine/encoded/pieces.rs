//! The pieces of a layer's tensors, as workers are asked for them.
//!
//! Nobody waits for what comes later in the file: a worker that waits for the other strands of a layer has taken its
//! segment after all that have pieces of the first tensor, and those wait for nothing but a turn.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gathered::Layer;
use super::{Hands, OTHER_SIZES, Strands, Tensors, ToPack, cuts, to_pack};
use crate::engine::inputs::Inputs;
use crate::engine::{Device, Scratch, cancelled};
use crate::error::Result;

/// A layer that is packed, shared by the pieces of its tensors.
pub(in crate::engine) struct Packed {
    /// Number of the plan's pack.
    pack: u32,
    /// Pieces that are left of each tensor.
    left: Vec<AtomicUsize>,
    /// Bytes of the first tensor that are made on their own, if it is not held.
    piece_bytes: Option<u64>,
    /// True if the first tensor is made before any other is asked for.
    is_first_ahead: bool,
    /// How the pieces of the first tensor are made, while there are any.
    work: Mutex<Option<Arc<ToPack>>>,
    /// What the other strands got, by the first row of each cut, and how many rows are done.
    others: Mutex<(BTreeMap<u64, Strands>, u64)>,
    phase: Mutex<Phase>,
}

/// How far the tensors are, without a first one that is not held.
enum Phase {
    /// None of them has been asked for.
    Waiting,
    /// They are being made.
    Working(Arc<Layer>),
    /// They are made: each until it is written, and how many bytes each has.
    Done(Tensors, Vec<u64>),
}

impl Packed {
    pub(in crate::engine) fn new(pack: u32, piece_bytes: Option<u64>) -> Self {
        Self {
            pack,
            left: Vec::new(),
            piece_bytes,
            is_first_ahead: false,
            work: Mutex::default(),
            others: Mutex::default(),
            phase: Mutex::new(Phase::Waiting),
        }
    }

    /// Says that a piece of a tensor will be asked for, in the order of the files.
    pub(in crate::engine) fn expect_piece(&mut self, part: u32) {
        if part == 0 {
            self.is_first_ahead = self.left.len() <= 1;
        }
        self.left.resize_with(self.left.len().max(part as usize + 1), AtomicUsize::default);
        *self.left[part as usize].get_mut() += 1;
    }

    /// Fills a piece of a tensor, from byte `offset` of it on; returns how many bytes of it there are.
    pub(in crate::engine) fn fill(
        &self,
        (part, offset): (u32, u64),
        out: &mut [u8],
        (inputs, scratch, hands): (&Inputs<'_>, &mut Scratch, &impl Hands),
    ) -> Result<usize> {
        if let (0, Some(piece_bytes)) = (part, self.piece_bytes) {
            self.first((offset, piece_bytes), out, (inputs, scratch, hands))?;
            self.is_last(part);
            return Ok(out.len());
        }
        if !(self.is_passed() && self.is_first_ahead)
            && let Some(layer) = self.working(inputs, scratch, hands.device())?
            && let Some(tensors) = layer.work(inputs, scratch, hands)?
        {
            self.done(tensors, hands);
        }
        if !hands.until(&|| matches!(*self.phase(), Phase::Done(..))) {
            // The worker that failed has said why.
            return Err(cancelled());
        }
        let mut phase = self.phase();
        let made = match &mut *phase {
            Phase::Done(tensors, _) => tensors.get_mut(part as usize),
            Phase::Waiting | Phase::Working(_) => None,
        };
        let Some(made) = made else {
            drop(phase);
            return Err(inputs.refused_pack(self.pack, OTHER_SIZES));
        };
        let rest = made.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        if self.is_last(part) {
            *made = Vec::new();
        }
        Ok(count)
    }

    /// Returns the bytes of a tensor, once it was asked for.
    pub(in crate::engine) fn bytes_of(&self, part: u32) -> Option<u64> {
        match &*self.phase() {
            Phase::Done(_, bytes) => bytes.get(part as usize).copied(),
            Phase::Waiting | Phase::Working(_) => None,
        }
    }

    /// Makes a piece of the first tensor, and keeps what the other strands get of its rows.
    fn first(
        &self,
        (offset, piece_bytes): (u64, u64),
        out: &mut [u8],
        (inputs, scratch, hands): (&Inputs<'_>, &mut Scratch, &impl Hands),
    ) -> Result<()> {
        let work = self.work(inputs, scratch, hands.device())?;
        let refused = |why: String| inputs.refused(work.values, &why);
        let mut rest = &mut *out;
        let (mut kept, mut codes) = (Vec::new(), Vec::new());
        let rows = rows_of(&work, offset..offset + rest.len() as u64, piece_bytes);
        for rows in cuts(&work, rows, work.at_once) {
            let start = rows.start;
            work.read(inputs, rows.clone(), &mut codes)?;
            let turn = hands.turn();
            let mut strands = work.encode_on(hands.device(), rows.clone(), &codes, (inputs, scratch))?;
            let first = strands.first_mut().map(std::mem::take).unwrap_or_default();
            let (to, after) = rest
                .split_at_mut_checked(first.len())
                .ok_or_else(|| inputs.refused_pack(self.pack, OTHER_SIZES))?;
            to.copy_from_slice(&first);
            rest = after;
            drop(turn);
            kept.push((start, strands, rows.end - start));
        }
        if !rest.is_empty() {
            return Err(inputs.refused_pack(self.pack, OTHER_SIZES));
        }
        if self.is_first_ahead
            && let Some(all) = self.keep(kept, work.decoding.row_count())
        {
            let _turn = hands.turn();
            let tensors = work.finish(all.into_values(), true).map_err(refused)?;
            self.done(tensors, hands);
        }
        Ok(())
    }

    /// Keeps what the other strands got; returns all when the last rows are done.
    fn keep(&self, kept: Vec<(u64, Strands, u64)>, rows: u64) -> Option<BTreeMap<u64, Strands>> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        for (start, strands, count) in kept {
            others.0.insert(start, strands);
            others.1 += count;
        }
        (others.1 == rows).then(|| std::mem::take(&mut others.0))
    }

    /// Puts the tensors that are made; those that nobody will ask for are not held.
    fn done(&self, mut tensors: Tensors, hands: &impl Hands) {
        let bytes = tensors.iter().map(|tensor| tensor.len() as u64).collect();
        for (part, tensor) in tensors.iter_mut().enumerate() {
            if self.left.get(part).is_none_or(|left| left.load(Ordering::Acquire) == 0) {
                *tensor = Vec::new();
            }
        }
        *self.phase() = Phase::Done(tensors, bytes);
        hands.wake();
    }

    /// Notes that a piece of a tensor is filled; returns true if it was the last.
    fn is_last(&self, part: u32) -> bool {
        let is_last = self.left[part as usize].fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && part == 0 {
            *self.work.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        is_last
    }

    fn is_passed(&self) -> bool {
        self.piece_bytes.is_some()
    }

    /// Returns how the pieces of the first tensor are made.
    fn work(&self, inputs: &Inputs<'_>, scratch: &mut Scratch, device: &dyn Device) -> Result<Arc<ToPack>> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = &*work {
            return Ok(Arc::clone(work));
        }
        let made = to_pack(inputs, self.pack, (device, scratch))?.for_device(device);
        Ok(Arc::clone(work.insert(Arc::new(made))))
    }

    /// Returns the layer, if its tensors are not made yet.
    fn working(
        &self,
        inputs: &Inputs<'_>,
        scratch: &mut Scratch,
        device: &dyn Device,
    ) -> Result<Option<Arc<Layer>>> {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Waiting) {
            let work = to_pack(inputs, self.pack, (device, scratch))?.for_device(device);
            *phase = Phase::Working(Arc::new(Layer::new(work, self.is_passed())));
        }
        Ok(if let Phase::Working(layer) = &*phase { Some(Arc::clone(layer)) } else { None })
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // A worker that panics ends the run by its own way.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the rows whose strands are these bytes of the first tensor, which begin and end where pieces do.
fn rows_of(work: &ToPack, bytes: Range<u64>, piece_bytes: u64) -> Range<u64> {
    let apart = work.encoding.encoder.rows_apart().max(1);
    let row = |at: u64| at.saturating_mul(apart).min(work.decoding.row_count());
    row(bytes.start / piece_bytes)..row(bytes.end.div_ceil(piece_bytes))
}
