//! NVIDIA GPUs through the CUDA driver (`libcuda.so.1`), loaded at run time.
//!
//! Nothing here is built against a toolkit, and no call into the driver is made before `probe` found one that answers.
//!
//! A piece of work takes a slot of the ring: its codes go to the device, kernels decode them, add what adapters do and
//! round, and the result comes back, all in the slot's queue; meanwhile other slots do the same. What kernels make is
//! what the processor makes, bit for bit; the proof decodes on the processor in any case. What no kernel does, what has
//! a NaN in it (a GPU has only one), and what does not fit is done by the processor, and said.

mod driver;
mod launch;
mod layer;
pub mod measure;
mod module;
pub mod probe;
mod ring;
pub mod selftest;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::driver::{Context, Fault};
use self::launch::{Array, Launcher, Span};
use self::layer::{OnCard, OnDevices, Recipe};
use self::module::Kernels;
use self::probe::Card;
use self::ring::{Ring, Slot};
use super::cpu::Cpu;
use super::{Device, Resident, Scratch, Tally, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Dtype;
use crate::units;

/// Slots on each device: while one is read, one decoded and one written, a fourth waits.
const SLOTS: usize = 4;

/// GPUs that compute.
pub struct Cuda {
    cards: Vec<OnDevice>,
    ring: Ring,
    /// Pieces that the processor did, by why.
    instead: [AtomicU64; 3],
}

/// One of them.
struct OnDevice {
    card: Card,
    context: Arc<Context>,
    kernels: Kernels,
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
}

impl Cuda {
    /// Starts work on devices: makes their contexts and has the driver compile the kernels. A slot holds `values`
    /// values.
    ///
    /// # Errors
    /// A device does not start, or its driver refuses the kernels; in words.
    pub fn open(cards: &[Card], values: usize) -> Result<Self> {
        let open = |card: &Card| {
            let fault = |fault: Fault| failed(card, &fault);
            let context = Context::new(card.ordinal).map_err(fault)?;
            let kernels = Kernels::load(&context).map_err(fault)?;
            Ok(OnDevice { card: card.clone(), context, kernels })
        };
        let cards = cards.iter().map(open).collect::<Result<Vec<_>>>()?;
        let contexts = cards.iter().map(|card| Arc::clone(&card.context)).collect();
        Ok(Self { cards, ring: Ring::new(contexts, SLOTS, values), instead: Default::default() })
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
        let mut slot = None;
        let done = self.pieces(&mut slot, work, (layer, recipe), out);
        let card = slot.as_ref().map_or(0, |slot| slot.card);
        if let Some(slot) = slot {
            self.ring.give(slot);
        }
        done.map_err(|fault| failed(&self.cards[card].card, &fault))
    }

    /// Makes rows piece by piece, each as large as a slot holds.
    fn pieces(
        &self,
        held: &mut Option<Slot>,
        work: &Work<'_>,
        (layer, recipe): (&OnDevices, &Recipe),
        out: &mut [u8],
    ) -> std::result::Result<Option<Tally>, Fault> {
        let (mut tally, mut rest, mut start) = (Tally::default(), out, work.rows.start);
        while start < work.rows.end {
            let Some(mut slot) = held.take().map_or_else(|| self.ring.take(), |slot| Ok(Some(slot)))? else {
                return Ok(self.instead(Why::Memory));
            };
            let card = &self.cards[slot.card];
            let whole = work.is_whole.then_some(work.codes);
            let on = match layer.on(slot.card, (&card.context, &slot.queue), recipe, whole) {
                Ok(on) => on,
                Err(fault) if fault.is_memory() && self.ring.shrink(slot.card) => {
                    *held = self.ring.smaller(slot)?;
                    continue;
                }
                Err(fault) => {
                    let is_memory = fault.is_memory();
                    *held = Some(slot);
                    return if is_memory { Ok(self.instead(Why::Memory)) } else { Err(fault) };
                }
            };
            let rows = fitting(work, start, slot.capacity);
            if rows.is_empty() {
                *held = Some(slot);
                return Ok(self.instead(Why::Memory));
            }
            let row_bytes = work.dtype.bytes_of(work.decoding.row_len()).unwrap_or(0);
            let bytes = (row_bytes * (rows.end - rows.start)) as usize;
            let (piece, after) = rest.split_at_mut(bytes.min(rest.len()));
            rest = after;
            let seen = self.piece(&mut slot, work, (&on, recipe), rows.clone(), piece);
            *held = Some(slot);
            let [overflows, nans] = seen?;
            if nans > 0 {
                return Ok(self.instead(Why::Nan));
            }
            tally.overflows += u64::from(overflows);
            start = rows.end;
        }
        Ok(Some(tally))
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
        let card = &self.cards[slot.card];
        let row_len = work.decoding.row_len();
        let codes = if let Some(codes) = &on.codes {
            codes
        } else {
            let range = work.decoding.rows.codes(rows.clone());
            let from = &work.codes[(range.start - work.codes_start) as usize..]
                [..(range.end - range.start) as usize];
            let input = &mut slot.input.bytes_mut()[..from.len()];
            input.copy_from_slice(from);
            slot.queue.copy_in(input, &slot.codes)?;
            &slot.codes
        };
        slot.queue.clear(&slot.seen)?;
        let launcher = Launcher {
            kernels: &card.kernels,
            queue: &slot.queue,
            multiprocessors: card.card.multiprocessors,
            seen: &slot.seen,
        };
        let span =
            Span { first: rows.start * row_len, count: (rows.end - rows.start) * row_len, columns: row_len };
        let to = Array { bytes: &slot.out, dtype: work.dtype };
        let done = on
            .run(recipe, launcher, codes, span, (&slot.values, to))
            .and_then(|()| slot.queue.copy_out(&slot.out, &mut slot.output.bytes_mut()[..out.len()]))
            .and_then(|()| slot.queue.copy_out(&slot.seen, slot.seen_here.bytes_mut()));
        // What was started is waited for also where a later start failed: the slot's memory is in use.
        let waited = slot.queue.wait();
        done.and(waited)?;
        out.copy_from_slice(&slot.output.bytes()[..out.len()]);
        let seen = slot.seen_here.bytes().as_chunks::<4>().0;
        Ok([0, 1].map(|at| seen.get(at).map_or(0, |&bytes| u32::from_le_bytes(bytes))))
    }

    fn instead<T>(&self, why: Why) -> Option<T> {
        self.instead[why as usize].fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Returns the rows from `start` on that a slot of so many values holds, with their codes.
fn fitting(work: &Work<'_>, start: u64, capacity: usize) -> Range<u64> {
    let row_len = work.decoding.row_len().max(1);
    let at_once = work.decoding.rows.rows_at_once().max(1);
    let mut count = (capacity as u64 / row_len).min(work.rows.end - start);
    loop {
        let rows = start..start + count;
        let codes = work.decoding.rows.codes(rows.clone());
        if count == 0 || work.is_whole || (codes.end - codes.start) as usize <= capacity * 4 {
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

    fn cast(
        &self,
        from: Dtype,
        bytes: &[u8],
        to: Dtype,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<Tally> {
        // A cast is as much copying as computing: there is nothing to win on the other side of a bus.
        Cpu.cast(from, bytes, to, scratch, out)
    }

    fn notes(&self) -> Vec<String> {
        let count = |why: Why| self.instead[why as usize].load(Ordering::Relaxed) as usize;
        let said = |count: usize, why: &str| {
            (count > 0).then(|| format!("{} computed on the cpu: {why}", units::plural(count, "piece")))
        };
        let shrunk = self.ring.shrunk.load(Ordering::Relaxed) as usize;
        let times = units::plural(shrunk, "time");
        [
            said(count(Why::NoKernel), "no kernel for this format"),
            said(count(Why::Nan), "NaN, of which a GPU has only one"),
            said(count(Why::Memory), "device memory was short"),
            (shrunk > 0).then(|| format!("device memory was short: slots became fewer or smaller {times}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
