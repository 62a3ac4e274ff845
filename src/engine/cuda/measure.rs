//! Measuring: how fast kernels and copies are, over memory that is filled before, by the device's own clock.
//!
//! A speed is bytes read and bytes written in a second, the median of several runs. What bounds a kernel that decodes is
//! the device's memory, so that its speed is worth something only beside that of a copy on the device in the same run.

use std::time::Instant;

use super::driver::{Bytes, Fault, Marks, Pinned, Queue};
use super::launch::{Array, Launcher, Span, uploaded};
use super::layer::{Codes, OnCard, Recipe};
use super::probe::{Card, Probed, probe};
use super::{Cuda, OnDevice, failed};
use crate::error::Result;
use crate::quant::kernel::{Kernel, Program, Step};
use crate::tensor::Dtype;

/// Returns the GPUs that can be measured; why there is none, in words.
///
/// # Errors
/// There is none.
pub fn cards() -> std::result::Result<Vec<Card>, String> {
    let found = match probe() {
        Probed::Absent(why) => return Err(why),
        Probed::Ready { cards, .. } => cards,
    };
    let usable: Vec<Card> = found.iter().filter(|card| card.refused.is_none()).cloned().collect();
    match (usable.is_empty(), found.first()) {
        (false, _) => Ok(usable),
        (true, Some(card)) => {
            Err(format!("{}: {}", card.name, card.refused.as_deref().unwrap_or("not usable")))
        }
        (true, None) => Err("the driver has no devices".into()),
    }
}

/// A speed that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Bytes that were read and written.
    pub bytes: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Speed {
    /// Returns bytes a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9)
    }
}

/// How often something is measured.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Runs, of which the median counts; one more is done before.
    pub runs: usize,
    /// How often it is done in a run, one right after the other: what starting costs is then hidden, as it is in a job.
    pub each: usize,
}

/// Which way bytes go between this side and the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the device.
    In,
    /// From the device.
    Out,
    /// Both at once.
    Both,
}

/// Memory on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The device reads and writes it by itself.
    Pinned,
    /// The driver copies it once more.
    Pageable,
}

/// Values that a kernel makes.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// How.
    pub program: Program,
    /// All codes.
    pub codes: &'a [u8],
    /// Rows of the weight, and their length.
    pub rows: u64,
    /// Length of a row.
    pub columns: u64,
    /// What values are rounded to first.
    pub native: Dtype,
    /// What is written.
    pub dtype: Dtype,
}

/// A GPU that is measured.
pub struct Meter {
    /// What computes.
    pub(super) cuda: Cuda,
    /// Work goes to the first; the second is for the other direction of copies.
    queues: [Queue; 2],
    marks: Marks<1>,
    seen: Bytes,
}

impl Meter {
    /// Starts a device.
    ///
    /// # Errors
    /// It does not start, or its driver refuses the kernels; in words.
    pub fn open(card: &Card) -> Result<Self> {
        let cuda = Cuda::open(std::slice::from_ref(card), 1)?;
        let context = cuda.cards.first().map(|card| &card.context);
        let made = context.map(|context| -> std::result::Result<_, Fault> {
            let queues = [Queue::new(context)?, Queue::new(context)?];
            Ok((queues, Marks::new(context)?, Bytes::new(context, 8)?))
        });
        match made {
            Some(Ok((queues, marks, seen))) => Ok(Self { cuda, queues, marks, seen }),
            Some(Err(fault)) => Err(failed(card, &fault)),
            None => Err(failed(card, &Fault::said("it was not opened"))),
        }
    }

    /// Has the driver compile all kernels, several files at a time.
    ///
    /// # Errors
    /// It refuses one.
    pub(super) fn compile_all(&self) -> Result<()> {
        self.said(self.card().kernels.load_all())
    }

    fn card(&self) -> &OnDevice {
        &self.cuda.cards[0]
    }

    fn said<T>(&self, result: std::result::Result<T, Fault>) -> Result<T> {
        result.map_err(|fault| failed(&self.card().card, &fault))
    }

    /// Puts a task on the device; `None` if no kernels do it.
    ///
    /// # Errors
    /// Device memory is short, or the device fails.
    pub fn load(&self, task: Task<'_>) -> Result<Option<Loaded<'_>>> {
        let Task { program, codes, rows, columns, native, dtype } = task;
        let (shared, has_steps) = (shared_bytes(&program), !program.steps.is_empty());
        let recipe = Recipe::new(program, native, dtype).filter(|recipe| recipe.program.turned.is_none());
        let Some(recipe) = recipe else { return Ok(None) };
        let count = rows * columns;
        let span = Span { first: 0, count, columns };
        let out_bytes = dtype.bytes_of(count).unwrap_or(0);
        let load = || {
            let (context, queue) = (&self.card().context, &self.queues[0]);
            let (on, _) = OnCard::upload(context, (queue, &self.marks), &recipe, None)?;
            // Kernels read whole words.
            let whole = [codes, &[0; 16][..16 - codes.len() % 16]].concat();
            let on_device = uploaded(context, queue, &whole)?;
            queue.wait()?;
            let values = Bytes::new(context, if has_steps { count as usize * 4 } else { 0 })?;
            Ok((on, on_device, values, Bytes::new(context, out_bytes as usize)?))
        };
        let (on, on_device, values, out) = self.said(load())?;
        let bytes = codes.len() as u64 + shared + out_bytes;
        Ok(Some(Loaded { meter: self, recipe, on, codes: on_device, values, out, span, dtype, bytes }))
    }

    /// Returns how many fused multiply-adds in f32 the device does in a second at most; `None` if it does not tell its
    /// clock.
    #[must_use]
    pub fn multiply_adds(&self) -> Option<f64> {
        multiply_adds(&self.card().card)
    }

    /// Measures a copy of so many bytes on the device, which reads and writes them.
    ///
    /// # Errors
    /// Device memory is short, or the device fails.
    pub fn copy(&self, bytes: u64, times: Times) -> Result<Speed> {
        let copy = || {
            let context = &self.card().context;
            let (from, to) = (Bytes::new(context, bytes as usize)?, Bytes::new(context, bytes as usize)?);
            self.queues[0].clear(&from)?;
            self.median(times, || self.queues[0].copy_across(&from, &to))
        };
        let seconds = self.said(copy())?;
        Ok(Speed { bytes: 2 * bytes, seconds })
    }

    /// Measures copies between this side and the device, by the clock of this side, in chunks of so many bytes.
    ///
    /// # Errors
    /// Memory is short, or the device fails.
    pub fn transfer(&self, way: Way, host: Host, chunk: u64, times: Times) -> Result<Speed> {
        let transfer = || {
            let context = &self.card().context;
            let memory = || Memory::new(context, host, chunk as usize);
            let (source, mut sink) = (memory()?, memory()?);
            let (to, from) = (Bytes::new(context, chunk as usize)?, Bytes::new(context, chunk as usize)?);
            self.queues[0].clear(&from)?;
            self.queues[0].wait()?;
            let mut runs = Vec::new();
            for _ in 0..=times.runs {
                let start = Instant::now();
                let mut started = Ok(());
                for _ in 0..times.each {
                    if way != Way::Out {
                        started = started.and_then(|()| self.queues[0].copy_in(source.bytes(), &to));
                    }
                    if way != Way::In {
                        started = started.and_then(|()| self.queues[1].copy_out(&from, sink.bytes_mut()));
                    }
                }
                let waited = [self.queues[0].wait(), self.queues[1].wait()];
                started?;
                waited.into_iter().collect::<std::result::Result<Vec<()>, _>>()?;
                runs.push(start.elapsed().as_secs_f64());
            }
            Ok(median(runs.split_off(1)))
        };
        let seconds = self.said(transfer())?;
        let ways = if way == Way::Both { 2 } else { 1 };
        Ok(Speed { bytes: ways * chunk * times.each as u64, seconds })
    }

    /// Returns the median of the seconds that something takes.
    fn median(
        &self,
        times: Times,
        what: impl Fn() -> std::result::Result<(), Fault>,
    ) -> std::result::Result<f64, Fault> {
        let run = || self.marks.timed(&self.queues[0], || (0..times.each).try_for_each(|_| what()));
        run()?;
        let runs = (0..times.runs.max(1)).map(|_| run()).collect::<std::result::Result<_, _>>()?;
        Ok(median(runs) / times.each.max(1) as f64)
    }
}

/// A task on the device.
pub struct Loaded<'a> {
    meter: &'a Meter,
    recipe: Recipe,
    on: OnCard,
    codes: Bytes,
    values: Bytes,
    out: Bytes,
    span: Span,
    dtype: Dtype,
    bytes: u64,
}

impl Loaded<'_> {
    fn run(&self) -> std::result::Result<(), Fault> {
        let card = self.meter.card();
        let launcher = Launcher {
            kernels: &card.kernels,
            queue: &self.meter.queues[0],
            multiprocessors: card.card.multiprocessors,
            seen: &self.meter.seen,
        };
        let out = Array { bytes: &self.out, dtype: self.dtype };
        let codes = Codes { bytes: &self.codes, columns: None, spare: &self.out };
        self.on.run(&self.recipe, launcher, codes, self.span, (&self.values, out))
    }

    /// Measures it: codes, what rows share and the result are counted once each.
    ///
    /// # Errors
    /// The device fails.
    pub fn speed(&self, times: Times) -> Result<Speed> {
        let seconds = self.meter.said(self.meter.median(times, || self.run()))?;
        Ok(Speed { bytes: self.bytes, seconds })
    }

    /// Returns the result's bytes, and how many threads of the kernels saw a NaN.
    ///
    /// # Errors
    /// The device fails.
    pub fn result(&self) -> Result<(Vec<u8>, u32)> {
        let mut out = vec![0; self.out.len()];
        let mut seen = [0; 8];
        let queue = &self.meter.queues[0];
        let done = queue
            .clear(&self.meter.seen)
            .and_then(|()| self.run())
            .and_then(|()| queue.copy_out(&self.out, &mut out))
            .and_then(|()| queue.copy_out(&self.meter.seen, &mut seen));
        let waited = queue.wait();
        self.meter.said(done.and(waited))?;
        Ok((out, u32::from_le_bytes([seen[4], seen[5], seen[6], seen[7]])))
    }
}

/// Bytes of this side.
enum Memory {
    Pinned(Pinned),
    Pageable(Vec<u8>),
}

impl Memory {
    fn new(
        context: &std::sync::Arc<super::driver::Context>,
        host: Host,
        len: usize,
    ) -> std::result::Result<Self, Fault> {
        Ok(match host {
            Host::Pinned => Self::Pinned(Pinned::new(context, len)?),
            // Pages that were written are there.
            Host::Pageable => Self::Pageable(vec![1; len]),
        })
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Pinned(pinned) => pinned.bytes(),
            Self::Pageable(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Pinned(pinned) => pinned.bytes_mut(),
            Self::Pageable(bytes) => bytes,
        }
    }
}

/// Returns a merge of plain values with factors of a rank: a program for a task.
#[must_use]
pub fn merge_of(stored: Dtype, (left, right): (Vec<f32>, Vec<f32>), rank: usize, scale: f32) -> Program {
    let number = crate::quant::kernel::dtype_number(stored).unwrap_or(0);
    let decode = Kernel::new("plain").numbers([u64::from(number)]);
    Program { decode, turned: None, steps: vec![Step::LowRank { left, right, rank, scale, rounded: None }] }
}

/// Returns the bytes of what all rows share.
fn shared_bytes(program: &Program) -> u64 {
    let tables: usize = program.decode.tables.iter().map(Vec::len).sum();
    let steps = program.steps.iter().map(|step| match step {
        Step::LowRank { left, right, .. } => 4 * (left.len() + right.len()),
        Step::Edit { kernel, .. } => kernel.tables.iter().map(Vec::len).sum(),
        Step::Round(_) => 0,
    });
    (tables + steps.sum::<usize>()) as u64
}

/// Returns how many fused multiply-adds in f32 a card does in a second at most; `None` if it does not tell its clock.
/// Source: CUDA C++ Programming Guide, "Throughput of Native Arithmetic Instructions".
fn multiply_adds(card: &Card) -> Option<f64> {
    let of_clock: f64 = if card.capability <= [8, 0] { 64.0 } else { 128.0 };
    Some(of_clock * f64::from(card.multiprocessors) * f64::from(card.clock_khz?) * 1e3)
}

/// Returns the median of times.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::probe::tests::card;
    use super::*;

    #[test]
    fn multiply_adds_are_lanes_times_clock() {
        let of = |capability, multiprocessors, clock_khz| {
            multiply_adds(&Card { capability, multiprocessors, clock_khz, ..card(0, None) })
        };
        // An A100, an H200 and an RTX 4090: half of the 19.5, 67 and 82.6 TFLOPS of their data sheets.
        let sheets = [
            of([8, 0], 108, Some(1_410_000)),
            of([9, 0], 132, Some(1_980_000)),
            of([8, 9], 128, Some(2_520_000)),
        ];
        for (is, sheet) in sheets.into_iter().zip([19.5e12, 67e12, 82.6e12]) {
            assert!((is.expect("a clock is told") * 2.0 / sheet - 1.0).abs() < 0.01, "{is:?} {sheet}");
        }
        assert_eq!(of([9, 0], 132, None), None);
    }
}
