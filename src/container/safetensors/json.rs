//! JSON values of a safetensors header, as lenient serde visitors.
//!
//! A value of an unexpected type is passed over and told as `Seen`, so that the parse goes on behind it.
//! Values that nobody asked for are skipped without recursion: deep nesting cannot exhaust the stack.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::container::Value;
use crate::tensor::Dtype;

/// Dimensions that are kept of a shape; PyTorch's tensors have at most 64.
const DIMS_MAX: usize = 64;

/// The fields of the entry that is being read; its vectors are reused from entry to entry.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) dtype: Option<Dtype>,
    pub(super) shape: Vec<u64>,
    pub(super) offsets: Vec<u64>,
    pub(super) has_shape: bool,
    pub(super) has_offsets: bool,
    /// What is wrong with the fields; the name is added by the reader of the entry.
    pub(super) faults: Vec<String>,
}

impl Draft {
    pub(super) fn clear(&mut self) {
        self.dtype = None;
        self.shape.clear();
        self.offsets.clear();
        (self.has_shape, self.has_offsets) = (false, false);
        self.faults.clear();
    }
}

/// A JSON value as far as a header needs it.
#[derive(Debug)]
pub(super) enum Seen<'de> {
    Text(Cow<'de, str>),
    Unsigned(u64),
    Int(i64),
    Float(f64),
    Bool(bool),
    Null,
    /// An array whose elements nobody asked for.
    Array,
    /// An array of numbers; `wrong` spells the first element that is no whole number.
    Numbers {
        wrong: Option<String>,
        len: usize,
    },
    Object,
}

impl Seen<'_> {
    pub(super) fn scalar(&self) -> Option<Value> {
        match *self {
            Self::Unsigned(u) => Some(i64::try_from(u).map_or(Value::Unsigned(u), Value::Int)),
            Self::Int(i) => Some(Value::Int(i)),
            Self::Float(x) => Some(Value::Float(x)),
            Self::Bool(b) => Some(Value::Bool(b)),
            _ => None,
        }
    }
}

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("a text"),
            Self::Unsigned(u) => write!(f, "the number {u}"),
            Self::Int(i) => write!(f, "the number {i}"),
            Self::Float(x) => write!(f, "the number {x}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Null => f.write_str("null"),
            Self::Array | Self::Numbers { .. } => f.write_str("an array"),
            Self::Object => f.write_str("an object"),
        }
    }
}

/// What is wanted of the next value; a value of another type is passed over and told as `Seen`.
pub(super) enum Want<'r> {
    Scalar,
    Numbers(&'r mut Vec<u64>),
    Fields(&'r mut Draft),
    Pairs(&'r mut dyn FnMut(&str, &Seen<'_>)),
}

impl<'de> DeserializeSeed<'de> for Want<'_> {
    type Value = Seen<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Seen<'de>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Want<'_> {
    type Value = Seen<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, b: bool) -> Result<Seen<'de>, E> {
        Ok(Seen::Bool(b))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Seen<'de>, E> {
        Ok(Seen::Int(i))
    }

    fn visit_u64<E>(self, u: u64) -> Result<Seen<'de>, E> {
        Ok(Seen::Unsigned(u))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Seen<'de>, E> {
        Ok(Seen::Float(x))
    }

    fn visit_unit<E>(self) -> Result<Seen<'de>, E> {
        Ok(Seen::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen<'de>, E> {
        Ok(Seen::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Seen<'de>, E> {
        Ok(Seen::Text(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Seen<'de>, A::Error> {
        let Self::Numbers(numbers) = self else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Seen::Array);
        };
        let (mut wrong, mut len) = (None, 0);
        while let Some(element) = seq.next_element_seed(Want::Scalar)? {
            len += 1;
            if len > DIMS_MAX {
                continue;
            }
            if let Seen::Unsigned(number) = element {
                numbers.push(number);
            } else {
                // The place is kept, so that the rank shown is the file's.
                numbers.push(0);
                wrong.get_or_insert_with(|| element.to_string());
            }
        }
        Ok(Seen::Numbers { wrong, len })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen<'de>, A::Error> {
        match self {
            Self::Fields(draft) => {
                while let Some(field) = map.next_key_seed(FieldSeed)? {
                    read_field(&mut map, field, draft)?;
                }
            }
            Self::Pairs(each) => {
                while let Some(Text(key)) = map.next_key_seed(TextSeed)? {
                    each(&key, &map.next_value_seed(Want::Scalar)?);
                }
            }
            Self::Scalar | Self::Numbers(_) => while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {},
        }
        Ok(Seen::Object)
    }
}

fn read_field<'de, A: MapAccess<'de>>(map: &mut A, field: Field, draft: &mut Draft) -> Result<(), A::Error> {
    let is_second = match field {
        Field::Dtype => draft.dtype.is_some(),
        Field::Shape => std::mem::replace(&mut draft.has_shape, true),
        Field::Offsets => std::mem::replace(&mut draft.has_offsets, true),
        Field::Other => return map.next_value::<IgnoredAny>().map(|_| ()),
    };
    if is_second {
        draft.faults.push(format!("the entry has `{}` twice", field.name()));
        return map.next_value::<IgnoredAny>().map(|_| ());
    }
    match field {
        Field::Dtype => match map.next_value_seed(Want::Scalar)? {
            Seen::Text(text) => draft.dtype = Some(Dtype::parse(&text)),
            wrong => {
                draft.dtype = Some(Dtype::parse("?"));
                draft.faults.push(format!("dtype is {wrong} and no text"));
            }
        },
        Field::Shape => {
            let seen = map.next_value_seed(Want::Numbers(&mut draft.shape))?;
            if let Some(what) = list_fault(field, &seen, DIMS_MAX) {
                draft.faults.push(what);
            }
        }
        _ => {
            let seen = map.next_value_seed(Want::Numbers(&mut draft.offsets))?;
            if let Some(what) = list_fault(field, &seen, 2) {
                draft.offsets.clear();
                draft.faults.push(what);
            }
        }
    }
    Ok(())
}

fn list_fault(field: Field, seen: &Seen<'_>, len_max: usize) -> Option<String> {
    let name = field.name();
    match seen {
        Seen::Numbers { wrong: Some(wrong), .. } => {
            Some(format!("{name} holds {wrong}, which is no whole number from 0 up"))
        }
        Seen::Numbers { len, .. } if *len > len_max => {
            Some(format!("{name} has {len} numbers, at most {len_max} are taken"))
        }
        Seen::Numbers { len, .. } if matches!(field, Field::Offsets) && *len != 2 => {
            Some(format!("{name} has {len} numbers and not 2"))
        }
        Seen::Numbers { .. } => None,
        wrong => Some(format!("{name} is {wrong} and no array")),
    }
}

/// A key of the JSON text, borrowed from it when it has no escape.
pub(super) struct Text<'de>(pub(super) Cow<'de, str>);

pub(super) struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Text<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Text<'de>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

/// A field of an entry.
#[derive(Clone, Copy)]
enum Field {
    Dtype,
    Shape,
    Offsets,
    /// A field that the format does not define; readers pass over it.
    Other,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Dtype => "dtype",
            Self::Shape => "shape",
            Self::Offsets => "data_offsets",
            Self::Other => "?",
        }
    }
}

struct FieldSeed;

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Field, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field of a tensor")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(match text {
            "dtype" => Field::Dtype,
            "shape" => Field::Shape,
            "data_offsets" => Field::Offsets,
            _ => Field::Other,
        })
    }
}
