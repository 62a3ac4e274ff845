//! A forward reader over positioned reads: a large buffer for what is looked at, jumps over what is not.

use crate::container::bytes::SourceFile;

/// Bytes read at once. A vocabulary of 262 144 strings takes some megabytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes of the first read: most headers without a vocabulary fit.
const FIRST_BYTES: usize = 64 << 10;

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Cut {
    /// The file ends inside what was wanted.
    Ended {
        /// First byte that was wanted.
        at: u64,
        /// What was wanted.
        wanted: &'static str,
    },
    /// A fault that was reported already: nothing after it can be trusted.
    Faulty,
    /// The read failed.
    Io(String),
}

/// Reads a file forward.
pub(super) struct Reader<'a> {
    file: &'a SourceFile,
    buffer: Vec<u8>,
    /// File offset of the buffer's first byte.
    start: u64,
    /// Position inside the buffer.
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a SourceFile) -> Self {
        Self { file, buffer: Vec::new(), start: 0, position: 0 }
    }

    /// Returns the offset of the next byte.
    pub(super) fn at(&self) -> u64 {
        self.start + self.position as u64
    }

    /// Returns the bytes that are left in the file.
    pub(super) fn left(&self) -> u64 {
        self.file.len().saturating_sub(self.at())
    }

    /// Returns the next `count` bytes. The caller bounds `count`.
    pub(super) fn take(&mut self, count: usize, wanted: &'static str) -> Result<&[u8], Cut> {
        if self.buffer.len() - self.position < count {
            self.fill(count, wanted)?;
        }
        let bytes = &self.buffer[self.position..self.position + count];
        self.position += count;
        Ok(bytes)
    }

    fn fill(&mut self, count: usize, wanted: &'static str) -> Result<(), Cut> {
        let at = self.at();
        if self.left() < count as u64 {
            return Err(Cut::Ended { at, wanted });
        }
        let ahead = if at == 0 { FIRST_BYTES } else { BUFFER_BYTES };
        let size = self.left().min(ahead.max(count) as u64) as usize;
        self.buffer.resize(size, 0);
        self.start = at;
        self.position = 0;
        self.file.read_at(&mut self.buffer, at).map_err(|e| Cut::Io(e.message))
    }

    /// Steps over `count` bytes without reading them.
    pub(super) fn skip(&mut self, count: u64, wanted: &'static str) -> Result<(), Cut> {
        if self.left() < count {
            return Err(Cut::Ended { at: self.at(), wanted });
        }
        let buffered = (self.buffer.len() - self.position) as u64;
        if count <= buffered {
            self.position += count as usize;
        } else {
            self.start = self.at() + count;
            self.position = 0;
            self.buffer.clear();
        }
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self, wanted: &'static str) -> Result<[u8; N], Cut> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N, wanted)?);
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, wanted: &'static str) -> Result<u32, Cut> {
        self.bytes(wanted).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, wanted: &'static str) -> Result<u64, Cut> {
        self.bytes(wanted).map(u64::from_le_bytes)
    }
}
