//! What the allowed names do with their arguments: storages and tensors from their descriptions.
//!
//! The functions of `torch._utils` are not called; their arguments are read. A description that makes no
//! sense becomes a tensor with a flaw, so that it is listed under its name with what is wrong.
//! Source: PyTorch `torch/_utils.py` (`_rebuild_tensor_v2`, `_rebuild_tensor_v3`), `torch/serialization.py`
//! (`persistent_id`).

use super::globals::{Element, Global, Rebuild};
use super::heap::{Exhausted, Heap, NodeKind, Object, Span, Storage, Tensor};
use crate::tensor::Dtype;

/// How deep `_rebuild_from_type_v2` may stand in itself; torch writes one level.
const FROM_TYPE_DEPTH_MAX: u32 = 4;

/// The element of an untyped storage.
const BYTE: Element = Element { dtype: Dtype::U8, bytes: 1 };

const EMPTY: Span = Span { start: 0, len: 0 };

/// Why a call was not understood.
pub(super) enum Misuse {
    /// The memory budget is spent.
    Budget,
    /// The arguments are not those of the function; the text says of which.
    Arguments(&'static str),
}

impl From<Exhausted> for Misuse {
    fn from(_: Exhausted) -> Self {
        Self::Budget
    }
}

/// Returns what `function(*arguments)` stands for.
pub(super) fn call(heap: &mut Heap, function: Object, arguments: Object) -> Result<Object, Misuse> {
    call_nested(heap, function, arguments, FROM_TYPE_DEPTH_MAX)
}

fn call_nested(heap: &mut Heap, function: Object, arguments: Object, depth: u32) -> Result<Object, Misuse> {
    let Object::Tuple(span) = arguments else {
        return Err(Misuse::Arguments("arguments that are no tuple"));
    };
    let first = heap.items_of(span).first().copied();
    match function {
        Object::Global(Global::Dict) => Ok(ordered_dict(heap, span)?),
        Object::Global(Global::Size) => Ok(first.unwrap_or(Object::Tuple(EMPTY))),
        Object::Global(Global::Known(class)) => Ok(heap.node(NodeKind::Instance(class), arguments)?),
        Object::Global(Global::Rebuild(Rebuild::Parameter)) => Ok(first.unwrap_or(Object::None)),
        Object::Global(Global::Rebuild(Rebuild::FromType)) => {
            let (Some(&inner), Some(&inner_arguments)) =
                (heap.items_of(span).first(), heap.items_of(span).get(2))
            else {
                return Err(Misuse::Arguments("too few arguments for _rebuild_from_type_v2"));
            };
            if depth == 0 {
                return Err(Misuse::Arguments("_rebuild_from_type_v2 nested in itself"));
            }
            call_nested(heap, inner, inner_arguments, depth - 1)
        }
        Object::Global(Global::Rebuild(how)) => rebuild_tensor(heap, how, span),
        Object::Global(Global::Inert | Global::Storage(_) | Global::Untyped | Global::Element(_)) => {
            Ok(heap.node(NodeKind::Inert, arguments)?)
        }
        _ => Err(Misuse::Arguments("a call of something that is no function")),
    }
}

/// `OrderedDict()` as torch writes it, or `OrderedDict([[key, value], …])` as Python 2 does.
fn ordered_dict(heap: &mut Heap, arguments: Span) -> Result<Object, Exhausted> {
    let dict = heap.node(NodeKind::Dict, Object::None)?;
    let (Object::Node(id), Some(&Object::Node(list))) = (dict, heap.items_of(arguments).first()) else {
        return Ok(dict);
    };
    for i in 0..heap.nodes[list as usize].items.len() {
        let pair = match heap.nodes[list as usize].items[i] {
            (Object::None, Object::Tuple(span)) if span.len == 2 => {
                let items = heap.items_of(span);
                (items[0], items[1])
            }
            (Object::None, Object::Node(pair)) if heap.nodes[pair as usize].items.len() == 2 => {
                let items = &heap.nodes[pair as usize].items;
                (items[0].1, items[1].1)
            }
            _ => continue,
        };
        heap.push(id, pair.0, pair.1)?;
    }
    Ok(dict)
}

fn rebuild_tensor(heap: &mut Heap, how: Rebuild, arguments: Span) -> Result<Object, Misuse> {
    let items = heap.items_of(arguments);
    let (Some(&storage), Some(&offset), Some(&shape), Some(&strides)) =
        (items.first(), items.get(1), items.get(2), items.get(3))
    else {
        return Err(Misuse::Arguments("too few arguments for a tensor"));
    };
    let Object::Storage(storage) = storage else {
        return Err(Misuse::Arguments("a tensor whose first argument is no storage"));
    };
    let mut element = heap.storages[storage as usize].element.unwrap_or(BYTE);
    let mut flaw = None;
    let mut metadata = None;
    match how {
        Rebuild::TensorWithDtype => {
            match items.get(6) {
                Some(&Object::Global(Global::Element(dtype))) => element = dtype,
                _ => flaw = Some("its dtype argument is no dtype"),
            }
            metadata = items.get(7);
        }
        Rebuild::Quantized => {}
        _ => metadata = items.get(6),
    }
    let lazy_bit =
        matches!(metadata, Some(&Object::Node(node)) if !heap.nodes[node as usize].items.is_empty());
    let Object::Int(offset) = offset else {
        return Err(Misuse::Arguments("a tensor whose offset is no whole number"));
    };
    let (shape, strides) = (whole_numbers(heap, shape), whole_numbers(heap, strides));
    if shape.is_none() || strides.is_none() {
        flaw = Some("its shape or strides are no whole numbers");
    }
    let (shape, strides) = (shape.unwrap_or(EMPTY), strides.unwrap_or(EMPTY));
    Ok(heap.tensor(Tensor { storage, element, offset, shape, strides, lazy_bit, flaw })?)
}

fn whole_numbers(heap: &Heap, object: Object) -> Option<Span> {
    let Object::Tuple(span) = object else { return None };
    heap.items_of(span).iter().all(|item| matches!(item, Object::Int(_))).then_some(span)
}

/// Returns the storage that a persistent id `('storage', type, key, location, numel[, view])` names.
pub(super) fn persistent(heap: &mut Heap, raw: &[u8], id: Object) -> Result<Object, Misuse> {
    let Object::Tuple(span) = id else {
        return Err(Misuse::Arguments("a persistent id that is no tuple"));
    };
    let items = heap.items_of(span);
    let (
        Some(&Object::Text(word) | &Object::Bytes(word)),
        Some(&class),
        Some(&key),
        Some(&Object::Int(numel)),
    ) = (items.first(), items.get(1), items.get(2), items.get(4))
    else {
        return Err(Misuse::Arguments("a persistent id that names no storage"));
    };
    if text(raw, word) != b"storage" {
        return Err(Misuse::Arguments("a persistent id of a kind other than storage"));
    }
    let element = match class {
        Object::Global(Global::Storage(element)) => Some(element),
        Object::Global(Global::Untyped) => None,
        _ => return Err(Misuse::Arguments("a storage of no known type")),
    };
    let (Object::Text(key) | Object::Bytes(key)) = key else {
        return Err(Misuse::Arguments("a storage whose key is no text"));
    };
    let view = match items.get(5) {
        Some(&Object::Tuple(view)) => Some(view),
        _ => None,
    };
    let root = Storage { key, element, numel, view_of: None };
    let id = heap.storage(text(raw, key), root)?;
    let Some(view) = view else { return Ok(Object::Storage(id)) };
    let (Some(&Object::Int(first)), Some(&Object::Int(numel))) =
        (heap.items_of(view).get(1), heap.items_of(view).get(2))
    else {
        return Err(Misuse::Arguments("a storage view without offset and size"));
    };
    let view = Storage { key, element, numel, view_of: Some((id, first)) };
    Ok(Object::Storage(heap.storage(&[], view)?))
}

/// Returns the bytes of a text.
pub(super) fn text(raw: &[u8], span: Span) -> &[u8] {
    &raw[span.start as usize..][..span.len as usize]
}
