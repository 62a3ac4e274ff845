//! Segments: the result cut into runs of neighboring bytes, each of which fits a slot.

use std::ops::Range;

use crate::plan::{OutTensor, Plan, Source};
use crate::tensor::elements;

/// A run of neighboring bytes of one file.
pub(super) struct Segment {
    /// Number of the file.
    pub(super) shard: usize,
    pub(super) pieces: Vec<Piece>,
    pub(super) bytes: u64,
}

/// A part of one tensor.
pub(super) struct Piece {
    /// Number of the tensor in its file.
    pub(super) tensor: usize,
    /// Bytes of a tensor that is copied or packed, elements of one that is rounded, rows of one that is decoded.
    pub(super) part: Range<u64>,
    pub(super) bytes: u64,
    /// Zeros that follow it, where tensors are aligned.
    pub(super) padding: u64,
    /// True for the last piece of its tensor.
    pub(super) is_last: bool,
}

/// Cuts the files that are to be written. A row is never cut: one that is larger than a slot has a slot of its
/// own.
pub(super) fn cut(plan: &Plan, slot_bytes: u64, todo: &[bool]) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (shard, file) in plan.shards.iter().enumerate().filter(|(shard, _)| todo[*shard]) {
        let mut segment = Segment { shard, pieces: Vec::new(), bytes: 0 };
        for (tensor, out) in file.tensors.iter().enumerate() {
            let (count, unit) = units_of(plan, out);
            let mut start = 0;
            while start < count {
                let room = slot_bytes.saturating_sub(segment.bytes);
                let fit = (room / unit.max(1)).min(count - start);
                if fit == 0 && !segment.pieces.is_empty() {
                    segments.push(std::mem::replace(
                        &mut segment,
                        Segment { shard, pieces: Vec::new(), bytes: 0 },
                    ));
                    continue;
                }
                let end = start + fit.max(1);
                // What is packed may end with a piece that is smaller than the others.
                let (from, to) = (start * unit, (end * unit).min(out.bytes));
                let bytes = to - from;
                let is_encoded = matches!(out.source, Source::Encoded { .. });
                let part = if is_encoded { from..to } else { start..end };
                let is_last = end == count;
                let padding = if is_last { file.padding(out) } else { 0 };
                segment.pieces.push(Piece { tensor, part, bytes, padding, is_last });
                segment.bytes += bytes + padding;
                start = end;
            }
        }
        if !segment.pieces.is_empty() {
            segments.push(segment);
        }
    }
    segments
}

/// Returns how many units a tensor is cut by, and the bytes of one.
fn units_of(plan: &Plan, tensor: &OutTensor) -> (u64, u64) {
    let by = |count: u64| (count, tensor.bytes.checked_div(count).unwrap_or(0));
    match tensor.source {
        Source::Encoded { pack, part: 0 } => match plan.packs[pack as usize].making.piece_bytes {
            Some(bytes) => (tensor.bytes.div_ceil(bytes), bytes),
            None => (tensor.bytes, 1),
        },
        Source::Copy(_) | Source::Encoded { .. } => (tensor.bytes, 1),
        Source::Cast(_) => by(elements(&tensor.shape).unwrap_or(0)),
        Source::Decode { .. } | Source::Changed { .. } | Source::Merged(_) => {
            let row = match (tensor.source, tensor.shape.as_slice()) {
                (Source::Merged(merge), [_, rest @ ..]) if plan.merges[merge as usize].is_flat => {
                    elements(rest).unwrap_or(0)
                }
                (_, shape) => shape.last().copied().unwrap_or(1),
            };
            by(elements(&tensor.shape).unwrap_or(0).checked_div(row).unwrap_or(0))
        }
    }
}
