//! GGUF, versions 2 and 3: the file format of llama.cpp.
//!
//! | bytes                    | holds                                                               |
//! |--------------------------|---------------------------------------------------------------------|
//! | 4                        | `GGUF`                                                              |
//! | u32                      | version; low 16 bits zero: the file is big-endian                   |
//! | u64, u64                 | count of tensors, count of key-values                               |
//! | key-values               | key string, type u32, value (`gguf/values.rs`)                      |
//! | tensor infos             | name string, dims u32, u64 each, type u32, offset u64               |
//! | padding                  | to a multiple of `general.alignment` (32 if absent)                 |
//! | data                     | offsets of the infos count from here                                |
//!
//! A string is a u64 length and its bytes. GGUF lists dimensions innermost first; a `Header`'s shape is
//! the reverse, row-major: a linear weight is `[out, in]` as in the other containers.
//!
//! Key-values stand in `Header::metadata` in file order, the value of a key seen twice both times.
//! `header_bytes` is where the data begins. Where the infos cannot be read to their end nobody knows
//! where the data begins: the tensors are listed with empty ranges at the end of the file. Tensors of
//! types that llama.cpp does not read have a dtype of unknown size and reach to the next tensor. Big-endian
//! files are listed with dtypes of unknown size, because their values are not read here.
//!
//! Sources: ggml's docs/gguf.md, gguf.cpp and ggml.h; the limits named after them are theirs.

mod faults;
mod infos;
mod layout;
mod reader;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod whole;
pub mod written;

use super::bytes::SourceFile;
use super::{Container, Header, SNIFF_BYTES, Value, explain_foreign};
use crate::name::escape;
use crate::problem::kind;
use faults::Faults;
use layout::Data;
use reader::{Fault, Reader};
pub use whole::{Whole, read_whole};

const MAGIC: &[u8; 4] = b"GGUF";
/// Versions that current readers take; they share one layout.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
/// Key-values that are read: real files have some tens.
const PAIRS_MAX: u64 = 1 << 16;
/// Smallest key-value: an empty key, a type, one byte.
const PAIR_BYTES_MIN: u64 = 8 + 4 + 1;
/// `GGUF_DEFAULT_ALIGNMENT`.
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";

/// The GGUF container.
#[derive(Debug)]
pub struct Gguf;

impl Container for Gguf {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn sniff(&self, head: &[u8]) -> bool {
        head.starts_with(MAGIC)
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["gguf"]
    }

    fn read_header(&self, file: &SourceFile) -> Header {
        let mut header = Header::default();
        let mut faults = Faults::new(file.name());
        match start(file) {
            Ok(reader) => read(file, reader, &mut header, &mut faults),
            Err(fault) => faults.add(fault.kind, fault.message),
        }
        header.problems = faults.finish();
        header.unreadable = header.entries().is_empty()
            && header.metadata.is_empty()
            && header.problems.iter().any(crate::problem::Problem::is_error);
        header
    }
}

/// Reads magic and version; the reader stands at the counts.
fn start(file: &SourceFile) -> Result<Reader<'_>, Fault> {
    let mut reader = Reader::new(file);
    if file.len() < MAGIC.len() as u64 || &reader.array::<4>()? != MAGIC {
        return Err(foreign(file));
    }
    let version = reader.u32()?;
    reader.big_endian = version != 0 && version.trailing_zeros() >= 16;
    let version = if reader.big_endian { version.swap_bytes() } else { version };
    if VERSIONS.contains(&version) {
        return Ok(reader);
    }
    let what = if version == 1 { "no reader takes it any more" } else { "readers take 2 and 3" };
    Err(Fault::new(&kind::BAD_VERSION, format!("GGUF version {version}; {what}")))
}

/// Returns what a file without the magic is.
fn foreign(file: &SourceFile) -> Fault {
    let head = match file.head(SNIFF_BYTES) {
        Ok(head) => head,
        Err(error) => return Fault::new(&kind::UNREADABLE_FILE, error.message),
    };
    let known = explain_foreign(file, &head);
    if *known.kind != kind::NOT_A_CONTAINER {
        let own = format!("{}: ", file.name());
        let message = known.message.strip_prefix(&own).unwrap_or(&known.message).to_owned();
        return Fault::new(known.kind, message);
    }
    let message = match head.get(..4) {
        Some(b"lmgg" | b"fmgg" | b"tjgg") => "a ggml file from before GGUF; convert it with llama.cpp".into(),
        first => {
            format!("the file starts with `{}` and not with `GGUF`", first.unwrap_or(&head).escape_ascii())
        }
    };
    Fault::new(&kind::NOT_A_CONTAINER, message)
}

fn read(file: &SourceFile, mut reader: Reader<'_>, header: &mut Header, faults: &mut Faults<'_>) {
    if reader.big_endian {
        faults.add(&kind::BIG_ENDIAN, "the file is big-endian; its values are not read here");
    }
    let counts = reader.u64().and_then(|tensors| Ok((tensors, reader.u64()?)));
    let (tensor_count, pair_count) = match counts {
        Ok(counts) => counts,
        Err(fault) => return faults.add(fault.kind, format!("counts: {}", fault.message)),
    };
    let pairs = read_pairs(&mut reader, pair_count, header, faults);
    check_keys(&header.metadata, faults);
    header.header_bytes = reader.position();
    let alignment_type = match pairs {
        Ok(alignment_type) => alignment_type,
        Err(fault) => {
            let lost = format!("{}; the list of tensors ({tensor_count}) was not reached", fault.message);
            return faults.add(fault.kind, lost);
        }
    };
    let alignment = alignment(header, alignment_type, faults);
    let (infos, is_complete) = infos::read(&mut reader, tensor_count, faults);
    header.header_bytes = reader.position();
    infos::check(&infos, faults);
    let data = Data {
        begin: reader.position().checked_next_multiple_of(alignment).unwrap_or(u64::MAX),
        alignment,
        file_bytes: file.len(),
    };
    let spans = if is_complete {
        header.header_bytes = data.begin.min(file.len());
        let spans = layout::spans(&infos, data);
        layout::check(&infos, &spans, data, faults);
        spans
    } else {
        vec![(file.len(), file.len()); infos.len()]
    };
    for (info, (begin, end)) in infos.iter().zip(spans) {
        if !header.push(&info.name, info.dtype, &info.shape, begin, end) {
            return faults.add(&kind::OVER_LIMIT, "tensor names take over 4 GiB");
        }
    }
}

/// Refuses a count that is over a bound, or that the file has not the bytes for.
fn check_count(count: u64, what: &str, (max, bytes_min, left): (u64, u64, u64)) -> Result<(), Fault> {
    if count <= max {
        return Ok(());
    }
    if count.checked_mul(bytes_min).is_none_or(|bytes| bytes > left) {
        let fit = left / bytes_min;
        let message = format!("the header says {count} {what}s, the {left} bytes left hold at most {fit}");
        return Err(Fault::new(&kind::HEADER_LENGTH, message));
    }
    Err(Fault::new(&kind::OVER_LIMIT, format!("the header says {count} {what}s, our bound is {max}")))
}

/// Reads the key-values into the header. Returns the type of the first `general.alignment`; the fault
/// says where reading stopped.
fn read_pairs(
    reader: &mut Reader<'_>,
    count: u64,
    header: &mut Header,
    faults: &mut Faults<'_>,
) -> Result<Option<&'static str>, Fault> {
    check_count(count, "key-value", (PAIRS_MAX, PAIR_BYTES_MIN, reader.left()))?;
    let mut alignment_type = None;
    for index in 0..count {
        let place = format!("key-value {} of {count}", index + 1);
        let key = values::read_key(reader).map_err(|fault| fault.within(&place))?;
        let shown = escape(&key.text);
        let place = format!("{place} ({shown})");
        let read = values::read_value(reader).map_err(|fault| fault.within(&place))?;
        if !key.is_utf8 {
            faults.add(&kind::HEADER_DAMAGED, format!("key {shown} is not UTF-8"));
        }
        if key.text.is_empty() {
            faults.add(&kind::STRICT_READER, format!("llama.cpp: key {index} is empty"));
        }
        if !read.is_utf8 {
            faults.add(&kind::ODD_HEADER, format!("the text of key {shown} is not UTF-8"));
        }
        if read.is_nested {
            let message = format!("key {shown} is an array of arrays, which llama.cpp refuses");
            faults.add(&kind::BAD_METADATA, message);
        }
        if key.text == ALIGNMENT_KEY {
            alignment_type = alignment_type.or(Some(read.type_name));
        }
        header.metadata.push((key.text, read.value));
    }
    Ok(alignment_type)
}

/// Reports keys that stand there twice. Sorted and not hashed: keys of strangers can be made to collide.
fn check_keys(metadata: &[(String, Value)], faults: &mut Faults<'_>) {
    let mut order: Vec<usize> = (0..metadata.len()).collect();
    order.sort_by_key(|&index| &metadata[index].0);
    for pair in order.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if metadata[first].0 == metadata[second].0 {
            let key = escape(&metadata[first].0);
            let message = format!("llama.cpp: duplicate key '{key}' for tensors {first} and {second}");
            faults.add(&kind::STRICT_READER, message);
        }
    }
}

/// Returns the alignment of the data: a power of two.
fn alignment(header: &Header, type_name: Option<&'static str>, faults: &mut Faults<'_>) -> u64 {
    let (Some(value), Some(type_name)) = (header.meta(ALIGNMENT_KEY), type_name) else {
        return ALIGNMENT_DEFAULT;
    };
    if type_name != "u32" {
        let message = format!("llama.cpp: key '{ALIGNMENT_KEY}' must be of type u32 but is {type_name}");
        faults.add(&kind::STRICT_READER, message);
    }
    if let Some(alignment) = value.as_u64().filter(|alignment| alignment.is_power_of_two()) {
        return alignment;
    }
    let shown = value.as_u64().map_or_else(|| "no count".into(), |alignment| alignment.to_string());
    let message = format!("{ALIGNMENT_KEY} is {shown}, not a power of two; {ALIGNMENT_DEFAULT} is taken");
    faults.add(&kind::BAD_METADATA, message);
    ALIGNMENT_DEFAULT
}
