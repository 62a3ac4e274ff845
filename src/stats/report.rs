//! Report: what was found of layers and tensors, and of two checkpoints, as JSON and CSV. The command line prints it, the
//! workbench exports it.

pub mod csv;
pub mod difference;
mod document;
pub mod norms;

pub use self::document::Document;
use super::odd::{Odd, odd};
use super::source::{Of, Part, Source};
use super::summary::Summary;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::problem::{Problem, kind};

/// A layer or tensor, and what was found.
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The format as the schema names it; of a tensor its dtype.
    pub format: String,
    /// The format as a row shows it.
    pub label: String,
    /// Which of its values were looked at.
    pub part: Part,
    /// The figures, or why there are none.
    pub found: std::result::Result<Summary, Unread>,
    /// What looks odd.
    pub odd: Vec<Odd>,
}

/// Why there are no figures.
pub struct Unread {
    /// In words, without the name.
    pub why: String,
    /// True if nothing is wrong: the layer has no such part.
    pub is_without: bool,
}

impl Entry {
    /// Returns what was found of a layer or tensor; what is odd is to be looked for yet.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint, of: Of, part: Part, found: Result<Summary>) -> Self {
        let name = name(checkpoint, of);
        let (format, label) = match of {
            Of::Layer(layer) => {
                let spec = checkpoint.layers.spec(layer);
                (spec.format.get().name().to_owned(), spec.label())
            }
            Of::Tensor(tensor) => {
                let dtype = checkpoint.files.tensors[tensor as usize].dtype.to_string();
                (dtype.clone(), dtype)
            }
        };
        let found = found.map_err(|error| Unread {
            why: bare(&error, &name),
            is_without: is_without(checkpoint, of, part),
        });
        Self { name, format, label, part, found, odd: Vec::new() }
    }

    /// Returns true if there are values, and they could not be had.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.found.as_ref().is_err_and(|unread| !unread.is_without)
    }
}

/// Looks for what is odd in each of some, held against each other. They are of one part.
pub fn find_odd(entries: &mut [Entry]) {
    // Codes, zero points and terms may all be zero and nothing be wrong.
    let has_tests = |entry: &Entry| matches!(entry.part, Part::Weights | Part::Scales);
    let read = entries.iter().filter(|entry| has_tests(entry));
    let read = read.filter_map(|entry| Some((entry.name.as_str(), entry.found.as_ref().ok()?)));
    let mut odd = odd(&read.collect::<Vec<_>>()).into_iter();
    for entry in entries.iter_mut().filter(|entry| has_tests(entry) && entry.found.is_ok()) {
        entry.odd.extend(odd.next().into_iter().flatten());
    }
}

/// Returns the name of a layer or tensor.
#[must_use]
pub fn name(checkpoint: &Checkpoint, of: Of) -> String {
    match of {
        Of::Layer(layer) => checkpoint.layers.name(&checkpoint.files.names, layer),
        Of::Tensor(tensor) => checkpoint.files.tensor_name(tensor),
    }
}

/// Returns the files that are named and missing, or cannot be read as what they are, and why.
#[must_use]
pub fn unread_files(checkpoint: &Checkpoint) -> Vec<(String, String)> {
    let shards = &checkpoint.files.shards;
    let is_unread = |file: &str| shards.iter().any(|shard| shard.unreadable && shard.name == file);
    let of = |problem: &Problem| {
        let file = problem.file.as_deref().unwrap_or_default();
        let is_it = problem.kind == &kind::MISSING_SHARD || problem.is_error() && is_unread(file);
        is_it.then(|| (file.to_owned(), problem.message.clone()))
    };
    checkpoint.problems.iter().filter_map(of).collect()
}

/// Returns what an error says without the name before it, which stands in the row.
fn bare(error: &Error, name: &str) -> String {
    let names = [Some(name), error.tensor.as_deref()];
    let prefixes = names.into_iter().flatten().map(|name| format!("{}: ", escape(name)));
    let mut rests = prefixes.filter_map(|prefix| error.message.strip_prefix(&prefix));
    rests.next().unwrap_or(&error.message).to_owned()
}

/// Returns true if a layer's weights can be had and it just has no such part.
fn is_without(checkpoint: &Checkpoint, of: Of, part: Part) -> bool {
    part != Part::Weights
        && Source::open(checkpoint, of, Part::Weights).is_ok_and(|source| !source.parts().contains(&part))
}
