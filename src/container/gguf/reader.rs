//! A reader that walks a GGUF header: positioned reads into one buffer, jumps over what is not kept.
//!
//! A header of a large vocabulary is tens of megabytes of strings of which nothing is shown. Strings are
//! skipped by their length fields inside the buffer, long values by moving the position. Nothing is
//! allocated by a length from the file before it was checked against the bytes that are left.

use crate::container::bytes::SourceFile;
use crate::problem::{ProblemKind, kind};

/// Size of the first read: a header without a vocabulary fits.
const CHUNK_BYTES_MIN: usize = 64 << 10;
/// Size that reads grow to while the header is walked in sequence.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Longest string that the C reader takes (`GGUF_MAX_STRING_LENGTH` in gguf.cpp).
const STRING_BYTES_MAX: u64 = 1 << 30;
/// How many bytes of one header are read. Vocabularies of today take up to 20 MiB; values that are
/// jumped over do not count.
const WALKED_BYTES_MAX: u64 = 256 << 20;
/// How many bytes of text of one header are kept: names, keys and cut values.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// Why reading stopped; the caller says where.
#[derive(Debug)]
pub(super) struct Fault {
    /// The kind of problem it is.
    pub(super) kind: &'static ProblemKind,
    /// What was seen, with the numbers.
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(kind: &'static ProblemKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Returns the fault with the place it happened at.
    pub(super) fn within(self, place: &str) -> Self {
        Self { kind: self.kind, message: format!("{place}: {}", self.message) }
    }
}

/// The walk over one header. Its position never passes the end of the file.
pub(super) struct Reader<'a> {
    file: &'a SourceFile,
    buffer: Vec<u8>,
    /// Offset of the buffer's first byte in the file.
    buffer_at: u64,
    position: u64,
    chunk_bytes: usize,
    walked: u64,
    kept: u64,
    /// True if numbers are stored big-endian.
    pub(super) big_endian: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a SourceFile) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            buffer_at: 0,
            position: 0,
            chunk_bytes: CHUNK_BYTES_MIN,
            walked: 0,
            kept: 0,
            big_endian: false,
        }
    }

    /// Returns the offset of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many bytes follow in the file.
    pub(super) fn left(&self) -> u64 {
        self.file.len() - self.position
    }

    /// Moves over `count` bytes without reading them.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), Fault> {
        self.need(count)?;
        self.position += count;
        Ok(())
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self.array()?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        let bytes = self.array()?;
        Ok(if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// Returns the next `N` bytes in little-endian order, whatever the file's order is.
    pub(super) fn number<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = self.array()?;
        if self.big_endian {
            bytes.reverse();
        }
        Ok(bytes)
    }

    /// Returns the next `N` bytes as they lie in the file.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let start = self.fill(N)?;
        self.position += N as u64;
        let mut out = [0; N];
        out.copy_from_slice(&self.buffer[start..start + N]);
        Ok(out)
    }

    /// Returns the length field of a string that lies in the file as a whole; its bytes come next.
    pub(super) fn string_length(&mut self) -> Result<u64, Fault> {
        let length = self.u64()?;
        if length > STRING_BYTES_MAX {
            let message = format!(
                "a string at byte {} says it is {length} bytes long; readers take at most {STRING_BYTES_MAX}",
                self.position - 8
            );
            return Err(Fault::new(&kind::HEADER_LENGTH, message));
        }
        self.need(length)?;
        Ok(length)
    }

    /// Moves over `length` bytes and returns the first of them, at most `keep`.
    pub(super) fn take(&mut self, length: u64, keep: u32) -> Result<Vec<u8>, Fault> {
        self.need(length)?;
        let kept = length.min(u64::from(keep));
        self.kept += kept;
        if self.kept > KEPT_BYTES_MAX {
            return Err(Fault::new(
                &kind::OVER_LIMIT,
                format!("names and texts of the header are over {KEPT_BYTES_MAX} bytes, our bound"),
            ));
        }
        let start = self.fill(kept as usize)?;
        let bytes = self.buffer[start..start + kept as usize].to_vec();
        self.position += length;
        Ok(bytes)
    }

    /// Moves over `count` strings.
    pub(super) fn skip_strings(&mut self, count: u64) -> Result<(), Fault> {
        for _ in 0..count {
            let length = self.string_length()?;
            self.position += length;
        }
        Ok(())
    }

    /// Checks that `count` bytes follow.
    fn need(&self, count: u64) -> Result<(), Fault> {
        if count <= self.left() {
            return Ok(());
        }
        let message = format!(
            "{count} bytes are needed at byte {}, the file ends after {}",
            self.position,
            self.file.len()
        );
        Err(Fault::new(&kind::TRUNCATED, message))
    }

    /// Has the next `count` bytes in the buffer and returns where in it they start. `count` is small: a
    /// number, or a text cut at its bound.
    fn fill(&mut self, count: usize) -> Result<usize, Fault> {
        if let Some(start) = self.position.checked_sub(self.buffer_at)
            && start + count as u64 <= self.buffer.len() as u64
        {
            return Ok(start as usize);
        }
        self.need(count as u64)?;
        let sequential = self.position <= self.buffer_at + self.buffer.len() as u64;
        if sequential && !self.buffer.is_empty() {
            self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        }
        let size = self.left().min(self.chunk_bytes.max(count) as u64);
        self.walked += size;
        if self.walked > WALKED_BYTES_MAX {
            return Err(Fault::new(
                &kind::OVER_LIMIT,
                format!("the header is longer than {WALKED_BYTES_MAX} bytes, our bound"),
            ));
        }
        self.buffer.resize(size as usize, 0);
        self.buffer_at = self.position;
        if let Err(error) = self.file.read_at(&mut self.buffer, self.position) {
            self.buffer.clear();
            return Err(Fault::new(&kind::UNREADABLE_FILE, error.message));
        }
        Ok(0)
    }
}
