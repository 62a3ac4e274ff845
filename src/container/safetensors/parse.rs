//! The lenient parse of a safetensors header: one pass of a serde visitor over the JSON text.
//!
//! No `Value` is built and names are borrowed where the text has no escape: at a million tensors the
//! difference is seconds. A value of the wrong type is a fault of its tensor and the parse goes on
//! (`json.rs`); only broken JSON ends it, and what came before stays.

use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::json::{Draft, Seen, Text, TextSeed, Want};
use super::{Faults, is_json_space, shown_name};
use crate::container::{Header, Value};
use crate::name::escape;
use crate::problem::kind;
use crate::tensor::Dtype;
use crate::units;

/// Tensors that are kept of one file; the largest known checkpoints have a million over all shards.
const TENSORS_MAX: usize = 4 << 20;
/// Bytes that are kept of one metadata value; torchao writes its layouts there as JSON.
const METADATA_VALUE_BYTES_MAX: usize = 8 << 20;
/// Bytes that are kept of all metadata of a file.
const METADATA_BYTES_MAX: usize = 64 << 20;
/// Metadata keys that are kept of a file; torchao writes one a tensor.
const METADATA_KEYS_MAX: usize = 1 << 20;
/// The values of `__metadata__.format` that transformers before version 5 insists on.
const FORMATS: [&str; 4] = ["pt", "tf", "flax", "mlx"];

/// Where the data lies: what offsets are measured against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) data_start: u64,
    pub(super) file_bytes: u64,
}

/// A header on its way from text to `Header`.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) header: Header,
    pub(super) faults: Faults,
    pub(super) frame: Frame,
    /// False when the JSON broke off: what is missing then says nothing about the data.
    pub(super) is_whole: bool,
    /// Indices, ascending, of the tensors whose byte range is missing or wrong in itself; the gaps that
    /// they leave are no holes.
    pub(super) misplaced: Vec<u32>,
    draft: Draft,
    has_metadata: bool,
    metadata_bytes: usize,
}

/// Reads `json`, the header without its length field.
pub(super) fn read(json: &[u8], frame: Frame, faults: Faults) -> Read {
    let mut read = Read {
        header: Header::default(),
        faults,
        frame,
        is_whole: true,
        misplaced: Vec::new(),
        draft: Draft::default(),
        has_metadata: false,
        metadata_bytes: 0,
    };
    let Some(start) = json.iter().position(|b| !is_json_space(*b)) else {
        read.is_whole = false;
        if !json.is_empty() {
            read.faults.add(&kind::HEADER_DAMAGED, None, "the header is blank");
        }
        return read;
    };
    if json[start] != b'{' {
        let c = char::from(json[start]);
        let what = format!("the header is no JSON object: it starts with `{}`", c.escape_default());
        read.faults.add(&kind::HEADER_DAMAGED, None, &what);
        read.is_whole = false;
        return read;
    }
    if start > 0 {
        let what =
            format!("{} before the header's `{{`; the format wants none", units::plural(start, "blank"));
        read.faults.add(&kind::ODD_HEADER, None, &what);
    }
    // Checked once as a whole, text is spared the check of each string. Text that is not UTF-8 is read up
    // to the string that is not.
    let done = match std::str::from_utf8(json) {
        Ok(text) => read_object(serde_json::Deserializer::from_str(text), &mut read),
        Err(_) => read_object(serde_json::Deserializer::from_slice(json), &mut read),
    };
    if let Err(error) = done {
        broken_off(&mut read, &error);
    }
    read
}

fn read_object<'de, R: serde_json::de::Read<'de>>(
    mut json: serde_json::Deserializer<R>,
    read: &mut Read,
) -> serde_json::Result<()> {
    json.deserialize_map(Tensors(read)).and_then(|()| json.end())
}

fn broken_off(read: &mut Read, error: &serde_json::Error) {
    let entries = read.header.entries();
    let after = match entries.last() {
        Some(last) => format!(
            "after {}, the last is {}",
            units::plural(entries.len(), "tensor"),
            shown_name(read.header.name(last))
        ),
        None => "before the first tensor".to_owned(),
    };
    let what = format!("the header's JSON is broken {after}: {}", escape(&error.to_string()));
    read.faults.add(&kind::HEADER_DAMAGED, None, &what);
    read.is_whole = false;
}

/// The top level of the header.
struct Tensors<'r>(&'r mut Read);

impl<'de> Visitor<'de> for Tensors<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the header's object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let read = self.0;
        while let Some(Text(name)) = map.next_key_seed(TextSeed)? {
            if name == "__metadata__" {
                let mut each = |key: &str, value: &Seen<'_>| read.push_metadata(key, value);
                let seen = map.next_value_seed(Want::Pairs(&mut each))?;
                read.finish_metadata(&seen);
                continue;
            }
            if read.header.entries().len() >= TENSORS_MAX {
                if std::mem::replace(&mut read.is_whole, false) {
                    let what = format!("more than {TENSORS_MAX} tensors; the others are not listed");
                    read.faults.add(&kind::OVER_LIMIT, None, &what);
                }
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            read.draft.clear();
            let seen = map.next_value_seed(Want::Fields(&mut read.draft)).map_err(|error| {
                A::Error::custom(format_args!("{error} (in the entry of {})", shown_name(&name)))
            })?;
            read.push_tensor(&name, &seen);
        }
        Ok(())
    }
}

impl Read {
    fn push_tensor(&mut self, name: &str, seen: &Seen<'_>) {
        let draft = &mut self.draft;
        if !matches!(seen, Seen::Object) {
            draft.faults.push(format!("the entry is {seen} and no object"));
        } else if draft.faults.is_empty() {
            for (field, is_there) in [
                ("dtype", draft.dtype.is_some()),
                ("shape", draft.has_shape),
                ("data_offsets", draft.has_offsets),
            ] {
                if !is_there {
                    draft.faults.push(format!("the entry has no `{field}`"));
                }
            }
        }
        let is_sound = draft.faults.is_empty();
        for what in draft.faults.drain(..) {
            self.faults.add(&kind::HEADER_DAMAGED, Some(name), &what);
        }
        let start = self.frame.data_start;
        let index = self.header.entries().len() as u32;
        let dtype = self.draft.dtype.unwrap_or_else(|| Dtype::parse("?"));
        let (begin, end) = match self.draft.offsets[..] {
            [begin, end] => (start.saturating_add(begin), start.saturating_add(end)),
            _ => (start, start),
        };
        self.header.push(name, dtype, &self.draft.shape, begin, end);
        if !(is_sound && self.check_tensor(name, dtype)) {
            self.misplaced.push(index);
        }
    }

    /// Checks a tensor by itself, in the strict reader's arithmetic: a product that overflows before it
    /// meets a zero is an overflow. Returns false when its byte range cannot be true.
    fn check_tensor(&mut self, name: &str, dtype: Dtype) -> bool {
        let (Draft { shape, offsets, .. }, file_bytes) = (&self.draft, self.frame.file_bytes);
        let [begin, end] = offsets[..] else { return false };
        if begin > end {
            let what = format!("data_offsets [{begin}, {end}] are reversed");
            self.faults.add(&kind::BAD_OFFSETS, Some(name), &what);
            return false;
        }
        if let Dtype::Other(_) = dtype {
            let what = format!("dtype `{}` is not one of the format", escape(dtype.name()));
            self.faults.add(&kind::UNKNOWN_DTYPE, Some(name), &what);
            return true;
        }
        let elements = shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        if elements.and_then(|count| dtype.bytes_of(count)) == Some(end - begin) {
            return true;
        }
        self.faults.add(&kind::SHAPE_SIZE, Some(name), &size_fault(elements, dtype, shape, [begin, end]));
        // An offset that contradicts the shape and leaves the file is itself wrong; one that agrees with
        // the shape says that the file is too short (`layout`).
        let is_outside = self.frame.data_start.checked_add(end).is_none_or(|end| end > file_bytes);
        if is_outside {
            let what = format!("data_offsets [{begin}, {end}] lie outside the file of {file_bytes} byte");
            self.faults.add(&kind::BAD_OFFSETS, Some(name), &what);
        }
        !is_outside
    }

    fn push_metadata(&mut self, key: &str, value: &Seen<'_>) {
        let value = match value {
            Seen::Text(text) => {
                let room = METADATA_BYTES_MAX.saturating_sub(self.metadata_bytes);
                let kept = cut(text, METADATA_VALUE_BYTES_MAX.min(room));
                if kept.len() < text.len() {
                    let what = format!(
                        "metadata `{}` has {}; the first {} are kept",
                        shown_name(key),
                        units::bytes(text.len() as u64),
                        units::bytes(kept.len() as u64)
                    );
                    self.faults.add(&kind::ODD_HEADER, None, &what);
                }
                Some(Value::Text(kept.to_owned()))
            }
            wrong => {
                let what = format!("metadata `{}` is {wrong}, the format allows text only", shown_name(key));
                self.faults.add(&kind::BAD_METADATA, None, &what);
                wrong.scalar()
            }
        };
        if self.header.metadata.len() >= METADATA_KEYS_MAX {
            if self.header.metadata.len() == METADATA_KEYS_MAX {
                let what = format!("more than {METADATA_KEYS_MAX} metadata keys; the others are not kept");
                self.faults.add(&kind::OVER_LIMIT, None, &what);
            }
            return;
        }
        let Some(value) = value else { return };
        self.metadata_bytes += key.len() + value.as_str().map_or(0, str::len);
        self.header.metadata.push((key.to_owned(), value));
    }

    fn finish_metadata(&mut self, seen: &Seen<'_>) {
        match seen {
            // The strict reader takes `null` for no metadata.
            Seen::Null => return,
            Seen::Object => {}
            wrong => {
                let what = format!("`__metadata__` is {wrong} and no object");
                self.faults.add(&kind::BAD_METADATA, None, &what);
                return;
            }
        }
        if self.has_metadata {
            self.faults.add(&kind::HEADER_DAMAGED, None, "`__metadata__` is there twice");
            return;
        }
        self.has_metadata = true;
        let format = self.header.meta("format").and_then(Value::as_str);
        let what = match format {
            Some(known) if FORMATS.contains(&known) => return,
            Some(other) => format!("the metadata's `format` is `{}`", shown_name(other)),
            None => "the metadata has no `format`".to_owned(),
        };
        let what = format!("{what}; transformers before version 5 takes only pt, tf, flax and mlx");
        self.faults.add(&kind::METADATA_FORMAT, None, &what);
    }
}

fn size_fault(elements: Option<u64>, dtype: Dtype, shape: &[u64], [begin, end]: [u64; 2]) -> String {
    let shape = units::shape(shape);
    let Some(count) = elements else { return format!("the element count of shape {shape} overflows") };
    let held = end - begin;
    match dtype.bytes_of(count) {
        Some(size) => {
            format!("shape {shape} of {dtype} is {size} byte, data_offsets [{begin}, {end}] hold {held}")
        }
        None if dtype.bits().is_some_and(|bits| (count as f64) * bits < u64::MAX as f64) => {
            format!("shape {shape} of {dtype} is {count} elements, which are not whole bytes")
        }
        None => format!("the byte count of shape {shape} of {dtype} overflows"),
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
