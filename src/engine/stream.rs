//! The stream: workers fill slots, one writer takes them in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::encoded::{Hands, Packed};
use super::inputs::Inputs;
use super::output::Output;
use super::segments::{Segment, cut};
use super::{Device, Progress, READ_AHEAD, Resident, Run, Scratch, Tally, Work, native, values_of};
use super::{busy, cpu};
use crate::checkpoint::joined;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::{OutShard, OutTensor, Plan, Source, Values};
use crate::quant::decode::Decoding;
use crate::tensor::values;

/// What workers and writer share.
struct Ring<'a> {
    segments: &'a [Segment],
    state: Mutex<State>,
    changed: Condvar,
    /// Told of a turn that is over: one of those that wait for it takes it, and the others sleep on.
    turned: Condvar,
    /// How many segments may be under way.
    slots: usize,
}

#[derive(Default)]
struct State {
    /// The segment that is taken next.
    next: usize,
    /// Segments written.
    written: usize,
    /// Segments that are filled and wait for the writer.
    filled: BTreeMap<usize, Vec<u8>>,
    /// Slots that nobody uses.
    free: Vec<Vec<u8>>,
    /// Threads that compute now.
    computing: usize,
    failed: Option<Error>,
}

impl Ring<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the run by its own way; the state is whole between locks.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: Error) {
        self.state().failed.get_or_insert(error);
        self.changed.notify_all();
        self.turned.notify_all();
    }

    /// Returns the next segment to fill and a slot for it.
    fn take(&self) -> Option<(usize, Vec<u8>)> {
        let mut state = self.state();
        loop {
            if state.failed.is_some() || state.next == self.segments.len() {
                return None;
            }
            if state.next - state.written < self.slots {
                let at = state.next;
                state.next += 1;
                return Some((at, state.free.pop().unwrap_or_default()));
            }
            state = self.wait(state);
        }
    }

    /// Returns the filled segment `at`, or `None` if the run has failed.
    fn filled(&self, at: usize) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(slot) = state.filled.remove(&at) {
                return Some(slot);
            }
            state = self.wait(state);
        }
    }
}

/// Streams all tensors from the inputs to the output.
pub(super) fn stream(run: &Run<'_>, inputs: &Inputs<'_>, output: &mut Output) -> Result<Tally> {
    let Run { plan, options, device, progress, .. } = *run;
    let todo: Vec<bool> = plan.shards.iter().map(|shard| is_todo(shard, output)).collect();
    let segments = cut(plan, options.slot_bytes as u64, &todo);
    let pieces = Pieces::new(plan, &segments, inputs, device, progress);
    let at_once = device.at_once(options.threads.max(1));
    let workers = at_once + READ_AHEAD;
    let ring = Ring {
        segments: &segments,
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
        turned: Condvar::new(),
        slots: workers + 1,
    };
    let tally = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..workers).map(|_| scope.spawn(|| fill(&ring, &pieces, at_once, progress))).collect();
        if let Err(error) = write(&ring, &pieces, output, progress) {
            ring.fail(error);
        }
        let mut tally = Tally::default();
        for thread in threads {
            tally += joined(thread);
        }
        tally
    });
    let failed = ring.state().failed.take();
    failed.map_or(Ok(tally), Err)
}

/// Returns true if workers make a file: no earlier run has, and the kernel does not copy its data.
fn is_todo(shard: &OutShard, output: &Output) -> bool {
    shard.run.is_none() && !output.has(&shard.file)
}

/// What each worker does: fill slots until there is none left.
fn fill(ring: &Ring<'_>, pieces: &Pieces<'_>, threads: usize, progress: &Progress) -> Tally {
    let _ends = OnPanic(ring);
    let mut tally = Tally::default();
    let mut scratch = Scratch::default();
    while let Some((at, mut slot)) = ring.take() {
        let segment = &ring.segments[at];
        slot.resize(segment.bytes as usize, 0);
        let busy = &progress.busy.computing;
        let hands = Worker { ring, threads, busy, device: pieces.device };
        let done = pieces.fill(segment, &mut slot, &mut scratch, &mut tally, &hands);
        match done.and_then(|bytes| progress.check().map(|()| bytes)) {
            Ok(bytes) => slot.truncate(bytes),
            Err(error) => {
                ring.fail(error);
                return tally;
            }
        }
        ring.state().filled.insert(at, slot);
        ring.changed.notify_all();
    }
    tally
}

/// Ends the run if a worker panics: the writer would wait for its slot for ever.
struct OnPanic<'a, 'r>(&'a Ring<'r>);

impl Drop for OnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::input("a worker ended by a fault of this program"));
        }
    }
}

/// A worker, for what several do together.
struct Worker<'a, 'r> {
    ring: &'a Ring<'r>,
    threads: usize,
    busy: &'a AtomicU64,
    device: &'a dyn Device,
}

impl<'a, 'r> Hands for Worker<'a, 'r> {
    type Turn = Turn<'a, 'r>;

    fn turn(&self) -> Turn<'a, 'r> {
        Turn::take(self.ring, self.threads, self.busy)
    }

    fn until(&self, is_done: &dyn Fn() -> bool) -> bool {
        let mut state = self.ring.state();
        loop {
            if state.failed.is_some() {
                return false;
            }
            if is_done() {
                return true;
            }
            state = self.ring.wait(state);
        }
    }

    fn wake(&self) {
        // Who is about to wait holds the state: none is missed.
        drop(self.ring.state());
        self.ring.changed.notify_all();
    }

    fn device(&self) -> &dyn Device {
        self.device
    }
}

/// The right to compute: as many at a time as threads were asked for.
struct Turn<'a, 'r>(&'a Ring<'r>, &'a AtomicU64, Instant);

impl<'a, 'r> Turn<'a, 'r> {
    fn take(ring: &'a Ring<'r>, threads: usize, busy: &'a AtomicU64) -> Self {
        let mut state = ring.state();
        while state.computing >= threads && state.failed.is_none() {
            state = ring.turned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.computing += 1;
        Self(ring, busy, Instant::now())
    }
}

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        busy::add(self.1, self.2);
        self.0.state().computing -= 1;
        self.0.turned.notify_one();
    }
}

/// Writes the segments in order.
fn write(ring: &Ring<'_>, pieces: &Pieces<'_>, output: &mut Output, progress: &Progress) -> Result<()> {
    let mut at = 0;
    for (number, shard) in pieces.plan.shards.iter().enumerate() {
        if !is_todo(shard, output) {
            continue;
        }
        let is_header_last = shard.tensors.iter().any(|tensor| pieces.plan.is_at_most(tensor));
        let mut file = output.shard(shard, is_header_last)?;
        let head = shard.gguf.as_ref().map_or(0, |gguf| gguf.head.bytes);
        progress.written.fetch_add(head, Ordering::Relaxed);
        while ring.segments.get(at).is_some_and(|segment| segment.shard == number) {
            let Some(slot) = ring.filled(at) else { return Ok(()) };
            let since = Instant::now();
            file.write(&slot)?;
            busy::add(&progress.busy.writing, since);
            progress.written.fetch_add(slot.len() as u64, Ordering::Relaxed);
            let mut state = ring.state();
            state.written += 1;
            state.free.push(slot);
            drop(state);
            ring.changed.notify_all();
            at += 1;
        }
        let since = Instant::now();
        let settled = pieces.plan.settled_shard(shard, &mut |tensor| Ok(pieces.bytes_of(tensor)))?;
        output.close(file, shard, settled.as_ref())?;
        busy::add(&progress.busy.writing, since);
    }
    Ok(())
}

/// Refuses a merge that makes a weight infinite or NaN: PEFT's own check with `safe_merge`.
fn check_finite(tensor: &OutTensor, bytes: &[u8]) -> Result<()> {
    let count = values::not_finite(tensor.dtype, bytes);
    if count == 0 {
        return Ok(());
    }
    let name = escape(&tensor.name);
    let values = crate::units::plural(count as usize, "value");
    let message =
        format!("{name}: {values} of a piece of it would be infinite or NaN: adapter or base is broken");
    Err(Error { tensor: Some(tensor.name.clone()), ..Error::input(message) })
}

/// What workers need to fill pieces.
struct Pieces<'a> {
    plan: &'a Plan,
    inputs: &'a Inputs<'a>,
    device: &'a dyn Device,
    progress: &'a Progress,
    /// Layers and tensors that are decoded.
    layers: BTreeMap<Values, Layer>,
    /// Layers that are packed, by their number.
    packed: BTreeMap<u32, Packed>,
}

/// A layer that is being decoded, shared by its pieces.
struct Layer {
    left: AtomicUsize,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

/// What all pieces of a layer need.
struct Loaded {
    decoding: Decoding,
    /// The codes, where every row needs all of them.
    codes: Option<Vec<u8>>,
    /// What the device keeps of it.
    resident: Resident,
}

impl<'a> Pieces<'a> {
    fn new(
        plan: &'a Plan,
        segments: &[Segment],
        inputs: &'a Inputs<'a>,
        device: &'a dyn Device,
        progress: &'a Progress,
    ) -> Self {
        let (mut layers, mut packed) = (BTreeMap::new(), BTreeMap::new());
        for segment in segments {
            for piece in &segment.pieces {
                let source = plan.shards[segment.shard].tensors[piece.tensor].source;
                if let Source::Encoded { pack, part } = source {
                    let piece_bytes = plan.packs[pack as usize].making.piece_bytes;
                    let new = || Packed::new(pack, piece_bytes);
                    packed.entry(pack).or_insert_with(new).expect_piece(part);
                    continue;
                }
                if let Some(decoded) = values_of(source) {
                    let entry = layers
                        .entry(decoded)
                        .or_insert_with(|| Layer { left: AtomicUsize::new(0), loaded: Mutex::new(None) });
                    *entry.left.get_mut() += 1;
                }
            }
        }
        Self { plan, inputs, device, progress, layers, packed }
    }

    /// Returns the bytes that a tensor came to have, once it is filled.
    fn bytes_of(&self, tensor: &OutTensor) -> u64 {
        let Source::Encoded { pack, part } = tensor.source else { return tensor.bytes };
        self.packed.get(&pack).and_then(|packed| packed.bytes_of(part)).unwrap_or(tensor.bytes)
    }

    /// Fills a segment; returns its bytes, without those that tensors were planned with and do not have. A turn is
    /// taken to compute, and not while reading.
    fn fill(
        &self,
        segment: &Segment,
        slot: &mut [u8],
        scratch: &mut Scratch,
        tally: &mut Tally,
        hands: &impl Hands,
    ) -> Result<usize> {
        let mut at = 0;
        for piece in &segment.pieces {
            let tensor = &self.plan.shards[segment.shard].tensors[piece.tensor];
            let out = &mut slot[at..at + piece.bytes as usize];
            let mut filled = out.len();
            match tensor.source {
                Source::Copy(from) => self.inputs.read_into(from, piece.part.start, out)?,
                Source::Encoded { pack, part } => {
                    let packed = &self.packed[&pack];
                    filled = packed.fill((part, piece.part.start), out, (self.inputs, scratch, hands))?;
                }
                Source::Cast(from) => {
                    let dtype = self.inputs.dtype(from);
                    let at = |element: u64| dtype.bytes_of(element).unwrap_or(0);
                    let mut bytes = std::mem::take(&mut scratch.bytes);
                    bytes.resize((at(piece.part.end) - at(piece.part.start)) as usize, 0);
                    self.inputs.read_into(from, at(piece.part.start), &mut bytes)?;
                    let turn = hands.turn();
                    *tally += cpu::cast(dtype, &bytes, tensor.dtype, scratch, out);
                    drop(turn);
                    scratch.bytes = bytes;
                }
                Source::Decode { .. } | Source::Changed { .. } | Source::Merged(_) => {
                    let Some(decoded) = values_of(tensor.source) else { continue };
                    let loaded = self.loaded(decoded)?;
                    let native = native(tensor.source, tensor.dtype);
                    let rows = piece.part.clone();
                    let range = loaded.decoding.rows.codes(rows.clone());
                    let mut bytes = std::mem::take(&mut scratch.bytes);
                    let (codes, codes_start) = if let Some(all) = &loaded.codes {
                        (all.as_slice(), 0)
                    } else {
                        bytes.resize((range.end - range.start) as usize, 0);
                        let at = self.inputs.codes(decoded, &loaded.decoding);
                        self.inputs.read_into(at, range.start, &mut bytes)?;
                        (bytes.as_slice(), range.start)
                    };
                    let decoding = &loaded.decoding;
                    let (dtype, resident) = (tensor.dtype, &loaded.resident);
                    let is_whole = loaded.codes.is_some();
                    let work = Work { decoding, rows, codes, is_whole, codes_start, native, dtype, resident };
                    let turn = hands.turn();
                    *tally += self.device.decode(&work, scratch, out)?;
                    drop(turn);
                    scratch.bytes = bytes;
                    self.piece_done(decoded);
                    if matches!(tensor.source, Source::Merged(_)) {
                        check_finite(tensor, out)?;
                    }
                }
            }
            at += filled;
            let end = at + piece.padding as usize;
            slot[at..end].fill(0);
            at = end;
            if piece.is_last {
                self.progress.tensors.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.progress.read.store(self.inputs.read_bytes(), Ordering::Relaxed);
        self.progress.busy.reading.store(self.inputs.read_nanos(), Ordering::Relaxed);
        Ok(at)
    }

    /// Returns what all pieces of a layer need, read by the first that asks.
    fn loaded(&self, decoded: Values) -> Result<Arc<Loaded>> {
        let mut loaded = self.layers[&decoded].loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = loaded.as_ref() {
            return Ok(Arc::clone(loaded));
        }
        let decoding = self.inputs.decoding(decoded)?;
        let codes = self.inputs.strewn_codes(decoded, &decoding)?;
        let new = Arc::new(Loaded { decoding, codes, resident: Resident::default() });
        *loaded = Some(Arc::clone(&new));
        Ok(new)
    }

    fn piece_done(&self, decoded: Values) {
        let layer = &self.layers[&decoded];
        if layer.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            *layer.loaded.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}
