//! Values of GGUF's key-value pairs.
//!
//! | id | type   | id | type   | id | type    |
//! |----|--------|----|--------|----|---------|
//! | 0  | u8     | 5  | i32    | 10 | u64     |
//! | 1  | i8     | 6  | f32    | 11 | i64     |
//! | 2  | u16    | 7  | bool   | 12 | f64     |
//! | 3  | i16    | 8  | string |    |         |
//! | 4  | u32    | 9  | array: element type u32, count u64, elements |  | |

use super::reader::{Cut, Reader};
use crate::container::Value;

const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
/// Bytes of a text that are kept: chat templates have some kilobytes.
const TEXT_BYTES_MAX: u64 = 64 << 10;
/// Elements of an array that are kept to show.
const FIRST_MAX: u64 = 8;
/// Bytes of an element's text that are kept.
const ELEMENT_TEXT_BYTES_MAX: u64 = 256;
/// Elements the C reader takes.
const ELEMENTS_MAX: u64 = 1 << 30;

/// Why a value could not be read.
pub(super) enum Refused {
    /// Reading stopped.
    Cut(Cut),
    /// The value cannot be true; what it claims.
    Faulty(String),
}

impl From<Cut> for Refused {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

/// Returns the bytes of a value of fixed size, and its name.
fn fixed(id: u32) -> Option<(u64, &'static str)> {
    Some(match id {
        0 => (1, "u8"),
        1 => (1, "i8"),
        2 => (2, "u16"),
        3 => (2, "i16"),
        4 => (4, "u32"),
        5 => (4, "i32"),
        6 => (4, "f32"),
        BOOL => (1, "bool"),
        10 => (8, "u64"),
        11 => (8, "i64"),
        12 => (8, "f64"),
        _ => return None,
    })
}

/// Reads a value of the type with this id.
pub(super) fn read(reader: &mut Reader<'_>, id: u32) -> Result<Value, Refused> {
    match id {
        STRING => text(reader, TEXT_BYTES_MAX),
        ARRAY => array(reader),
        _ => scalar(reader, id),
    }
}

fn scalar(reader: &mut Reader<'_>, id: u32) -> Result<Value, Refused> {
    const WHAT: &str = "a value";
    Ok(match id {
        0 => Value::Int(i64::from(u8::from_le_bytes(reader.bytes(WHAT)?))),
        1 => Value::Int(i64::from(i8::from_le_bytes(reader.bytes(WHAT)?))),
        2 => Value::Int(i64::from(u16::from_le_bytes(reader.bytes(WHAT)?))),
        3 => Value::Int(i64::from(i16::from_le_bytes(reader.bytes(WHAT)?))),
        4 => Value::Int(i64::from(reader.u32(WHAT)?)),
        5 => Value::Int(i64::from(i32::from_le_bytes(reader.bytes(WHAT)?))),
        6 => Value::Float(f64::from(f32::from_le_bytes(reader.bytes(WHAT)?))),
        BOOL => Value::Bool(reader.bytes::<1>(WHAT)?[0] != 0),
        10 => {
            let unsigned = reader.u64(WHAT)?;
            i64::try_from(unsigned).map_or(Value::Unsigned(unsigned), Value::Int)
        }
        11 => Value::Int(i64::from_le_bytes(reader.bytes(WHAT)?)),
        12 => Value::Float(f64::from_le_bytes(reader.bytes(WHAT)?)),
        _ => return Err(Refused::Faulty(format!("value type {id} does not exist"))),
    })
}

fn text(reader: &mut Reader<'_>, keep: u64) -> Result<Value, Refused> {
    let len = reader.u64("a text's length")?;
    if len > reader.left() {
        return Err(Refused::Faulty(format!("a text claims {len} bytes, {} are left", reader.left())));
    }
    let kept = len.min(keep);
    let mut text = String::from_utf8_lossy(reader.take(kept as usize, "a text")?).into_owned();
    if kept < len {
        reader.skip(len - kept, "a text")?;
        text.push('…');
    }
    Ok(Value::Text(text))
}

fn array(reader: &mut Reader<'_>) -> Result<Value, Refused> {
    let element = reader.u32("an array's type")?;
    let len = reader.u64("an array's length")?;
    if len > ELEMENTS_MAX {
        return Err(Refused::Faulty(format!("an array claims {len} elements")));
    }
    let mut first = Vec::new();
    if let Some((size, name)) = fixed(element) {
        // At most 2^30 elements of 8 bytes: no overflow.
        if len * size > reader.left() {
            return Err(Refused::Faulty(format!(
                "an array claims {len} elements, {} bytes are left",
                reader.left()
            )));
        }
        for _ in 0..len.min(FIRST_MAX) {
            first.push(scalar(reader, element)?);
        }
        reader.skip((len - len.min(FIRST_MAX)) * size, "an array")?;
        return Ok(Value::Array { element: name, len, first });
    }
    if element != STRING {
        let what = if element == ARRAY { "nested arrays".into() } else { format!("element type {element}") };
        return Err(Refused::Faulty(format!("an array of {what}, which readers refuse")));
    }
    if len > reader.left() / 8 {
        return Err(Refused::Faulty(format!(
            "an array claims {len} texts, {} bytes are left",
            reader.left()
        )));
    }
    for _ in 0..len.min(FIRST_MAX) {
        first.push(text(reader, ELEMENT_TEXT_BYTES_MAX)?);
    }
    for _ in len.min(FIRST_MAX)..len {
        let bytes = reader.u64("a text's length")?;
        reader.skip(bytes, "a text of an array")?;
    }
    Ok(Value::Array { element: "string", len, first })
}
