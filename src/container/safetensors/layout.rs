//! The tensors of a safetensors file against each other: duplicate names, and the data without hole,
//! overlap or remainder.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use super::parse::Read;
use super::shown_name;
use crate::container::{Entry, Header};
use crate::problem::kind;
use crate::units;

/// Checks the tensors of `read` against each other and adds the faults.
pub(super) fn check(read: &mut Read) {
    check_names(read);
    // A header that broke off names only part of the data: what seems to be a hole says nothing.
    if read.is_whole {
        check_ranges(read);
    }
}

/// Reports names that occur more than once. The strict reader keeps the last one and says nothing.
fn check_names(read: &mut Read) {
    let header = &read.header;
    let mut hashes: Vec<(u64, u32)> = (0u32..)
        .zip(header.entries())
        .map(|(i, entry)| {
            let mut hasher = FxHasher::default();
            hasher.write(header.name(entry).as_bytes());
            (hasher.finish(), i)
        })
        .collect();
    hashes.sort_unstable();
    for same_hash in hashes.chunk_by(|a, b| a.0 == b.0).filter(|chunk| chunk.len() > 1) {
        let mut names: Vec<&str> =
            same_hash.iter().map(|&(_, i)| header.name(&header.entries()[i as usize])).collect();
        names.sort_unstable();
        for same in names.chunk_by(|a, b| a == b).filter(|chunk| chunk.len() > 1) {
            let what = format!("the name is there {} times; loaders keep the last", same.len());
            read.faults.add(&kind::DUPLICATE_NAME, Some(same[0]), &what);
        }
    }
}

/// Walks the tensors by offset, as the strict reader does.
fn check_ranges(read: &mut Read) {
    let Read { header, faults, frame, misplaced, .. } = read;
    let entries = header.entries();
    let key = |entry: &Entry| (entry.begin, entry.end);
    let order: Option<Vec<u32>> = (!entries.is_sorted_by_key(key)).then(|| {
        let mut order: Vec<u32> = (0..entries.len() as u32).collect();
        order.sort_by_key(|&i| key(&entries[i as usize]));
        order
    });
    let mut reached = frame.data_start;
    let mut holder: Option<&Entry> = None;
    let mut cut = Cut::default();
    // Where a range is missing or wrong, the bytes that it should cover are neither hole nor remainder.
    let mut has_gaps = !misplaced.is_empty();
    for at in 0..entries.len() {
        let index = order.as_ref().map_or(at, |order| order[at] as usize);
        if misplaced.binary_search(&(index as u32)).is_ok() {
            continue;
        }
        let entry = &entries[index];
        if entry.begin > frame.file_bytes && entry.begin > reached && reached <= frame.file_bytes {
            let [begin, end] = [entry.begin, entry.end].map(|at| at - frame.data_start);
            let what =
                format!("data_offsets [{begin}, {end}] lie outside the file of {} byte", frame.file_bytes);
            faults.add(&kind::BAD_OFFSETS, Some(header.name(entry)), &what);
            has_gaps = true;
            continue;
        }
        if entry.begin > reached && !has_gaps {
            let what = format!(
                "{} belong to no tensor between {} and this one",
                units::plural((entry.begin - reached) as usize, "byte"),
                holder.map_or_else(|| "the header".to_owned(), |e| shown_name(header.name(e)))
            );
            faults.add(&kind::HOLE, Some(header.name(entry)), &what);
        } else if entry.begin < reached
            && let Some(other) = holder
            && header.name(other) != header.name(entry)
        {
            let (kind, what) = overlap(header, frame.data_start, entry, other);
            faults.add(kind, Some(header.name(entry)), &what);
        }
        if entry.end > frame.file_bytes {
            cut.count += 1;
            cut.first.get_or_insert(entry);
        }
        if entry.end >= reached {
            (reached, holder) = (entry.end, Some(entry));
        }
    }
    if let Some(first) = cut.first {
        let what = format!(
            "the tensors reach to byte {reached}, the file ends after {}: {} missing, {} cut off from {} on",
            frame.file_bytes,
            units::bytes(reached - frame.file_bytes),
            units::plural(cut.count, "tensor"),
            shown_name(header.name(first))
        );
        faults.add(&kind::TRUNCATED, None, &what);
    } else if reached < frame.file_bytes && !has_gaps {
        let count = frame.file_bytes - reached;
        let what = format!("{count} byte after the last tensor (byte {reached}) belong to none");
        faults.add(&kind::TRAILING_BYTES, None, &what);
    }
}

/// The tensors that reach beyond the end of the file.
#[derive(Default)]
struct Cut<'h> {
    count: usize,
    first: Option<&'h Entry>,
}

fn overlap(
    header: &Header,
    data_start: u64,
    entry: &Entry,
    other: &Entry,
) -> (&'static crate::problem::ProblemKind, String) {
    let [a, b, c, d] =
        [entry.begin, entry.end, other.begin, other.end].map(|at| at.saturating_sub(data_start));
    let name = shown_name(header.name(other));
    if a == b {
        return (&kind::BAD_OFFSETS, format!("an empty tensor at {a}, inside {name} at [{c}, {d}]"));
    }
    (&kind::OVERLAP, format!("data_offsets [{a}, {b}] overlap {name} at [{c}, {d}]"))
}
