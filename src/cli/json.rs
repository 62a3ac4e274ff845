//! JSON on stdout: one line, names from strangers escaped (`name::json`).

use std::io::{self, Write};

use serde::Serialize;

use crate::error::{Error, Result};

/// Writes `value` as one line of JSON.
///
/// # Errors
/// The write fails.
pub fn write_line(out: &mut dyn Write, value: &impl Serialize) -> Result<()> {
    let mut chunks = Chunks { buffer: Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2)), out };
    crate::name::json::write(&mut chunks, value).map_err(|e| super::stdout_error(&e))?;
    chunks.buffer.push(b'\n');
    chunks.flush().map_err(|e| super::stdout_error(&e))
}

/// Bytes that are gathered before they are written.
const CHUNK_BYTES: usize = 1 << 20;

/// Gathers the serializer's many small pieces: a call through `dyn Write` for each would cost more than
/// making them.
struct Chunks<'a> {
    buffer: Vec<u8>,
    out: &'a mut dyn Write,
}

impl Write for Chunks<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// A JSON object that is written member by member, so that long lists can be made of prepared pieces.
pub(super) struct Object<'a> {
    chunks: Chunks<'a>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
        buffer.push(b'{');
        Self { chunks: Chunks { buffer, out }, is_empty: true }
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.chunks.buffer.push(b',');
        }
        push_text(&mut self.chunks.buffer, key);
        self.chunks.buffer.push(b':');
    }

    /// Writes a member.
    pub(super) fn member(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        self.key(key);
        push(&mut self.chunks.buffer, value)?;
        self.chunks.write_all(b"").map_err(|e| super::stdout_error(&e))
    }

    /// Writes a member that is a list; `write` appends one element.
    pub(super) fn list(
        &mut self,
        key: &str,
        count: u32,
        mut write: impl FnMut(u32, &mut Vec<u8>),
    ) -> Result<()> {
        self.key(key);
        self.chunks.buffer.push(b'[');
        for index in 0..count {
            if index > 0 {
                self.chunks.buffer.push(b',');
            }
            write(index, &mut self.chunks.buffer);
            self.chunks.write_all(b"").map_err(|e| super::stdout_error(&e))?;
        }
        self.chunks.buffer.push(b']');
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<()> {
        self.chunks.buffer.extend_from_slice(b"}\n");
        self.chunks.flush().map_err(|e| super::stdout_error(&e))
    }
}

/// Appends a value as JSON.
pub(super) fn push(buffer: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    crate::name::json::write(buffer, value).map_err(|e| super::stdout_error(&e))
}

/// Appends a text as JSON.
pub(super) fn push_text(buffer: &mut Vec<u8>, text: &str) {
    let is_plain = text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\');
    buffer.push(b'"');
    if is_plain {
        buffer.extend_from_slice(text.as_bytes());
        buffer.push(b'"');
    } else {
        buffer.pop();
        // Writing to memory cannot fail.
        let _ = push(buffer, &text);
    }
}

/// Appends a number as JSON.
pub(super) fn push_number(buffer: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[at..]);
}

/// Writes the error event.
///
/// # Errors
/// The write fails.
pub fn write_error(out: &mut dyn Write, error: &Error) -> Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        event: &'static str,
        kind: &'static str,
        message: &'a str,
        file: Option<String>,
        tensor: Option<&'a str>,
    }
    let event = Line {
        event: "error",
        kind: error.kind.name(),
        message: &error.message,
        file: error.file.as_ref().map(|f| f.display().to_string()),
        tensor: error.tensor.as_deref(),
    };
    write_line(out, &event)
}

/// A problem, as the schema has it.
#[derive(Serialize)]
pub struct ProblemJson<'a> {
    code: &'static str,
    name: &'static str,
    severity: &'static str,
    message: &'a str,
    file: Option<&'a str>,
    tensor: Option<&'a str>,
}

impl<'a> From<&'a crate::problem::Problem> for ProblemJson<'a> {
    fn from(problem: &'a crate::problem::Problem) -> Self {
        Self {
            code: problem.kind.code,
            name: problem.kind.name,
            severity: problem.kind.severity.name(),
            message: &problem.message,
            file: problem.file.as_deref(),
            tensor: problem.tensor.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
