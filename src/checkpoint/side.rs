//! Side data: the few bytes of side tensors that formats look at when a checkpoint is examined.
//!
//! Positioned reads, each bounded, and the large ones bounded in sum: a format asks for a quant state's JSON, some zero
//! points, a group index, scales. What lies over the bound is `Unreadable`, and the format says how much
//! it looked at.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::Files;
use crate::container::View;
use crate::container::bytes::SourceFile;
use crate::container::torch::{Stored, read_contiguous};
use crate::quant::{Side, SideData};

/// Bytes of one read. The largest side tensor that is wanted whole is a row of scales.
pub const READ_BYTES_MAX: u64 = 4 << 20;
/// Bytes of all large reads of one examination: what a disk gives in about a tenth of a second.
pub const TOTAL_BYTES_MAX: u64 = 256 << 20;
/// Reads up to this are always made: a quant state's JSON or a stored shape decides what a layer is, and
/// there are few of them a layer.
const SMALL_BYTES: u64 = 1 << 10;

/// No bound but the tensors' own.
const UNBOUNDED: (u64, u64) = (u64::MAX, u64::MAX);

/// Side data read from the checkpoint's files.
pub struct FileSide<'a> {
    files: &'a Files,
    /// Opened when first asked for: most questions are about one shard.
    sources: Vec<OnceLock<Option<SourceFile>>>,
    read: AtomicU64,
    /// Bytes of one read, and of all large ones.
    bounds: (u64, u64),
}

impl<'a> FileSide<'a> {
    /// Returns side data of these files. A shard that cannot be opened gives `Unreadable` for its tensors.
    #[must_use]
    pub fn new(files: &'a Files) -> Self {
        Self::bounded(files, (READ_BYTES_MAX, TOTAL_BYTES_MAX))
    }

    /// Returns side data of these files without a bound but theirs: for decoding, which needs all of it.
    #[must_use]
    pub fn whole(files: &'a Files) -> Self {
        Self::bounded(files, UNBOUNDED)
    }

    fn bounded(files: &'a Files, bounds: (u64, u64)) -> Self {
        let sources = files.shards.iter().map(|_| OnceLock::new()).collect();
        Self { files, sources, read: AtomicU64::new(0), bounds }
    }
}

impl FileSide<'_> {
    fn source(&self, shard: usize) -> Option<&SourceFile> {
        let of = &self.files.shards[shard];
        self.sources[shard].get_or_init(|| SourceFile::open(&of.path, of.name.clone()).ok()).as_ref()
    }

    /// Fills `out` with the bytes of a tensor from `offset` on.
    ///
    /// # Errors
    /// They cannot be had, and why.
    pub fn fill(&self, tensor: u32, offset: u64, out: &mut [u8]) -> Result<(), String> {
        let record = self.files.tensors.get(tensor as usize).ok_or("no such tensor")?;
        let end = offset.checked_add(out.len() as u64).filter(|&end| end <= record.bytes);
        if self.files.views.contains_key(&tensor) {
            return match self.read(tensor, offset, out.len() as u64) {
                Side::Bytes(bytes) if bytes.len() == out.len() => {
                    out.copy_from_slice(&bytes);
                    Ok(())
                }
                Side::Unreadable(why) => Err(why),
                _ => Err(format!("fewer bytes than the {} asked for", out.len())),
            };
        }
        if end.is_none() {
            return Err(format!("{} bytes at {offset} of a tensor of {}", out.len(), record.bytes));
        }
        let source = self.source(usize::from(record.shard)).ok_or("its file cannot be opened")?;
        let at = record.begin.checked_add(offset).ok_or("its offset overflows")?;
        source.read_at(out, at).map_err(|error| error.message)
    }

    /// Says which bytes of a tensor will be asked for next, so that the disk gives them while others compute. Only a hint:
    /// what lies behind its end is left out, and what cannot be had is said when it is read.
    pub fn expect(&self, tensor: u32, bytes: Range<u64>) {
        let Some(record) = self.files.tensors.get(tensor as usize) else { return };
        let bytes = bytes.start..bytes.end.min(record.bytes);
        if self.files.views.contains_key(&tensor) || bytes.is_empty() {
            return;
        }
        if let (Some(source), Some(at)) =
            (self.source(usize::from(record.shard)), record.begin.checked_add(bytes.start))
        {
            source.expect(at, bytes.end - bytes.start);
        }
    }

    /// Reads a tensor whose elements lie strewn: whole, and returns what was asked for.
    fn gathered(&self, tensor: u32, view: &View, offset: u64, count: u64) -> Side {
        let record = &self.files.tensors[tensor as usize];
        let Some(source) = self.source(usize::from(record.shard)) else {
            return Side::Unreadable("its file cannot be opened".into());
        };
        let name = self.files.tensor_name(tensor);
        let stored = Stored {
            name: &name,
            dtype: record.dtype,
            shape: self.files.shape(record),
            range: (record.begin, record.begin.saturating_add(record.bytes)),
            view: Some(view),
        };
        match read_contiguous(source, &stored, u64::MAX) {
            Ok(bytes) => {
                let start = bytes.len().min(offset as usize);
                let end = bytes.len().min(offset.saturating_add(count) as usize);
                Side::Bytes(bytes[start..end].to_vec())
            }
            Err(error) => Side::Unreadable(error.message),
        }
    }
}

impl SideData for FileSide<'_> {
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side {
        let Some(record) = self.files.tensors.get(tensor as usize) else {
            return Side::Unreadable("no such tensor".into());
        };
        if let Some(view) = self.files.views.get(&tensor) {
            if self.bounds != UNBOUNDED {
                return Side::Unreadable("a view of a shared or compressed storage".into());
            }
            return self.gathered(tensor, view, offset, count);
        }
        let (each_max, total_max) = self.bounds;
        let count = count.min(record.bytes.saturating_sub(offset)).min(each_max);
        if count > SMALL_BYTES {
            let before = self.read.fetch_add(count, Ordering::Relaxed);
            if before.saturating_add(count) > total_max {
                return Side::Unreadable(format!("over the {total_max} bytes that are read on opening"));
            }
        }
        let Some(source) = self.source(usize::from(record.shard)) else {
            return Side::Unreadable("its file cannot be opened".into());
        };
        let Some(at) = record.begin.checked_add(offset) else {
            return Side::Unreadable("its offset overflows".into());
        };
        match source.read_vec(at, count as usize) {
            Ok(bytes) => Side::Bytes(bytes),
            Err(error) => Side::Unreadable(error.message),
        }
    }
}
