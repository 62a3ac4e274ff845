//! What a pickle builds: flat pools of small copies, addressed by number.
//!
//! An object is 16 bytes and owns nothing: texts are spans of the pickle's bytes, tuples are spans of one
//! pool, lists, dicts and instances are numbers. So a memo that doubles a list forty times costs forty
//! lists, dropping a million nested lists does not recurse, and a cycle is only a number that repeats.
//! Every allocation is charged against a budget that grows with the bytes read.

use std::collections::HashMap;

use super::globals::{Element, Global};

/// Memory that a pickle may always take: enough for 20 000 tensors.
const BUDGET_BASE: u64 = 8 << 20;

/// Memory that a pickle may take at most, whatever its size: near a million tensors.
const BUDGET_MAX: u64 = 192 << 20;

/// Bytes charged for a new container (its record) and for each entry (a pair of 32 bytes, doubled
/// because vectors grow by doubling; the first push takes room for four).
const NODE_BYTES: u64 = 48;
const ENTRY_BYTES: u64 = 64;
const FIRST_ENTRY_BYTES: u64 = 128;

/// Bytes charged for an object in a pool.
const OBJECT_BYTES: u64 = 16;

/// Longest class name that is kept.
const CLASS_NAME_BYTES_MAX: usize = 160;

/// A run of bytes of the pickle, or of objects in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// A value of the pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A whole number beyond 64 bits: its bytes.
    Big(Span),
    Text(Span),
    Bytes(Span),
    Global(Global),
    Tuple(Span),
    Node(u32),
    Storage(u32),
    Tensor(u32),
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    List,
    Dict,
    /// An instance of a recognized class, never built; with the class's number.
    Instance(u32),
    /// A value of no use here.
    Inert,
}

/// A list, dict or instance. A list's keys are `None`.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) items: Vec<(Object, Object)>,
    /// Constructor arguments or attributes of an instance.
    pub(super) state: Object,
}

/// A storage: a run of elements under a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub(super) key: Span,
    /// `None` for an untyped storage, whose elements are bytes.
    pub(super) element: Option<Element>,
    /// Elements; negative counts stay as they are and are reported later.
    pub(super) numel: i64,
    /// For a view of another storage (legacy files): that one, and the first element in it.
    pub(super) view_of: Option<(u32, i64)>,
}

/// A tensor as the pickle describes it. Nothing is checked yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    pub(super) storage: u32,
    pub(super) element: Element,
    pub(super) offset: i64,
    pub(super) shape: Span,
    pub(super) strides: Span,
    /// The conjugate or negative bit is set: the stored values are not the tensor's.
    pub(super) lazy_bit: bool,
    /// What is wrong with the description, if something is.
    pub(super) flaw: Option<&'static str>,
}

/// The budget is spent.
#[derive(Debug)]
pub(super) struct Exhausted;

/// Everything a pickle has built.
#[derive(Debug, Default)]
pub(super) struct Heap {
    pool: Vec<Object>,
    pub(super) nodes: Vec<Node>,
    pub(super) storages: Vec<Storage>,
    storage_ids: HashMap<Box<[u8]>, u32>,
    pub(super) tensors: Vec<Tensor>,
    /// Recognized classes: name, what they are.
    pub(super) classes: Vec<(String, &'static str)>,
    class_ids: HashMap<String, u32>,
    spent: u64,
    allowance: u64,
}

impl Heap {
    /// Sets how much may be spent after `read` bytes, at `rate` bytes of memory a byte read.
    pub(super) fn allow(&mut self, read: usize, rate: u64) {
        self.allowance = (BUDGET_BASE + read as u64 * rate).min(BUDGET_MAX);
    }

    /// Charges `bytes` against the budget.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), Exhausted> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > self.allowance { Err(Exhausted) } else { Ok(()) }
    }

    /// Charges for `count` objects kept outside the pool.
    pub(super) fn charge_objects(&mut self, count: usize) -> Result<(), Exhausted> {
        self.charge(count as u64 * OBJECT_BYTES)
    }

    pub(super) fn tuple(&mut self, items: &[Object]) -> Result<Object, Exhausted> {
        self.charge_objects(items.len())?;
        let start = u32::try_from(self.pool.len()).map_err(|_too_many| Exhausted)?;
        self.pool.extend_from_slice(items);
        Ok(Object::Tuple(Span { start, len: items.len() as u32 }))
    }

    pub(super) fn items_of(&self, tuple: Span) -> &[Object] {
        &self.pool[tuple.start as usize..][..tuple.len as usize]
    }

    pub(super) fn node(&mut self, kind: NodeKind, state: Object) -> Result<Object, Exhausted> {
        self.charge(NODE_BYTES)?;
        self.nodes.push(Node { kind, items: Vec::new(), state });
        Ok(Object::Node((self.nodes.len() - 1) as u32))
    }

    pub(super) fn push(&mut self, node: u32, key: Object, value: Object) -> Result<(), Exhausted> {
        let first = self.nodes[node as usize].items.is_empty();
        self.charge(if first { FIRST_ENTRY_BYTES } else { ENTRY_BYTES })?;
        self.nodes[node as usize].items.push((key, value));
        Ok(())
    }

    /// Returns the number of the storage under `key`; the first description of a key counts, as in torch.
    pub(super) fn storage(&mut self, key: &[u8], storage: Storage) -> Result<u32, Exhausted> {
        if storage.view_of.is_none()
            && let Some(&id) = self.storage_ids.get(key)
        {
            return Ok(id);
        }
        self.charge(size_of::<Storage>() as u64 + 48 + key.len() as u64)?;
        let id = self.storages.len() as u32;
        self.storages.push(storage);
        if storage.view_of.is_none() {
            self.storage_ids.insert(key.into(), id);
        }
        Ok(id)
    }

    /// Returns the number of the storage under `key`, if the pickle names one.
    pub(super) fn storage_id(&self, key: &[u8]) -> Option<u32> {
        self.storage_ids.get(key).copied()
    }

    pub(super) fn tensor(&mut self, tensor: Tensor) -> Result<Object, Exhausted> {
        self.charge(size_of::<Tensor>() as u64)?;
        self.tensors.push(tensor);
        Ok(Object::Tensor((self.tensors.len() - 1) as u32))
    }

    /// Returns the number of a recognized class, and true if it is new.
    pub(super) fn class(&mut self, name: &str, what: &'static str) -> Result<(u32, bool), Exhausted> {
        let name: String = name.chars().take(CLASS_NAME_BYTES_MAX).collect();
        if let Some(&id) = self.class_ids.get(&name) {
            return Ok((id, false));
        }
        self.charge(2 * name.len() as u64 + 96)?;
        let id = self.classes.len() as u32;
        self.class_ids.insert(name.clone(), id);
        self.classes.push((name, what));
        Ok((id, true))
    }
}
