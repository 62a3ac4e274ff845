//! From described tensors to header entries: where each lies in the file, and whether it can.
//!
//! A tensor is a view of a storage: element `[i, j]` lies at `offset + i*strides[0] + j*strides[1]` of it.
//! The entry's range is what the view spans. A `View` goes with every tensor that is not one contiguous run,
//! or does not cover its storage alone (slices, tied weights).

use super::heap::{Heap, Object, Span, Storage, Tensor};
use super::state::State;
use super::{Report, quoted};
use crate::container::View;
use crate::problem::kind;
use crate::tensor;

/// Dimensions that a tensor may have; the limit of torch's iterators.
const DIMENSIONS_MAX: usize = 64;

/// Where the bytes of a storage lie.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// First byte: in the file, or 0 inside a compressed entry.
    pub(super) begin: u64,
    /// Byte after the last that the file gives this storage.
    pub(super) end: u64,
    /// Name of the compressed zip entry.
    pub(super) compressed_entry: Option<String>,
}

/// The places of all storages by their number; `None` where the file has none.
pub(super) type Places = Vec<Option<Place>>;

/// Adds every tensor of `state` to the report's header.
pub(super) fn push_tensors(report: &mut Report<'_>, heap: &Heap, state: &State, places: &Places) {
    let users = count_users(heap, state);
    let mut names = std::collections::HashSet::new();
    for (name, id) in &state.tensors {
        let tensor = &heap.tensors[*id as usize];
        if !names.insert(name.as_str()) {
            report.tensor(&kind::DUPLICATE_NAME, name, "stands twice in the file");
        }
        let numbers = |span: Span| -> Vec<i64> {
            let of = |o: &Object| if let Object::Int(i) = o { *i } else { -1 };
            heap.items_of(span).iter().map(of).collect()
        };
        let (shape, strides) = (numbers(tensor.shape), numbers(tensor.strides));
        let is_shared = users[root_of(heap, tensor.storage) as usize] > 1;
        let mut one = Placing { report: &mut *report, name, heap, tensor, is_shared };
        one.push(&shape, &strides, places);
    }
}

/// Counts how many listed tensors use each storage.
fn count_users(heap: &Heap, state: &State) -> Vec<u32> {
    let mut users = vec![0u32; heap.storages.len()];
    for (_, id) in &state.tensors {
        let root = root_of(heap, heap.tensors[*id as usize].storage);
        users[root as usize] = users[root as usize].saturating_add(1);
    }
    users
}

/// Returns the storage that holds the bytes of storage `id`.
fn root_of(heap: &Heap, id: u32) -> u32 {
    heap.storages[id as usize].view_of.map_or(id, |(root, _)| root)
}

struct Placing<'a, 'r> {
    report: &'a mut Report<'r>,
    name: &'a str,
    heap: &'a Heap,
    tensor: &'a Tensor,
    is_shared: bool,
}

impl Placing<'_, '_> {
    fn push(&mut self, shape: &[i64], strides: &[i64], places: &Places) {
        let (tensor, name) = (self.tensor, self.name);
        if let Some(flaw) = tensor.flaw {
            self.report.tensor(&kind::PICKLE_DAMAGED, name, flaw);
        }
        let Some((shape, strides)) = self.dimensions(shape, strides) else {
            self.report.entry(name, tensor.element.dtype, &[], (0, 0), None);
            return;
        };
        if tensor.lazy_bit {
            let what = "is stored conjugated or negated, which is not undone";
            self.report.tensor(&kind::UNSUPPORTED_CONTAINER, name, what);
        }
        if matches!(tensor.element.dtype, tensor::Dtype::Other(_)) {
            let what = format!("has the dtype torch.{}, whose values are not read", tensor.element.dtype);
            self.report.tensor(&kind::UNKNOWN_DTYPE, name, &what);
        }
        let storage = self.heap.storages[tensor.storage as usize];
        let Some(place) = &places[root_of(self.heap, tensor.storage) as usize] else {
            self.report.entry(name, tensor.element.dtype, &shape, (0, 0), None);
            return;
        };
        let (begin, end) = self.range(&storage, &shape, &strides, place);
        let covers_alone = !self.is_shared && (begin, end) == (place.begin, place.end);
        let is_empty = shape.contains(&0) && place.begin == place.end;
        let is_plain = covers_alone && is_contiguous(&shape, &strides) || is_empty && !self.is_shared;
        let view = (!is_plain || place.compressed_entry.is_some()).then(|| View {
            strides,
            storage: (place.begin, place.end),
            compressed_entry: place.compressed_entry.clone(),
        });
        self.report.entry(name, tensor.element.dtype, &shape, (begin, end), view);
    }

    /// Returns shape and strides as sizes, or `None` (reported) when they cannot be.
    fn dimensions(&mut self, shape: &[i64], strides: &[i64]) -> Option<(Vec<u64>, Vec<u64>)> {
        let name = self.name;
        let sizes = |values: &[i64]| -> Option<Vec<u64>> {
            values.iter().map(|&value| u64::try_from(value).ok()).collect()
        };
        if shape.len() != strides.len() || shape.len() > DIMENSIONS_MAX {
            let what = format!("has {} sizes and {} strides", shape.len(), strides.len());
            self.report.tensor(&kind::PICKLE_DAMAGED, name, &what);
            return None;
        }
        let (Some(shape), Some(strides)) = (sizes(shape), sizes(strides)) else {
            self.report.tensor(&kind::SHAPE_SIZE, name, "has a negative size or stride");
            return None;
        };
        let bytes =
            tensor::elements(&shape).and_then(|n| n.checked_mul(u64::from(self.tensor.element.bytes)));
        if bytes.is_none() {
            let what = format!("shape {} overflows", crate::units::shape(&shape));
            self.report.tensor(&kind::SHAPE_SIZE, name, &what);
        }
        Some((shape, strides))
    }

    /// Returns the bytes that the tensor spans, reporting a span outside its storage.
    fn range(&mut self, storage: &Storage, shape: &[u64], strides: &[u64], place: &Place) -> (u64, u64) {
        let bytes = i128::from(self.tensor.element.bytes);
        let storage_bytes = i128::from(storage.numel) * i128::from(storage.element.map_or(1, |e| e.bytes));
        let base = storage
            .view_of
            .map_or(0, |(_, first)| i128::from(first) * i128::from(storage.element.map_or(1, |e| e.bytes)));
        let first = i128::from(self.tensor.offset) * bytes;
        // A sum of 64 products of two u64 does not fit 128 bits; past 2^100 it is outside any storage.
        let last = shape.iter().zip(strides).fold(0i128, |sum, (&size, &stride)| {
            let step = i128::from(size.saturating_sub(1)).saturating_mul(i128::from(stride));
            sum.saturating_add(step).min(1 << 100)
        });
        let span = if shape.contains(&0) { 0 } else { (last + 1) * bytes };
        let (begin, end) = (base + first, base + first + span);
        let view_end = base + storage_bytes;
        if first < 0 || base < 0 || (span > 0 && end > view_end) {
            let what = format!(
                "spans bytes {begin} to {end} of its storage, which has {storage_bytes} (shape {}, strides {}, offset {})",
                crate::units::shape(shape),
                crate::units::shape(strides),
                self.tensor.offset
            );
            self.report.tensor(&kind::BAD_OFFSETS, self.name, &what);
        }
        let absolute = |at: i128| {
            let at = i128::from(place.begin).saturating_add(at.max(0));
            u64::try_from(at).unwrap_or(u64::MAX)
        };
        // An empty tensor may stand anywhere; it is put inside its storage.
        if span == 0 {
            let at = absolute(begin).min(place.end);
            return (at, at);
        }
        (absolute(begin), absolute(end))
    }
}

/// Returns true if elements follow each other in row-major order. Strides of dimensions of one element
/// say nothing.
pub(super) fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = Some(1u64);
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        if size == 1 {
            continue;
        }
        if Some(stride) != expected {
            return false;
        }
        expected = expected.and_then(|e| e.checked_mul(size));
    }
    true
}

/// Returns the bytes that a storage claims, or what is wrong with the claim.
pub(super) fn claimed_bytes(storage: &Storage, raw: &[u8]) -> Result<u64, String> {
    let item = u64::from(storage.element.map_or(1, |e| e.bytes));
    let key = quoted(super::rebuild::text(raw, storage.key));
    let numel = u64::try_from(storage.numel)
        .map_err(|_negative| format!("storage {key} claims {} elements", storage.numel))?;
    numel.checked_mul(item).ok_or_else(|| format!("storage {key} claims {numel} elements, which overflows"))
}
