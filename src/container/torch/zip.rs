//! The zip archive that `torch.save` writes since 1.6, read by positioned reads.
//!
//! | entry                | holds                                                  |
//! |----------------------|--------------------------------------------------------|
//! | `<root>/data.pkl`    | the object, with storages named by key                 |
//! | `<root>/data/<key>`  | the bytes of one storage, not compressed, 64-aligned   |
//! | `<root>/byteorder`   | `little` or `big`                                      |
//! | `<root>/version`     | `3`                                                    |
//!
//! Root is any name. An own reader of the central directory, because a general one allocates what a hostile
//! archive claims: here the directory is bounded, and an entry is one small record. Nothing is extracted
//! to a path. Source: PKWARE APPNOTE 6.3.9; PyTorch `caffe2/serialize/inline_container.h`.

use std::collections::HashMap;
use std::io::Read as _;

use super::quoted;
use crate::container::bytes::SourceFile;
use crate::problem::{ProblemKind, kind};

/// Largest central directory. One entry of torch takes about 100 bytes: 300 000 storages.
const DIRECTORY_BYTES_MAX: u64 = 32 << 20;

/// Most entries.
const ENTRIES_MAX: usize = 300_000;

/// Largest pickle that is inflated, and how many times its compressed size it may be past the first
/// `INFLATE_FREE_BYTES`. Pickles of real state dicts compress to a tenth.
const INFLATE_BYTES_MAX: u64 = 16 << 20;
const INFLATE_FREE_BYTES: u64 = 1 << 20;
const INFLATE_RATIO_MAX: u64 = 100;

/// Sizes of the fixed records.
const END_BYTES: u64 = 22;
const END64_BYTES: u64 = 56;
const LOCATOR_BYTES: u64 = 20;
const CENTRAL_BYTES: usize = 46;
pub(super) const LOCAL_BYTES: u64 = 30;

/// The end record can be followed by a comment of at most this size.
const COMMENT_BYTES_MAX: u64 = 0xffff;

const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
pub(super) const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// The compression methods that occur.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// What is wrong with an archive or an entry.
#[derive(Debug)]
pub(super) struct Flaw(pub(super) &'static ProblemKind, pub(super) String);

/// One file of the archive, as the central directory says.
#[derive(Clone, Copy, Debug)]
pub(super) struct ZipEntry {
    name: (u32, u32),
    header: u64,
    pub(super) packed: u64,
    pub(super) size: u64,
    method: u16,
    flags: u16,
}

impl ZipEntry {
    /// Returns true if the bytes lie in the file as they are.
    pub(super) fn is_stored(&self) -> bool {
        self.method == STORED
    }
}

/// The central directory.
#[derive(Debug)]
pub(super) struct Directory {
    raw: Vec<u8>,
    /// Where it starts in the file: entries lie before.
    begin: u64,
    pub(super) entries: Vec<ZipEntry>,
}

impl Directory {
    /// Reads the directory of `file`.
    pub(super) fn read(file: &SourceFile) -> Result<Self, Flaw> {
        let (begin, size, count) = locate(file)?;
        if size > DIRECTORY_BYTES_MAX {
            return Err(Flaw(
                &kind::OVER_LIMIT,
                format!("the zip directory takes {size} bytes, more than {DIRECTORY_BYTES_MAX}"),
            ));
        }
        let raw = file.read_vec(begin, size as usize).map_err(|e| {
            Flaw(&kind::PICKLE_DAMAGED, format!("the zip directory lies outside the file: {}", e.message))
        })?;
        let mut directory = Self { raw, begin, entries: Vec::new() };
        directory.parse(count)?;
        Ok(directory)
    }

    fn parse(&mut self, count: u64) -> Result<(), Flaw> {
        let mut at = 0;
        while (self.entries.len() as u64) < count {
            if self.entries.len() == ENTRIES_MAX {
                return Err(Flaw(&kind::OVER_LIMIT, format!("more than {ENTRIES_MAX} zip entries")));
            }
            let Some((entry, next)) = central(&self.raw, at) else {
                return Err(Flaw(
                    &kind::PICKLE_DAMAGED,
                    format!("the zip directory names {count} entries and ends after {}", self.entries.len()),
                ));
            };
            self.entries.push(entry);
            at = next;
        }
        Ok(())
    }

    /// Returns the names that stand in the directory twice.
    pub(super) fn duplicates(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::with_capacity(self.entries.len());
        let names = self.entries.iter().map(|entry| self.name(entry));
        names.filter(|name| !seen.insert(*name)).map(quoted).collect()
    }

    /// Returns the name of an entry.
    pub(super) fn name(&self, entry: &ZipEntry) -> &[u8] {
        slice(&self.raw, entry.name)
    }

    /// Returns the names with their entries; of two entries with one name the first counts.
    pub(super) fn lookup(&self) -> HashMap<&[u8], &ZipEntry> {
        let mut map = HashMap::with_capacity(self.entries.len());
        for entry in &self.entries {
            map.entry(self.name(entry)).or_insert(entry);
        }
        map
    }

    /// Returns the bytes that the directory takes.
    pub(super) fn bytes(&self) -> u64 {
        self.raw.len() as u64
    }

    /// Returns where the data of `entry` begin in the file. They end `entry.packed` bytes later.
    pub(super) fn data_offset(&self, file: &SourceFile, entry: &ZipEntry) -> Result<u64, Flaw> {
        let name = self.name(entry);
        let damaged = |what: &str| Flaw(&kind::PICKLE_DAMAGED, format!("zip entry {}: {what}", quoted(name)));
        if entry.flags & 1 != 0 {
            return Err(Flaw(
                &kind::UNSUPPORTED_CONTAINER,
                format!("zip entry {} is encrypted", quoted(name)),
            ));
        }
        if entry.method != STORED && entry.method != DEFLATED {
            let what = format!("zip entry {} uses compression method {}", quoted(name), entry.method);
            return Err(Flaw(&kind::UNSUPPORTED_CONTAINER, what));
        }
        if entry.method == STORED && entry.packed != entry.size {
            return Err(damaged("is not compressed and yet has two sizes"));
        }
        let local_bytes = LOCAL_BYTES as usize + name.len();
        let local = file.read_vec(entry.header, local_bytes).map_err(|_outside| {
            damaged(&format!("its header at byte {} lies outside the file", entry.header))
        })?;
        if local[..4] != LOCAL {
            return Err(damaged(&format!("no local header at byte {}", entry.header)));
        }
        let (name_len, extra_len) = (u16_at(&local, 26), u16_at(&local, 28));
        if usize::from(name_len) != name.len() || &local[LOCAL_BYTES as usize..] != name {
            return Err(damaged("the local header has another name than the directory"));
        }
        let begin = entry.header + LOCAL_BYTES + u64::from(name_len) + u64::from(extra_len);
        match begin.checked_add(entry.packed) {
            Some(end) if end <= self.begin => Ok(begin),
            _ => Err(Flaw(
                &kind::BAD_OFFSETS,
                format!(
                    "zip entry {}: {} bytes at {begin} reach into the directory at {}",
                    quoted(name),
                    entry.packed,
                    self.begin
                ),
            )),
        }
    }

    /// Returns the content of a small entry: a pickle or a word. `bytes_max` bounds a stored one.
    pub(super) fn content(
        &self,
        file: &SourceFile,
        entry: &ZipEntry,
        bytes_max: u64,
    ) -> Result<Vec<u8>, Flaw> {
        let begin = self.data_offset(file, entry)?;
        let too_large = |limit: u64| {
            let name = quoted(self.name(entry));
            Flaw(
                &kind::OVER_LIMIT,
                format!("zip entry {name}: {} bytes, over the limit of {limit}", entry.size),
            )
        };
        if entry.is_stored() {
            if entry.size > bytes_max {
                return Err(too_large(bytes_max));
            }
            return file
                .read_vec(begin, entry.size as usize)
                .map_err(|e| Flaw(&kind::UNREADABLE_FILE, e.message));
        }
        let by_ratio = INFLATE_FREE_BYTES.saturating_add(entry.packed.saturating_mul(INFLATE_RATIO_MAX));
        let limit = bytes_max.min(INFLATE_BYTES_MAX).min(by_ratio);
        if entry.size > limit {
            return Err(too_large(limit));
        }
        inflate(file, begin, entry.packed, entry.size).map_err(|message| {
            Flaw(&kind::PICKLE_DAMAGED, format!("zip entry {}: {message}", quoted(self.name(entry))))
        })
    }
}

/// Returns the first `count` bytes that the deflated data at `begin` hold.
pub(super) fn inflate(file: &SourceFile, begin: u64, packed: u64, count: u64) -> Result<Vec<u8>, String> {
    let reader = Section { file, at: begin, left: packed };
    let mut out = Vec::new();
    flate2::read::DeflateDecoder::new(reader)
        .take(count)
        .read_to_end(&mut out)
        .map_err(|e| format!("cannot be inflated: {e}"))?;
    if (out.len() as u64) < count {
        return Err(format!("inflates to {} bytes, not {count}", out.len()));
    }
    Ok(out)
}

/// A run of the file as a stream.
struct Section<'a> {
    file: &'a SourceFile,
    at: u64,
    left: u64,
}

impl std::io::Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = (buffer.len() as u64).min(self.left) as usize;
        self.file.read_at(&mut buffer[..count], self.at).map_err(|e| std::io::Error::other(e.message))?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Returns where the directory begins, its size and its number of entries.
fn locate(file: &SourceFile) -> Result<(u64, u64, u64), Flaw> {
    let io = |e: crate::error::Error| Flaw(&kind::UNREADABLE_FILE, e.message);
    let tail_len = file.len().min(END_BYTES + COMMENT_BYTES_MAX);
    let tail_begin = file.len() - tail_len;
    let tail = file.read_vec(tail_begin, tail_len as usize).map_err(io)?;
    let found = tail
        .windows(END_BYTES as usize)
        .rposition(|w| w[..4] == END && u64::from(u16_at(w, 20)) <= COMMENT_BYTES_MAX);
    let Some(found) = found else {
        return Err(Flaw(
            &kind::TRUNCATED,
            format!("the file ends at byte {} without a zip directory: the rest is missing", file.len()),
        ));
    };
    let end = &tail[found..];
    let end_at = tail_begin + found as u64;
    let (mut count, mut size, mut begin) =
        (u64::from(u16_at(end, 10)), u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
    let is_zip64 = count == 0xffff || size == 0xffff_ffff || begin == 0xffff_ffff;
    if is_zip64 && let Some(at) = end_at.checked_sub(LOCATOR_BYTES) {
        let locator = file.read_vec(at, LOCATOR_BYTES as usize).map_err(io)?;
        let end64_at = u64_at(&locator, 8);
        if locator[..4] == LOCATOR
            && let Ok(end64) = file.read_vec(end64_at, END64_BYTES as usize)
            && end64[..4] == END64
        {
            (count, size, begin) = (u64_at(&end64, 32), u64_at(&end64, 40), u64_at(&end64, 48));
        }
    }
    if begin.checked_add(size).is_none_or(|directory_end| directory_end > end_at) {
        return Err(Flaw(
            &kind::PICKLE_DAMAGED,
            format!("the zip directory claims {size} bytes at {begin}, its end record stands at {end_at}"),
        ));
    }
    Ok((begin, size, count))
}

/// Returns the entry at `at` of the directory, and where the next one begins.
fn central(raw: &[u8], at: usize) -> Option<(ZipEntry, usize)> {
    let fixed = raw.get(at..at.checked_add(CENTRAL_BYTES)?)?;
    if fixed[..4] != CENTRAL {
        return None;
    }
    let (name_len, extra_len, comment_len) =
        (usize::from(u16_at(fixed, 28)), usize::from(u16_at(fixed, 30)), usize::from(u16_at(fixed, 32)));
    let name_at = at + CENTRAL_BYTES;
    let extra = raw.get(name_at + name_len..name_at + name_len + extra_len)?;
    let next = name_at + name_len + extra_len + comment_len;
    let mut entry = ZipEntry {
        name: (name_at as u32, name_len as u32),
        header: u64::from(u32_at(fixed, 42)),
        packed: u64::from(u32_at(fixed, 20)),
        size: u64::from(u32_at(fixed, 24)),
        method: u16_at(fixed, 10),
        flags: u16_at(fixed, 8),
    };
    widen(&mut entry, extra);
    (next <= raw.len()).then_some((entry, next))
}

/// Takes the 64-bit sizes and offset from the zip64 extra field, for those fields that say so.
fn widen(entry: &mut ZipEntry, extra: &[u8]) {
    const ZIP64: u16 = 1;
    let mut rest = extra;
    while rest.len() >= 4 {
        let (id, len) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
        let Some(body) = rest.get(4..4 + len) else { return };
        if id == ZIP64 {
            let mut words = body.chunks_exact(8).map(|word| u64_at(word, 0));
            for field in [&mut entry.size, &mut entry.packed, &mut entry.header] {
                if *field == 0xffff_ffff
                    && let Some(word) = words.next()
                {
                    *field = word;
                }
            }
            return;
        }
        rest = &rest[4 + len..];
    }
}

fn slice(raw: &[u8], (start, len): (u32, u32)) -> &[u8] {
    &raw[start as usize..][..len as usize]
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
