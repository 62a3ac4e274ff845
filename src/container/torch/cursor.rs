//! The bytes of a pickle and the place in them: what opcodes are followed by, and how faults are said.

use std::borrow::Cow;

use super::heap::{Exhausted, Span};
use super::{PICKLE_BYTES_MAX, rebuild};
use crate::name::{cut_middle, escape};
use crate::problem::{ProblemKind, kind};

/// Longest line of a text opcode: a module name, a number in digits.
const LINE_BYTES_MAX: usize = 4096;

/// How wide a global's name is shown.
const GLOBAL_CELLS_MAX: usize = 120;

/// Why the machine stopped before the end.
#[derive(Debug)]
pub(super) enum Halt {
    /// The bytes end here; a longer window may hold the rest.
    Short,
    /// What is wrong, in words that follow the file's name.
    Fault(&'static ProblemKind, String),
}

impl From<Exhausted> for Halt {
    fn from(_: Exhausted) -> Self {
        Self::Fault(
            &kind::OVER_LIMIT,
            "the pickle builds more objects than its size explains; stopped".into(),
        )
    }
}

/// What an opcode comes to.
pub(super) type Step<T = ()> = Result<T, Halt>;

/// The bytes, and how far they are read.
pub(super) struct Cursor<'a> {
    pub(super) raw: &'a [u8],
    /// Position of the first byte in the file, for messages.
    pub(super) base: u64,
    pub(super) at: usize,
}

impl Cursor<'_> {
    pub(super) fn take(&mut self, count: usize) -> Step<&[u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.raw.len()).ok_or(Halt::Short)?;
        let bytes = &self.raw[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    pub(super) fn take_number(&mut self, width: usize) -> Step<u64> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// Takes `count` bytes as a span, or says that the count cannot be true.
    pub(super) fn take_span(&mut self, count: u64) -> Step<Span> {
        if count > PICKLE_BYTES_MAX {
            return Err(self.damaged(&format!("a length prefix claims {count} bytes")));
        }
        let start = self.at as u32;
        self.take(count as usize)?;
        Ok(Span { start, len: count as u32 })
    }

    pub(super) fn take_line(&mut self) -> Step<Span> {
        let rest = &self.raw[self.at..];
        let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
        let Some(len) = window.iter().position(|&b| b == b'\n') else {
            return Err(if rest.len() < LINE_BYTES_MAX {
                Halt::Short
            } else {
                self.damaged(&format!("a text line of more than {LINE_BYTES_MAX} bytes"))
            });
        };
        let span = Span { start: self.at as u32, len: len as u32 };
        self.at += len + 1;
        Ok(span)
    }

    pub(super) fn text(&self, span: Span) -> Cow<'_, str> {
        String::from_utf8_lossy(rebuild::text(self.raw, span))
    }

    /// Returns a text, cut at the length of a line: a name on the stack can be as long as the file.
    pub(super) fn short_text(&self, span: Span) -> Cow<'_, str> {
        self.text(Span { len: span.len.min(LINE_BYTES_MAX as u32), ..span })
    }

    fn position(&self, at: usize) -> u64 {
        self.base + at as u64
    }

    pub(super) fn damaged(&self, what: &str) -> Halt {
        let at = self.position(self.at);
        Halt::Fault(&kind::PICKLE_DAMAGED, format!("the pickle is damaged near byte {at}: {what}"))
    }

    pub(super) fn limit(&self, what: &str) -> Halt {
        let at = self.position(self.at);
        Halt::Fault(&kind::OVER_LIMIT, format!("stopped near byte {at}: {what}"))
    }

    pub(super) fn refuse(&self, at: usize, what: &str) -> Halt {
        let at = self.position(at);
        Halt::Fault(&kind::UNSAFE_PICKLE, format!("{what} at byte {at}: refused, nothing was run"))
    }
}

/// Returns a global's name as it may be shown.
pub(super) fn shown(full: &str) -> String {
    cut_middle(&escape(full), GLOBAL_CELLS_MAX).into_owned()
}

/// Returns a two's complement number of up to 8 bytes.
pub(super) fn little_endian(bytes: &[u8]) -> Option<i64> {
    let (&last, _) = match bytes.split_last() {
        Some(split) if bytes.len() <= 8 => split,
        Some(_) => return None,
        None => return Some(0),
    };
    let mut wide = [if last >= 0x80 { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

/// Returns the span without the quotes of a protocol 0 string.
pub(super) fn unquoted(raw: &[u8], span: Span) -> Span {
    let bytes = rebuild::text(raw, span);
    let is_quoted = bytes.len() >= 2 && matches!(bytes[0], b'\'' | b'"') && bytes.last() == bytes.first();
    if is_quoted { Span { start: span.start + 1, len: span.len - 2 } } else { span }
}
