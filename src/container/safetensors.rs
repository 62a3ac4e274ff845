//! Safetensors: a JSON header, then the tensors' bytes in one run.
//!
//! | bytes    | holds                                                                         |
//! |----------|-------------------------------------------------------------------------------|
//! | 8        | `n`: length of the header, u64 little-endian, at most 100,000,000             |
//! | `n`      | JSON object, UTF-8, may be padded with spaces at its end                      |
//! | the rest | data; `data_offsets` of an entry count from its first byte                    |
//!
//! An entry is `"name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}`; `__metadata__` maps
//! text to text. Sorted by offset the entries touch: no hole, no overlap, and the last ends with the file.
//!
//! Two readers look at a file. Ours (`parse.rs`, `layout.rs`) is lenient: it lists every tensor up to
//! the fault and names each fault. The format's own crate is the strict judge: it gives one error for
//! the whole file, and its words are what people meet upstream. It costs several times our own parse,
//! so a large header that looks clean is left to `strict_verdict`, which runs behind the first frame.
//! Source: safetensors 0.8, `tensor.rs` (`SafeTensors::read_metadata`, `Metadata::validate`).

mod json;
mod layout;
mod parse;
#[cfg(test)]
mod tests;

use memmap2::Advice;
use safetensors::SafeTensors;

use super::bytes::SourceFile;
use super::{Container, Header, SNIFF_BYTES, explain_foreign};
use crate::name::{cut_middle, escape};
use crate::problem::{Problem, ProblemKind, kind};

/// Bytes of the length field in front of the header.
const LENGTH_BYTES: u64 = 8;
/// The longest header that the reference reader takes. Source: safetensors `MAX_HEADER_SIZE`.
const FORMAT_HEADER_BYTES_MAX: u64 = 100_000_000;
/// The longest header that we take: files over the format's limit exist (a million tensors in one file)
/// and are worth a look. Names then fit the 4 GiB of a `Header`.
const HEADER_BYTES_MAX: u64 = 512 << 20;
/// How much is read as a header when the length field cannot be true.
const DAMAGED_HEADER_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the first read: it holds the whole header of most shards, so that they cost one read.
const FIRST_READ_BYTES: u64 = 64 << 10;
/// Up to this header length the strict judge runs at once (about 120 tensors, well under a millisecond).
const STRICT_INLINE_BYTES: u64 = 16 << 10;
/// Up to this header length the strict judge runs at once when we found a fault ourselves.
const STRICT_ON_FAULT_BYTES: u64 = 8 << 20;
/// Faults that are listed for one file; the others are counted.
const FAULTS_MAX: usize = 1000;
/// Cells of a tensor name inside a message; the problem itself carries the whole name.
const NAME_CELLS_MAX: usize = 120;
/// Characters of the strict judge's words that are kept: it quotes names and lists of dtypes.
const VERDICT_CHARS_MAX: usize = 400;

/// The safetensors container.
#[derive(Debug)]
pub struct Safetensors;

impl Container for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    /// There is no magic number: a believable length and the brace of the header must do.
    fn sniff(&self, head: &[u8]) -> bool {
        let Some((length, json)) = split_length(head) else { return false };
        let start = json.iter().position(|b| !is_json_space(*b));
        (2..=HEADER_BYTES_MAX).contains(&length)
            && start.is_some_and(|at| json[at] == b'{' && (at as u64) < length)
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["safetensors"]
    }

    fn read_header(&self, file: &SourceFile) -> Header {
        file.set_read_ahead(false);
        let (mut header, is_ours) = read_lenient(file);
        file.set_read_ahead(true);
        let bound = if header.problems.is_empty() { STRICT_INLINE_BYTES } else { STRICT_ON_FAULT_BYTES };
        if is_ours && header.header_bytes <= bound {
            header.problems.extend(strict_verdict(file));
        }
        header
    }
}

/// Returns what the format's own reader says against `file`, in its words, or `None` when it takes the
/// file. `read_header` has asked it already for small headers and for most faulty ones (the problems
/// then hold a `STRICT_READER`, or the file was accepted); background work asks it for the others.
#[must_use]
pub fn strict_verdict(file: &SourceFile) -> Option<Problem> {
    let name = escape(file.name());
    // It wants the whole file as one slice and touches only the header. Without read-ahead, because the
    // default would drag in megabytes of data behind each header.
    let verdict = if file.is_empty() {
        SafeTensors::read_metadata(&[]).map(|_| ())
    } else {
        match file.map(0, file.len(), Advice::Random) {
            Ok(map) => SafeTensors::read_metadata(&map).map(|_| ()),
            Err(error) => {
                return Some(Problem::new(&kind::UNREADABLE_FILE, error.message).file(file.name()));
            }
        }
    };
    let words = verdict.err()?.to_string();
    let mut shown: String = words.chars().take(VERDICT_CHARS_MAX).collect();
    if shown.len() < words.len() {
        shown.push('…');
    }
    Some(
        Problem::new(
            &kind::STRICT_READER,
            format!("{name}: the reference reader rejects this file: {}", escape(&shown)),
        )
        .file(file.name()),
    )
}

/// Reads the header with our own reader; false when the file is no safetensors file at all, so that the
/// judge has nothing to say about it.
fn read_lenient(file: &SourceFile) -> (Header, bool) {
    let unreadable =
        |problem: Problem| Header { problems: vec![problem], unreadable: true, ..Header::default() };
    let mut bytes = match file.head(FIRST_READ_BYTES as usize) {
        Ok(bytes) => bytes,
        Err(error) => {
            let problem = Problem::new(&kind::UNREADABLE_FILE, error.message).file(file.name());
            return (unreadable(problem), false);
        }
    };
    let mut faults = Faults::new(file.name());
    let Some((length, json)) = split_length(&bytes) else {
        let head = &bytes[..bytes.len().min(SNIFF_BYTES)];
        if file.is_empty() {
            return (unreadable(explain_foreign(file, head)), false);
        }
        faults.add(
            &kind::HEADER_LENGTH,
            None,
            &format!("{} byte in all, too short for the header's length field of 8 byte", file.len()),
        );
        return (Header { problems: faults.take(), unreadable: true, ..Header::default() }, true);
    };
    let room = file.len() - LENGTH_BYTES;
    let starts_as_json = json.iter().find(|b| !is_json_space(**b)) == Some(&b'{');
    if length > room && !starts_as_json && !json.is_empty() {
        return (unreadable(explain_foreign(file, &bytes[..bytes.len().min(SNIFF_BYTES)])), false);
    }
    let length_holds = check_length(length, room, &mut faults);
    let wanted = if length > HEADER_BYTES_MAX { DAMAGED_HEADER_BYTES_MAX } else { length }.min(room);
    if let Err(error) = read_rest(file, &mut bytes, (LENGTH_BYTES + wanted) as usize) {
        let problem = Problem::new(&kind::UNREADABLE_FILE, error.message).file(file.name());
        return (unreadable(problem), false);
    }
    let frame = parse::Frame { data_start: LENGTH_BYTES.saturating_add(length), file_bytes: file.len() };
    let mut read = parse::read(&bytes[LENGTH_BYTES as usize..], frame, faults);
    if !length_holds {
        read.is_whole = false;
    }
    layout::check(&mut read);
    let mut header = read.header;
    header.unreadable = !read.is_whole && header.entries().is_empty();
    header.header_bytes = LENGTH_BYTES + length.min(room);
    header.problems = read.faults.take();
    (header, true)
}

/// Reports a header length that cannot be true; returns false when the header cannot be complete.
fn check_length(length: u64, room: u64, faults: &mut Faults) -> bool {
    if length == 0 {
        faults.add(&kind::HEADER_LENGTH, None, "the header length is 0, not even `{}`");
        return false;
    }
    if length > room {
        faults.add(
            &kind::HEADER_LENGTH,
            None,
            &format!("the header claims {length} byte, the file holds {room} after the length field"),
        );
    } else if length > FORMAT_HEADER_BYTES_MAX {
        faults.add(
            &kind::HEADER_LENGTH,
            None,
            &format!("the header has {length} byte, the format allows {FORMAT_HEADER_BYTES_MAX}"),
        );
    }
    if length <= room && length > HEADER_BYTES_MAX {
        let read = crate::units::bytes(DAMAGED_HEADER_BYTES_MAX);
        faults.add(&kind::OVER_LIMIT, None, &format!("of the header only the first {read} were read"));
    }
    length <= room && length <= HEADER_BYTES_MAX
}

/// Makes `bytes` (the start of the file) exactly `count` long, reading what is missing.
fn read_rest(file: &SourceFile, bytes: &mut Vec<u8>, count: usize) -> crate::error::Result<()> {
    let have = bytes.len();
    bytes.resize(count, 0);
    if count > have { file.read_at(&mut bytes[have..], have as u64) } else { Ok(()) }
}

fn split_length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (length, json) = bytes.split_first_chunk::<{ LENGTH_BYTES as usize }>()?;
    Some((u64::from_le_bytes(*length), json))
}

fn is_json_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The faults of one file, bounded.
#[derive(Debug)]
struct Faults {
    file: String,
    list: Vec<Problem>,
    unlisted: u64,
}

impl Faults {
    fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new(), unlisted: 0 }
    }

    /// Adds a fault; the message gets the file and the tensor in front.
    fn add(&mut self, kind: &'static ProblemKind, tensor: Option<&str>, what: &str) {
        if self.list.len() >= FAULTS_MAX {
            self.unlisted += 1;
            return;
        }
        let file = escape(&self.file);
        let problem = match tensor {
            Some(tensor) => {
                Problem::new(kind, format!("{file}: {}: {what}", shown_name(tensor))).tensor(tensor)
            }
            None => Problem::new(kind, format!("{file}: {what}")),
        };
        self.list.push(problem.file(self.file.as_str()));
    }

    fn take(mut self) -> Vec<Problem> {
        if self.unlisted > 0 {
            let message =
                format!("{}: {} more faults like these are not listed", escape(&self.file), self.unlisted);
            self.list.push(Problem::new(&kind::OVER_LIMIT, message).file(self.file));
        }
        self.list
    }
}

/// Returns a name from the file as messages show it.
fn shown_name(name: &str) -> String {
    if name.is_empty() {
        return "(tensor without a name)".to_owned();
    }
    cut_middle(&escape(name), NAME_CELLS_MAX).into_owned()
}
