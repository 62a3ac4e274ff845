//! Proof: the result is opened again and held against the input.
//!
//! Every file must please our reader and the format's own strict one. Tensors that went over are compared
//! byte by byte with their source; layers that were decoded are decoded again, row by row in other blocks and
//! from inputs opened anew, and compared: all of them, or some of each kind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::cpu::Cpu;
use super::inputs::Inputs;
use super::{Decoded, Device as _, Progress, Scratch, Work, native};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::side::FileSide;
use crate::container::bytes::SourceFile;
use crate::container::safetensors::strict_verdict;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::{OutShard, OutTensor, Plan, Source};
use crate::quant::change::Change;
use crate::units;

/// What was proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proven {
    /// Files whose structure was checked.
    pub files: usize,
    /// Tensors compared with their source, as it is or with its rows in the order that was asked for.
    pub copied: usize,
    /// Layers decoded again and compared.
    pub decoded: usize,
    /// Layers that were decoded in all.
    pub decoded_of: usize,
}

impl Proven {
    /// Returns the line that says it: `2 files, 12 tensors as in the source, 8 of 196 layers decoded again`.
    #[must_use]
    pub fn words(&self) -> String {
        let files = units::plural(self.files, "file");
        let mut words = format!("{files} checked");
        if self.copied > 0 {
            words = format!("{words}, {} as in the source", units::plural(self.copied, "tensor"));
        }
        if self.decoded_of > 0 {
            words = format!("{words}, {} of {} layers decoded again", self.decoded, self.decoded_of);
        }
        words
    }
}

/// Layers of a kind that a sample decodes again.
const SAMPLE_EACH: usize = 2;
/// Bytes compared at once.
const CHUNK_BYTES: u64 = 4 << 20;

/// Proves the files in `folder`.
///
/// # Errors
/// A file is not what the plan says, or a value differs; in words.
pub(super) fn prove(
    checkpoint: &Checkpoint,
    plan: &Plan,
    folder: &Path,
    is_full: bool,
    progress: &Progress,
) -> Result<Proven> {
    let inputs = Inputs::open(checkpoint)?;
    let opened = Checkpoint::open(&folder.display().to_string())?;
    if let Some(problem) =
        opened.problems.iter().find(|p| p.is_error() && p.kind.code.starts_with(['K', 'S']))
    {
        return Err(failed(&problem.message));
    }
    let mut proven = Proven { files: plan.shards.len(), ..Proven::default() };
    let data = FileSide::whole(&opened.files);
    let index = opened.files.names_index();
    let mut sampled: BTreeMap<(u32, Change), usize> = BTreeMap::new();
    let mut scratch = Scratch::default();
    for shard in &plan.shards {
        let source = SourceFile::open(&folder.join(&shard.file), shard.file.clone())?;
        if let Some(problem) = strict_verdict(&source) {
            return Err(failed(&problem.message));
        }
        for tensor in &shard.tensors {
            progress.check()?;
            let written = check_entry(&opened, &index, shard, tensor)?;
            match tensor.source {
                Source::Copy(from) => {
                    proven.copied += 1;
                    compare(tensor, (&data, written), &|at, out| inputs.read_into(from, at, out))?;
                }
                Source::Cast(from) => {
                    proven.copied += 1;
                    let dtype = inputs.dtype(from);
                    compare(tensor, (&data, written), &|at, out| {
                        let wide = |bytes: u64| bytes * tensor_bits(dtype) / tensor_bits(tensor.dtype);
                        let mut bytes = vec![0; wide(out.len() as u64) as usize];
                        inputs.read_into(from, wide(at), &mut bytes)?;
                        Cpu.cast(dtype, &bytes, tensor.dtype, &mut Scratch::default(), out);
                        Ok(())
                    })?;
                }
                Source::Decode { layer, change, .. } => {
                    proven.decoded_of += 1;
                    let spec = checkpoint.layers.list()[layer as usize].spec;
                    let kind = sampled.entry((spec, change)).or_default();
                    *kind += 1;
                    if is_full || *kind <= SAMPLE_EACH {
                        proven.decoded += 1;
                        again(&inputs, tensor, (&data, written), &mut scratch)?;
                    }
                }
                Source::Changed { .. } => {
                    proven.copied += 1;
                    again(&inputs, tensor, (&data, written), &mut scratch)?;
                }
            }
        }
    }
    progress.proving.store(false, Ordering::Relaxed);
    Ok(proven)
}

fn tensor_bits(dtype: crate::tensor::Dtype) -> u64 {
    dtype.bits().map_or(8, |bits| bits as u64)
}

fn failed(what: &str) -> Error {
    Error::input(format!("the result is not what was planned: {what}"))
}

/// Checks that a tensor is in its file with dtype and shape; returns its number in the result.
fn check_entry(
    opened: &Checkpoint,
    index: &crate::checkpoint::files::NamesIndex,
    shard: &OutShard,
    tensor: &OutTensor,
) -> Result<u32> {
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
    source: &dyn Fn(u64, &mut [u8]) -> Result<()>,
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
    let Some(decoded) = Decoded::of(tensor.source) else { return Ok(()) };
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
            inputs.read_into(decoding.codes, range.start, &mut codes)?;
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
            native: native(tensor.source, dtype),
            dtype,
        };
        Cpu.decode(&work, scratch, &mut should);
        data.fill(written, start * row_bytes, &mut is).map_err(|why| failed(&why))?;
        differs(tensor, start * row_bytes, &is, &should)?;
        start = rows.end;
    }
    Ok(())
}
