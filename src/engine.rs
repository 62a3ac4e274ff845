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
mod copied;
pub mod cpu;
pub mod cuda;
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

use std::any::Any;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::busy::Busy;
use self::inputs::Inputs;
use self::output::Output;
pub use self::peak::peak_memory;
use self::stream::stream;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::folder::Copied;
use crate::plan::{At, CARD, Plan, Source, Values};
use crate::quant::decode::Decoding;
use crate::quant::encode::Encode;
use crate::tensor::Dtype;

/// What computes.
pub trait Device: Sync {
    /// Returns its name: `cpu`.
    fn name(&self) -> String;

    /// Returns how many pieces it computes at a time, with so many threads.
    fn at_once(&self, threads: usize) -> usize {
        threads
    }

    /// Decodes rows into `out`, rounded to `native` and then to `dtype`.
    ///
    /// # Errors
    /// The device fails; the processor never does.
    fn decode(&self, work: &Work<'_>, scratch: &mut Scratch, out: &mut [u8]) -> Result<Tally>;

    /// Rounds elements of a plain dtype to another.
    ///
    /// # Errors
    /// As `decode`.
    fn cast(
        &self,
        from: Dtype,
        bytes: &[u8],
        to: Dtype,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<Tally>;

    /// Returns how many values it encodes at a time.
    fn values_at_once(&self, _encoder: &dyn Encode, _largest: f32) -> u64 {
        cpu::VALUES_AT_ONCE
    }

    /// Decodes rows, rounds and encodes them; returns what each strand gets. `None`: the processor has to.
    ///
    /// # Errors
    /// As `decode`.
    fn encode(&self, _work: &ToEncode<'_>) -> Result<Option<Vec<Vec<u8>>>> {
        Ok(None)
    }

    /// Returns what a person should know of how it went: what the processor did instead, and why.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a device keeps of a layer from piece to piece; empty until it does.
#[derive(Default)]
pub struct Resident(OnceLock<Box<dyn Any + Send + Sync>>);

/// Rows to decode.
pub struct Work<'a> {
    /// How.
    pub decoding: &'a Decoding,
    /// Which rows.
    pub rows: Range<u64>,
    /// The codes from byte `codes_start` on: at least those that the rows need.
    pub codes: &'a [u8],
    /// True if `codes` are all of the layer's, as every row needs them.
    pub is_whole: bool,
    /// Where `codes` begins in the tensor of the codes.
    pub codes_start: u64,
    /// The dtype of the format's own result.
    pub native: Dtype,
    /// The dtype that is written.
    pub dtype: Dtype,
    /// What the device keeps of the layer.
    pub resident: &'a Resident,
}

/// Rows to decode and to encode.
pub struct ToEncode<'a> {
    /// The rows, as values in f32: both dtypes are F32.
    pub work: Work<'a>,
    /// The dtypes to which values are rounded before they are encoded, one after the other.
    pub rounded: &'a [Dtype],
    /// How they are encoded; the rows begin where it lets a layer be cut.
    pub encoder: &'a dyn Encode,
    /// The largest magnitude of the layer, 0 if the encoder does not want it.
    pub largest: f32,
}

/// Memory that a worker keeps from piece to piece.
#[derive(Default)]
pub struct Scratch {
    values: Vec<f32>,
    bytes: Vec<u8>,
}

/// What was seen while computing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Finite values that the dtype could not hold and that became infinite.
    pub overflows: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.overflows += other.overflows;
    }
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Options {
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
        Self { threads, slot_bytes: 8 << 20, proof: Proof::Sample, force: false, resume: false }
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
    /// What was seen.
    pub tally: Tally,
    /// What the proof found; `None` if none was asked for.
    pub proof: Option<verify::Proven>,
    /// What happened besides: a stale folder that was replaced.
    pub notes: Vec<String>,
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
            tally,
            proof,
            notes,
        })
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
