//! Layers that are packed: decoded, merged and encoded by all workers that wait for them.
//!
//! The tensors of such a layer come of the same values, and some need all rows. So a layer is encoded as a whole,
//! cut by cut: whichever worker needs a tensor of it takes cuts until none is left, and waits for the others.
//! What is held is the layer as it is stored, not its values; and when it is encoded, only its tensors that are not
//! written yet: a quant state stands at the end of its file, behind all layers.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inputs::Inputs;
use super::{Scratch, cancelled};
use crate::error::Result;
use crate::plan::Values;
use crate::quant::decode::Decoding;
use crate::quant::encode::{Around, Encoding};
use crate::tensor::{Dtype, values};

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

/// How a layer is decoded and packed.
pub(super) struct ToPack {
    pub(super) values: Values,
    pub(super) decoding: Decoding,
    pub(super) encoding: Encoding,
    /// All codes of the decoding, where every row needs all of them.
    pub(super) codes: Option<Vec<u8>>,
    /// The dtypes to which values are rounded before they are packed, one after the other.
    pub(super) rounded: [Dtype; 2],
    /// The largest magnitude that its encoder wants to know.
    pub(super) largest: f32,
}

/// A layer that is packed, shared by the pieces of its tensors.
pub(super) struct Packed {
    /// Number of the plan's pack.
    pack: u32,
    /// Pieces that are left of each tensor.
    left: Vec<AtomicUsize>,
    phase: Mutex<Phase>,
}

/// How far a layer is.
enum Phase {
    /// No tensor of it has been asked for.
    Waiting,
    /// It is being encoded.
    Working(Arc<Layer>),
    /// It is encoded: its tensors, each until it is written.
    Done(Tensors),
}

/// The tensors of a layer, in the order of its encoding.
type Tensors = Vec<Vec<u8>>;

impl Packed {
    pub(super) fn new(pack: u32) -> Self {
        Self { pack, left: Vec::new(), phase: Mutex::new(Phase::Waiting) }
    }

    /// Says that a piece of a tensor will be asked for.
    pub(super) fn expect_piece(&mut self, part: u32) {
        self.left.resize_with(self.left.len().max(part as usize + 1), AtomicUsize::default);
        *self.left[part as usize].get_mut() += 1;
    }

    /// Fills a piece of a tensor, from byte `offset` of it on.
    pub(super) fn fill(
        &self,
        (part, offset): (u32, u64),
        out: &mut [u8],
        (inputs, scratch, hands): (&Inputs<'_>, &mut Scratch, &impl Hands),
    ) -> Result<()> {
        if let Some(layer) = self.working(inputs, scratch)? {
            if let Some(tensors) = layer.work(inputs, scratch, hands)? {
                *self.phase() = Phase::Done(tensors);
                hands.wake();
            }
            drop(layer);
            if !hands.until(&|| matches!(*self.phase(), Phase::Done(_))) {
                // The worker that failed has said why.
                return Err(cancelled());
            }
        }
        let mut phase = self.phase();
        let tensor = match &mut *phase {
            Phase::Done(tensors) => tensors.get_mut(part as usize),
            Phase::Waiting | Phase::Working(_) => None,
        };
        let bytes = tensor.as_deref().and_then(|tensor| tensor.get(offset as usize..)?.get(..out.len()));
        let Some(bytes) = bytes else {
            drop(phase);
            return Err(inputs.refused_pack(self.pack, "it was encoded to other sizes than planned"));
        };
        out.copy_from_slice(bytes);
        if self.left[part as usize].fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(tensor) = tensor
        {
            *tensor = Vec::new();
        }
        Ok(())
    }

    /// Returns the layer, if it is not encoded yet.
    fn working(&self, inputs: &Inputs<'_>, scratch: &mut Scratch) -> Result<Option<Arc<Layer>>> {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Waiting) {
            *phase = Phase::Working(Arc::new(Layer::new(to_pack(inputs, self.pack, scratch)?)));
        }
        Ok(if let Phase::Working(layer) = &*phase { Some(Arc::clone(layer)) } else { None })
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // A worker that panics ends the run by its own way.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A layer while it is encoded.
struct Layer {
    work: ToPack,
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
}

impl Layer {
    fn new(work: ToPack) -> Self {
        let cuts = cuts(&work, VALUES_AT_ONCE);
        let state = State { strands: cuts.iter().map(|_| None).collect(), ..State::default() };
        Self { work, cuts, state: Mutex::new(state) }
    }

    /// Encodes cuts until none is left. Returns the tensors to the one who encoded the last, who alone has them.
    fn work(
        &self,
        inputs: &Inputs<'_>,
        scratch: &mut Scratch,
        hands: &impl Hands,
    ) -> Result<Option<Tensors>> {
        while let Some((at, rows)) = self.take() {
            let codes = self.work.read(inputs, rows.clone())?;
            let turn = hands.turn();
            let strands = self.work.encode(rows, &codes, scratch);
            let strands = strands.map_err(|why| inputs.refused(self.work.values, &why))?;
            drop(turn);
            if let Some(strands) = self.put(at, strands) {
                let _turn = hands.turn();
                let tensors = self.work.finish(strands.into_iter().flatten());
                return tensors.map(Some).map_err(|why| inputs.refused(self.work.values, &why));
            }
        }
        Ok(None)
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

/// Returns how a layer is decoded and packed, with all that has to be known of its values before.
pub(super) fn to_pack(inputs: &Inputs<'_>, pack: u32, scratch: &mut Scratch) -> Result<ToPack> {
    let mut work = inputs.to_pack(pack)?;
    if work.encoding.encoder.wants_largest() {
        work.largest = inputs.largest(pack, &mut |work| {
            let mut largest = 0f32;
            for rows in cuts(work, VALUES_AT_ONCE) {
                let codes = work.read(inputs, rows.clone())?;
                let values = work.decode(rows, &codes, scratch);
                let values = values.map_err(|why| inputs.refused(work.values, &why))?;
                largest = values.iter().fold(largest, |largest, value| largest.max(value.abs()));
            }
            Ok(largest)
        })?;
    }
    Ok(work)
}

/// Encodes a whole layer here and now, in cuts of about `values` values.
pub(super) fn whole(
    work: &ToPack,
    inputs: &Inputs<'_>,
    (values, scratch): (u64, &mut Scratch),
) -> Result<Tensors> {
    let mut all = Vec::new();
    for rows in cuts(work, values) {
        let codes = work.read(inputs, rows.clone())?;
        let strands = work.encode(rows, &codes, scratch);
        all.push(strands.map_err(|why| inputs.refused(work.values, &why))?);
    }
    work.finish(all.into_iter()).map_err(|why| inputs.refused(work.values, &why))
}

/// Cuts rows where the encoder lets them be cut.
fn cuts(work: &ToPack, values: u64) -> Vec<Range<u64>> {
    let decoding = &work.decoding;
    let (rows, apart) = (decoding.row_count(), work.encoding.encoder.rows_apart().max(1));
    let at_once = (values / decoding.row_len().max(1)).max(decoding.rows.rows_at_once());
    let at_once = at_once.next_multiple_of(apart).max(1);
    (0..rows).step_by(at_once as usize).map(|start| start..rows.min(start + at_once)).collect()
}

impl ToPack {
    /// Reads the codes of rows, if they are not held.
    pub(super) fn read(&self, inputs: &Inputs<'_>, rows: Range<u64>) -> Result<Vec<u8>> {
        if self.codes.is_some() {
            return Ok(Vec::new());
        }
        let range = self.decoding.rows.codes(rows);
        let mut bytes = vec![0; (range.end - range.start) as usize];
        inputs.read_into(inputs.codes(self.values, &self.decoding), range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Decodes rows, to the values that are packed.
    pub(super) fn decode<'s>(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        scratch: &'s mut Scratch,
    ) -> std::result::Result<&'s [f32], String> {
        let values = &mut scratch.values;
        values.resize(((rows.end - rows.start) * self.decoding.row_len()) as usize, 0.0);
        self.decoding.rows.decode(rows, self.codes.as_deref().unwrap_or(codes), values);
        for dtype in self.rounded {
            values::round_all(dtype, values);
        }
        let broken = values.iter().filter(|value| !value.is_finite()).count();
        if broken > 0 {
            let count = crate::units::plural(broken, "value");
            return Err(match self.values {
                Values::Merged(_) => {
                    format!("{count} of a piece of it would be infinite or NaN: adapter or base is broken")
                }
                Values::Layer(..) | Values::Tensor(..) => {
                    format!(
                        "{count} of a piece of it are infinite or NaN: no code stands for them; --keep leaves it plain"
                    )
                }
            });
        }
        Ok(values)
    }

    fn encode(
        &self,
        rows: Range<u64>,
        codes: &[u8],
        scratch: &mut Scratch,
    ) -> std::result::Result<Vec<Vec<u8>>, String> {
        let at = Around { first_row: rows.start, largest: self.largest };
        let values = self.decode(rows, codes, scratch)?;
        self.encoding.encoder.rows(values, at)
    }

    /// Joins the strands of all cuts and makes the tensors, which are as large as planned.
    fn finish(&self, cuts: impl Iterator<Item = Vec<Vec<u8>>>) -> std::result::Result<Tensors, String> {
        let cuts: Vec<Vec<Vec<u8>>> = cuts.collect();
        let count = cuts.first().map_or(0, Vec::len);
        let strand = |at: usize| cuts.iter().map(|cut| cut[at].as_slice()).collect::<Vec<_>>().concat();
        let joined = (0..count).map(strand).collect();
        let tensors = self.encoding.encoder.finish(joined, self.largest);
        let planned = &self.encoding.tensors;
        let is_right = tensors.len() == planned.len()
            && tensors.iter().zip(planned).all(|(bytes, tensor)| bytes.len() as u64 == tensor.bytes);
        if is_right { Ok(tensors) } else { Err("it was encoded to other sizes than planned".into()) }
    }
}
