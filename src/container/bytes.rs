//! Bytes of one input file: positioned reads for headers, a memory map for tensor data.
//!
//! The one unsafe file of reading. Files are opened read-only and never written. `pread` serves headers
//! and small side tensors; `map` serves tensor data and is always given an advice.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::fadvise;

use crate::error::{Error, ErrorKind, Result};

/// An input file, open for reading.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    path: PathBuf,
    name: String,
    len: u64,
}

impl SourceFile {
    /// Opens `path` for reading; `name` is how messages call it (its name inside the checkpoint).
    ///
    /// # Errors
    /// The path is missing, not a regular file, or may not be read.
    pub fn open(path: &Path, name: impl Into<String>) -> Result<Self> {
        // A FIFO or a device would block or never end: look before opening.
        let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, &e))?;
        if !meta.is_file() {
            return Err(Error::input(format!("open {}: not a regular file", path.display())).at(path));
        }
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        // Headers and side tensors lie scattered: reading on behind them would read weights that nobody wants.
        // Advice only: a file system that takes none reads just as well.
        let _ = fadvise(&file, 0, None, rustix::fs::Advice::Random);
        Ok(Self { file, path: path.to_path_buf(), name: name.into(), len: meta.len() })
    }

    /// Tells the kernel that `count` bytes from `offset` on will be read, in one go: it reads them while others compute.
    pub fn expect(&self, offset: u64, count: u64) {
        // To the kernel no count is all that follow.
        if let Some(count) = std::num::NonZeroU64::new(count) {
            let _ = fadvise(&self.file, offset, Some(count), rustix::fs::Advice::WillNeed);
        }
    }

    /// Returns the size in bytes when it was opened.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns true for a file of no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the name that messages use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Turns the kernel's read-ahead for `read_at` off or on again. Header reads want it off: the default
    /// drags in megabytes of tensor data behind each header.
    pub fn set_read_ahead(&self, is_on: bool) {
        let advice = if is_on { rustix::fs::Advice::Normal } else { rustix::fs::Advice::Random };
        // Only a hint: a file system that does not know it reads all the same.
        let _ = rustix::fs::fadvise(&self.file, 0, None, advice);
    }

    /// Reads exactly `buffer.len()` bytes at `offset`.
    ///
    /// # Errors
    /// The file ends before that, or the read fails.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|e| {
            if e.kind() == std::io::ErrorKind::UnexpectedEof {
                Error::new(
                    ErrorKind::Input,
                    format!(
                        "read {}: {} bytes at {offset} asked for, the file ends after {}",
                        self.name,
                        buffer.len(),
                        self.len
                    ),
                )
                .at(&self.path)
            } else {
                Error::io("read", &self.path, &e)
            }
        })
    }

    /// Returns `count` bytes at `offset`. The caller bounds `count`; nothing is allocated beyond the file.
    ///
    /// # Errors
    /// The range is outside the file, or the read fails.
    pub fn read_vec(&self, offset: u64, count: usize) -> Result<Vec<u8>> {
        if offset.checked_add(count as u64).is_none_or(|end| end > self.len) {
            return Err(Error::input(format!(
                "read {}: {count} bytes at {offset} asked for, the file has {}",
                self.name, self.len
            ))
            .at(&self.path));
        }
        let mut buffer = vec![0; count];
        self.read_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    /// Returns the first bytes, at most `count`.
    ///
    /// # Errors
    /// The read fails.
    pub fn head(&self, count: usize) -> Result<Vec<u8>> {
        self.read_vec(0, self.len.min(count as u64) as usize)
    }

    /// Maps `[begin, end)` of the file for reading tensor data, with an advice to the kernel.
    ///
    /// # Errors
    /// The range is outside the file, or the map fails.
    #[expect(unsafe_code, reason = "a memory map of a file is unsafe by nature; see SAFETY")]
    pub fn map(&self, begin: u64, end: u64, advice: Advice) -> Result<Mmap> {
        if begin > end || end > self.len {
            return Err(Error::input(format!(
                "map {}: bytes {begin}..{end} of a file of {}",
                self.name, self.len
            ))
            .at(&self.path));
        }
        let mut options = MmapOptions::new();
        options.offset(begin).len((end - begin) as usize);
        // SAFETY: the map is read-only and private to us; inputs are never written by this program. Another
        // process that truncates the file while it is mapped can end this one with SIGBUS, which is the
        // limit of every reader that maps, the reference readers included.
        let map = unsafe { options.map(&self.file) }.map_err(|e| Error::io("map", &self.path, &e))?;
        map.advise(advice).map_err(|e| Error::io("advise", &self.path, &e))?;
        Ok(map)
    }
}
