//! PyTorch files (`.bin`, `.pt`, `.pth`, `.ckpt`): a pickle that describes tensors, and their storages.
//!
//! Unpickling runs code by design, so nothing here unpickles: `torch/pickle.rs` is a machine that reads the
//! opcodes and knows only the names that state dicts use (`torch/globals.rs`). Any other name is reported
//! and reading stops there, with what was found before it. Two layouts: a zip archive (`torch/archive.rs`)
//! and the older five pickles in a row (`torch/legacy.rs`).
//!
//! Metadata of the header: `pytorch.container` (`zip`, `legacy`), `pytorch.root` (folder in the archive),
//! `pytorch.storages`, `pytorch.state_dict` (path of the state dict inside a training checkpoint),
//! `pytorch.byteorder`, then the values beside the tensors (`epoch`, …).

mod archive;
mod cursor;
mod gather;
mod globals;
mod heap;
mod legacy;
mod pickle;
mod place;
mod rebuild;
mod state;
#[cfg(test)]
mod tests;
mod zip;

pub use gather::{Stored, read_contiguous};

use super::bytes::SourceFile;
use super::{Container, Header, SNIFF_BYTES, Value, View, explain_foreign};
use crate::name::{cut_middle, escape};
use crate::problem::{Problem, ProblemKind, kind};
use crate::tensor::Dtype;
use cursor::Halt;
use heap::Heap;
use pickle::Pickle;
use state::State;

/// Largest pickle. That of a 100 000-tensor file takes about 15 MB; offsets here are 32 bits.
const PICKLE_BYTES_MAX: u64 = 256 << 20;

/// Memory that a pickle may cost a byte: real ones need 6. An inflated one cost its sender far less than
/// its size, so it gets what it is long.
const STORED_RATE: u64 = 16;
const INFLATED_RATE: u64 = 1;

/// Problems that are kept of one file; the rest is counted.
const PROBLEMS_MAX: usize = 64;

/// How wide a name is shown in a message.
const NAME_CELLS_MAX: usize = 100;

/// The PyTorch container.
#[derive(Debug)]
pub struct Torch;

impl Container for Torch {
    fn name(&self) -> &'static str {
        "pytorch"
    }

    fn sniff(&self, head: &[u8]) -> bool {
        is_zip(head) || is_pickle(head) || is_text_pickle(head)
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["bin", "pt", "pth", "ckpt"]
    }

    fn read_header(&self, file: &SourceFile) -> Header {
        let mut report = Report { file, header: Header::default(), dropped: 0 };
        let head = match file.head(SNIFF_BYTES) {
            Ok(head) => head,
            Err(error) => {
                report.add(&kind::UNREADABLE_FILE, &error.message);
                report.header.unreadable = true;
                return report.header;
            }
        };
        let outcome = if is_zip(&head) {
            archive::read(&mut report)
        } else if is_pickle(&head) || is_text_pickle(&head) {
            legacy::read(&mut report)
        } else {
            report.foreign(&head);
            Ok(())
        };
        if let Err(error) = outcome {
            report.add(&kind::UNREADABLE_FILE, &error.message);
        }
        report.finish()
    }
}

fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
}

/// Returns true for a binary pickle: the protocol opcode with a protocol that exists. A safetensors file
/// can start with the same two bytes, as the length of its header; its next bytes are zero and a brace.
fn is_pickle(head: &[u8]) -> bool {
    let is_protocol = matches!(head, [0x80, 2..=5, ..]);
    let is_length = head.len() > 8 && head[4..8] == [0; 4] && head[8..].trim_ascii_start().starts_with(b"{");
    is_protocol && !is_length
}

/// Returns true for what a protocol 0 pickle begins with: a container or a string above a mark, or a global.
fn is_text_pickle(head: &[u8]) -> bool {
    let starts = [&b"(dp"[..], b"(lp", b"(S'", b"(S\"", b"(V", b"(i"];
    let is_global = head.strip_prefix(b"(").unwrap_or(head).strip_prefix(b"c").is_some_and(|rest| {
        let mut lines = rest.split(|&b| b == b'\n');
        let is_name = |line: Option<&[u8]>| {
            line.is_some_and(|line| {
                let is_word = |&b: &u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
                !line.is_empty() && line.iter().all(is_word)
            })
        };
        is_name(lines.next()) && is_name(lines.next()) && lines.next().is_some()
    });
    is_global || starts.iter().any(|start| head.starts_with(start))
}

/// A header in the making.
struct Report<'f> {
    file: &'f SourceFile,
    header: Header,
    dropped: usize,
}

impl Report<'_> {
    fn add(&mut self, kind: &'static ProblemKind, message: &str) {
        self.keep(kind, "", message, None);
    }

    fn tensor(&mut self, kind: &'static ProblemKind, name: &str, what: &str) {
        let shown = quoted(name.as_bytes());
        self.keep(kind, "", &format!("tensor {shown} {what}"), Some(name));
    }

    fn flaw(&mut self, flaw: &zip::Flaw) {
        self.add(flaw.0, &flaw.1);
    }

    fn keep(&mut self, kind: &'static ProblemKind, part: &str, message: &str, tensor: Option<&str>) {
        if self.header.problems.len() >= PROBLEMS_MAX {
            self.dropped += 1;
            return;
        }
        let name = self.file.name();
        let mut problem = Problem::new(kind, format!("{}{part}: {message}", escape(name))).file(name);
        problem.tensor = tensor.map(str::to_owned);
        self.header.problems.push(problem);
    }

    /// Reports why a pickle was not read to its end, and returns true if it was not.
    fn halt(&mut self, halt: Option<&Halt>, part: &str) -> bool {
        match halt {
            None => return false,
            Some(Halt::Short) => self.keep(&kind::PICKLE_DAMAGED, part, "the pickle has no end", None),
            Some(Halt::Fault(kind, message)) => self.keep(kind, part, message, None),
        }
        true
    }

    /// Reports the recognized classes that a pickle names.
    fn known(&mut self, pickle: &Pickle, part: &str) {
        for &(class, at) in &pickle.known {
            let (name, what) = &pickle.heap.classes[class as usize];
            let name = quoted(name.as_bytes());
            let message =
                format!("names {name} at byte {at}: recognized and not built, nothing was run ({what})");
            self.keep(&kind::UNSAFE_PICKLE, part, &message, None);
        }
        let more = pickle.heap.classes.len() - pickle.known.len();
        if more > 0 {
            let message = format!("names {more} more classes that are not built");
            self.keep(&kind::UNSAFE_PICKLE, part, &message, None);
        }
    }

    /// Keeps what was found beside the tensors.
    fn state(&mut self, heap: &Heap, state: &State) {
        let storages = heap.storages.iter().filter(|storage| storage.view_of.is_none()).count();
        self.meta("pytorch.storages", Value::Int(storages as i64));
        if let Some(path) = &state.wrapper {
            self.meta("pytorch.state_dict", Value::Text(path.clone()));
        }
        self.header.metadata.extend(state.values.iter().cloned());
        for limit in &state.limits {
            self.add(&kind::OVER_LIMIT, limit);
        }
    }

    fn meta(&mut self, key: &str, value: Value) {
        self.header.metadata.push((key.to_owned(), value));
    }

    fn entry(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[u64],
        (begin, end): (u64, u64),
        view: Option<View>,
    ) {
        let index = self.header.entries().len() as u32;
        if self.header.push(name, dtype, shape, begin, end)
            && let Some(view) = view
        {
            self.header.views.insert(index, view);
        }
    }

    /// Says what a file is that starts like none of ours.
    fn foreign(&mut self, head: &[u8]) {
        // Before 0.1.10 torch wrote tar archives.
        const TAR_MAGIC_AT: usize = 257;
        let problem = if head.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
            self.add(&kind::UNSUPPORTED_CONTAINER, "a tar archive, as torch wrote before 0.1.10; not read");
            None
        } else {
            Some(explain_foreign(self.file, head))
        };
        self.header.problems.extend(problem);
        self.header.unreadable = true;
    }

    fn finish(mut self) -> Header {
        if !self.header.entries().is_empty() {
            let count = crate::units::plural(self.header.entries().len(), "tensor");
            let name = escape(self.file.name()).into_owned();
            let message = format!("{name}: {count} in a pickle: loading it elsewhere can run code");
            let problem = Problem::new(&kind::PICKLE_WEIGHTS, message).file(self.file.name());
            self.header.problems.push(problem);
        }
        if self.dropped > 0 {
            let name = escape(self.file.name()).into_owned();
            let message = format!("{name}: {} more problems are not listed", self.dropped);
            let problem = Problem::new(&kind::OVER_LIMIT, message).file(self.file.name());
            self.header.problems.push(problem);
        }
        self.header
    }
}

/// Returns bytes from a file as they may be shown: escaped, and cut in the middle.
fn quoted(bytes: &[u8]) -> String {
    // Escaping makes a byte at most six cells; what lies in the middle of a long text is not needed.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    cut_middle(&escape(&text), NAME_CELLS_MAX).into_owned()
}
