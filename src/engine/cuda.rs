//! NVIDIA GPUs through the CUDA driver (`libcuda.so.1`), loaded at run time.
//!
//! Nothing here is built against a toolkit, and no call into the driver is made before `probe` found one that answers.
//!
//! A piece of work takes a slot of the ring: its codes go to the device, kernels decode them, add what adapters do and
//! round, and the result comes back, all in the slot's queue; meanwhile other slots do the same. What kernels make is
//! what the processor makes, bit for bit; the proof decodes on the processor in any case. What no kernel does, what has
//! a NaN in it (a GPU has only one), and what does not fit is done by the processor, and said.

mod columns;
mod driver;
mod encode;
mod launch;
mod layer;
pub mod measure;
mod module;
pub mod probe;
mod ring;
pub mod selftest;
mod symbols;
mod timed;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use self::driver::{Context, Fault};
use self::launch::{Array, Launcher, Span};
use self::layer::{Codes, OnCard, OnDevices, Recipe};
use self::module::Kernels;
use self::probe::Card;
use self::ring::{Ring, SEEN, Slot};
use self::timed::{Passed, Timed};
use super::busy::{self, Traffic};
use super::cpu::Cpu;
use super::{Device, Held, Options, Resident, Scratch, Tally, ToEncode, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::quant::encode::Encode;
use crate::units;

/// Slots on each device: while one is read, one decoded and one written, a fourth waits.
pub(super) const SLOTS: usize = 4;

/// Values of a piece at most: kernels count them below 2^31, with a row in front.
const VALUES_MAX: usize = 1 << 30;

/// GPUs that compute.
pub struct Cuda {
    cards: Vec<OnDevice>,
    ring: Ring,
    /// Values that a slot holds, unless memory is short.
    values: usize,
    /// What has passed through them.
    traffic: Arc<Traffic>,
    /// Pieces that the processor did, by why.
    instead: [AtomicU64; 5],
}

/// One of them.
struct OnDevice {
    card: Card,
    context: Arc<Context>,
    kernels: Kernels,
    timed: Timed,
}

/// Why the processor did a piece.
#[derive(Clone, Copy)]
enum Why {
    /// No kernel makes these values.
    NoKernel,
    /// The result has NaN in it.
    Nan,
    /// Device memory is short.
    Memory,
    /// A row, or rows that are encoded together, are more than a slot holds.
    Rows,
    /// Values that no code stands for: the processor says which.
    Refused,
}

impl Cuda {
    /// Starts work on devices: makes their contexts and has the driver compile the kernels. A slot holds `values`
    /// values.
    ///
    /// # Errors
    /// A device does not start, or its driver refuses the kernels; in words.
    pub fn open(cards: &[Card], values: usize) -> Result<Self> {
        let traffic = Arc::<Traffic>::default();
        let open = |card: &Card| {
            let fault = |fault: Fault| failed(card, &fault);
            let held = Held { ordinal: card.ordinal, uuid: card.uuid.clone(), ..Held::default() };
            let context = Context::new(held).map_err(fault)?;
            let kernels = Kernels::load(&context).map_err(fault)?;
            let [free, _] = context.memory().map_err(fault)?;
            context.held.free_then.store(free, Ordering::Relaxed);
            Ok(OnDevice { card: card.clone(), context, kernels, timed: Timed::new(&traffic) })
        };
        let cards = cards.iter().map(open).collect::<Result<Vec<_>>>()?;
        let contexts = cards.iter().map(|card| Arc::clone(&card.context)).collect();
        let ring = Ring::new(contexts, SLOTS, values);
        let values = values.max(ring::LEAST);
        Ok(Self { cards, ring, values, traffic, instead: Default::default() })
    }

    /// Says how many bytes of each device may be kept for layers, with those of layers that are being made.
    pub(super) fn may_keep(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.cards.iter().for_each(|card| card.context.may_keep(bytes));
    }

    /// Begins to count anew what passes through, and what the processor does instead.
    pub(super) fn count_anew(&self) {
        self.traffic.clear();
        self.instead.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Returns the free memory of all devices, in bytes; 0 where one does not say.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.cards.iter().map(|card| card.context.memory().map_or(0, |[free, _]| free)).sum()
    }

    /// Returns true if a piece was met, since it was counted anew, that no kernel does.
    #[must_use]
    pub fn is_without_kernels(&self) -> bool {
        self.instead[Why::NoKernel as usize].load(Ordering::Relaxed) > 0
    }

    /// Returns the layer that a piece is of, known to the devices from its first piece on.
    fn layer<'a>(
        &self,
        resident: &'a Resident,
        recipe: impl FnOnce() -> Option<Recipe>,
    ) -> Option<&'a OnDevices> {
        let make = || Box::new(OnDevices::new(recipe(), self.cards.len())) as Box<dyn Any + Send + Sync>;
        resident.0.get_or_init(make).downcast_ref()
    }

    /// Makes rows by kernels; `None` if the processor has to, and then that is counted.
    fn rows(&self, work: &Work<'_>, layer: &OnDevices, out: &mut [u8]) -> Result<Option<Tally>> {
        let Some(recipe) = &layer.recipe else { return Ok(self.instead(Why::NoKernel)) };
        let (mut tally, mut rest) = (Tally::default(), out);
        let row_bytes = work.dtype.bytes_of(work.decoding.row_len()).unwrap_or(0);
        let mut make = |slot: &mut Slot, on: &OnCard, rows: Range<u64>| {
            let bytes = (row_bytes * (rows.end - rows.start)) as usize;
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(bytes);
            rest = after;
            let [overflows, nans] = self.piece(slot, work, (on, recipe), rows, piece)?;
            tally.overflows += u64::from(overflows);
            Ok(if nans > 0 { Some(Why::Nan) } else { None })
        };
        let is_done =
            self.by_slot((layer, recipe), work, &|start, room| fitting(work, start, room), &mut make)?;
        Ok(is_done.then_some(tally))
    }

    /// Has a slot make rows piece by piece, each as large as `fitting` says of a first row and a slot's values; false if
    /// the processor has to, and then that is counted.
    fn by_slot(
        &self,
        (layer, recipe): (&OnDevices, &Recipe),
        work: &Work<'_>,
        fitting: &dyn Fn(u64, usize) -> Range<u64>,
        make: &mut dyn FnMut(&mut Slot, &OnCard, Range<u64>) -> Made,
    ) -> Result<bool> {
        let since = Instant::now();
        let mut held = Borrowed { ring: &self.ring, slot: None };
        let mut start = work.rows.start;
        let mut done = Ok(None);
        while start < work.rows.end && matches!(done, Ok(None)) {
            done = self.ready(&mut held.slot, (layer, recipe), work).and_then(|ready| {
                let (Some(on), Some(slot)) = (ready, &mut held.slot) else { return Ok(Some(Why::Memory)) };
                let has_room = recipe.program.turned.is_none_or(|size| {
                    let columns = work.decoding.rows.columns();
                    columns.is_some_and(|columns| {
                        columns::at_once(columns, size, slot.capacity as u64).is_some()
                    })
                });
                let rows = if has_room { fitting(start, slot.capacity) } else { start..start };
                start = rows.end;
                if rows.is_empty() { Ok(Some(Why::Rows)) } else { make(slot, &on, rows) }
            });
        }
        let card = held.slot.as_ref().map_or(0, |slot| slot.card);
        drop(held);
        busy::add(&self.traffic.within, since);
        let instead = done.map_err(|fault| failed(&self.cards[card].card, &fault))?;
        if let Some(why) = instead {
            let _none: Option<()> = self.instead(why);
        }
        Ok(instead.is_none())
    }

    /// Takes a slot if none is held, and has the layer on its device; `None` if memory is short.
    fn ready(
        &self,
        held: &mut Option<Slot>,
        (layer, recipe): (&OnDevices, &Recipe),
        work: &Work<'_>,
    ) -> std::result::Result<Option<Arc<OnCard>>, Fault> {
        let whole = is_for_all(work).then_some(work.codes);
        loop {
            let Some(slot) = held.take().map_or_else(|| self.ring.take(), |slot| Ok(Some(slot)))? else {
                return Ok(None);
            };
            let card = &self.cards[slot.card];
            let upload = || OnCard::upload(&card.context, (&slot.queue, &slot.shared), recipe, whole);
            match layer.on(slot.card, upload) {
                Ok((on, moved)) => {
                    if let Some(moved) = moved {
                        card.timed.shared(moved);
                    }
                    *held = Some(slot);
                    return Ok(Some(on));
                }
                Err(fault) if fault.is_memory() && self.ring.shrink(slot.card) => {
                    *held = self.ring.smaller(slot)?;
                }
                Err(fault) => {
                    *held = Some(slot);
                    return if fault.is_memory() { Ok(None) } else { Err(fault) };
                }
            }
        }
    }

    /// Makes rows that a slot holds; returns what the kernels counted.
    fn piece(
        &self,
        slot: &mut Slot,
        work: &Work<'_>,
        (on, recipe): (&OnCard, &Recipe),
        rows: Range<u64>,
        out: &mut [u8],
    ) -> std::result::Result<[u32; 2], Fault> {
        let timed = &self.cards[slot.card].timed;
        let (is_there, copied) = copy_codes(slot, timed, work, on, rows.clone())?;
        let codes = codes_of(slot, work, (on, is_there));
        let launcher = self.launcher(slot);
        let span = span(work, &rows);
        let to = Array { bytes: &slot.out, dtype: work.dtype };
        let done = on
            .run(recipe, launcher, codes, span, (&slot.values, to))
            .and_then(|()| copy_back(slot, Found::Out, out.len()));
        // What was started is waited for also where a later start failed: the slot's memory is in use.
        let waited = slot.queue.wait();
        done.and(waited)?;
        timed.piece(slot, passed(work, &rows, copied, out.len()));
        timed.copy(out.len(), || out.copy_from_slice(&slot.output.bytes()[..out.len()]));
        Ok(seen(slot))
    }

    fn launcher<'a>(&'a self, slot: &'a Slot) -> Launcher<'a> {
        let card = &self.cards[slot.card];
        let multiprocessors = card.card.multiprocessors;
        Launcher { kernels: &card.kernels, queue: &slot.queue, multiprocessors, seen: &slot.seen }
    }

    fn instead<T>(&self, why: Why) -> Option<T> {
        self.instead[why as usize].fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Returns the values that a slot holds: a piece of the run's slots in 16 bits.
#[must_use]
pub fn slot_values(options: &Options) -> usize {
    options.slot_bytes / 2
}

/// Returns the bytes of device memory of a slot.
pub(super) fn slot_bytes(options: &Options) -> u64 {
    ring::slot_bytes(slot_values(options).max(ring::LEAST))
}

/// A slot that goes back to its ring, also where its worker ends by a fault of this program: others wait for it.
struct Borrowed<'a> {
    ring: &'a Ring,
    slot: Option<Slot>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.ring.give(slot);
        }
    }
}

/// Why the processor has to make rows; `None` if a slot made them.
type Made = std::result::Result<Option<Why>, Fault>;

/// Has the codes of rows copied to the device, and clears what kernels count. Returns true if the device has all codes
/// of the layer and these rows begin with the first: kernels are given codes from the first on that the format names. And
/// how many bytes were copied. Rows that are stored in another order are put in order on the way.
fn copy_codes(
    slot: &mut Slot,
    timed: &Timed,
    work: &Work<'_>,
    on: &OnCard,
    rows: Range<u64>,
) -> std::result::Result<(bool, u64), Fault> {
    let runs = work.decoding.rows.runs(rows);
    let is_there = on.codes.is_some() && is_from_first(&runs);
    slot.marks.set(0, &slot.queue)?;
    let mut copied = 0;
    if !is_there {
        copied = bytes_of(&runs);
        let input = &mut slot.input.bytes_mut()[..copied as usize];
        timed.copy(input.len(), || {
            let mut rest = &mut *input;
            for run in &runs {
                let from = &work.codes[(run.start - work.codes_start) as usize..];
                let (to, behind) = rest.split_at_mut((run.end - run.start) as usize);
                to.copy_from_slice(&from[..to.len()]);
                rest = behind;
            }
        });
        slot.queue.copy_in(input, &slot.codes)?;
    }
    slot.marks.set(1, &slot.queue)?;
    slot.queue.clear(&slot.seen)?;
    Ok((is_there, copied))
}

/// Returns where the codes are that were copied.
fn codes_of<'a>(slot: &'a Slot, work: &Work<'a>, (on, is_there): (&'a OnCard, bool)) -> Codes<'a> {
    let bytes = on.codes.as_ref().filter(|_| is_there).unwrap_or(&slot.codes);
    Codes { bytes, columns: work.decoding.rows.columns(), spare: &slot.out }
}

/// Returns true if each row's kernel is given all codes of the layer.
fn is_for_all(work: &Work<'_>) -> bool {
    let runs = work.decoding.rows.runs(0..1);
    work.is_whole && is_from_first(&runs) && bytes_of(&runs) == work.codes.len() as u64
}

fn is_from_first(runs: &[Range<u64>]) -> bool {
    matches!(runs, [run] if run.start == 0)
}

fn bytes_of(runs: &[Range<u64>]) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}

/// Which memory of a slot has a result.
#[derive(Clone, Copy)]
enum Found {
    Out,
    /// It was made in place of the codes.
    Codes,
}

/// Has so many bytes of a result copied to this side, and what kernels count.
fn copy_back(slot: &mut Slot, found: Found, bytes: usize) -> std::result::Result<(), Fault> {
    slot.marks.set(2, &slot.queue)?;
    let from = match found {
        Found::Out => &slot.out,
        Found::Codes => &slot.codes,
    };
    slot.queue.copy_out(from, &mut slot.output.bytes_mut()[..bytes])?;
    slot.queue.copy_out(&slot.seen, slot.seen_here.bytes_mut())
}

/// Returns the bytes of rows, stage by stage, of which so many were copied to the device and so many back.
fn passed(work: &Work<'_>, rows: &Range<u64>, copied: u64, back: usize) -> Passed {
    let range = work.decoding.rows.codes(rows.clone());
    let codes = if copied == 0 && work.is_whole {
        // Of codes that every row needs all of, each row reads its part.
        let count = u128::from(work.decoding.row_count().max(1));
        (u128::from(range.end - range.start) * u128::from(rows.end - rows.start) / count) as u64
    } else {
        copied
    };
    [copied, codes + back as u64, (back + SEEN) as u64]
}

fn span(work: &Work<'_>, rows: &Range<u64>) -> Span {
    let columns = work.decoding.row_len();
    Span { first: rows.start * columns, count: (rows.end - rows.start) * columns, columns }
}

/// Returns what the kernels counted: what became infinite, and NaN.
fn seen(slot: &Slot) -> [u32; 2] {
    let seen = slot.seen_here.bytes().as_chunks::<4>().0;
    [0, 1].map(|at| seen.get(at).map_or(0, |&bytes| u32::from_le_bytes(bytes)))
}

/// Returns the rows from `start` on that a slot of so many values holds, with their codes.
fn fitting(work: &Work<'_>, start: u64, capacity: usize) -> Range<u64> {
    let row_len = work.decoding.row_len().max(1);
    let at_once = work.decoding.rows.rows_at_once().max(1);
    let is_for_all = is_for_all(work);
    let mut count = (capacity.min(VALUES_MAX) as u64 / row_len).min(work.rows.end - start);
    loop {
        let rows = start..start + count;
        let runs = work.decoding.rows.runs(rows.clone());
        let is_there = is_for_all && is_from_first(&runs);
        if count == 0 || is_there || bytes_of(&runs) as usize <= capacity * 4 {
            // Neighbors that share words of their codes stay together where they can.
            let even = if rows.end < work.rows.end { count / at_once * at_once } else { count };
            return start..start + if even == 0 { count } else { even };
        }
        count /= 2;
    }
}

fn failed(card: &Card, fault: &Fault) -> Error {
    let message = format!("cuda:{} {}: {}", card.ordinal, card.name, fault.message);
    Error::new(ErrorKind::Device, message)
}

impl Device for Cuda {
    fn name(&self) -> String {
        let names: Vec<_> =
            self.cards.iter().map(|card| format!("cuda:{} {}", card.card.ordinal, card.card.name)).collect();
        names.join(", ")
    }

    fn at_once(&self, threads: usize) -> usize {
        threads.max(SLOTS * self.cards.len())
    }

    fn decode(&self, work: &Work<'_>, scratch: &mut Scratch, out: &mut [u8]) -> Result<Tally> {
        let recipe = || Recipe::new(work.decoding.rows.program()?, work.native, work.dtype);
        if let Some(layer) = self.layer(work.resident, recipe)
            && let Some(tally) = self.rows(work, layer, out)?
        {
            return Ok(tally);
        }
        Cpu.decode(work, scratch, out)
    }

    fn held(&self) -> Vec<Arc<Held>> {
        self.cards.iter().map(|card| Arc::clone(&card.context.held)).collect()
    }

    fn values_at_once(&self, encoder: &dyn Encode, largest: f32) -> u64 {
        match encoder.kernel(largest) {
            Some(_) => self.values as u64,
            None => super::cpu::VALUES_AT_ONCE,
        }
    }

    fn encode(&self, work: &ToEncode<'_>) -> Result<Option<Vec<Vec<u8>>>> {
        self.encoded(work)
    }

    fn traffic(&self) -> Option<Arc<Traffic>> {
        Some(Arc::clone(&self.traffic))
    }

    fn notes(&self) -> Vec<String> {
        let count = |why: Why| self.instead[why as usize].load(Ordering::Relaxed) as usize;
        let said = |count: usize, why: &str| {
            (count > 0).then(|| format!("{} computed on the cpu: {why}", units::plural(count, "piece")))
        };
        let shrunk = self.ring.shrunk.load(Ordering::Relaxed) as usize;
        let times = units::plural(shrunk, "time");
        [
            said(count(Why::NoKernel), "no kernel does that with this format"),
            said(count(Why::Nan), "NaN, of which a GPU has only one"),
            said(count(Why::Memory), "device memory was short"),
            said(count(Why::Rows), "rows that are made together are more than a slot holds"),
            said(count(Why::Refused), "values that are infinite or NaN, or beyond what the format holds"),
            (shrunk > 0).then(|| format!("device memory was short: slots became fewer or smaller {times}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
