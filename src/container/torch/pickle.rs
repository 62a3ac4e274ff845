//! The restricted pickle machine: reads the opcodes of protocols 0 to 5 and runs nothing.
//!
//! It knows the opcodes that make data, and of those that name or call code only the names of
//! `globals.rs`. A name outside the tables, INST, OBJ, extension codes and out-of-band buffers stop it;
//! what was built until then stays (`rescue` joins the half-finished dicts), so that the tensors before a
//! bad name are still listed. No recursion; every size is checked against the bytes there are before
//! anything is allocated; memory is bounded by the heap's budget.
//! Source: `CPython` `Lib/pickletools.py`; PyTorch `torch/_weights_only_unpickler.py`.

use super::cursor::{Cursor, Halt, Step, little_endian, shown, unquoted};
use super::globals::{Global, Lookup, lookup};
use super::heap::{Exhausted, Heap, NodeKind, Object, Span};
use super::rebuild::{self, Misuse};

/// Objects that may wait on the stack. Python's writer leaves at most 1000 pairs for each level.
const STACK_MAX: usize = 1 << 19;

/// Open marks. Python's writer recurses for each, and stops near 1000.
const MARKS_MAX: usize = 4096;

/// Recognized classes that are reported; further ones are counted.
const KNOWN_REPORTED_MAX: usize = 16;

/// What a pickle was read into.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) heap: Heap,
    /// The object it holds, or what there is of it.
    pub(super) root: Object,
    /// Bytes read.
    pub(super) end: usize,
    /// Why it stopped early.
    pub(super) halt: Option<Halt>,
    /// Recognized classes it names: class number, and where.
    pub(super) known: Vec<(u32, u64)>,
}

/// Reads one pickle at the start of `raw`. `base` is added to the positions in messages; `rate` is how
/// many bytes of memory each byte read may cost.
pub(super) fn read(raw: &[u8], base: u64, rate: u64) -> Pickle {
    let mut machine = Machine {
        input: Cursor { raw, base, at: 0 },
        rate,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        heap: Heap::default(),
        known: Vec::new(),
    };
    let (root, halt) = match machine.run() {
        Ok(root) => (root, None),
        Err(halt) => (machine.rescue(), Some(halt)),
    };
    Pickle { heap: machine.heap, root, end: machine.input.at, halt, known: machine.known }
}

struct Machine<'a> {
    input: Cursor<'a>,
    rate: u64,
    stack: Vec<Object>,
    marks: Vec<u32>,
    memo: Vec<Option<Object>>,
    heap: Heap,
    known: Vec<(u32, u64)>,
}

impl Machine<'_> {
    fn run(&mut self) -> Step<Object> {
        loop {
            let opcode_at = self.input.at;
            self.heap.allow(opcode_at, self.rate);
            let opcode = self.input.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            if let Err(halt) = self.step(opcode, opcode_at) {
                // Positions in messages are those of the opcode that failed.
                self.input.at = opcode_at;
                return Err(halt);
            }
            if self.stack.len() > STACK_MAX {
                return Err(self.input.limit(&format!("more than {STACK_MAX} objects wait on the stack")));
            }
        }
    }

    fn step(&mut self, opcode: u8, at: usize) -> Step {
        match opcode {
            // Framing says nothing about content.
            0x80 => self.input.take(1).map(drop),
            0x95 => self.input.take(8).map(drop),
            b'(' => self.mark(),
            b'0' => self.pop_or_unmark(),
            b'1' => self.since_mark().map(drop),
            b'2' => self.top().map(|top| self.push(top)),
            b'N' | 0x88 | 0x89 => {
                self.push(if opcode == b'N' { Object::None } else { Object::Bool(opcode == 0x88) });
                Ok(())
            }
            b'K' | b'M' | b'J' | 0x8a | 0x8b | b'G' | b'I' | b'L' | b'F' => self.number(opcode),
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 | b'V' | b'S' => self.string(opcode),
            b'}' | b']' | 0x8f | b')' => self.empty(opcode),
            b't' | 0x85..=0x87 => self.tuple(opcode),
            b'l' | b'd' | 0x91 => self.collect(opcode),
            b'a' | b'e' | 0x90 => self.append(opcode),
            b's' | b'u' => self.set_items(opcode),
            b'q' | b'r' | b'p' | 0x94 => self.memo_put(opcode),
            b'h' | b'j' | b'g' => self.memo_get(opcode),
            b'c' | 0x93 => self.global(opcode, at),
            b'R' | 0x81 | 0x92 => self.call(opcode),
            b'b' => self.build(),
            b'Q' => self.persistent(),
            b'i' => self.refuse_inst(at),
            b'o' => Err(self.input.refuse(at, "builds an object (OBJ)")),
            0x82..=0x84 => Err(self.input.refuse(at, "calls a registered extension (EXT)")),
            0x97 | 0x98 => Err(self.input.damaged("needs a buffer that is not in the file")),
            b'P' => Err(self.input.damaged("holds a text persistent id, which torch never writes")),
            _ => Err(self.input.damaged(&format!("unknown opcode 0x{opcode:02x}"))),
        }
    }

    // Stack.

    fn push(&mut self, object: Object) {
        self.stack.push(object);
    }

    /// Returns the first stack position that belongs to the innermost mark.
    fn floor(&self) -> usize {
        self.marks.last().map_or(0, |&mark| mark as usize)
    }

    fn pop(&mut self) -> Step<Object> {
        if self.stack.len() <= self.floor() {
            return Err(self.input.damaged("takes from an empty stack"));
        }
        self.stack.pop().ok_or(Halt::Short)
    }

    fn top(&self) -> Step<Object> {
        if self.stack.len() <= self.floor() {
            return Err(self.input.damaged("looks at an empty stack"));
        }
        self.stack.last().copied().ok_or(Halt::Short)
    }

    fn mark(&mut self) -> Step {
        if self.marks.len() >= MARKS_MAX {
            return Err(self.input.limit(&format!("more than {MARKS_MAX} marks are open")));
        }
        self.marks.push(self.stack.len() as u32);
        Ok(())
    }

    fn pop_or_unmark(&mut self) -> Step {
        if self.stack.len() == self.floor() && self.marks.pop().is_some() {
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn since_mark(&mut self) -> Step<Vec<Object>> {
        let Some(mark) = self.marks.pop() else {
            return Err(self.input.damaged("has no open mark"));
        };
        Ok(self.stack.split_off(mark as usize))
    }

    // Data.

    fn number(&mut self, opcode: u8) -> Step {
        let object = match opcode {
            b'K' => Object::Int(self.input.take_number(1)? as i64),
            b'M' => Object::Int(self.input.take_number(2)? as i64),
            b'J' => Object::Int(i64::from(self.input.take_number(4)? as u32 as i32)),
            b'G' => Object::Float(f64::from_bits(self.input.take_number(8)?.swap_bytes())),
            0x8a | 0x8b => {
                let count = self.input.take_number(if opcode == 0x8a { 1 } else { 4 })?;
                let span = self.input.take_span(count)?;
                little_endian(rebuild::text(self.input.raw, span)).map_or(Object::Big(span), Object::Int)
            }
            _ => {
                let span = self.input.take_line()?;
                let line = self.input.text(span);
                let line = line.trim();
                match (opcode, line) {
                    (b'I', "00") => Object::Bool(false),
                    (b'I', "01") => Object::Bool(true),
                    (b'F', _) => Object::Float(line.parse().unwrap_or(f64::NAN)),
                    _ => line.trim_end_matches('L').parse().map_or(Object::Big(span), Object::Int),
                }
            }
        };
        self.push(object);
        Ok(())
    }

    fn string(&mut self, opcode: u8) -> Step {
        let span = match opcode {
            b'V' => self.input.take_line()?,
            b'S' => unquoted(self.input.raw, self.input.take_line()?),
            _ => {
                let width = match opcode {
                    0x8c | b'U' | b'C' => 1,
                    0x8d | 0x8e | 0x96 => 8,
                    _ => 4,
                };
                let count = self.input.take_number(width)?;
                self.input.take_span(count)?
            }
        };
        let is_bytes = matches!(opcode, b'B' | b'C' | 0x8e | 0x96);
        self.push(if is_bytes { Object::Bytes(span) } else { Object::Text(span) });
        Ok(())
    }

    fn empty(&mut self, opcode: u8) -> Step {
        let object = match opcode {
            b'}' => self.heap.node(NodeKind::Dict, Object::None)?,
            b')' => Object::Tuple(Span { start: 0, len: 0 }),
            _ => self.heap.node(NodeKind::List, Object::None)?,
        };
        self.push(object);
        Ok(())
    }

    fn tuple(&mut self, opcode: u8) -> Step {
        let items = if opcode == b't' {
            self.since_mark()?
        } else {
            let count = usize::from(opcode - 0x84);
            if self.stack.len() < self.floor() + count {
                return Err(self.input.damaged("takes from an empty stack"));
            }
            self.stack.split_off(self.stack.len() - count)
        };
        let tuple = self.heap.tuple(&items)?;
        self.push(tuple);
        Ok(())
    }

    fn collect(&mut self, opcode: u8) -> Step {
        let items = self.since_mark()?;
        let is_dict = opcode == b'd';
        let node = self.heap.node(if is_dict { NodeKind::Dict } else { NodeKind::List }, Object::None)?;
        self.fill(node, &items, is_dict)?;
        self.push(node);
        Ok(())
    }

    fn append(&mut self, opcode: u8) -> Step {
        let items = if opcode == b'a' { vec![self.pop()?] } else { self.since_mark()? };
        let onto = self.top()?;
        self.fill(onto, &items, false)
    }

    fn set_items(&mut self, opcode: u8) -> Step {
        let items = if opcode == b's' {
            let value = self.pop()?;
            vec![self.pop()?, value]
        } else {
            self.since_mark()?
        };
        if items.len() % 2 != 0 {
            return Err(self.input.damaged("sets a key without a value"));
        }
        let onto = self.top()?;
        self.fill(onto, &items, true)
    }

    fn fill(&mut self, onto: Object, items: &[Object], in_pairs: bool) -> Step {
        let Object::Node(node) = onto else {
            return Err(self.input.damaged("adds items to something that holds none"));
        };
        if in_pairs {
            for pair in items.chunks_exact(2) {
                self.heap.push(node, pair[0], pair[1])?;
            }
        } else {
            for &item in items {
                self.heap.push(node, Object::None, item)?;
            }
        }
        Ok(())
    }

    // Memo.

    fn memo_index(&mut self, opcode: u8) -> Step<u64> {
        match opcode {
            b'q' | b'h' => self.input.take_number(1),
            b'r' | b'j' => self.input.take_number(4),
            _ => {
                let span = self.input.take_line()?;
                let index = self.input.text(span).trim().parse();
                index.map_err(|_not_a_number| self.input.damaged("names a memo entry that is no number"))
            }
        }
    }

    fn memo_put(&mut self, opcode: u8) -> Step {
        let index = if opcode == 0x94 { self.memo.len() as u64 } else { self.memo_index(opcode)? };
        let object = self.top()?;
        // A writer numbers its entries from 0, and each takes a byte at least.
        if index >= self.input.at as u64 {
            return Err(self.input.limit(&format!("memo entry {index} after {} bytes", self.input.at)));
        }
        let index = index as usize;
        if index >= self.memo.len() {
            self.heap.charge_objects(index + 1 - self.memo.len())?;
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(object);
        Ok(())
    }

    fn memo_get(&mut self, opcode: u8) -> Step {
        let index = self.memo_index(opcode)?;
        match usize::try_from(index).ok().and_then(|index| self.memo.get(index).copied().flatten()) {
            Some(object) => {
                self.push(object);
                Ok(())
            }
            None => Err(self.input.damaged(&format!("asks for memo entry {index}, which was never stored"))),
        }
    }

    // Names and calls.

    fn global(&mut self, opcode: u8, at: usize) -> Step {
        let (module, name) = if opcode == b'c' {
            (self.input.take_line()?, self.input.take_line()?)
        } else {
            let name = self.pop()?;
            let (Object::Text(name), Object::Text(module)) = (name, self.pop()?) else {
                return Err(self.input.damaged("names a global by something that is no text"));
            };
            (module, name)
        };
        let (module, name) = (self.input.short_text(module), self.input.short_text(name));
        let global = match lookup(&module, &name) {
            Lookup::Allowed(global) => global,
            Lookup::Refused => {
                let full = format!("{module}.{name}");
                return Err(self.input.refuse(at, &format!("names the global {}", shown(&full))));
            }
            Lookup::Known(what) => {
                let full = format!("{module}.{name}");
                let (class, is_new) = self.heap.class(&full, what)?;
                if is_new && self.known.len() < KNOWN_REPORTED_MAX {
                    self.known.push((class, self.input.base + at as u64));
                }
                Global::Known(class)
            }
        };
        self.push(Object::Global(global));
        Ok(())
    }

    fn call(&mut self, opcode: u8) -> Step {
        if opcode == 0x92 {
            // Keyword arguments: only instances of recognized classes carry them, which are not built.
            self.pop()?;
        }
        let arguments = self.pop()?;
        let function = self.pop()?;
        let object = rebuild::call(&mut self.heap, function, arguments).map_err(|e| self.misuse(&e))?;
        self.push(object);
        Ok(())
    }

    /// State of an instance is kept, to be looked through for tensors; that of an `OrderedDict` is
    /// `_metadata`, which says nothing about tensors; that of a tensor is its Python attributes.
    fn build(&mut self) -> Step {
        let state = self.pop()?;
        if let Object::Node(node) = self.top()? {
            let node = &mut self.heap.nodes[node as usize];
            if matches!(node.kind, NodeKind::Instance(_)) {
                node.state = state;
            }
        }
        Ok(())
    }

    fn persistent(&mut self) -> Step {
        let id = self.pop()?;
        let storage = rebuild::persistent(&mut self.heap, self.input.raw, id).map_err(|e| self.misuse(&e))?;
        self.push(storage);
        Ok(())
    }

    // Ends.

    fn misuse(&self, misuse: &Misuse) -> Halt {
        match misuse {
            Misuse::Budget => Exhausted.into(),
            Misuse::Arguments(what) => self.input.damaged(&format!("holds {what}")),
        }
    }

    fn refuse_inst(&mut self, at: usize) -> Step {
        let (module, name) = (self.input.take_line()?, self.input.take_line()?);
        let full = format!("{}.{}", self.input.text(module), self.input.text(name));
        Err(self.input.refuse(at, &format!("names the global {} (INST)", shown(&full))))
    }

    /// Joins what waits on the stack to the containers it was meant for, and returns the outermost object.
    fn rescue(&mut self) -> Object {
        // Below a mark stands its container; without a mark the bottom object is it.
        while let Some(mark) = self.marks.pop() {
            let items = self.stack.split_off((mark as usize).min(self.stack.len()));
            self.join(&items);
        }
        let items = self.stack.split_off(self.stack.len().min(1));
        self.join(&items);
        self.stack.first().copied().unwrap_or(Object::None)
    }

    fn join(&mut self, items: &[Object]) {
        if let Some(&Object::Node(node)) = self.stack.last() {
            let in_pairs = self.heap.nodes[node as usize].kind != NodeKind::List;
            // The budget may be what stopped the reading: then no more is joined.
            let _ = self.fill(Object::Node(node), items, in_pairs);
        }
    }
}
