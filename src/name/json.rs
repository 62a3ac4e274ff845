//! JSON with names from strangers escaped.
//!
//! `serde_json` escapes C0 controls; this formatter also escapes DEL, C1 and bidirectional controls, so that
//! a line of JSON can be printed to a terminal without being obeyed by it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::is_unsafe_char;

/// Writes compact JSON and escapes what a terminal would obey.
pub struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Nearly all names are ASCII without DEL: one look at the bytes settles them.
        if fragment.bytes().all(|b| b.is_ascii() && b != 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut start = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_unsafe_char(*c)) {
            writer.write_all(&fragment.as_bytes()[start..at])?;
            // All unsafe characters are in the basic plane: four digits are enough.
            write!(writer, "\\u{:04x}", c as u32)?;
            start = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[start..])
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}

/// Writes a value as JSON.
///
/// # Errors
/// The write fails, or the value has no JSON.
pub fn write(out: impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(out, Escaping);
    value.serialize(&mut serializer).map_err(io::Error::from)
}
