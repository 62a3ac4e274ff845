//! A new file, written from its start to its end and synced.
//!
//! Large files are written past the page cache where the file system can: in whole pages from an aligned
//! buffer. That is several times as fast as filling the cache and then waiting for it to be written.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Progress, copied};
use crate::error::{Error, Result};

/// What direct writes must be aligned to; no disk asks for more.
pub(super) const PAGE: usize = 4096;
/// Bytes of one write.
const BUFFER_BYTES: usize = 8 << 20;

/// A file that is being written.
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    direct: Option<Direct>,
}

/// The part of a file that has not been written yet.
struct Direct {
    /// An aligned buffer begins at `start`.
    memory: Vec<u8>,
    start: usize,
    /// Bytes that wait in it.
    filled: usize,
    /// Bytes of the file so far, with those that wait.
    length: u64,
}

impl NewFile {
    /// Creates a file that is not there. A large one is written past the page cache if that is possible.
    pub(super) fn create(path: PathBuf, is_large: bool) -> Result<Self> {
        if is_large && let Some(file) = open_direct(&path) {
            let memory = vec![0; BUFFER_BYTES + PAGE];
            let start = memory.as_ptr().align_offset(PAGE);
            let direct = Some(Direct { memory, start, filled: 0, length: 0 });
            return Ok(Self { file, path, direct });
        }
        let file = File::create_new(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(Self { file, path, direct: None })
    }

    /// Writes the next bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let Some(direct) = &mut self.direct else {
            return self.file.write_all(bytes).map_err(|e| Error::io("write", &self.path, &e));
        };
        direct.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let count = bytes.len().min(BUFFER_BYTES - direct.filled);
            let at = direct.start + direct.filled;
            direct.memory[at..at + count].copy_from_slice(&bytes[..count]);
            direct.filled += count;
            bytes = &bytes[count..];
            if direct.filled == BUFFER_BYTES {
                direct.filled = 0;
                let pages = &direct.memory[direct.start..direct.start + BUFFER_BYTES];
                write_pages(&mut self.file, pages).map_err(|e| Error::io("write", &self.path, &e))?;
            }
        }
        Ok(())
    }

    /// Copies bytes of another file behind what is written, by the file system's own means where it has them.
    pub(super) fn copy(
        mut self,
        source: (&File, &Path),
        bytes: Range<u64>,
        progress: &Progress,
    ) -> Result<()> {
        let at = self.file.stream_position().map_err(|e| Error::io("write", &self.path, &e))?;
        copied::range(source, bytes, (&self.file, &self.path), at, progress)?;
        self.finish()
    }

    /// Waits until all is on the disk.
    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()
    }

    /// Waits until all is on the disk, and then until what stands at its beginning is replaced with `head`.
    pub(super) fn finish_headed(mut self, head: &[u8]) -> Result<()> {
        self.flush()?;
        let written = indirectly(&self.file).and_then(|()| self.file.write_all_at(head, 0));
        written.map_err(|e| Error::io("write", &self.path, &e))?;
        self.file.sync_all().map_err(|e| Error::io("sync", &self.path, &e))
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(direct) = self.direct.take() {
            let end = direct.filled.next_multiple_of(PAGE);
            let mut memory = direct.memory;
            let last = &mut memory[direct.start..direct.start + end];
            last[direct.filled..].fill(0);
            let written = write_pages(&mut self.file, last).and_then(|()| self.file.set_len(direct.length));
            written.map_err(|e| Error::io("write", &self.path, &e))?;
        }
        self.file.sync_all().map_err(|e| Error::io("sync", &self.path, &e))
    }
}

/// Writes whole pages. If the disk takes only some of them, the rest goes through the page cache, which takes
/// any size and says what is wrong: a direct write that is not whole pages is refused without a reason.
fn write_pages(file: &mut File, pages: &[u8]) -> std::io::Result<()> {
    let count = loop {
        match file.write(pages) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => break done?,
        }
    };
    if count < pages.len() {
        indirectly(file)?;
        file.write_all(&pages[count..])?;
    }
    Ok(())
}

/// Lets a file be written through the page cache from now on.
fn indirectly(file: &File) -> std::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags - rustix::fs::OFlags::DIRECT)?)
}

/// Opens a new file for direct writes; `None` if this file system has none.
fn open_direct(path: &std::path::Path) -> Option<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = OpenOptions::new().write(true).read(true).create_new(true).custom_flags(flags).open(path);
    if let Ok(file) = file {
        return Some(file);
    }
    // Some file systems make the file and then refuse the flag.
    if path.metadata().is_ok_and(|meta| meta.len() == 0) {
        let _ = std::fs::remove_file(path);
    }
    None
}
