//! Files that the kernel copies: those that go over as they are, and the data of those that only get a new header.
//!
//! A file system that can share blocks does so; others copy without a detour through this program. What the kernel
//! refuses (another file system, an old kernel) is read and written as any file.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::io::Errno;

use super::file::PAGE;
use super::output::Output;
use super::{Progress, Run, busy};
use crate::error::{Error, Result};
use crate::plan::{DataRun, OutShard};

/// Bytes that are copied before the next look at whether the run was cancelled.
const STEP_BYTES: u64 = 64 << 20;
/// Bytes of one read where the kernel does not copy.
const BUFFER_BYTES: usize = 4 << 20;

/// Copies the files of tensors that no worker has to touch.
pub(super) fn files(run: &Run<'_>, output: &mut Output) -> Result<()> {
    let Run { checkpoint, plan, progress, .. } = *run;
    for shard in &plan.shards {
        let Some(data) = shard.run.filter(|_| !output.has(&shard.file)) else { continue };
        output.run(shard, data, &checkpoint.files.shards[usize::from(data.shard)].path, progress)?;
        progress.tensors.fetch_add(shard.tensors.len() as u64, Ordering::Relaxed);
    }
    for copied in &plan.whole {
        if output.has(&copied.file) {
            continue;
        }
        output.copy(&copied.from, &copied.file, progress)?;
        output.note(&copied.file, copied.bytes)?;
    }
    Ok(())
}

/// Returns how many blanks a header of so many bytes gets: data that lie in their new file as they lay in the old
/// one within a block can be shared with it.
pub(super) fn padding(header: usize, shard: &OutShard) -> usize {
    /// Below this a shared block is worth less than a tidy file.
    const SHARED_MIN: u64 = 1 << 20;
    const EIGHT: usize = 8;
    let data = shard.run.filter(|run| run.bytes >= SHARED_MIN && run.begin.is_multiple_of(EIGHT as u64));
    match data {
        Some(DataRun { begin, .. }) => {
            let wanted = (begin % PAGE as u64) as usize;
            (wanted + PAGE - header % PAGE) % PAGE
        }
        None => header.next_multiple_of(EIGHT) - header,
    }
}

/// Copies bytes of a file to a place in another; both are known by their paths in messages.
pub(super) fn range(
    (from, from_path): (&File, &Path),
    bytes: Range<u64>,
    (to, to_path): (&File, &Path),
    at: u64,
    progress: &Progress,
) -> Result<()> {
    let since = Instant::now();
    let (mut source, mut target) = (bytes.start, at);
    let mut is_kernel = true;
    let mut buffer = Vec::new();
    while source < bytes.end {
        progress.check()?;
        // Blocks can be shared from their beginning on.
        let to_block = (PAGE as u64 - source % PAGE as u64) % PAGE as u64;
        let left = bytes.end - source;
        let is_head = to_block > 0 && left > to_block;
        let count = if is_kernel && !is_head {
            match by_kernel(from, source, (to, target), left.min(STEP_BYTES)) {
                // Some file systems say that there is nothing where there is: reading tells.
                Ok(count) if count > 0 => count,
                Err(errno) if !is_refusal(errno) => return Err(Error::io("write", to_path, &errno.into())),
                Ok(_) | Err(_) => {
                    is_kernel = false;
                    continue;
                }
            }
        } else {
            let count = if is_kernel { to_block } else { left.min(BUFFER_BYTES as u64) };
            buffer.resize(count as usize, 0);
            let read = from.read_at(&mut buffer, source).map_err(|e| Error::io("read", from_path, &e))?;
            to.write_all_at(&buffer[..read], target).map_err(|e| Error::io("write", to_path, &e))?;
            read as u64
        };
        if count == 0 {
            let message = "read: the file has become shorter while it was copied".to_owned();
            return Err(Error::input(format!("{}: {message}", from_path.display())).at(from_path));
        }
        source += count;
        target += count;
        progress.read.fetch_add(count, Ordering::Relaxed);
        progress.written.fetch_add(count, Ordering::Relaxed);
    }
    busy::add(&progress.busy.writing, since);
    Ok(())
}

fn by_kernel(from: &File, source: u64, (to, target): (&File, u64), count: u64) -> rustix::io::Result<u64> {
    let (mut source, mut target) = (source, target);
    loop {
        let count = count as usize;
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), count) {
            Err(Errno::INTR) => {}
            done => return done.map(|count| count as u64),
        }
    }
}

/// Returns true if the kernel does not copy between these files, and reading and writing may.
fn is_refusal(errno: Errno) -> bool {
    [Errno::XDEV, Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM, Errno::ACCESS, Errno::BADF]
        .contains(&errno)
}

#[cfg(test)]
mod tests;
