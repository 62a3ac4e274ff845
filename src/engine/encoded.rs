//! Layers that are packed again: decoded, merged and encoded by all workers that wait for them.
//!
//! The tensors of such a layer come of the same values, and some need all rows. So a layer is encoded as a whole,
//! cut by cut: whichever worker needs a tensor of it takes cuts until none is left, and waits for the others.
//! What is held is the layer as it is stored, not its values.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::inputs::Inputs;
use super::{Decoded, Scratch};
use crate::error::Result;
use crate::quant::decode::Decoding;
use crate::quant::encode::Encoding;

/// Values that are encoded at a time, about: 128 KB of f32 stay in a second-level cache.
const VALUES_AT_ONCE: u64 = 32 << 10;

/// What a worker may do.
pub(super) trait Hands {
    /// The right to compute, as long as it is held.
    type Turn;

    /// Waits for the right to compute.
    fn turn(&self) -> Self::Turn;

    /// Waits until something is done by others; false if the run has failed.
    fn until(&self, is_done: &dyn Fn() -> bool) -> bool;

    /// Wakes those that wait.
    fn wake(&self);
}

/// A layer while it is encoded.
pub(super) struct Layer {
    decoded: Decoded,
    decoding: Decoding,
    encoding: Encoding,
    cuts: Vec<Range<u64>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The cut that is taken next.
    next: usize,
    /// What the strands got of each cut.
    strands: Vec<Option<Vec<Vec<u8>>>>,
    done: usize,
    /// The tensors, when all is done; each until it has been written.
    tensors: Option<Vec<Vec<u8>>>,
}

impl Layer {
    pub(super) fn new(decoded: Decoded, decoding: Decoding, encoding: Encoding) -> Self {
        let cuts = cuts(&decoding, &encoding, VALUES_AT_ONCE);
        let state = State { strands: cuts.iter().map(|_| None).collect(), ..State::default() };
        Self { decoded, decoding, encoding, cuts, state: Mutex::new(state) }
    }

    /// Encodes cuts until none is left; returns true when all are, false if the run has failed.
    pub(super) fn work(
        &self,
        inputs: &Inputs<'_>,
        scratch: &mut Scratch,
        hands: &impl Hands,
    ) -> Result<bool> {
        while let Some((at, rows)) = self.take() {
            let bytes = read(self.decoded, &self.decoding, inputs, rows.clone())?;
            let turn = hands.turn();
            let strands = encode(&self.decoding, &self.encoding, rows, &bytes, scratch)
                .map_err(|why| inputs.refused(self.decoded, &why))?;
            drop(turn);
            if let Some(strands) = self.put(at, strands) {
                let turn = hands.turn();
                let tensors = finish(&self.encoding, strands.into_iter().flatten());
                let tensors = tensors.map_err(|why| inputs.refused(self.decoded, &why))?;
                drop(turn);
                self.state().tensors = Some(tensors);
                hands.wake();
            }
        }
        Ok(hands.until(&|| self.state().tensors.is_some()))
    }

    /// Copies bytes of a tensor from `offset` on until `out` is full.
    pub(super) fn copy(&self, part: u32, offset: u64, out: &mut [u8]) -> bool {
        let state = self.state();
        let tensor = state.tensors.as_ref().and_then(|tensors| tensors.get(part as usize));
        let bytes = tensor.and_then(|tensor| tensor.get(offset as usize..)?.get(..out.len()));
        bytes.is_some_and(|bytes| {
            out.copy_from_slice(bytes);
            true
        })
    }

    /// Lets a tensor go that is written.
    pub(super) fn drop_part(&self, part: u32) {
        if let Some(tensor) = self.state().tensors.as_mut().and_then(|tensors| tensors.get_mut(part as usize))
        {
            *tensor = Vec::new();
        }
    }

    /// Puts what came of a cut; returns all when it was the last.
    fn put(&self, at: usize, strands: Vec<Vec<u8>>) -> Option<Vec<Option<Vec<Vec<u8>>>>> {
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

/// Encodes a whole layer here and now, in cuts of about `values` values.
pub(super) fn whole(
    (decoded, decoding): (Decoded, &Decoding),
    encoding: &Encoding,
    inputs: &Inputs<'_>,
    (values, scratch): (u64, &mut Scratch),
) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for rows in cuts(decoding, encoding, values) {
        let bytes = read(decoded, decoding, inputs, rows.clone())?;
        let strands = encode(decoding, encoding, rows, &bytes, scratch);
        all.push(strands.map_err(|why| inputs.refused(decoded, &why))?);
    }
    finish(encoding, all.into_iter()).map_err(|why| inputs.refused(decoded, &why))
}

/// Cuts rows where the encoder lets them be cut.
fn cuts(decoding: &Decoding, encoding: &Encoding, values: u64) -> Vec<Range<u64>> {
    let (rows, apart) = (decoding.row_count(), encoding.encoder.rows_apart().max(1));
    let at_once = (values / decoding.row_len().max(1)).max(decoding.rows.rows_at_once());
    let at_once = at_once.next_multiple_of(apart).max(1);
    (0..rows).step_by(at_once as usize).map(|start| start..rows.min(start + at_once)).collect()
}

/// Reads the codes of rows.
fn read(decoded: Decoded, decoding: &Decoding, inputs: &Inputs<'_>, rows: Range<u64>) -> Result<Vec<u8>> {
    let range = decoding.rows.codes(rows);
    let mut bytes = vec![0; (range.end - range.start) as usize];
    inputs.read_into(inputs.codes(decoded, decoding), range.start, &mut bytes)?;
    Ok(bytes)
}

fn encode(
    decoding: &Decoding,
    encoding: &Encoding,
    rows: Range<u64>,
    codes: &[u8],
    scratch: &mut Scratch,
) -> std::result::Result<Vec<Vec<u8>>, String> {
    let values = &mut scratch.values;
    values.resize(((rows.end - rows.start) * decoding.row_len()) as usize, 0.0);
    decoding.rows.decode(rows, codes, values);
    let broken = values.iter().filter(|value| !value.is_finite()).count();
    if broken > 0 {
        let values = crate::units::plural(broken, "value");
        return Err(format!("{values} of a piece of it would be infinite or NaN: adapter or base is broken"));
    }
    encoding.encoder.rows(values)
}

/// Joins the strands of all cuts and makes the tensors, which are as large as planned.
fn finish(
    encoding: &Encoding,
    cuts: impl Iterator<Item = Vec<Vec<u8>>>,
) -> std::result::Result<Vec<Vec<u8>>, String> {
    let cuts: Vec<Vec<Vec<u8>>> = cuts.collect();
    let count = cuts.first().map_or(0, Vec::len);
    let strand = |at: usize| cuts.iter().map(|cut| cut[at].as_slice()).collect::<Vec<_>>().concat();
    let joined = (0..count).map(strand).collect();
    let tensors = encoding.encoder.finish(joined);
    let is_right = tensors.len() == encoding.tensors.len()
        && tensors.iter().zip(&encoding.tensors).all(|(bytes, tensor)| bytes.len() as u64 == tensor.bytes);
    if is_right { Ok(tensors) } else { Err("it was encoded to other sizes than planned".into()) }
}
