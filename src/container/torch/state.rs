//! From the object a pickle holds to named tensors: finds the state dict and walks what is around it.
//!
//! A state dict is flat, `{name: tensor}`, or stands under a key of a training checkpoint
//! (`{"model": {…}, "optimizer": {…}, "epoch": 3}`). The names of the state dict are its own; whatever else
//! holds tensors is listed under its full path, joined with dots. Each container is walked once, so that
//! cycles and doubled lists end; a tensor is listed at each place that names it.

use rustc_hash::FxHashSet;

use super::heap::{Heap, Node, NodeKind, Object, Span};
use super::pickle::Pickle;
use super::rebuild::text;
use crate::container::Value;

/// Keys under which training scripts put the state dict, in the order of preference.
/// Source: PyTorch Lightning and timm (`state_dict`), torch tutorials (`model_state_dict`), Megatron and
/// fairseq (`model`), DeepSpeed (`module`), exponential averages (`ema`, `params`).
const WRAPPERS: [&str; 8] =
    ["state_dict", "model_state_dict", "model", "module", "net", "params", "ema_state_dict", "ema"];

/// How often a wrapper may stand in a wrapper.
const WRAPPER_DEPTH_MAX: usize = 4;

/// How deep containers nest before the walk stops; real checkpoints stay below ten.
const DEPTH_MAX: usize = 64;

/// Longest tensor name; longer ones are cut.
const NAME_BYTES_MAX: usize = 4096;

/// All names together. A million tensors with names of 50 bytes take 50 MB.
const NAMES_BYTES_MAX: usize = 64 << 20;

/// Values beside the tensors that are kept, how long a text of them may be, and how many of a list.
const VALUES_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 256;
const FIRST_MAX: usize = 8;

/// Attributes of a module object under which its tensors stand; they are no part of the names.
const MODULE_PARTS: [&[u8]; 3] = [b"_parameters", b"_buffers", b"_modules"];

/// What was found in a pickle.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Names with the number of the tensor in the heap, in file order.
    pub(super) tensors: Vec<(String, u32)>,
    /// Values at the top that are no tensors.
    pub(super) values: Vec<(String, Value)>,
    /// Path of the state dict inside the object, if it does not stand at the top.
    pub(super) wrapper: Option<String>,
    /// What was left out because of a bound.
    pub(super) limits: Vec<String>,
}

/// Finds the tensors of `pickle`, whose bytes are `raw`.
pub(super) fn find(pickle: &Pickle, raw: &[u8]) -> State {
    let mut walk = Walk {
        heap: &pickle.heap,
        raw,
        seen: FxHashSet::default(),
        seen_tuples: FxHashSet::default(),
        state: State::default(),
        names_bytes: 0,
        state_dict: None,
    };
    walk.find_state_dict(pickle.root);
    walk.list(pickle.root);
    walk.values(pickle.root);
    walk.state
}

struct Walk<'a> {
    heap: &'a Heap,
    raw: &'a [u8],
    seen: FxHashSet<u32>,
    seen_tuples: FxHashSet<Span>,
    state: State,
    names_bytes: usize,
    /// The node whose names start anew.
    state_dict: Option<u32>,
}

/// A container on the way down.
struct Frame {
    what: Container,
    next: usize,
    /// Length of the name up to this container.
    name_len: usize,
    /// Its keys are attributes of an instance.
    is_state: bool,
}

#[derive(Clone, Copy)]
enum Container {
    Node(u32),
    Tuple(Span),
}

impl Walk<'_> {
    fn node(&self, object: Object) -> Option<(u32, &Node)> {
        match object {
            Object::Node(id) => Some((id, &self.heap.nodes[id as usize])),
            _ => None,
        }
    }

    fn find_state_dict(&mut self, root: Object) {
        let mut path = Vec::new();
        let mut at = root;
        while path.len() < WRAPPER_DEPTH_MAX {
            let Some((_, node)) = self.node(at) else { break };
            let inner = WRAPPERS.iter().find_map(|&word| {
                let (_, value) = node.items.iter().find(|(key, value)| {
                    self.key_is(*key, word.as_bytes()) && matches!(value, Object::Node(_))
                })?;
                self.holds_tensor(*value).then_some((word, *value))
            });
            let Some((word, value)) = inner else { break };
            path.push(word);
            at = value;
        }
        if let (Object::Node(id), false) = (at, path.is_empty()) {
            self.state_dict = Some(id);
            self.state.wrapper = Some(path.join("."));
        }
    }

    fn key_is(&self, key: Object, word: &[u8]) -> bool {
        matches!(key, Object::Text(span) if text(self.raw, span) == word)
    }

    /// Returns true if a tensor can be reached from `root`.
    fn holds_tensor(&self, root: Object) -> bool {
        let (mut nodes, mut tuples) = (FxHashSet::default(), FxHashSet::default());
        let mut waiting = vec![root];
        while let Some(object) = waiting.pop() {
            match object {
                Object::Tensor(_) => return true,
                Object::Node(id) if nodes.insert(id) => {
                    let node = &self.heap.nodes[id as usize];
                    waiting.extend(node.items.iter().map(|(_, value)| *value).chain([node.state]));
                }
                Object::Tuple(span) if span.len > 0 && tuples.insert(span) => {
                    waiting.extend_from_slice(self.heap.items_of(span));
                }
                _ => {}
            }
        }
        false
    }

    fn list(&mut self, root: Object) {
        let mut name = String::new();
        let mut frames = Vec::new();
        self.enter(root, &mut name, &mut frames, false);
        while let Some(frame) = frames.last_mut() {
            name.truncate(frame.name_len);
            let is_state = frame.is_state;
            let (what, index) = (frame.what, frame.next);
            frame.next += 1;
            let Some((key, value)) = self.child(what, index) else {
                frames.pop();
                continue;
            };
            let is_attributes = matches!(key, Child::Attributes);
            if !matches!(value, Object::Tensor(_) | Object::Node(_) | Object::Tuple(_)) {
                continue;
            }
            self.add_component(&mut name, &key, is_state);
            self.enter(value, &mut name, &mut frames, is_attributes);
        }
    }

    fn child(&self, what: Container, index: usize) -> Option<(Child, Object)> {
        match what {
            Container::Tuple(span) => {
                self.heap.items_of(span).get(index).map(|&value| (Child::Index(index), value))
            }
            Container::Node(id) => {
                let node = &self.heap.nodes[id as usize];
                match node.items.get(index) {
                    Some(&(Object::None, value)) => Some((Child::Index(index), value)),
                    Some(&(key, value)) => Some((Child::Key(key), value)),
                    None if index == node.items.len() && node.state != Object::None => {
                        Some((Child::Attributes, node.state))
                    }
                    None => None,
                }
            }
        }
    }

    fn add_component(&self, name: &mut String, key: &Child, is_state: bool) {
        let mut dot = |part: &str| {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(part);
        };
        match *key {
            Child::Attributes => {}
            Child::Index(index) => dot(&index.to_string()),
            Child::Key(Object::Text(span) | Object::Bytes(span)) => {
                let bytes = text(self.raw, span);
                if is_state && MODULE_PARTS.contains(&bytes) {
                    return;
                }
                // One byte over the bound shows that the name is cut; see `add`.
                dot(&String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_BYTES_MAX + 1)]));
            }
            Child::Key(Object::Int(number)) => dot(&number.to_string()),
            Child::Key(Object::Bool(value)) => dot(if value { "True" } else { "False" }),
            Child::Key(_) => dot("?"),
        }
    }

    fn enter(&mut self, object: Object, name: &mut String, frames: &mut Vec<Frame>, is_state: bool) {
        let what = match object {
            Object::Tensor(id) => return self.add(name, id),
            Object::Node(id) if self.seen.insert(id) => {
                if self.state_dict == Some(id) {
                    name.clear();
                }
                Container::Node(id)
            }
            Object::Tuple(span) if span.len > 0 && self.seen_tuples.insert(span) => Container::Tuple(span),
            _ => return,
        };
        if frames.len() >= DEPTH_MAX {
            self.limit(format!("containers nest deeper than {DEPTH_MAX}; what lies below was not read"));
            return;
        }
        frames.push(Frame { what, next: 0, name_len: name.len(), is_state });
    }

    fn add(&mut self, name: &str, tensor: u32) {
        let mut name = if name.is_empty() { "tensor".to_owned() } else { name.to_owned() };
        if name.len() > NAME_BYTES_MAX {
            let mut end = NAME_BYTES_MAX;
            while !name.is_char_boundary(end) {
                end -= 1;
            }
            name.truncate(end);
            self.limit(format!("a tensor name is longer than {NAME_BYTES_MAX} bytes and was cut"));
        }
        self.names_bytes += name.len();
        if self.names_bytes > NAMES_BYTES_MAX {
            self.limit(format!("the names take more than {NAMES_BYTES_MAX} bytes; the rest is not listed"));
            return;
        }
        self.state.tensors.push((name, tensor));
    }

    fn limit(&mut self, what: String) {
        if !self.state.limits.contains(&what) {
            self.state.limits.push(what);
        }
    }

    /// Keeps what stands beside the tensors at the top: epochs, versions, settings.
    fn values(&mut self, root: Object) {
        let Some((_, node)) = self.node(root) else { return };
        let NodeKind::Dict = node.kind else { return };
        let mut values = Vec::new();
        for &(key, value) in &node.items {
            let Object::Text(span) = key else { continue };
            if values.len() == VALUES_MAX {
                break;
            }
            if let Some(value) = self.value(value) {
                values.push((self.cut(span), value));
            }
        }
        self.state.values = values;
    }

    fn value(&self, object: Object) -> Option<Value> {
        Some(match object {
            Object::Int(number) => Value::Int(number),
            Object::Float(number) => Value::Float(number),
            Object::Bool(value) => Value::Bool(value),
            Object::Text(span) => Value::Text(self.cut(span)),
            Object::None => Value::Text("None".into()),
            Object::Node(_) | Object::Tuple(_) if self.holds_tensor(object) => return None,
            Object::Tuple(span) => self.array(self.heap.items_of(span).iter().copied()),
            Object::Node(id) => {
                let node = &self.heap.nodes[id as usize];
                match node.kind {
                    NodeKind::List => self.array(node.items.iter().map(|(_, item)| *item)),
                    NodeKind::Dict => {
                        Value::Text(format!("dict of {}", crate::units::plural(node.items.len(), "value")))
                    }
                    NodeKind::Instance(class) => {
                        Value::Text(format!("{}, not built", self.heap.classes[class as usize].0))
                    }
                    NodeKind::Inert => return None,
                }
            }
            _ => return None,
        })
    }

    fn array(&self, items: impl ExactSizeIterator<Item = Object>) -> Value {
        let len = items.len() as u64;
        let first = items
            .take(FIRST_MAX)
            .filter(|item| !matches!(item, Object::Node(_) | Object::Tuple(_)))
            .filter_map(|item| self.value(item))
            .collect();
        Value::Array { element: "object", len, first }
    }

    fn cut(&self, span: Span) -> String {
        let bytes = text(self.raw, span);
        String::from_utf8_lossy(&bytes[..bytes.len().min(VALUE_BYTES_MAX)]).into_owned()
    }
}

/// How a container names what it holds.
enum Child {
    Key(Object),
    Index(usize),
    /// The attributes of an instance: no part of the name.
    Attributes,
}
