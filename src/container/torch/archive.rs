//! A zip file of `torch.save` as a header: its pickle, its storages, and what else the archive says.
//!
//! A file whose end is missing (a broken download) has no directory. Its first entry is the pickle all the
//! same, and the storages follow in the order and with the sizes that the pickle gives: `salvage` steps over
//! them, so that names, shapes and the tensors that are whole can still be seen.

use std::collections::HashMap;

use super::cursor::Halt;
use super::heap::Heap;
use super::pickle::{self, Pickle};
use super::place::{self, Place, Places};
use super::zip::{Directory, Flaw, LOCAL, LOCAL_BYTES, ZipEntry, u16_at};
use super::{INFLATED_RATE, PICKLE_BYTES_MAX, Report, STORED_RATE, legacy, quoted, rebuild, state};
use crate::container::Value;
use crate::container::bytes::SourceFile;
use crate::error::Result;
use crate::problem::kind;

/// Largest `byteorder` entry: it holds `little` or `big`.
const WORD_BYTES_MAX: u64 = 64;

/// Duplicate entries that are named.
const DUPLICATES_NAMED_MAX: usize = 4;

/// How far apart two local headers can be beyond the data between them: a descriptor of 24 bytes.
const DESCRIPTOR_BYTES: u64 = 24;

/// Entries beside the storages (`version`, `byteorder`) are smaller than this.
const SMALL_ENTRY_BYTES: u64 = 256;

/// Reads a file that starts like a zip archive.
pub(super) fn read(report: &mut Report<'_>) -> Result<()> {
    report.meta("pytorch.container", Value::Text("zip".into()));
    let directory = match Directory::read(report.file) {
        Ok(directory) => directory,
        Err(flaw) => {
            report.flaw(&flaw);
            return salvage(report);
        }
    };
    report.header.header_bytes = directory.bytes();
    let by_name = directory.lookup();
    let Some((root, pickle_entry)) = find_root(report, &directory) else {
        report.add(&kind::NOT_A_CONTAINER, "a zip archive without data.pkl: torch.save did not write it");
        report.header.unreadable = true;
        return Ok(());
    };
    check_archive(report, &directory, &by_name, &root);
    report.meta("pytorch.root", Value::Text(String::from_utf8_lossy(&root).into_owned()));
    let raw = match directory.content(report.file, &pickle_entry, PICKLE_BYTES_MAX) {
        Ok(raw) => raw,
        Err(flaw) => {
            report.flaw(&flaw);
            return Ok(());
        }
    };
    report.header.header_bytes += raw.len() as u64;
    let rate = if pickle_entry.is_stored() { STORED_RATE } else { INFLATED_RATE };
    let mut pickle = pickle::read(&raw, 0, rate);
    if matches!(pickle.halt, Some(Halt::Short)) {
        let what = format!("the pickle ends at byte {} without its last opcode", raw.len());
        pickle.halt = Some(Halt::Fault(&kind::PICKLE_DAMAGED, what));
    }
    let archive = Archive { directory: &directory, by_name: &by_name, root: &root };
    let places = archive.places(report, &pickle.heap, &raw);
    if pickle.halt.is_none() {
        archive.check_unused(report, &pickle.heap);
    }
    finish(report, &pickle, &raw, &places);
    Ok(())
}

fn finish(report: &mut Report<'_>, pickle: &Pickle, raw: &[u8], places: &Places) {
    report.known(pickle, " (data.pkl)");
    report.halt(pickle.halt.as_ref(), " (data.pkl)");
    let state = state::find(pickle, raw);
    report.state(&pickle.heap, &state);
    place::push_tensors(report, &pickle.heap, &state, places);
}

/// Returns the folder inside the archive and its `data.pkl`. Of several, the one nearest the top counts.
fn find_root(report: &mut Report<'_>, directory: &Directory) -> Option<(Vec<u8>, ZipEntry)> {
    const SUFFIX: &[u8] = b"/data.pkl";
    let mut found: Option<(&[u8], ZipEntry)> = None;
    let mut count = 0;
    for entry in &directory.entries {
        let Some(root) = directory.name(entry).strip_suffix(SUFFIX) else { continue };
        count += 1;
        let depth = |root: &[u8]| root.split(|&b| b == b'/').count();
        if found.is_none_or(|(other, _)| depth(root) < depth(other)) {
            found = Some((root, *entry));
        }
    }
    if count > 1 {
        report.add(&kind::PICKLE_DAMAGED, &format!("{count} data.pkl entries in one archive"));
    }
    found.map(|(root, entry)| (root.to_vec(), entry))
}

/// Reports what is odd about the archive as a whole.
fn check_archive(
    report: &mut Report<'_>,
    directory: &Directory,
    by_name: &HashMap<&[u8], &ZipEntry>,
    root: &[u8],
) {
    let names = || directory.entries.iter().map(|entry| directory.name(entry));
    if let Some(name) = names().find(|name| leaves_archive(name)) {
        let what = format!("zip entry {} points outside the archive; nothing is extracted", quoted(name));
        report.add(&kind::PICKLE_DAMAGED, &what);
    }
    let duplicates = directory.duplicates();
    for name in duplicates.iter().take(DUPLICATES_NAMED_MAX) {
        report.add(&kind::DUPLICATE_NAME, &format!("zip entry {name} stands twice in the archive"));
    }
    let under = |tail: &str| [root, tail.as_bytes()].concat();
    let code = under("/code/");
    if by_name.contains_key(under("/constants.pkl").as_slice()) || names().any(|n| n.starts_with(&code)) {
        report.add(
            &kind::UNSUPPORTED_CONTAINER,
            "a TorchScript archive: it holds a program beside its tensors, which is not read",
        );
    }
    if let Some(entry) = by_name.get(under("/byteorder").as_slice()) {
        match directory.content(report.file, entry, WORD_BYTES_MAX) {
            Ok(word) if word == b"big" => {
                report.add(&kind::BIG_ENDIAN, "byteorder is big: its numbers have the other byte order");
            }
            Ok(word) => {
                let word = String::from_utf8_lossy(&word).into_owned();
                report.meta("pytorch.byteorder", Value::Text(word));
            }
            Err(flaw) => report.flaw(&flaw),
        }
    }
}

fn leaves_archive(name: &[u8]) -> bool {
    name.starts_with(b"/") || name.split(|&b| b == b'/' || b == b'\\').any(|part| part == b"..")
}

struct Archive<'a> {
    directory: &'a Directory,
    by_name: &'a HashMap<&'a [u8], &'a ZipEntry>,
    root: &'a [u8],
}

impl Archive<'_> {
    fn places(&self, report: &mut Report<'_>, heap: &Heap, raw: &[u8]) -> Places {
        let mut places: Places = Vec::with_capacity(heap.storages.len());
        for storage in &heap.storages {
            if storage.view_of.is_some() {
                places.push(None);
                continue;
            }
            let key = rebuild::text(raw, storage.key);
            // TorchScript keeps some storages under `constants`.
            let entry = ["/data/", "/constants/"]
                .iter()
                .find_map(|folder| self.by_name.get([self.root, folder.as_bytes(), key].concat().as_slice()));
            let Some(entry) = entry else {
                let what = format!("storage {} is not in the archive", quoted(key));
                report.add(&kind::PICKLE_DAMAGED, &what);
                places.push(None);
                continue;
            };
            check_size(report, storage, raw, entry.size);
            places.push(self.place(report, entry));
        }
        check_overlaps(report, heap, raw, &places);
        places
    }

    /// Reports storages that the pickle names nowhere: torch writes none.
    fn check_unused(&self, report: &mut Report<'_>, heap: &Heap) {
        let folder = [self.root, b"/data/"].concat();
        let mut unused = self.directory.entries.iter().filter(|entry| {
            let key = self.directory.name(entry).strip_prefix(folder.as_slice());
            key.is_some_and(|key| !key.is_empty() && heap.storage_id(key).is_none())
        });
        if let Some(first) = unused.next() {
            let what = format!(
                "zip entry {} ({} bytes, {} in the file) is used by no tensor, as are {} more",
                quoted(self.directory.name(first)),
                first.size,
                first.packed,
                unused.count()
            );
            report.add(&kind::ODD_HEADER, &what);
        }
    }

    fn place(&self, report: &mut Report<'_>, entry: &ZipEntry) -> Option<Place> {
        let begin = match self.directory.data_offset(report.file, entry) {
            Ok(begin) => begin,
            Err(flaw) => {
                report.flaw(&flaw);
                return None;
            }
        };
        Some(if entry.is_stored() {
            Place { begin, end: begin + entry.size, compressed_entry: None }
        } else {
            let name = String::from_utf8_lossy(self.directory.name(entry)).into_owned();
            Place { begin: 0, end: entry.size, compressed_entry: Some(name) }
        })
    }
}

fn check_size(report: &mut Report<'_>, storage: &super::heap::Storage, raw: &[u8], size: u64) {
    let key = || quoted(rebuild::text(raw, storage.key));
    match place::claimed_bytes(storage, raw) {
        Ok(claimed) if claimed == size => {}
        Ok(claimed) => report.add(
            &kind::SHAPE_SIZE,
            &format!("storage {}: the pickle says {claimed} bytes, its zip entry holds {size}", key()),
        ),
        Err(message) => report.add(&kind::SHAPE_SIZE, &message),
    }
}

/// Reports storages whose bytes are also those of another.
fn check_overlaps(report: &mut Report<'_>, heap: &Heap, raw: &[u8], places: &Places) {
    let key = |i: usize| quoted(rebuild::text(raw, heap.storages[i].key));
    let mut stored: Vec<(u64, u64, usize)> = places
        .iter()
        .enumerate()
        .filter_map(|(i, place)| place.as_ref().map(|place| (i, place)))
        .filter(|(_, place)| place.compressed_entry.is_none() && place.begin < place.end)
        .map(|(i, place)| (place.begin, place.end, i))
        .collect();
    stored.sort_unstable();
    for pair in stored.windows(2) {
        let ((_, end, one), (begin, _, other)) = (pair[0], pair[1]);
        if begin < end {
            let what = format!("storages {} and {} share bytes {begin} to {end}", key(one), key(other));
            report.add(&kind::OVERLAP, &what);
        }
    }
}

/// Reads what there is of an archive without directory.
fn salvage(report: &mut Report<'_>) -> Result<()> {
    let file = report.file;
    let Some(local) = Local::read(file, 0) else {
        report.header.unreadable = true;
        return Ok(());
    };
    let Some(root) = local.name.strip_suffix(b"/data.pkl") else {
        report.header.unreadable = true;
        return Ok(());
    };
    if !local.is_stored {
        report.header.unreadable = true;
        return Ok(());
    }
    let (raw, pickle) = legacy::read_pickle(file, local.data)?;
    let at = local.data + pickle.end as u64;
    report.header.header_bytes = at;
    report.meta("pytorch.root", Value::Text(String::from_utf8_lossy(root).into_owned()));
    let mut places: Places = vec![None; pickle.heap.storages.len()];
    let mut last = at;
    while let Some(local) = Local::find(file, last) {
        last = local.data;
        let key = local.name.strip_prefix(root).and_then(|rest| rest.strip_prefix(b"/data/"));
        let Some(id) = key.and_then(|key| pickle.heap.storage_id(key)) else { continue };
        let Ok(bytes) = place::claimed_bytes(&pickle.heap.storages[id as usize], &raw) else { break };
        let Some(end) = local.data.checked_add(bytes) else { break };
        if !local.is_stored || places[id as usize].is_some() {
            break;
        }
        places[id as usize] = Some(Place { begin: local.data, end, compressed_entry: None });
        last = end;
    }
    let whole = places.iter().flatten().filter(|place| place.end <= file.len()).count();
    report.flaw(&Flaw(&kind::TRUNCATED, format!("{whole} of {} storages are whole", places.len())));
    finish(report, &pickle, &raw, &places);
    report.header.unreadable = report.header.entries().is_empty();
    Ok(())
}

/// A local header of the archive.
struct Local {
    name: Vec<u8>,
    data: u64,
    is_stored: bool,
}

impl Local {
    fn read(file: &SourceFile, at: u64) -> Option<Self> {
        let fixed = file.read_vec(at, LOCAL_BYTES as usize).ok()?;
        if fixed[..4] != LOCAL {
            return None;
        }
        let (name_len, extra_len) = (u64::from(u16_at(&fixed, 26)), u64::from(u16_at(&fixed, 28)));
        let name = file.read_vec(at.checked_add(LOCAL_BYTES)?, name_len as usize).ok()?;
        let data = at.checked_add(LOCAL_BYTES + name_len + extra_len)?;
        Some(Self { name, data, is_stored: u16_at(&fixed, 8) == 0 })
    }

    /// Returns the next local header at or shortly after `at`.
    fn find(file: &SourceFile, at: u64) -> Option<Self> {
        let len = file.len().checked_sub(at)?.min(SMALL_ENTRY_BYTES + DESCRIPTOR_BYTES);
        let window = file.read_vec(at, len as usize).ok()?;
        let skip = window.windows(LOCAL.len()).position(|w| w == LOCAL)?;
        Self::read(file, at + skip as u64)
    }
}
