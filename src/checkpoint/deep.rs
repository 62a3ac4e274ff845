//! Deep verification: every byte of every tensor is read, NaN and infinite values are counted.
//!
//! Streamed in chunks on a few threads, so memory does not grow with the checkpoint. Floating tensors are
//! scanned in their own dtype; packed and integer tensors are read, which proves that the disk gives them.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashSet;

use super::files::Files;
use super::{Checkpoint, joined};
use crate::container::bytes::SourceFile;
use crate::name::escape;
use crate::problem::{Problem, kind};
use crate::tensor::Dtype;
use crate::units;

/// Bytes read at once by one thread.
const CHUNK_BYTES: u64 = 4 << 20;
/// Threads: two cores compute while others wait for the disk.
const THREADS: usize = 4;

/// What a deep verification saw.
#[derive(Debug, Default)]
pub struct Deep {
    /// Bytes read.
    pub bytes: u64,
    /// NaN, infinities, unreadable data, in the order of the tensors.
    pub problems: Vec<Problem>,
}

/// Non-finite values of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NonFinite {
    nan: u64,
    infinite: u64,
}

/// Reads every tensor. `on_progress` gets the bytes of each tensor that is done.
pub fn verify(checkpoint: &Checkpoint, on_progress: &(dyn Fn(u64) + Sync)) -> Deep {
    let files = &checkpoint.files;
    let sources: Vec<Option<SourceFile>> =
        files.shards.iter().map(|s| SourceFile::open(&s.path, s.name.clone()).ok()).collect();
    // File order, so that the disk reads forward.
    let mut order: Vec<u32> = (0..files.tensors.len() as u32).collect();
    order.sort_by_key(|&t| (files.tensors[t as usize].shard, files.tensors[t as usize].begin));
    let disguised = codes_stored_as_floats(checkpoint);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut found = Vec::new();
        let mut bytes = 0;
        while let Some(&tensor) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let record = &files.tensors[tensor as usize];
            let Some(source) = &sources[usize::from(record.shard)] else { continue };
            match scan(files, source, tensor) {
                Ok(_) if disguised.contains(&tensor) => bytes += record.bytes,
                Ok(seen) => {
                    bytes += record.bytes;
                    found.extend(describe(files, tensor, seen).into_iter().map(|p| (tensor, p)));
                }
                Err(message) => found.push((tensor, unread(files, tensor, &message))),
            }
            on_progress(record.bytes);
        }
        (bytes, found)
    };
    let mut all: Vec<(u64, Vec<(u32, Problem)>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(joined).collect()
    });
    let bytes = all.iter().map(|(bytes, _)| bytes).sum();
    let mut found: Vec<(u32, Problem)> = all.iter_mut().flat_map(|(_, found)| found.drain(..)).collect();
    found.sort_by_key(|(tensor, _)| *tensor);
    Deep { bytes, problems: found.into_iter().map(|(_, problem)| problem).collect() }
}

/// Returns the tensors whose dtype says float and whose bytes are packed codes (bitsandbytes with another
/// storage dtype, HQQ's `view_as_float`): their bit patterns mean nothing as floats.
fn codes_stored_as_floats(checkpoint: &Checkpoint) -> FxHashSet<u32> {
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let quantized = (0..layers.len() as u32).filter(|&layer| layers.spec(layer).is_quantized());
    let codes = quantized.filter_map(|layer| {
        let largest = layers.tensors(layer).iter().max_by_key(|&&t| files.tensors[t as usize].bytes)?;
        let dtype = files.tensors[*largest as usize].dtype;
        (dtype.is_float() && !dtype.is_narrow_float()).then_some(*largest)
    });
    codes.collect()
}

fn scan(files: &Files, source: &SourceFile, tensor: u32) -> Result<NonFinite, String> {
    let record = &files.tensors[tensor as usize];
    if files.views.get(&tensor).is_some_and(|view| view.compressed_entry.is_some()) {
        return Err("its storage is compressed in the archive".into());
    }
    let mut seen = NonFinite::default();
    let mut at = 0;
    while at < record.bytes {
        let count = CHUNK_BYTES.min(record.bytes - at);
        let begin = record.begin.checked_add(at).ok_or("its offset overflows")?;
        let chunk = source.read_vec(begin, count as usize).map_err(|e| e.message)?;
        let more = non_finite(record.dtype, &chunk);
        seen = NonFinite { nan: seen.nan + more.nan, infinite: seen.infinite + more.infinite };
        at += count;
    }
    Ok(seen)
}

/// Counts NaN and infinite values. Chunks are whole elements: their size is a multiple of eight bytes.
fn non_finite(dtype: Dtype, bytes: &[u8]) -> NonFinite {
    let words = |exponent: u16, mantissa: u16| {
        let mut seen = NonFinite::default();
        for pair in bytes.chunks_exact(2) {
            let bits = u16::from_le_bytes([pair[0], pair[1]]);
            if bits & exponent == exponent {
                if bits & mantissa == 0 { seen.infinite += 1 } else { seen.nan += 1 }
            }
        }
        seen
    };
    let narrow = |is_nan: fn(u8) -> bool, is_infinite: fn(u8) -> bool| NonFinite {
        nan: bytes.iter().filter(|&&b| is_nan(b)).count() as u64,
        infinite: bytes.iter().filter(|&&b| is_infinite(b)).count() as u64,
    };
    match dtype {
        Dtype::F16 => words(0x7c00, 0x03ff),
        Dtype::BF16 => words(0x7f80, 0x007f),
        Dtype::F32 | Dtype::C64 => floats(bytes.chunks_exact(4).map(|b| {
            let value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            (value.is_nan(), value.is_infinite())
        })),
        Dtype::F64 | Dtype::C128 => floats(bytes.chunks_exact(8).map(|b| {
            let value = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            (value.is_nan(), value.is_infinite())
        })),
        Dtype::F8E4M3 => narrow(|b| b & 0x7f == 0x7f, |_| false),
        Dtype::F8E5M2 => narrow(|b| b & 0x7f > 0x7c, |b| b & 0x7f == 0x7c),
        Dtype::F8E4M3Fnuz | Dtype::F8E5M2Fnuz => narrow(|b| b == 0x80, |_| false),
        Dtype::F8E8M0 => narrow(|b| b == 0xff, |_| false),
        _ => NonFinite::default(),
    }
}

fn floats(values: impl Iterator<Item = (bool, bool)>) -> NonFinite {
    values.fold(NonFinite::default(), |seen, (nan, infinite)| NonFinite {
        nan: seen.nan + u64::from(nan),
        infinite: seen.infinite + u64::from(infinite),
    })
}

fn describe(files: &Files, tensor: u32, seen: NonFinite) -> Vec<Problem> {
    let record = &files.tensors[tensor as usize];
    let total = crate::tensor::elements(files.shape(record)).unwrap_or(0);
    let report = |kind, count: u64, what: &str| {
        let name = files.tensor_name(tensor);
        let message = format!(
            "{}: {} of {} values are {what}",
            escape(&name),
            units::exact(count),
            units::exact(total)
        );
        (count > 0).then(|| placed(files, tensor, Problem::new(kind, message)))
    };
    let nan = report(&kind::NAN_VALUES, seen.nan, "NaN");
    nan.into_iter().chain(report(&kind::INF_VALUES, seen.infinite, "infinite")).collect()
}

fn unread(files: &Files, tensor: u32, why: &str) -> Problem {
    let message = format!("{}: its data were not read: {why}", escape(&files.tensor_name(tensor)));
    placed(files, tensor, Problem::new(&kind::UNREAD_VALUES, message))
}

fn placed(files: &Files, tensor: u32, problem: Problem) -> Problem {
    let shard = files.tensors[tensor as usize].shard;
    problem.tensor(files.tensor_name(tensor)).file(files.shards[usize::from(shard)].name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_values_are_counted_in_every_float_dtype() {
        let f16: Vec<u8> = [0x7c00u16, 0xfc00, 0x7e00, 0x3c00].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(non_finite(Dtype::F16, &f16), NonFinite { nan: 1, infinite: 2 });
        let bf16: Vec<u8> = [0x7f80u16, 0x7fc0, 0x3f80].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(non_finite(Dtype::BF16, &bf16), NonFinite { nan: 1, infinite: 1 });
        let f32: Vec<u8> = [f32::NAN, f32::INFINITY, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(non_finite(Dtype::F32, &f32), NonFinite { nan: 1, infinite: 1 });
        assert_eq!(non_finite(Dtype::F8E4M3, &[0x7f, 0xff, 0x7e]), NonFinite { nan: 2, infinite: 0 });
        assert_eq!(non_finite(Dtype::F8E5M2, &[0x7c, 0xfd, 0x7b]), NonFinite { nan: 1, infinite: 1 });
        assert_eq!(non_finite(Dtype::I32, &[0xff; 8]), NonFinite::default());
    }
}
