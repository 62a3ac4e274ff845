//! How fast devices decode the weights of a plan.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::engine::cpu::Cpu;
use crate::engine::cuda::Cuda;
use crate::engine::inputs::Inputs;
use crate::engine::{Device, READ_AHEAD, Resident, Run, Scratch, Work, native, values_of};
use crate::error::Result;
use crate::plan::{OutTensor, Source, Values};
use crate::tensor::Dtype;

/// Pieces that are timed on each device, after one each that is not.
const PIECES: usize = 12;

/// Returns how many bytes of result a second the processor makes, and how many the GPU; `None` if kernels do not
/// decode the plan's largest weight.
pub(super) fn rates(run: &Run<'_>, cuda: &Cuda) -> Result<Option<[f64; 2]>> {
    let inputs = Inputs::open(run)?;
    let Some((values, native, dtype)) = largest(run) else { return Ok(None) };
    let decoding = inputs.decoding(values)?;
    let whole = inputs.strewn_codes(values, &decoding)?;
    let row_bytes = dtype.bytes_of(decoding.row_len()).unwrap_or(0).max(1);
    let rows = 0..decoding.row_count().min((run.options.slot_bytes as u64 / row_bytes).max(1));
    let range = decoding.rows.codes(rows.clone());
    let read = if whole.is_none() {
        let mut codes = vec![0; (range.end - range.start) as usize];
        inputs.read_into(inputs.codes(values, &decoding), range.start, &mut codes)?;
        codes
    } else {
        Vec::new()
    };
    let resident = [Resident::default(), Resident::default()];
    let work = |at: usize| Work {
        decoding: &decoding,
        rows: rows.clone(),
        codes: whole.as_deref().unwrap_or(&read),
        is_whole: whole.is_some(),
        codes_start: if whole.is_some() { 0 } else { range.start },
        native,
        dtype,
        resident: &resident[at],
    };
    let bytes = ((rows.end - rows.start) * row_bytes) as usize;
    let threads = run.options.threads.max(1);
    let gpu = rate(cuda, cuda.at_once(threads) + READ_AHEAD, bytes, &|| work(0))?;
    if cuda.is_without_kernels() {
        return Ok(None);
    }
    Ok(Some([rate(&Cpu, threads, bytes, &|| work(1))?, gpu]))
}

/// Returns the values of the largest tensor that is computed, and its dtypes.
fn largest(run: &Run<'_>) -> Option<(Values, Dtype, Dtype)> {
    let tensors = run.plan.shards.iter().flat_map(|shard| &shard.tensors);
    let values = |tensor: &OutTensor| match tensor.source {
        Source::Encoded { pack, .. } => {
            let pack = run.plan.packs.get(pack as usize)?;
            Some((pack.values, pack.dtype, pack.dtype))
        }
        source => Some((values_of(source)?, native(source, tensor.dtype), tensor.dtype)),
    };
    tensors
        .filter_map(|tensor| Some((tensor.bytes, values(tensor)?)))
        .max_by_key(|(bytes, _)| *bytes)
        .map(|(_, v)| v)
}

/// Decodes the same rows again and again on so many threads.
fn rate<'a>(
    device: &dyn Device,
    threads: usize,
    bytes: usize,
    work: &(impl Fn() -> Work<'a> + Sync),
) -> Result<f64> {
    let once = |pieces: usize| {
        let left = AtomicUsize::new(pieces);
        let start = Instant::now();
        let run = || {
            let (mut scratch, mut out) = (Scratch::default(), vec![0; bytes]);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                device.decode(&work(), &mut scratch, &mut out)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().try_for_each(crate::checkpoint::joined)
        })?;
        Ok((pieces * bytes) as f64 / start.elapsed().as_secs_f64().max(1e-9))
    };
    // What is made once (slots, tables on the device) is not part of the rate.
    once(threads)?;
    once(PIECES.max(2 * threads))
}
