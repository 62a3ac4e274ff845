//! Proof: the result is opened again and held against the input.
//!
//! Every file must please our reader and the format's own strict one. Tensors that went over are compared
//! byte by byte with their source; layers that were decoded are decoded again, row by row in other blocks and
//! from inputs opened anew, and compared: all of them, or some of each kind.

mod again;
mod changed;
mod header;
pub mod measured;
mod packed;
mod proven;
mod quality;
pub mod totals;
mod whole;
mod window;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub use self::proven::Proven;
pub use self::quality::Quality;
use super::cpu::{self, Cpu};
use super::inputs::{Inputs, codes_of};
use super::{Device as _, Proof, Resident, Run, Scratch, Work, native, values_of};
use crate::checkpoint::files::NamesIndex;
use crate::checkpoint::side::FileSide;
use crate::checkpoint::{Checkpoint, joined};
use crate::container::bytes::SourceFile;
use crate::container::safetensors::strict_verdict;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::{Base, Merge, OutShard, OutTensor, Source, Values};
use crate::problem::Problem;
use crate::quant::change::Change;
use crate::tensor::{Dtype, values};

/// Layers of a kind that a sample decodes again.
const SAMPLE_EACH: usize = 2;
/// Bytes compared at once.
const CHUNK_BYTES: u64 = 4 << 20;

/// Threads that compare, at most: while one waits for the disk another decodes.
pub(super) const PROVERS: usize = 4;

/// What is compared with what.
struct Prover<'a> {
    run: &'a Run<'a>,
    inputs: Inputs<'a>,
    opened: &'a Checkpoint,
    data: FileSide<'a>,
    index: NamesIndex,
    /// The tensors of each merge that is packed again, in the order of its encoding.
    packed: BTreeMap<u32, Vec<(&'a OutShard, &'a OutTensor)>>,
}

/// One tensor that was written.
struct Task<'a> {
    shard: &'a OutShard,
    tensor: &'a OutTensor,
    /// False for a layer of which there are enough in the sample.
    is_compared: bool,
}

/// Proves the files in `folder`.
///
/// # Errors
/// A file is not what the plan says, or a value differs; in words.
pub(super) fn prove(run: &Run<'_>, folder: &Path) -> Result<Proven> {
    let packed = packed::tensors(run.plan);
    let path = folder.display().to_string();
    // What is decoded of the result needs more than its headers.
    let opened = if packed.is_empty() { Checkpoint::open(&path)? } else { Checkpoint::open_examined(&path)? };
    // A fix leaves what it is not about, and a GGUF its metadata: only what was not there before is its doing.
    let was_there = |kind| {
        let keeps =
            !run.plan.order.fixes.is_empty() || run.plan.shards.iter().any(|shard| shard.gguf.is_some());
        keeps && run.checkpoint.problems.iter().any(|problem| problem.kind == kind)
    };
    let is_new = |problem: &&Problem| {
        problem.is_error() && problem.kind.code.starts_with(['K', 'S']) && !was_there(problem.kind)
    };
    if let Some(problem) = opened.problems.iter().find(is_new) {
        return Err(failed(&problem.message));
    }
    for shard in &run.plan.shards {
        let source = SourceFile::open(&folder.join(&shard.file), shard.file.clone())?;
        if let Some(gguf) = &shard.gguf {
            header::prove(run, gguf, &source)?;
        } else if let Some(problem) = strict_verdict(&source) {
            return Err(failed(&problem.message));
        }
    }
    let prover = Prover {
        run,
        inputs: Inputs::open(run)?,
        opened: &opened,
        data: FileSide::whole(&opened.files),
        index: opened.files.names_index(),
        packed,
    };
    let tasks = prover.tasks();
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<Proven> {
        let (mut proven, mut scratch) = (Proven::default(), Scratch::default());
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            run.progress.check()?;
            if has_failed.load(Ordering::Relaxed) {
                break;
            }
            prover
                .one(task, &mut proven, &mut scratch)
                .inspect_err(|_| has_failed.store(true, Ordering::Relaxed))?;
        }
        Ok(proven)
    };
    let mut proven = whole::compare(run, folder)?;
    proven.files = run.plan.shards.len() + run.plan.whole.len();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..run.options.threads.clamp(1, PROVERS)).map(|_| scope.spawn(work)).collect();
        // All are waited for, also after one that failed.
        threads
            .into_iter()
            .map(joined)
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|part| part.map(|part| proven += part))
    })?;
    proven.quality.sort_by_key(|(pack, _)| *pack);
    run.progress.proving.store(false, Ordering::Relaxed);
    Ok(proven)
}

impl Prover<'_> {
    /// Returns what is to be done; the sample is taken in the order of the files.
    fn tasks(&self) -> Vec<Task<'_>> {
        let is_full = self.run.options.proof == Proof::Full;
        let layers = self.run.checkpoint.layers.list();
        // By spec of the layer and change; merged plain tensors by their size.
        let mut sampled: BTreeMap<(Option<u32>, u64, Change), usize> = BTreeMap::new();
        let spec = |layer: u32| Some(layers[layer as usize].spec);
        let mut is_compared = |(shard, at): (&OutShard, usize), tensor: &OutTensor| {
            let is_run = shard.run.is_some();
            let is_in_sample = whole::is_in_sample(at, shard.tensors.len());
            let kind = match tensor.source {
                // The kernel copies bytes, not tensors: an error shows in all that follow.
                Source::Copy(_) if is_run => return is_full || is_in_sample,
                Source::Copy(_) | Source::Cast(_) | Source::Changed { .. } => return true,
                Source::Decode { layer, change, .. } => (spec(layer), 0, change),
                Source::Merged(merge) => match self.run.plan.merges[merge as usize].base {
                    Base::Layer(layer) => (spec(layer), 1, Change::None),
                    Base::Tensor(_) => (None, tensor.bytes, Change::None),
                },
                Source::Encoded { pack, part } => {
                    // All its tensors are compared with the first.
                    if part != 0 {
                        return false;
                    }
                    (spec(self.run.plan.packs[pack as usize].layer), 2, Change::None)
                }
            };
            let count = sampled.entry(kind).or_default();
            *count += 1;
            is_full || *count <= SAMPLE_EACH
        };
        let all = self
            .run
            .plan
            .shards
            .iter()
            .flat_map(|shard| shard.tensors.iter().enumerate().map(move |t| (shard, t)));
        let task =
            |(shard, (at, tensor))| Task { shard, tensor, is_compared: is_compared((shard, at), tensor) };
        let mut tasks: Vec<Task<'_>> = all.map(task).collect();
        // The largest first: no thread begins with one when the others are done.
        tasks.sort_by_key(|task| std::cmp::Reverse(task.tensor.bytes));
        tasks
    }

    fn one(&self, task: &Task<'_>, proven: &mut Proven, scratch: &mut Scratch) -> Result<()> {
        let Task { shard, tensor, is_compared } = *task;
        let written = check_entry(self.opened, &self.index, shard, tensor)?;
        let (inputs, to) = (&self.inputs, (&self.data, written));
        match tensor.source {
            Source::Copy(_) if !is_compared => {
                proven.unsampled += 1;
                Ok(())
            }
            Source::Copy(from) => {
                proven.copied += 1;
                compare(tensor, to, &mut |at, out| inputs.read_into(from, at, out))
            }
            Source::Cast(from) => {
                proven.copied += 1;
                let dtype = inputs.dtype(from);
                let wide = |bytes: u64| bytes * tensor_bits(dtype) / tensor_bits(tensor.dtype);
                let mut bytes = Vec::new();
                compare(tensor, to, &mut |at, out| {
                    bytes.resize(wide(out.len() as u64) as usize, 0);
                    inputs.read_into(from, wide(at), &mut bytes)?;
                    let _tally = cpu::cast(dtype, &bytes, tensor.dtype, scratch, out);
                    Ok(())
                })
            }
            Source::Decode { .. } => {
                proven.decoded_of += 1;
                if !is_compared {
                    return Ok(());
                }
                proven.decoded += 1;
                again(inputs, tensor, to, scratch)
            }
            Source::Changed { .. } => {
                proven.copied += 1;
                again(inputs, tensor, to, scratch)
            }
            Source::Encoded { pack, part } => {
                let is_merged = matches!(self.run.plan.packs[pack as usize].values, Values::Merged(_));
                proven.merged_of += usize::from(part == 0 && is_merged);
                proven.packed_of += usize::from(part == 0);
                if part == 0 { self.packed_again(pack, is_compared, proven, scratch) } else { Ok(()) }
            }
            Source::Merged(merge) => {
                proven.merged_of += 1;
                if !is_compared {
                    return Ok(());
                }
                proven.merged += 1;
                again(inputs, tensor, to, scratch)?;
                self.another_way(&self.run.plan.merges[merge as usize], tensor, to, proven)
            }
        }
    }

    /// Computes some rows of a merged weight in f64 and compares them with what was written.
    fn another_way(
        &self,
        merge: &Merge,
        tensor: &OutTensor,
        (data, written): (&FileSide<'_>, u32),
        proven: &mut Proven,
    ) -> Result<()> {
        let (base, edits) = self.inputs.to_merge(merge)?;
        let (count, row_len) = (base.row_count(), base.row_len() as usize);
        let row_bytes = tensor.bytes.checked_div(count).unwrap_or(0);
        let mut codes = Vec::new();
        let mut held = 0..0;
        let (mut values, mut exact) = (vec![0f32; row_len], vec![0f64; row_len]);
        let mut before = vec![0f32; row_len];
        let (mut bytes, mut is) = (vec![0; row_bytes as usize], vec![0f32; row_len]);
        for row in (0..count).step_by(count.div_ceil(ROWS_EACH).max(1) as usize) {
            let rows = row..row + 1;
            let range = base.rows.codes(rows.clone());
            if range != held {
                codes.resize((range.end - range.start) as usize, 0);
                self.inputs.read_into(codes_of(merge.base, &base), range.start, &mut codes)?;
                held = range;
            }
            base.rows.decode(rows.clone(), &codes, &mut values);
            before.copy_from_slice(&values);
            let mut dtype = merge.native;
            for edit in &edits {
                values::round_all(dtype, &mut values);
                exact.iter_mut().zip(&values).for_each(|(exact, &value)| *exact = f64::from(value));
                edit.exact(rows.clone(), &mut exact);
                values.iter_mut().zip(&exact).for_each(|(value, &exact)| *value = exact as f32);
                dtype = merge.dtype;
            }
            data.fill(written, row * row_bytes, &mut bytes).map_err(|why| failed(&why))?;
            values::to_f32(tensor.dtype, &bytes, &mut is);
            let far = farthest(tensor.dtype, (&is, &exact, &before), edits.len());
            let ulps = far.map_err(|column| {
                let (name, is, exact) = (escape(&tensor.name), is[column], exact[column]);
                failed(&format!("{name}[{row}, {column}] is {is}, {exact} in f64"))
            })?;
            proven.ulps = proven.ulps.max(ulps);
            proven.rows += 1;
        }
        Ok(())
    }
}

/// Rows of a merged weight that are computed in f64.
const ROWS_EACH: u64 = 64;

/// What sums in f32 may lose of the largest change in a row: where the products of an element cancel each other and
/// the base has nothing there, what is left is smaller than the error of its sum. 64 units of an f32.
const LOST_OF_CHANGE: f64 = 1.0 / (1 << 17) as f64;

/// Returns how far the values of a row are from the exact ones at most, in units of the last place; or the column of
/// the first that is too far.
fn farthest(
    dtype: Dtype,
    (values, exact, base): (&[f32], &[f64], &[f32]),
    edits: usize,
) -> std::result::Result<f64, usize> {
    let changes = exact.iter().zip(base).map(|(exact, &base)| (exact - f64::from(base)).abs());
    let change = changes.fold(0.0, f64::max);
    let lost = change * LOST_OF_CHANGE * edits as f64;
    let largest = exact.iter().fold(change, |largest, exact| largest.max(exact.abs()));
    let mut most = 0f64;
    for (column, ((&value, &exact), &base)) in values.iter().zip(exact).zip(base).enumerate() {
        // Of a value that is not rounded to 16 bits only the order of its sum is seen, and that by the row's size.
        let scale = if dtype == Dtype::F32 { largest } else { exact.abs().max(f64::from(base).abs()) };
        let ulps = ulps(dtype, value, exact, scale);
        // A NaN is neither near nor nothing.
        let is_near = ulps <= ulps_allowed(dtype) * edits as f64;
        let is_nothing = (f64::from(value) - exact).abs() <= lost;
        if is_near {
            most = most.max(ulps);
        } else if !is_nothing {
            return Err(column);
        }
    }
    Ok(most)
}

/// Returns how far a value is from the exact one, in units of the last place of `scale`: the larger of the exact one
/// and the base, for where both nearly cancel, less is left than each was rounded to.
fn ulps(dtype: Dtype, is: f32, exact: f64, scale: f64) -> f64 {
    // Bits behind the point, and the exponent below which they get fewer.
    let (bits, least) = match dtype {
        Dtype::BF16 => (7, -126),
        Dtype::F16 => (10, -14),
        _ => (23, -126),
    };
    if f64::from(is) == exact || is.is_nan() && exact.is_nan() {
        return 0.0;
    }
    let exponent = scale.log2().floor().max(f64::from(least));
    (f64::from(is) - exact).abs() / 2f64.powf(exponent - f64::from(bits))
}

/// Returns how many units an edit may be away: one that is rounded in a dtype of 16 bits is at most half of one,
/// and half more where its delta is rounded first; sums in f32 lose some by their order.
fn ulps_allowed(dtype: Dtype) -> f64 {
    if dtype == Dtype::F32 { 256.0 } else { 2.0 }
}

fn tensor_bits(dtype: Dtype) -> u64 {
    dtype.bits().map_or(8, |bits| bits as u64)
}

fn failed(what: &str) -> Error {
    Error::input(format!("the result is not what was planned: {what}"))
}

/// Checks that a tensor is in its file with dtype and shape; returns its number in the result.
fn check_entry(opened: &Checkpoint, index: &NamesIndex, shard: &OutShard, tensor: &OutTensor) -> Result<u32> {
    let files = &opened.files;
    let found = index
        .find(files, &tensor.name)
        .ok_or_else(|| failed(&format!("{} is not there", escape(&tensor.name))))?;
    let record = &files.tensors[found as usize];
    let is_right = record.dtype == tensor.dtype
        && files.shape(record) == tensor.shape
        && record.bytes == tensor.bytes
        && files.shards[usize::from(record.shard)].name == shard.file;
    if is_right { Ok(found) } else { Err(failed(&format!("{} differs from the plan", escape(&tensor.name)))) }
}

/// Compares a tensor that was written with what `source` gives for its bytes.
fn compare(
    tensor: &OutTensor,
    (data, written): (&FileSide<'_>, u32),
    source: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>,
) -> Result<()> {
    let size = tensor.bytes.min(CHUNK_BYTES) as usize;
    let (mut is, mut should) = (vec![0; size], vec![0; size]);
    let mut at = 0;
    while at < tensor.bytes {
        let count = (tensor.bytes - at).min(CHUNK_BYTES) as usize;
        data.fill(written, at, &mut is[..count]).map_err(|why| failed(&why))?;
        source(at, &mut should[..count])?;
        differs(tensor, at, &is[..count], &should[..count])?;
        at += count as u64;
    }
    Ok(())
}

fn differs(tensor: &OutTensor, at: u64, is: &[u8], should: &[u8]) -> Result<()> {
    if is == should {
        return Ok(());
    }
    let first = is.iter().zip(should).position(|(a, b)| a != b).unwrap_or(0) as u64;
    Err(failed(&format!("{} differs from byte {} on", escape(&tensor.name), at + first)))
}

/// Decodes a layer or tensor again, in blocks of another size, and compares.
fn again(
    inputs: &Inputs<'_>,
    tensor: &OutTensor,
    (data, written): (&FileSide<'_>, u32),
    scratch: &mut Scratch,
) -> Result<()> {
    let Some(decoded) = values_of(tensor.source) else { return Ok(()) };
    let decoding = inputs.decoding(decoded)?;
    let row_bytes = tensor.bytes.checked_div(decoding.row_count()).unwrap_or(0);
    // An odd number of rows: blocks fall elsewhere than when it was written.
    let rows_at_once = (CHUNK_BYTES / row_bytes.max(1)).max(1) | 1;
    let mut codes = Vec::new();
    let (mut is, mut should) = (Vec::new(), Vec::new());
    let mut held = 0..0;
    let mut start = 0;
    while start < decoding.row_count() {
        let rows = start..decoding.row_count().min(start + rows_at_once);
        let range = decoding.rows.codes(rows.clone());
        if range != held {
            codes.resize((range.end - range.start) as usize, 0);
            inputs.read_into(inputs.codes(decoded, &decoding), range.start, &mut codes)?;
            held = range.clone();
        }
        let count = ((rows.end - rows.start) * row_bytes) as usize;
        is.resize(count, 0);
        should.resize(count, 0);
        let dtype = tensor.dtype;
        let work = Work {
            decoding: &decoding,
            rows: rows.clone(),
            codes: &codes,
            codes_start: range.start,
            is_whole: false,
            native: native(tensor.source, dtype),
            dtype,
            resident: &Resident::default(),
        };
        Cpu.decode(&work, scratch, &mut should)?;
        data.fill(written, start * row_bytes, &mut is).map_err(|why| failed(&why))?;
        differs(tensor, start * row_bytes, &is, &should)?;
        start = rows.end;
    }
    Ok(())
}
