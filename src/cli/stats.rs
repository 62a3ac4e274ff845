//! `ckpt stats`: the figures of all values of every layer, as a table sorted by what looks wrong, JSON or CSV.

mod adapter;
mod norms;
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
use crate::stats::every::Asked;
use crate::stats::odd::role;
use crate::stats::report::{Document, Entry, csv, find_odd, name, unread_files};
use crate::stats::summary::Axis;
use crate::stats::{Of, Part};
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
    /// The Euclidean norms of all rows or columns, instead of figures: sums of squares in f64, of the finite values.
    #[arg(long, value_enum, value_name = "OF", conflicts_with = "adapter")]
    pub norms: Option<AxisFlag>,
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

/// The words of `--norms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AxisFlag {
    /// Of rows: one a line of the weight, an output of a linear layer.
    Rows,
    /// Of columns: an input of a linear layer.
    Columns,
}

impl From<AxisFlag> for Axis {
    fn from(flag: AxisFlag) -> Self {
        match flag {
            AxisFlag::Rows => Self::Rows,
            AxisFlag::Columns => Self::Columns,
        }
    }
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
    let document = Document { entries: &report.entries, files: &report.files };
    if let Some(axis) = asked.norms {
        report.write_norms(axis.into(), out)?;
    } else if asked.json {
        json::write_line(out, &document)?;
    } else if asked.csv {
        csv::write(&document, out).map_err(|e| stdout_error(&e))?;
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
        let every =
            Asked { list, part, threads: asked.threads(), bins: BINS, with_norms: asked.norms.is_some() };
        let line = Line::new(every.bytes(checkpoint), !quiet && shows_progress());
        let found = every.scan(checkpoint, &|bytes| line.add(bytes));
        line.end();
        let entry = |(of, found): (&Of, _)| Entry::of(checkpoint, *of, part, found);
        let mut entries: Vec<Entry> = list.iter().zip(found).map(entry).collect();
        match asked.norms {
            None => find_odd(&mut entries),
            Some(axis) => entries.iter_mut().for_each(|entry| norms::need(entry, axis.into())),
        }
        Self { asked, entries, files: unread_files(checkpoint) }
    }

    /// Returns true if everything could be read that there is; of a part at least one.
    fn is_read(&self) -> bool {
        let is_some = self.entries.iter().any(|entry| entry.found.is_ok());
        is_some && self.files.is_empty() && !self.entries.iter().any(Entry::is_unread)
    }
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
