//! A layer whose tensors are made together: workers take cuts of it until none is left.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Hands, Strands, Tensors, ToPack, cuts};
use crate::engine::Scratch;
use crate::engine::inputs::Inputs;
use crate::error::Result;

/// A layer while it is encoded.
pub(super) struct Layer {
    work: ToPack,
    cuts: Vec<Range<u64>>,
    /// True if the first strand is dropped: the others are what is asked for.
    is_passed: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The cut that is taken next.
    next: usize,
    /// What the strands got of each cut.
    strands: Vec<Option<Strands>>,
    done: usize,
}

impl Layer {
    pub(super) fn new(work: ToPack, is_passed: bool) -> Self {
        let cuts = cuts(&work, 0..work.decoding.row_count(), work.at_once);
        let state = State { strands: cuts.iter().map(|_| None).collect(), ..State::default() };
        Self { work, cuts, is_passed, state: Mutex::new(state) }
    }

    /// Encodes cuts until none is left. Returns the tensors to the one who encoded the last, who alone has them.
    pub(super) fn work(
        &self,
        inputs: &Inputs<'_>,
        scratch: &mut Scratch,
        hands: &impl Hands,
    ) -> Result<Option<Tensors>> {
        let mut codes = Vec::new();
        while let Some((at, rows)) = self.take() {
            self.work.read(inputs, rows.clone(), &mut codes)?;
            let turn = hands.turn();
            let mut strands = self.work.encode_on(hands.device(), rows, &codes, (inputs, scratch))?;
            if let Some(first) = strands.first_mut().filter(|_| self.is_passed) {
                *first = Vec::new();
            }
            drop(turn);
            if let Some(strands) = self.put(at, strands) {
                let _turn = hands.turn();
                let tensors = self.work.finish(strands.into_iter().flatten(), self.is_passed);
                return tensors.map(Some).map_err(|why| inputs.refused(self.work.values, &why));
            }
        }
        Ok(None)
    }

    /// Puts what came of a cut; returns all when it was the last.
    fn put(&self, at: usize, strands: Strands) -> Option<Vec<Option<Strands>>> {
        let mut state = self.state();
        state.strands[at] = Some(strands);
        state.done += 1;
        (state.done == self.cuts.len()).then(|| std::mem::take(&mut state.strands))
    }

    fn take(&self) -> Option<(usize, Range<u64>)> {
        let mut state = self.state();
        let at = state.next;
        state.next += 1;
        Some((at, self.cuts.get(at)?.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A worker that panics ends the run by its own way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
