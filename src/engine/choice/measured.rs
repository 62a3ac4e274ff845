//! How fast devices make the weights of a plan, each by what a run does: decoded, or decoded, rounded and encoded where
//! they are packed, which may take many times as long.
//!
//! Weights that are stored alike and written alike are a kind. The largest weight of a kind stands for it, and what the
//! kinds take counts by their bytes: a mixture is not as fast as its largest weight.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::computed;
use crate::engine::cpu::Cpu;
use crate::engine::cuda::{Cuda, slot_values};
use crate::engine::encoded::Timed;
use crate::engine::inputs::Inputs;
use crate::engine::{Device, READ_AHEAD, Resident, Run, Scratch, Work, native, values_of};
use crate::error::Result;
use crate::plan::{Base, How, OutTensor, Source, Values};
use crate::quant::FormatId;
use crate::quant::decode::Decoding;
use crate::tensor::Dtype;

/// Slots of rows that are timed on each device, after a piece of each thread that is not.
const SLOTS: usize = 12;

/// How long each device is timed at most, but for the pieces that have begun.
const TIME: Duration = Duration::from_secs(2);

/// Kinds that are timed: those with most bytes. Mixtures have fewer, and what a further one has turns no choice.
const KINDS: usize = 4;

/// Returns how many bytes of result a second the processor makes, and how many the GPU; `None` if kernels make none of
/// what is timed.
pub(super) fn rates(run: &Run<'_>, cuda: &Cuda) -> Result<Option<[f64; 2]>> {
    let inputs = Inputs::open(run)?;
    let kinds = kinds(run, &inputs);
    let limit = TIME / kinds.len().max(1) as u32;
    let threads = run.options.threads.max(1);
    let (mut bytes, mut seconds, mut has_kernels) = (0.0, [0.0; 2], false);
    for kind in &kinds {
        let Some(sample) = Sample::new(run, &inputs, kind.largest)? else { continue };
        cuda.count_anew();
        let gpu = rate(cuda, cuda.at_once(threads) + READ_AHEAD, limit, (&sample, &inputs))?;
        // What has no kernel is the processor's in either run.
        let is_without = cuda.is_without_kernels();
        let cpu = if is_without { gpu } else { rate(&Cpu, threads, limit, (&sample, &inputs))? };
        has_kernels |= !is_without;
        bytes += kind.bytes as f64;
        for (seconds, rate) in seconds.iter_mut().zip([cpu, gpu]) {
            *seconds += kind.bytes as f64 / rate.max(1.0);
        }
    }
    Ok(has_kernels.then(|| seconds.map(|seconds| bytes / seconds.max(1e-9))))
}

/// Weights that are made alike.
struct Kind<'a> {
    alike: Alike<'a>,
    /// Bytes of all their tensors.
    bytes: u64,
    /// The largest of these tensors.
    largest: &'a OutTensor,
}

/// What weights of a kind have in common.
#[derive(PartialEq, Eq)]
struct Alike<'a> {
    stored: Stored<'a>,
    is_merged: bool,
    /// As what it is packed; `None` where it is not.
    how: Option<How>,
    /// The dtype of the values.
    dtype: Dtype,
}

/// What a weight is stored as.
#[derive(PartialEq, Eq)]
enum Stored<'a> {
    /// A format, and its variant.
    Layer(FormatId, &'a str),
    Plain(Dtype),
}

/// Returns the kinds with most bytes, those first.
fn kinds<'a>(run: &Run<'a>, inputs: &Inputs<'_>) -> Vec<Kind<'a>> {
    let mut kinds: Vec<Kind<'a>> = Vec::new();
    for tensor in computed(run.plan) {
        let Some(alike) = alike(run, inputs, tensor) else { continue };
        if let Some(kind) = kinds.iter_mut().find(|kind| kind.alike == alike) {
            kind.bytes += tensor.bytes;
            if tensor.bytes > kind.largest.bytes {
                kind.largest = tensor;
            }
        } else {
            kinds.push(Kind { alike, bytes: tensor.bytes, largest: tensor });
        }
    }
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.bytes));
    kinds.truncate(KINDS);
    kinds
}

fn alike<'a>(run: &Run<'a>, inputs: &Inputs<'_>, tensor: &OutTensor) -> Option<Alike<'a>> {
    let (values, how, dtype) = match tensor.source {
        Source::Encoded { pack, .. } => {
            let pack = run.plan.packs.get(pack as usize)?;
            (pack.values, Some(pack.how), pack.dtype)
        }
        source => (values_of(source)?, None, tensor.dtype),
    };
    let (base, is_merged) = match values {
        Values::Merged(merge) => (run.plan.merges.get(merge as usize)?.base, true),
        Values::Layer(layer, _) => (Base::Layer(layer), false),
        Values::Tensor(at, _) => (Base::Tensor(at), false),
    };
    let stored = match base {
        Base::Layer(layer) => {
            let spec = run.checkpoint.layers.spec(layer);
            Stored::Layer(spec.format, &spec.variant)
        }
        Base::Tensor(at) => Stored::Plain(inputs.dtype(at)),
    };
    Some(Alike { stored, is_merged, how, dtype })
}

/// What is timed: about a slot's rows of a weight, and all its codes only where each row needs them.
enum Sample {
    /// Rows that are decoded.
    Decoded {
        decoding: Decoding,
        rows: Range<u64>,
        codes: Vec<u8>,
        /// True if `codes` are all of the layer's.
        is_whole: bool,
        native: Dtype,
        dtype: Dtype,
        resident: Resident,
    },
    /// Rows that are decoded, rounded and encoded.
    Packed(Timed),
}

impl Sample {
    /// Reads rows of a tensor's weight; `None` if nothing computes it.
    fn new(run: &Run<'_>, inputs: &Inputs<'_>, tensor: &OutTensor) -> Result<Option<Self>> {
        if let Source::Encoded { pack, .. } = tensor.source {
            let values = slot_values(run.options) as u64;
            return Timed::new((inputs, pack), values, &mut Scratch::default()).map(Self::Packed).map(Some);
        }
        let Some(values) = values_of(tensor.source) else { return Ok(None) };
        let (native, dtype) = (native(tensor.source, tensor.dtype), tensor.dtype);
        let decoding = inputs.decoding(values)?;
        let whole = inputs.strewn_codes(values, &decoding)?;
        let row_bytes = dtype.bytes_of(decoding.row_len()).unwrap_or(0).max(1);
        let rows = 0..decoding.row_count().min((run.options.slot_bytes as u64 / row_bytes).max(1));
        let is_whole = whole.is_some();
        let codes = if let Some(codes) = whole {
            codes
        } else {
            let range = decoding.rows.codes(rows.clone());
            let mut codes = vec![0; (range.end - range.start) as usize];
            inputs.read_into(inputs.codes(values, &decoding), range.start, &mut codes)?;
            codes
        };
        let resident = Resident::default();
        Ok(Some(Self::Decoded { decoding, rows, codes, is_whole, native, dtype, resident }))
    }

    /// Returns the rows in the pieces that a run has on a device.
    fn pieces(&self, device: &dyn Device) -> Vec<Range<u64>> {
        match self {
            Self::Decoded { rows, .. } => vec![rows.clone()],
            Self::Packed(timed) => timed.pieces(device),
        }
    }

    /// Makes a piece; returns its bytes. `out`: memory for what is decoded.
    fn make(
        &self,
        piece: &Range<u64>,
        device: &dyn Device,
        (inputs, scratch, out): (&Inputs<'_>, &mut Scratch, &mut Vec<u8>),
    ) -> Result<u64> {
        match self {
            Self::Packed(timed) => timed.encode(piece, device, (inputs, scratch)),
            Self::Decoded { decoding, codes, is_whole, native, dtype, resident, .. } => {
                let (is_whole, native, dtype) = (*is_whole, *native, *dtype);
                let rows = piece.clone();
                let codes_start = if is_whole { 0 } else { decoding.rows.codes(rows.clone()).start };
                let bytes = dtype.bytes_of((rows.end - rows.start) * decoding.row_len()).unwrap_or(0);
                out.resize(bytes as usize, 0);
                let work = Work { decoding, rows, codes, is_whole, codes_start, native, dtype, resident };
                device.decode(&work, scratch, out)?;
                Ok(bytes)
            }
        }
    }
}

/// Returns the bytes a second that a device makes on so many threads: the same rows again and again.
fn rate(
    device: &dyn Device,
    threads: usize,
    limit: Duration,
    (sample, inputs): (&Sample, &Inputs<'_>),
) -> Result<f64> {
    let pieces = sample.pieces(device);
    let once = |most: usize, limit: Duration| {
        let (next, made) = (AtomicUsize::new(0), AtomicU64::new(0));
        let start = Instant::now();
        let run = || {
            let (mut scratch, mut out) = (Scratch::default(), Vec::new());
            for turn in 0.. {
                // Each thread makes one, however slow that is; who is over time takes no other's place.
                if turn > 0 && start.elapsed() >= limit {
                    break;
                }
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= most {
                    break;
                }
                let Some(piece) = pieces.get(at % pieces.len().max(1)) else { break };
                let bytes = sample.make(piece, device, (inputs, &mut scratch, &mut out))?;
                made.fetch_add(bytes, Ordering::Relaxed);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().try_for_each(crate::checkpoint::joined)
        })?;
        Ok(made.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64().max(1e-9))
    };
    // What is made once (slots, tables on the device) is not part of the rate.
    once(threads, Duration::ZERO)?;
    once(SLOTS.max(2 * threads) * pieces.len(), limit)
}

#[cfg(test)]
mod tests;
