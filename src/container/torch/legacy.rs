//! Legacy files of `torch.save` (before 1.6, or `_use_new_zipfile_serialization=False`): five pickles in a
//! row, then the storages.
//!
//! | part     | holds                                                        |
//! |----------|--------------------------------------------------------------|
//! | pickle 1 | the number `0x1950a86a20f9469cfc6c`                           |
//! | pickle 2 | the protocol, 1001                                           |
//! | pickle 3 | sizes and byte order of the writer                           |
//! | pickle 4 | the object                                                   |
//! | pickle 5 | the keys of the storages, in the order of what follows       |
//! | storages | for each key: `i64` count of elements, then their bytes       |
//!
//! Source: PyTorch `torch/serialization.py` (`_legacy_save`, `_legacy_load`).

use super::cursor::Halt;
use super::heap::{NodeKind, Object};
use super::pickle::{self, Pickle};
use super::place::{self, Place, Places};
use super::{PICKLE_BYTES_MAX, Report, STORED_RATE, quoted, rebuild, state};
use crate::container::{Value, bytes::SourceFile};
use crate::problem::kind;

/// The first pickle's number, as bytes.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The only protocol of the layout.
const PROTOCOL: i64 = 1001;

/// How much is read at first for a pickle whose length is not known; each further try reads eight times
/// as much.
const WINDOW_BYTES: u64 = 64 << 10;

/// Storage keys that are read.
const KEYS_MAX: usize = 1 << 20;

/// Reads the pickle at `begin`, whose end only its content tells.
pub(super) fn read_pickle(file: &SourceFile, begin: u64) -> crate::error::Result<(Vec<u8>, Pickle)> {
    let available = file.len().saturating_sub(begin).min(PICKLE_BYTES_MAX);
    let mut window = WINDOW_BYTES;
    loop {
        let len = window.min(available);
        let raw = file.read_vec(begin, len as usize)?;
        let mut pickle = pickle::read(&raw, begin, STORED_RATE);
        if !matches!(pickle.halt, Some(Halt::Short)) {
            return Ok((raw, pickle));
        }
        if len == available {
            let message = if begin + available == file.len() {
                format!("the file ends at byte {} inside a pickle", file.len())
            } else {
                format!("a pickle is longer than {PICKLE_BYTES_MAX} bytes; the rest was not read")
            };
            let kind = if begin + available == file.len() { &kind::TRUNCATED } else { &kind::OVER_LIMIT };
            pickle.halt = Some(Halt::Fault(kind, message));
            return Ok((raw, pickle));
        }
        window *= 8;
    }
}

/// Reads a file that starts with a pickle: the legacy layout, or a bare pickle, which is explained.
pub(super) fn read(report: &mut Report<'_>) -> crate::error::Result<()> {
    let file = report.file;
    let (raw, first) = read_pickle(file, 0)?;
    let is_legacy = matches!(first.root, Object::Big(span) if rebuild::text(&raw, span) == MAGIC);
    if !is_legacy {
        read_bare(report, &raw, &first);
        return Ok(());
    }
    report.meta("pytorch.container", Value::Text("legacy".into()));
    let mut at = first.end as u64;
    let (_, protocol) = read_pickle(file, at)?;
    at += protocol.end as u64;
    if report.halt(protocol.halt.as_ref(), "") {
        return Ok(());
    }
    if protocol.root != Object::Int(PROTOCOL) {
        report.add(&kind::BAD_VERSION, &format!("legacy protocol {:?}, not {PROTOCOL}", protocol.root));
        return Ok(());
    }
    let (raw, system) = read_pickle(file, at)?;
    at += system.end as u64;
    if report.halt(system.halt.as_ref(), "") {
        return Ok(());
    }
    if is_big_endian(&raw, &system) {
        report
            .add(&kind::BIG_ENDIAN, "written on a big-endian machine: its numbers have the other byte order");
    }
    let (raw, object) = read_pickle(file, at)?;
    report.known(&object, "");
    let complete = !report.halt(object.halt.as_ref(), "");
    let places = if complete {
        read_places(report, at + object.end as u64, &raw, &object)?
    } else {
        report.header.header_bytes = at + object.end as u64;
        vec![None; object.heap.storages.len()]
    };
    let state = state::find(&object, &raw);
    report.state(&object.heap, &state);
    place::push_tensors(report, &object.heap, &state, &places);
    Ok(())
}

fn is_big_endian(raw: &[u8], system: &Pickle) -> bool {
    let Object::Node(node) = system.root else { return false };
    system.heap.nodes[node as usize].items.iter().any(|(key, value)| {
        matches!(key, Object::Text(span) if rebuild::text(raw, *span) == b"little_endian")
            && *value == Object::Bool(false)
    })
}

/// Reads the key list at `at` and steps over the storages that follow it.
fn read_places(
    report: &mut Report<'_>,
    at: u64,
    raw: &[u8],
    object: &Pickle,
) -> crate::error::Result<Places> {
    let heap = &object.heap;
    let mut places: Places = vec![None; heap.storages.len()];
    let (keys_raw, keys) = read_pickle(report.file, at)?;
    let mut at = at + keys.end as u64;
    report.header.header_bytes = at;
    if report.halt(keys.halt.as_ref(), "") {
        return Ok(places);
    }
    let items = match keys.root {
        Object::Node(node) if keys.heap.nodes[node as usize].kind == NodeKind::List => {
            &keys.heap.nodes[node as usize].items
        }
        _ => {
            report.add(&kind::PICKLE_DAMAGED, "its fifth pickle is not the list of storage keys");
            return Ok(places);
        }
    };
    for (_, key) in items.iter().take(KEYS_MAX) {
        let key = match key {
            Object::Text(span) | Object::Bytes(span) => rebuild::text(&keys_raw, *span),
            _ => b"?",
        };
        let Some(id) = heap.storage_id(key) else {
            let key = quoted(key);
            let message =
                format!("storage {key} is named by no tensor, so its size is unknown; stopped there");
            report.add(&kind::PICKLE_DAMAGED, &message);
            break;
        };
        if places[id as usize].is_some() {
            report.add(&kind::OVERLAP, &format!("storage {} is in the key list twice", quoted(key)));
            break;
        }
        let Some(place) = read_place(report, at, raw, &heap.storages[id as usize]) else { break };
        at = place.end;
        places[id as usize] = Some(place);
    }
    let missing =
        places.iter().zip(&heap.storages).filter(|(p, s)| p.is_none() && s.view_of.is_none()).count();
    if missing > 0 && at <= report.file.len() {
        let message = format!("{} have no data in the file", crate::units::plural(missing, "storage"));
        report.add(&kind::PICKLE_DAMAGED, &message);
    } else if at < report.file.len() {
        let message = format!("{} bytes follow the last storage", report.file.len() - at);
        report.add(&kind::TRAILING_BYTES, &message);
    }
    Ok(places)
}

/// Returns where the storage at `at` lies, or `None` (reported) if what follows it cannot be found.
fn read_place(report: &mut Report<'_>, at: u64, raw: &[u8], storage: &super::heap::Storage) -> Option<Place> {
    let key = quoted(rebuild::text(raw, storage.key));
    let len = report.file.len();
    let mut count = [0; 8];
    if at.checked_add(8).is_none_or(|end| end > len) || report.file.read_at(&mut count, at).is_err() {
        report.add(&kind::TRUNCATED, &format!("the file ends at byte {len}, before storage {key}"));
        return None;
    }
    let count = i64::from_le_bytes(count);
    if count != storage.numel {
        let claims = storage.numel;
        let message = format!("storage {key} has {count} elements, the pickle says {claims}; stopped there");
        report.add(&kind::SHAPE_SIZE, &message);
        return None;
    }
    let bytes = match place::claimed_bytes(storage, raw) {
        Ok(bytes) => bytes,
        Err(message) => {
            report.add(&kind::SHAPE_SIZE, &message);
            return None;
        }
    };
    let begin = at + 8;
    let Some(end) = begin.checked_add(bytes) else {
        report.add(&kind::SHAPE_SIZE, &format!("storage {key} claims {bytes} bytes, which overflows"));
        return None;
    };
    if end > len {
        let message = format!("storage {key} ends at byte {end}, the file has {len}");
        report.add(&kind::TRUNCATED, &message);
    }
    Some(Place { begin, end, compressed_entry: None })
}

/// A pickle that `torch.save` did not write. What it names is said; tensors it cannot hold.
fn read_bare(report: &mut Report<'_>, raw: &[u8], pickle: &Pickle) {
    report.header.header_bytes = pickle.end as u64;
    report.known(pickle, "");
    report.halt(pickle.halt.as_ref(), "");
    report.add(
        &kind::NOT_A_CONTAINER,
        "a bare Python pickle and no file of torch.save: no weights can be read from it",
    );
    let state = state::find(pickle, raw);
    report.state(&pickle.heap, &state);
    let places = vec![None; pickle.heap.storages.len()];
    place::push_tensors(report, &pickle.heap, &state, &places);
    report.header.unreadable = report.header.entries().is_empty();
}
