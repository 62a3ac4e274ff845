//! Whole values of a GGUF header, read on demand: vocabularies, merges, chat templates.
//!
//! `Header::metadata` keeps the first elements of an array and the first bytes of a text. Who writes a
//! tokenizer needs all of them: they are read here, in one more walk over the header, the keys that were asked
//! for and no other. What is kept is bounded by the reader (`KEPT_BYTES_MAX`), arrays by their own bound.
//! Source: ggml's docs/gguf.md; layout in `gguf/values.rs`.

use super::reader::{Fault, Reader};
use super::values::{self, ARR, STR, TYPE_BYTES, TYPES};
use super::{PAIR_BYTES_MIN, PAIRS_MAX, SourceFile, check_count, start};
use crate::container::Value;
use crate::problem::kind;

/// Elements of an array that is read whole: vocabularies of today have some hundred thousand.
const ELEMENTS_MAX: u64 = 4 << 20;
/// Bytes of one text that is read whole.
const TEXT_BYTES_MAX: u32 = 16 << 20;

/// A value, nothing left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Whole {
    /// A text, a number, true or false.
    One(Value),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of whole numbers.
    Ints(Vec<i64>),
    /// An array of floating numbers.
    Floats(Vec<f64>),
    /// An array of true and false.
    Bools(Vec<bool>),
}

/// Returns the values of those `keys` that the header has, in the order of the file; of a key that stands
/// there twice the first.
///
/// # Errors
/// The header cannot be read to the last of the keys, or one of the values is over a bound, not UTF-8 or an
/// array of arrays; in words, without the name of the file.
pub fn read_whole(file: &SourceFile, keys: &[&str]) -> Result<Vec<(String, Whole)>, String> {
    walk(file, keys).map_err(|fault| fault.message)
}

fn walk(file: &SourceFile, keys: &[&str]) -> Result<Vec<(String, Whole)>, Fault> {
    let mut reader = start(file)?;
    let _tensors = reader.u64()?;
    let count = reader.u64()?;
    check_count(count, "key-value", (PAIRS_MAX, PAIR_BYTES_MIN, reader.left()))?;
    let mut found: Vec<(String, Whole)> = Vec::new();
    for _ in 0..count {
        let key = values::read_key(&mut reader)?.text;
        if keys.contains(&key.as_str()) && !found.iter().any(|(known, _)| *known == key) {
            let value = whole(&mut reader).map_err(|fault| fault.within(&key))?;
            found.push((key, value));
            if found.len() == keys.len() {
                break;
            }
        } else {
            values::skip_value(&mut reader)?;
        }
    }
    Ok(found)
}

fn whole(reader: &mut Reader<'_>) -> Result<Whole, Fault> {
    let id = values::type_id(reader)?;
    match id {
        STR => Ok(Whole::One(Value::Text(text(reader)?))),
        ARR => array(reader),
        _ => Ok(Whole::One(values::scalar(reader, id)?)),
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let length = reader.string_length()?;
    if length > u64::from(TEXT_BYTES_MAX) {
        return Err(over(format!("a text of {length} bytes, our bound is {TEXT_BYTES_MAX}")));
    }
    let bytes = reader.take(length, TEXT_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        Fault::new(&kind::ODD_HEADER, format!("a text is not UTF-8 from its byte {valid} on"))
    })
}

fn array(reader: &mut Reader<'_>) -> Result<Whole, Fault> {
    let id = values::type_id(reader)?;
    let len = reader.u64()?;
    // A text takes its length field at least.
    let element_bytes = if id == STR { 8 } else { TYPE_BYTES[id].max(1) };
    check_count(len, "element", (ELEMENTS_MAX, element_bytes, reader.left()))?;
    if len.checked_mul(element_bytes).is_none_or(|bytes| bytes > reader.left()) {
        let message = format!("{len} elements, the file has {} bytes more", reader.left());
        return Err(Fault::new(&kind::TRUNCATED, message));
    }
    match TYPES[id] {
        "str" => (0..len).map(|_| text(reader)).collect::<Result<_, _>>().map(Whole::Texts),
        "arr" => Err(over("an array of arrays".into())),
        "f32" | "f64" => {
            let number = |_| {
                Ok(match values::scalar(reader, id)? {
                    Value::Float(number) => number,
                    _ => 0.0,
                })
            };
            (0..len).map(number).collect::<Result<_, _>>().map(Whole::Floats)
        }
        "bool" => {
            let flag = |_| Ok(values::scalar(reader, id)? == Value::Bool(true));
            (0..len).map(flag).collect::<Result<_, _>>().map(Whole::Bools)
        }
        _ => {
            let number = |_| match values::scalar(reader, id)? {
                Value::Int(number) => Ok(number),
                other => Err(over(format!("a number beyond 63 bits: {other:?}"))),
            };
            (0..len).map(number).collect::<Result<_, _>>().map(Whole::Ints)
        }
    }
}

fn over(message: String) -> Fault {
    Fault::new(&kind::OVER_LIMIT, message)
}
