//! Where the tensors of a GGUF file lie, and whether that can be true.
//!
//! Offsets count from the data section. The C reader wants each tensor to start where the padded sizes of
//! those before it end; this reader takes any place, and names what the C reader would refuse: bytes
//! outside the file, shared by two tensors, or between them. Source: `gguf_init_from_reader` in gguf.cpp.

use super::faults::Faults;
use super::infos::Info;
use crate::name::escape;
use crate::problem::kind;
use crate::units::plural;

/// The data section of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    /// Its first byte in the file, a multiple of `alignment`.
    pub(super) begin: u64,
    /// `general.alignment`, a power of two.
    pub(super) alignment: u64,
    /// Size of the file.
    pub(super) file_bytes: u64,
}

impl Data {
    /// Returns the next aligned byte at or after `at`.
    fn pad(self, at: u64) -> u64 {
        at.checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX)
    }
}

/// First byte and byte after the last, in the file.
pub(super) type Span = (u64, u64);

/// Returns the byte range of each tensor. One whose size is unknown reaches to the next tensor, or to the
/// end of the file.
pub(super) fn spans(infos: &[Info], data: Data) -> Vec<Span> {
    let begin = |index: usize| data.begin.saturating_add(infos[index].offset);
    let mut spans = vec![(0, 0); infos.len()];
    // `next` is where the nearest tensor behind starts that is not at the same place.
    let (mut next, mut here) = (data.file_bytes, None);
    for &index in by_offset(infos).iter().rev() {
        let at = begin(index);
        if let Some(behind) = here
            && behind != at
        {
            next = behind;
        }
        here = Some(at);
        let end = infos[index].bytes.map_or(next.max(at), |bytes| at.saturating_add(bytes));
        spans[index] = (at, end);
    }
    spans
}

/// Reports every tensor that lies where it cannot, and the bytes that belong to none.
pub(super) fn check(infos: &[Info], spans: &[Span], data: Data, faults: &mut Faults<'_>) {
    if infos.is_empty() {
        return;
    }
    let before = faults.len();
    let running = running_offsets(infos, data);
    let outside = check_ends(infos, spans, data, (&running, faults));
    let reach = check_gaps(infos, spans, data, (&outside, faults));
    let is_whole = faults.len() == before;
    if is_whole && let Some(index) = running.iter().position(|at| at.strict.is_some()) {
        let (info, expected) = (&infos[index], running[index].strict.unwrap_or_default());
        faults.add_tensor(
            &kind::STRICT_READER,
            &info.name,
            format!(
                "tensors are not in the order of their offsets; llama.cpp: tensor '{}' has offset {}, expected {expected}",
                escape(&info.name),
                info.offset
            ),
        );
    }
    if is_whole && data.file_bytes > data.pad(reach) {
        faults.add(
            &kind::ODD_HEADER,
            format!("{} bytes follow the last tensor; readers ignore them", data.file_bytes - reach),
        );
    }
}

/// What the offset of one tensor should be.
#[derive(Clone, Copy)]
struct Running {
    /// The offset that the C reader expects, if the tensor has another one.
    strict: Option<u64>,
    /// True if the offset follows from the sizes of all tensors before it, or from the end of the last.
    is_consistent: bool,
}

fn running_offsets(infos: &[Info], data: Data) -> Vec<Running> {
    // Both are unknown behind a tensor of unknown size.
    let (mut sum, mut previous_end) = (Some(0u64), Some(0u64));
    let expect = |info: &Info| {
        let strict = sum.filter(|&expected| expected != info.offset);
        let follows = previous_end.is_none_or(|end| end == info.offset);
        let running = Running { strict, is_consistent: strict.is_none() || follows };
        let padded = info.bytes.map(|bytes| data.pad(bytes));
        sum = padded.map(|bytes| sum.unwrap_or(info.offset).saturating_add(bytes));
        previous_end = info.bytes.map(|bytes| data.pad(info.offset.saturating_add(bytes)));
        running
    };
    infos.iter().map(expect).collect()
}

/// Reports tensors that pass the end of the file: cut ones together, those with an offset that makes no
/// sense one by one. Returns which have such an offset.
fn check_ends(
    infos: &[Info],
    spans: &[Span],
    data: Data,
    (running, faults): (&[Running], &mut Faults<'_>),
) -> Vec<bool> {
    let mut outside = vec![false; infos.len()];
    let (mut cut, mut first, mut needed) = (0usize, None, 0);
    for (index, (info, &(begin, end))) in infos.iter().zip(spans).enumerate() {
        if end <= data.file_bytes {
            continue;
        }
        if running[index].is_consistent {
            cut += 1;
            first = first.or(Some(info));
            needed = end.max(needed);
            continue;
        }
        outside[index] = true;
        let message = format!(
            "tensor {}: bytes {begin}..{end} (offset {}) are outside the file of {} bytes",
            escape(&info.name),
            info.offset,
            data.file_bytes
        );
        faults.add_tensor(&kind::BAD_OFFSETS, &info.name, message);
    }
    if let Some(info) = first {
        let message = format!(
            "the file ends after {} bytes, its tensors need {needed} ({} missing): {} of {} cut, the first is {}",
            data.file_bytes,
            needed - data.file_bytes,
            plural(cut, "tensor"),
            infos.len(),
            escape(&info.name)
        );
        faults.add(&kind::TRUNCATED, message);
    }
    outside
}

/// Reports bytes that two tensors share and bytes that none has. Returns where the last tensor ends.
fn check_gaps(
    infos: &[Info],
    spans: &[Span],
    data: Data,
    (outside, faults): (&[bool], &mut Faults<'_>),
) -> u64 {
    let (mut reach, mut last) = (data.begin, None);
    for index in by_offset(infos) {
        let (begin, end) = spans[index];
        if outside[index] || begin == end {
            continue;
        }
        let name = &infos[index].name;
        if begin < reach {
            let other = last.map_or("", |last: usize| infos[last].name.as_str());
            let message = format!(
                "tensors {} and {} share bytes {begin}..{}",
                escape(other),
                escape(name),
                reach.min(end)
            );
            faults.add_tensor(&kind::OVERLAP, name, message);
        } else if begin > data.pad(reach) {
            let message = format!(
                "{} bytes before tensor {} ({reach}..{begin}) belong to no tensor; llama.cpp refuses the file",
                begin - reach,
                escape(name)
            );
            faults.add_tensor(&kind::HOLE, name, message);
        }
        if end > reach {
            (reach, last) = (end, Some(index));
        }
    }
    reach
}

fn by_offset(infos: &[Info]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..infos.len()).collect();
    order.sort_by_key(|&index| infos[index].offset);
    order
}
