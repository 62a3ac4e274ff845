//! Key-values of a GGUF header: `key string, type u32, value`.
//!
//! | id | type | bytes | id | type | bytes       | id | type | bytes                  |
//! |----|------|-------|----|------|-------------|----|------|------------------------|
//! | 0  | u8   | 1     | 5  | i32  | 4           | 9  | arr  | type u32, count u64, … |
//! | 1  | i8   | 1     | 6  | f32  | 4           | 10 | u64  | 8                      |
//! | 2  | u16  | 2     | 7  | bool | 1           | 11 | i64  | 8                      |
//! | 3  | i16  | 2     | 8  | str  | u64 + bytes | 12 | f64  | 8                      |
//! | 4  | u32  | 4     |    |      |             |    |      |                        |
//!
//! Numbers become `Value::Int` (`Unsigned` beyond it) and `Value::Float`; an f32 becomes the f64 of its
//! shortest decimal, so that 1e-5 reads as 0.00001. Texts keep their first `TEXT_BYTES_MAX` bytes. An
//! array keeps its length and its first `ARRAY_FIRST` elements; the rest is walked over (strings) or
//! jumped over (numbers). Source: ggml's docs/gguf.md and gguf.cpp.

use super::reader::{Fault, Reader};
use crate::container::Value;
use crate::problem::kind;

/// Longest key that the format allows (docs/gguf.md: at most 2^16 - 1 bytes).
const KEY_BYTES_MAX: u64 = u16::MAX as u64;
/// How much of a text value is kept: chat templates take up to some ten KiB.
const TEXT_BYTES_MAX: u32 = 64 << 10;
/// How many elements of an array are kept.
const ARRAY_FIRST: u64 = 8;
/// How much of a text inside an array is kept.
const ELEMENT_TEXT_BYTES_MAX: u32 = 256;
/// Most elements of an array that the C reader takes (`GGUF_MAX_ARRAY_ELEMENTS` in gguf.cpp).
const ARRAY_ELEMENTS_MAX: u64 = 1 << 30;
/// How deep arrays of arrays are followed; the C reader takes none.
const ARRAY_DEPTH_MAX: u32 = 4;

/// Names of the value types by id, as the C reader prints them.
pub(super) const TYPES: [&str; 13] =
    ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr", "u64", "i64", "f64"];
/// Bytes of the value types by id; 0 for those that say their own length.
pub(super) const TYPE_BYTES: [u64; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

pub(super) const STR: usize = 8;
pub(super) const ARR: usize = 9;

/// A key as read.
pub(super) struct Key {
    /// The key; invalid UTF-8 is replaced.
    pub(super) text: String,
    /// False if the bytes were no UTF-8.
    pub(super) is_utf8: bool,
}

/// A value as read.
pub(super) struct Read {
    /// The value, long ones cut.
    pub(super) value: Value,
    /// Its type as the C reader prints it.
    pub(super) type_name: &'static str,
    /// False if it is a text that is no UTF-8.
    pub(super) is_utf8: bool,
    /// True if it holds arrays of arrays.
    pub(super) is_nested: bool,
}

/// Returns the next key.
pub(super) fn read_key(reader: &mut Reader<'_>) -> Result<Key, Fault> {
    let length = reader.string_length()?;
    if length > KEY_BYTES_MAX {
        let message = format!("a key of {length} bytes; the format allows {KEY_BYTES_MAX}");
        return Err(Fault::new(&kind::HEADER_LENGTH, message));
    }
    let (text, is_utf8) = text(reader.take(length, KEY_BYTES_MAX as u32)?, false);
    Ok(Key { text, is_utf8 })
}

/// Returns the next value, from its type id on.
pub(super) fn read_value(reader: &mut Reader<'_>) -> Result<Read, Fault> {
    let id = type_id(reader)?;
    let mut read = Read { value: Value::Bool(false), type_name: TYPES[id], is_utf8: true, is_nested: false };
    match id {
        STR => {
            let length = reader.string_length()?;
            let bytes = reader.take(length, TEXT_BYTES_MAX)?;
            let (text, is_utf8) = text(bytes, length > u64::from(TEXT_BYTES_MAX));
            (read.value, read.is_utf8) = (Value::Text(text), is_utf8);
        }
        ARR => {
            read.value = array(reader, 1)?;
            read.is_nested = matches!(read.value, Value::Array { element: "arr", .. });
        }
        _ => read.value = scalar(reader, id)?,
    }
    Ok(read)
}

/// Moves over the next value, from its type id on.
pub(super) fn skip_value(reader: &mut Reader<'_>) -> Result<(), Fault> {
    match type_id(reader)? {
        STR => {
            let length = reader.string_length()?;
            reader.skip(length)
        }
        ARR => array(reader, 1).map(drop),
        id => reader.skip(TYPE_BYTES[id]),
    }
}

pub(super) fn type_id(reader: &mut Reader<'_>) -> Result<usize, Fault> {
    let at = reader.position();
    let id = reader.u32()? as usize;
    if id < TYPES.len() {
        return Ok(id);
    }
    let message = format!("value type {id} at byte {at}; the format has 0 to {}", TYPES.len() - 1);
    Err(Fault::new(&kind::HEADER_DAMAGED, message))
}

fn array(reader: &mut Reader<'_>, depth: u32) -> Result<Value, Fault> {
    let id = type_id(reader)?;
    let len = reader.u64()?;
    if len > ARRAY_ELEMENTS_MAX {
        let message = format!("an array of {len} elements; readers take at most {ARRAY_ELEMENTS_MAX}");
        return Err(Fault::new(&kind::HEADER_LENGTH, message));
    }
    let mut first = Vec::new();
    let kept = len.min(ARRAY_FIRST);
    match id {
        STR => {
            for _ in 0..kept {
                let length = reader.string_length()?;
                let bytes = reader.take(length, ELEMENT_TEXT_BYTES_MAX)?;
                first.push(Value::Text(text(bytes, length > u64::from(ELEMENT_TEXT_BYTES_MAX)).0));
            }
            reader.skip_strings(len - kept)?;
        }
        ARR if depth == ARRAY_DEPTH_MAX => {
            let message = format!("arrays inside arrays over {ARRAY_DEPTH_MAX} deep");
            return Err(Fault::new(&kind::OVER_LIMIT, message));
        }
        // Inner arrays are only walked: what they hold is named nowhere.
        ARR => (0..len).try_for_each(|_| array(reader, depth + 1).map(drop))?,
        _ => {
            for _ in 0..kept {
                first.push(scalar(reader, id)?);
            }
            reader.skip((len - kept) * TYPE_BYTES[id])?;
        }
    }
    Ok(Value::Array { element: TYPES[id], len, first })
}

/// Returns a number or a bool; `id` is one of those.
pub(super) fn scalar(reader: &mut Reader<'_>, id: usize) -> Result<Value, Fault> {
    Ok(match TYPES[id] {
        "u8" => Value::Int(u8::from_le_bytes(reader.number()?).into()),
        "i8" => Value::Int(i8::from_le_bytes(reader.number()?).into()),
        "u16" => Value::Int(u16::from_le_bytes(reader.number()?).into()),
        "i16" => Value::Int(i16::from_le_bytes(reader.number()?).into()),
        "u32" => Value::Int(reader.u32()?.into()),
        "i32" => Value::Int(i32::from_le_bytes(reader.number()?).into()),
        "f32" => Value::Float(widen(f32::from_le_bytes(reader.number()?))),
        "bool" => Value::Bool(reader.array::<1>()?[0] != 0),
        "u64" => {
            let number = reader.u64()?;
            i64::try_from(number).map_or(Value::Unsigned(number), Value::Int)
        }
        "i64" => Value::Int(i64::from_le_bytes(reader.number()?)),
        _ => Value::Float(f64::from_le_bytes(reader.number()?)),
    })
}

/// Returns the f64 of the shortest decimal that names `value`.
fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

/// Returns bytes as text, and whether they are UTF-8. A cut text loses the character that the cut split.
fn text(mut bytes: Vec<u8>, is_cut: bool) -> (String, bool) {
    if is_cut
        && let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    match String::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
    }
}
