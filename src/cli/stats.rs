//! `ckpt stats`: the figures of all values of every layer, as a table sorted by what looks wrong, JSON or CSV.

mod adapter;
mod csv;
mod document;
mod text;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};

use super::{DONE, FAILED, json, shows_progress, stdout_error};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::name::{distance, escape};
use crate::plan::select::Selection;
use crate::problem::{Problem, kind};
use crate::stats::every::Asked;
use crate::stats::odd::{Odd, odd, role};
use crate::stats::{Of, Part, Source, Summary};
use crate::units;

/// Show what the values of every layer are, what looks wrong first: NaN, dead rows, wild scales, outliers.
#[derive(Debug, Args)]
pub struct Stats {
    /// Folder, file, or Hub name in the local cache.
    pub path: String,
    /// Layers to look at, by their whole names: * is any text, ? any character. None: all of them.
    #[arg(value_name = "GLOB")]
    pub globs: Vec<String>,
    /// How much an adapter changes each layer, instead of its values: norms, effective rank, whether it is all zero.
    #[arg(short = 'a', long = "adapter", value_name = "ADAPTER", conflicts_with_all = ["part", "tensors"])]
    pub adapter: Option<String>,
    /// Print one line of JSON.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print one line of CSV a layer, and one before that names the columns.
    #[arg(long)]
    pub csv: bool,
    /// What of a packed layer: its weights, decoded, or what they are made of, as stored.
    #[arg(long, value_enum, default_value = "weights")]
    pub part: PartFlag,
    /// Tensors as they are stored, instead of layers.
    #[arg(long, conflicts_with = "part")]
    pub tensors: bool,
    /// Threads that read and compute; as many as there are cores if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// The words of `--part`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PartFlag {
    /// The weights, decoded.
    Weights,
    /// The code of each weight.
    Codes,
    /// What codes are multiplied by.
    Scales,
    /// What is taken from codes before.
    ZeroPoints,
    /// What is added to the product of code and scale.
    Terms,
}

impl From<PartFlag> for Part {
    fn from(flag: PartFlag) -> Self {
        match flag {
            PartFlag::Weights => Self::Weights,
            PartFlag::Codes => Self::Codes,
            PartFlag::Scales => Self::Scales,
            PartFlag::ZeroPoints => Self::ZeroPoints,
            PartFlag::Terms => Self::Terms,
        }
    }
}

/// Cells of a name; longer ones are cut in the middle.
const NAME_CELLS_MAX: usize = 60;
/// Bins of a histogram.
const BINS: usize = 64;
/// Names that are shown for a pattern that is of none.
const NEAREST: usize = 3;

/// A layer or tensor, and what was found.
struct Entry {
    name: String,
    /// The format as the schema names it; of a tensor its dtype.
    format: String,
    /// The format as a row shows it.
    label: String,
    found: std::result::Result<Summary, Unread>,
    odd: Vec<Odd>,
}

impl Entry {
    /// Returns true if there are values, and they could not be had.
    fn is_unread(&self) -> bool {
        self.found.as_ref().is_err_and(|unread| !unread.is_without)
    }
}

/// Why there are no figures.
struct Unread {
    why: String,
    /// True if nothing is wrong: the layer has no such part.
    is_without: bool,
}

/// Everything that was looked at.
struct Report<'a> {
    asked: &'a Stats,
    /// In natural order.
    entries: Vec<Entry>,
    /// Files that cannot be read, whatever is in them: name, and why.
    files: Vec<(String, String)>,
}

/// Runs the command: exit 0 when all values could be read, 2 when some could not.
///
/// # Errors
/// There is nothing at the path that could be opened, a pattern is of no layer, or stdout fails.
pub fn run(asked: &Stats, quiet: bool, out: &mut dyn Write) -> Result<u8> {
    let checkpoint = Checkpoint::open_examined(&asked.path)?;
    if let Some(adapter) = &asked.adapter {
        return adapter::run(asked, (checkpoint, adapter), quiet, out);
    }
    let list = chosen(asked, &checkpoint)?;
    let report = Report::of(asked, &checkpoint, &list, quiet);
    if asked.json {
        report.write_json(out)?;
    } else if asked.csv {
        report.write_csv(out).map_err(|e| stdout_error(&e))?;
    } else {
        report.write_text(out).map_err(|e| stdout_error(&e))?;
    }
    Ok(if report.is_read() { DONE } else { FAILED })
}

/// Returns the layers or tensors that the patterns name.
fn chosen(asked: &Stats, checkpoint: &Checkpoint) -> Result<Vec<Of>> {
    let all: Vec<Of> = if asked.tensors {
        (0..checkpoint.files.tensors.len() as u32).map(Of::Tensor).collect()
    } else {
        (0..checkpoint.layers.len() as u32).map(Of::Layer).collect()
    };
    if all.is_empty() {
        let why = checkpoint.problems.iter().find(|problem| problem.is_error());
        let why = why.map_or_else(String::new, |problem| format!(": {}", problem.message));
        return Err(Error::input(format!("{}: no {} can be read{why}", escape(&asked.path), asked.unit())));
    }
    if asked.globs.is_empty() {
        return Ok(all);
    }
    let names: Vec<String> = all.iter().map(|of| name(checkpoint, *of)).collect();
    for glob in &asked.globs {
        let selection = Selection::only(std::slice::from_ref(glob))?;
        if !names.iter().any(|name| selection.takes(name)) {
            return Err(Error::input(no_such(asked, glob, &names)));
        }
    }
    let selection = Selection::only(&asked.globs)?;
    Ok(all.into_iter().zip(&names).filter(|(_, name)| selection.takes(name)).map(|(of, _)| of).collect())
}

/// Says that a pattern is of nothing, and which names are nearest: first those that it is a part of.
fn no_such(asked: &Stats, glob: &str, names: &[String]) -> String {
    let text = glob.replace(['*', '?'], "");
    let letters: Vec<char> = text.chars().take(NAME_CHARS_MAX).collect();
    // One of each role: a layer's other numbers are as near.
    let mut roles: BTreeMap<String, &String> = BTreeMap::new();
    for name in names {
        roles.entry(role(name)).or_insert(name);
    }
    let mut near: Vec<(bool, usize, &String)> = roles
        .into_values()
        .map(|name| (text.is_empty() || !name.contains(&text), tail_distance(&letters, name), name))
        .collect();
    near.sort();
    let nearest: Vec<_> = near.iter().take(NEAREST).map(|(.., name)| escape(name)).collect();
    let hint = match near.first() {
        Some((false, ..)) => format!("; a pattern is of whole names: '*{}*'", escape(&text)),
        _ => String::new(),
    };
    let (unit, nearest) = (asked.unit(), nearest.join(", "));
    format!("{}: no {unit} is named {}; nearest: {nearest}{hint}", escape(&asked.path), escape(glob))
}

/// Returns how far a text is from a name or from its last components: a pattern mostly begins with `*`.
fn tail_distance(text: &[char], name: &str) -> usize {
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    let tails = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
    let distances = tails.chain([name.as_str()]).map(|tail| distance(text, tail));
    distances.min().unwrap_or(usize::MAX)
}

/// Characters of a name that are compared.
const NAME_CHARS_MAX: usize = 200;

fn name(checkpoint: &Checkpoint, of: Of) -> String {
    match of {
        Of::Layer(layer) => checkpoint.layers.name(&checkpoint.files.names, layer),
        Of::Tensor(tensor) => checkpoint.files.tensor_name(tensor),
    }
}

impl Stats {
    fn unit(&self) -> &'static str {
        if self.tensors { "tensor" } else { "layer" }
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(cores, usize::from)
    }
}

impl<'a> Report<'a> {
    fn of(asked: &'a Stats, checkpoint: &Checkpoint, list: &[Of], quiet: bool) -> Self {
        let part = asked.part.into();
        let every = Asked { list, part, threads: asked.threads(), bins: BINS };
        let line = Line::new(every.bytes(checkpoint), !quiet && shows_progress());
        let found = every.scan(checkpoint, &|bytes| line.add(bytes));
        line.end();
        let mut entries: Vec<Entry> = list
            .iter()
            .zip(found)
            .map(|(of, found)| {
                let (name, (format, label)) = (name(checkpoint, *of), formats(checkpoint, *of));
                let found = found.map_err(|error| Unread {
                    why: bare(&error, &name),
                    is_without: is_without(checkpoint, *of, part),
                });
                Entry { name, format, label, found, odd: Vec::new() }
            })
            .collect();
        let read = entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.found.as_ref().ok()?)));
        // Codes, zero points and terms may all be zero and nothing be wrong.
        let has_tests = matches!(part, Part::Weights | Part::Scales);
        let mut odd = if has_tests { odd(&read.collect::<Vec<_>>()) } else { Vec::new() }.into_iter();
        for entry in entries.iter_mut().filter(|entry| entry.found.is_ok()) {
            entry.odd.extend(odd.next().into_iter().flatten());
        }
        Self { asked, entries, files: unread_files(checkpoint) }
    }

    /// Returns true if everything could be read that there is; of a part at least one.
    fn is_read(&self) -> bool {
        let is_some = self.entries.iter().any(|entry| entry.found.is_ok());
        is_some && self.files.is_empty() && !self.entries.iter().any(Entry::is_unread)
    }
}

/// Returns what an error says without the name before it, which stands in the row.
fn bare(error: &Error, name: &str) -> String {
    let names = [Some(name), error.tensor.as_deref()];
    let prefixes = names.into_iter().flatten().map(|name| format!("{}: ", escape(name)));
    let mut rests = prefixes.filter_map(|prefix| error.message.strip_prefix(&prefix));
    rests.next().unwrap_or(&error.message).to_owned()
}

/// Returns the files that are named and missing, or cannot be read as what they are, and why.
fn unread_files(checkpoint: &Checkpoint) -> Vec<(String, String)> {
    let shards = &checkpoint.files.shards;
    let is_unread = |file: &str| shards.iter().any(|shard| shard.unreadable && shard.name == file);
    let of = |problem: &Problem| {
        let file = problem.file.as_deref().unwrap_or_default();
        let is_it = problem.kind == &kind::MISSING_SHARD || problem.is_error() && is_unread(file);
        is_it.then(|| (file.to_owned(), problem.message.clone()))
    };
    checkpoint.problems.iter().filter_map(of).collect()
}

/// Returns the format as the schema names it, and as a row shows it.
fn formats(checkpoint: &Checkpoint, of: Of) -> (String, String) {
    match of {
        Of::Layer(layer) => {
            let spec = checkpoint.layers.spec(layer);
            (spec.format.get().name().to_owned(), spec.label())
        }
        Of::Tensor(tensor) => {
            let dtype = checkpoint.files.tensors[tensor as usize].dtype.to_string();
            (dtype.clone(), dtype)
        }
    }
}

/// Returns true if a layer's weights can be had and it just has no such part.
fn is_without(checkpoint: &Checkpoint, of: Of, part: Part) -> bool {
    part != Part::Weights
        && Source::open(checkpoint, of, Part::Weights).is_ok_and(|source| !source.parts().contains(&part))
}

/// The line on stderr that says how far it is.
struct Line {
    is_shown: bool,
    total: u64,
    done: AtomicU64,
    shown: AtomicU64,
}

impl Line {
    fn new(total: u64, is_shown: bool) -> Self {
        Self { is_shown, total: total.max(1), done: AtomicU64::new(0), shown: AtomicU64::new(0) }
    }

    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let percent = (u128::from(done) * 100 / u128::from(self.total)) as u64;
        // One line a percent at most; never 100 before it is done.
        if self.is_shown && percent < 100 && self.shown.fetch_max(percent, Ordering::Relaxed) < percent {
            let _ = write!(std::io::stderr(), "\rread {percent}% of {}", units::bytes(self.total));
        }
    }

    fn end(&self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
