//! Engine: carries a plan out, streaming, into a folder that appears whole or not at all.
//!
//! The result is cut into segments of neighboring bytes. Workers take segments in order, read what they need,
//! and fill a slot; one writer takes the slots in order. There are few slots, so memory does not grow with
//! the checkpoint: a layer whose codes lie strewn is held whole while its segments are made, its result never.
//!
//! Computing goes through a `Device`, which sees slots only: bytes in, bytes out, and what to do.

pub mod busy;
pub mod candidates;
mod card;
pub mod choice;
mod copied;
pub mod cpu;
pub mod cuda;
pub mod deltas;
mod device;
mod encoded;
mod file;
mod header;
mod inputs;
mod journal;
mod merged;
mod output;
mod peak;
pub mod sampled;
mod segments;
mod settled;
mod shared;
mod stream;
pub mod verify;
mod vram;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::busy::{Busy, Stages, Worked};
pub use self::device::{Computing, Device, Held, Resident, Scratch, Tally, ToEncode, Work};
use self::inputs::Inputs;
use self::output::Output;
pub use self::peak::peak_memory;
use self::stream::stream;
pub use self::vram::{CONTEXT_GUESS, most_vram};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::folder::Copied;
use crate::plan::{At, CARD, Plan, Source, Values};
use crate::tensor::Dtype;

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What computes.
    pub device: choice::Choice,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes of a slot.
    pub slot_bytes: usize,
    /// What is proven.
    pub proof: Proof,
    /// Replace a checkpoint that is there.
    pub force: bool,
    /// Continue what an earlier run of the same plan left.
    pub resume: bool,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let device = choice::Choice::default();
        Self { device, threads, slot_bytes: 8 << 20, proof: Proof::Sample, force: false, resume: false }
    }
}

/// How much of the result is decoded again and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Layers of each kind.
    Sample,
    /// All layers.
    Full,
    /// Nothing is compared.
    None,
}

/// Where a run is; read while it goes on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes read.
    pub read: AtomicU64,
    /// Bytes written.
    pub written: AtomicU64,
    /// Tensors done.
    pub tensors: AtomicU64,
    /// True while the result is compared.
    pub proving: AtomicBool,
    /// How long each stage has worked.
    pub busy: Busy,
    /// What computes and why, once that is known, and the memory of GPUs that it holds.
    pub device: OnceLock<Computing>,
    /// Set to end the run.
    pub cancel: Arc<AtomicBool>,
}

impl Progress {
    fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) { Err(cancelled()) } else { Ok(()) }
    }
}

/// Returns the error of a run that was told to end.
#[must_use]
pub fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled; nothing was written under the output's name")
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Bytes read, those of the proof not counted.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Time it took, with the proof.
    pub elapsed: Duration,
    /// What computed.
    pub device: String,
    /// Why it was this device; empty if it was asked for.
    pub device_why: String,
    /// How busy the stages were until all was written, where GPUs computed.
    pub stages: Option<Box<Stages>>,
    /// What was seen.
    pub tally: Tally,
    /// What the proof found; `None` if none was asked for.
    pub proof: Option<verify::Proven>,
    /// What happened besides: a stale folder that was replaced.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Returns what computed and why it did, in words; `None` for the processor where there was nothing to choose from.
    #[must_use]
    pub fn computed(&self) -> Option<String> {
        let Self { device, device_why: why, .. } = self;
        match (device.as_str(), why.as_str()) {
            ("cpu", "") => None,
            (_, "") => Some(format!("computed on {device}")),
            _ => Some(format!("computed on {device}  {why}")),
        }
    }
}

/// A plan that is carried out: what it is for, how, and where it says how far it is.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The input.
    pub checkpoint: &'a Checkpoint,
    /// The further inputs: the adapters that the plan merges into it; of a repair the base, of which nothing is copied.
    pub adapters: &'a [&'a Checkpoint],
    /// What becomes of it.
    pub plan: &'a Plan,
    /// How.
    pub options: &'a Options,
    /// What computes.
    pub device: &'a dyn Device,
    /// Where it is.
    pub progress: &'a Progress,
}

impl Run<'_> {
    /// Carries out a plan.
    ///
    /// # Errors
    /// The output cannot be made, a read or write fails, the input changes meanwhile, a layer cannot be decoded
    /// after all, the proof fails, or the run was cancelled. Then nothing stands under the output's name.
    pub fn carry_out(&self) -> Result<Outcome> {
        let Self { checkpoint, plan, options, device, progress, .. } = *self;
        let start = Instant::now();
        let inputs = Inputs::open(self)?;
        if options.resume && plan.single_file().is_some() {
            return Err(Error::input(
                "--resume: an output that is one file is written from its start; leave it out",
            ));
        }
        if options.resume && !options.force && plan.order.output.exists() {
            return self.complete();
        }
        let identity = identity(plan, &inputs);
        let all: Vec<&Checkpoint> =
            std::iter::once(checkpoint).chain(self.adapters.iter().copied()).collect();
        let mut output = Output::begin(plan, &all, &identity, options)?;
        let streamed = stream(self, &inputs, &mut output);
        let tally = match streamed.and_then(|tally| copied::files(self, &mut output).map(|()| tally)) {
            Err(error) if error.kind == ErrorKind::Cancelled => {
                let kept = output.keep();
                return Err(if kept > 0 { kept_for_later(kept) } else { error });
            }
            done => done?,
        };
        let settled = settled::read(plan, output.folder())?;
        let plan = settled.as_ref().unwrap_or(plan);
        for text in &plan.texts {
            output.text(&text.file, text.content.as_bytes())?;
            progress.written.fetch_add(text.content.len() as u64, Ordering::Relaxed);
        }
        // The card of what is packed is written when it is known what that took.
        for copied in plan.copied() {
            output.copy(&copied.from, &copied.file, progress)?;
        }
        inputs.check_unchanged()?;
        let (bytes_read, bytes_written) =
            (progress.read.load(Ordering::Relaxed), progress.written.load(Ordering::Relaxed));
        let stages = self.stages(start.elapsed());
        progress.proving.store(true, Ordering::Relaxed);
        let proof = match options.proof {
            Proof::None => None,
            Proof::Sample | Proof::Full => Some(verify::prove(&Run { plan, ..*self }, output.folder())?),
        };
        match card::card(plan, (checkpoint, self.adapters), proof.as_ref())? {
            Some(text) => output.text(CARD, &text)?,
            None => {
                // A card that is too long for a note.
                for copied in plan.copies.iter().filter(|copied| plan.makes_card() && copied.file == CARD) {
                    output.copy(&copied.from, &copied.file, progress)?;
                }
            }
        }
        let mut notes = device.notes();
        notes.extend(output.finish()?);
        Ok(Outcome {
            bytes_read,
            bytes_written,
            elapsed: start.elapsed(),
            device: device.name(),
            device_why: String::new(),
            stages,
            tally,
            proof,
            notes,
        })
    }

    /// Carries out a plan on the device that its options ask for; `device` itself is not used.
    ///
    /// # Errors
    /// As `carry_out`, or a GPU is asked for that is not there.
    pub fn carry_out_as_asked(&self) -> Result<Outcome> {
        let choice::Opened { device, why } = self.options.device.open(self)?;
        let (held, traffic) = (device.held(), device.traffic());
        let computing = Computing { name: device.name(), why: why.clone(), held, traffic };
        self.progress
            .device
            .set(computing)
            .map_err(|_set| Error::input("a run that has begun begins again"))?;
        let outcome = Run { device: &*device, ..*self }.carry_out()?;
        Ok(Outcome { device_why: why, ..outcome })
    }

    /// Returns how busy the stages were in the time since the start, if GPUs compute.
    fn stages(&self, wall: Duration) -> Option<Box<Stages>> {
        let gpus = self.device.traffic()?.done(self.device.held().len());
        let worked = Worked::of(self.progress, Some(gpus));
        Some(Box::new(worked.since(&Worked::default(), wall, self.options.threads)))
    }

    /// Holds an output that is there against the plan: a run that was complete needs nothing more.
    fn complete(&self) -> Result<Outcome> {
        let start = Instant::now();
        let folder = &self.plan.order.output;
        let settled = settled::read(self.plan, folder)?;
        let plan = settled.as_ref().unwrap_or(self.plan);
        let same_file =
            |name: &str, content: &[u8]| std::fs::read(folder.join(name)).is_ok_and(|is| is == content);
        let other = plan
            .texts
            .iter()
            .find(|text| !same_file(&text.file, text.content.as_bytes()))
            .map(|text| text.file.clone())
            .or_else(|| {
                let copied = |copied: &&Copied| {
                    std::fs::metadata(folder.join(&copied.file))
                        .map_or(true, |meta| meta.len() != copied.bytes)
                };
                plan.whole.iter().chain(plan.copied()).find(copied).map(|copied| copied.file.clone())
            });
        if let Some(file) = other {
            let shown = crate::name::escape(&folder.display().to_string()).into_owned();
            let message =
                format!("-o {shown}: is there, and its {file} is not of this plan; --force replaces it");
            return Err(Error::input(message).at(folder));
        }
        let proof = verify::prove(&Run { plan, ..*self }, folder)?;
        Ok(Outcome {
            bytes_read: 0,
            bytes_written: 0,
            elapsed: start.elapsed(),
            device: self.device.name(),
            device_why: String::new(),
            stages: None,
            tally: Tally::default(),
            proof: Some(proof),
            notes: vec!["nothing to resume: the output is complete".into()],
        })
    }
}

/// Returns what tells a run from others: what may be continued is of the same program, order and inputs.
fn identity(plan: &Plan, inputs: &Inputs<'_>) -> String {
    let order = &plan.order;
    let shards: Vec<_> = plan
        .shards
        .iter()
        .map(|shard| (&shard.file, shard.tensors.len(), shard.tensors.iter().map(|t| t.bytes).sum::<u64>()))
        .collect();
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "dtype": order.dtype.map(Dtype::name),
        "only": order.only,
        "skip": order.skip,
        "skip_broken": order.skip_broken,
        "names": order.names,
        "to": order.to,
        "keep": order.keep,
        "also": order.also,
        "fixes": order.fixes,
        "headers": (!order.fixes.is_empty()).then(|| names_of(plan)),
        "merging": order.merging.as_ref().map(|m| format!("{m:?}")),
        "inputs": inputs.stamps(),
        "shards": shards,
    })
    .to_string()
}

/// Returns a number that tells the names and sources of tensors from others.
fn names_of(plan: &Plan) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = rustc_hash::FxHasher::default();
    for shard in &plan.shards {
        hasher.write(format!("{} {:?} {:?}", shard.file, shard.metadata, shard.run).as_bytes());
        for tensor in &shard.tensors {
            hasher.write(format!("{} {:?}", tensor.name, tensor.source).as_bytes());
        }
    }
    hasher.finish()
}

fn kept_for_later(files: usize) -> Error {
    let files = crate::units::plural(files, "file");
    Error::new(ErrorKind::Cancelled, format!("cancelled; {files} done are kept aside, --resume continues"))
}

/// Readers that wait for the disk beside the threads that compute.
pub const READ_AHEAD: usize = 2;

/// Returns what a source decodes; `None` if it only copies, rounds, or packs.
fn values_of(source: Source) -> Option<Values> {
    match source {
        Source::Copy(_) | Source::Cast(_) | Source::Encoded { .. } => None,
        Source::Decode { layer, change, .. } => Some(Values::Layer(layer, change)),
        Source::Changed { tensor, change } => Some(Values::Tensor(At::base(tensor), change)),
        Source::Merged(merge) => Some(Values::Merged(merge)),
    }
}

/// Returns the dtype to which decoded values are rounded before they are rounded to that of the result:
/// `dtype` itself where there is none in between.
fn native(source: Source, dtype: Dtype) -> Dtype {
    match source {
        Source::Decode { native, .. } => native,
        Source::Copy(_)
        | Source::Cast(_)
        | Source::Changed { .. }
        | Source::Merged(_)
        | Source::Encoded { .. } => dtype,
    }
}

/// Returns the bytes that are free where an output goes.
///
/// # Errors
/// The folder above it is not there.
pub fn disk_free(output: &std::path::Path) -> Result<u64> {
    output::free_beside(output)
}

/// Checks that a result of so many bytes may be made there, as a run does first; nothing is written. With `force`
/// a checkpoint that is there may be replaced.
///
/// # Errors
/// The folder above it is not there, it is taken, lies in one of the inputs, or the disk is too small.
pub fn check_output(output: &std::path::Path, inputs: &[&Checkpoint], bytes: u64, force: bool) -> Result<()> {
    output::check(output, inputs, bytes, force)
}
