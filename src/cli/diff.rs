//! `ckpt diff`: two checkpoints of any formats, by their headers and, with `--values`, value by value.

mod document;
mod text;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Args;

use super::{DONE, FAILED, FOUND, shows_progress, stdout_error};
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::select::Selection;
use crate::stats::matched::{Differs, Side};
use crate::stats::pairs::Of;
use crate::stats::{Compared, Extreme, Matched, NameMap, Pair, Watch};
use crate::units;

/// What `diff` is asked.
#[derive(Debug, Args)]
pub struct Diff {
    /// The first: folder, file, or Hub name in the local cache.
    pub a: String,
    /// What it is compared with: folder, file, or Hub name in the local cache.
    pub b: String,
    /// Compare all values too: of quantized layers those that they decode to.
    #[arg(long)]
    pub values: bool,
    /// A prefix that names of A have and those of B have not. Can be given again.
    #[arg(long, value_name = "P")]
    pub strip_prefix_a: Vec<String>,
    /// A prefix that names of B have and those of A have not. Can be given again.
    #[arg(long, value_name = "P")]
    pub strip_prefix_b: Vec<String>,
    /// What a name of A, without its prefix, is called in B; one * on each side is the same text. Can be given again.
    #[arg(long, value_name = "FROM=TO")]
    pub map: Vec<String>,
    /// Compare only these layers: names with * and ?. Can be given again.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Threads that compute; as many as there are cores if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Two that are matched, and what was found.
struct Entry {
    pair: Pair,
    /// Their formats in a word.
    labels: [String; 2],
    differs: Differs,
    values: Values,
}

/// What the values of a pair gave.
enum Values {
    /// Nobody asked for them.
    NotAsked,
    /// How far they lie apart.
    Compared(Figures),
    /// They are not compared, and why.
    Not(String),
}

/// How far two lie apart, without the counts of values.
struct Figures {
    shape: Vec<u64>,
    count: u64,
    changed: u64,
    max_abs: Option<Extreme>,
    mean_abs: Option<f64>,
    relative_l2: Option<f64>,
    cosine: Option<f64>,
    nan: [u64; 2],
    infinite: [u64; 2],
    left_out: u64,
}

impl From<Compared> for Figures {
    fn from(of: Compared) -> Self {
        Self {
            shape: of.shape,
            count: of.count,
            changed: of.changed,
            max_abs: of.max_abs,
            mean_abs: of.mean_abs,
            relative_l2: of.relative_l2,
            cosine: of.cosine,
            nan: of.nan,
            infinite: of.infinite,
            left_out: of.left_out,
        }
    }
}

impl Figures {
    /// Returns the place of the largest difference: row and column, or the number in a vector.
    fn place(&self) -> Option<Vec<u64>> {
        let at = self.max_abs?.at;
        let row = self.shape.last().copied().unwrap_or(1).max(1);
        Some(if self.shape.len() > 1 { vec![at / row, at % row] } else { vec![at] })
    }
}

/// What only one side stores.
struct Only {
    /// Its own name there.
    name: String,
    label: String,
    shape: Vec<u64>,
}

/// Everything that was found.
struct Report<'a> {
    asked: &'a Diff,
    of: Of<'a>,
    notes: Vec<String>,
    /// What only A has, and what only B has.
    only: [Vec<Only>; 2],
    entries: Vec<Entry>,
    /// True if a file of either could not be read: what it holds is not known.
    is_partial: bool,
}

/// Runs the command: exit 0 when nothing differs, 1 when something does, 2 when that is not known.
///
/// # Errors
/// One of the two cannot be opened, a map or pattern is wrong, or stdout fails.
pub fn run(asked: &Diff, quiet: bool, out: &mut dyn Write) -> Result<u8> {
    let names = NameMap::parse(&asked.strip_prefix_a, &asked.strip_prefix_b, &asked.map)?;
    let (a, b) = (open(&asked.a)?, open(&asked.b)?);
    let report = Report::of(asked, Of { a: &a, b: &b }, &names, quiet)?;
    if asked.json {
        report.write_json(out)?;
    } else {
        report.write_text(out).map_err(|e| stdout_error(&e))?;
    }
    Ok(report.code())
}

fn open(path: &str) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::open(path)?.examine_layers();
    if checkpoint.kind == CheckpointKind::Unknown && checkpoint.files.shards.iter().all(|s| s.unreadable) {
        let why = checkpoint.problems.first().map_or("nothing in it could be read", |p| &p.message);
        let message = format!("{}: {}", escape(path), escape(why));
        return Err(Error::input(message).at(&checkpoint.files.path));
    }
    Ok(checkpoint)
}

impl<'a> Report<'a> {
    fn of(asked: &'a Diff, of: Of<'a>, names: &NameMap, quiet: bool) -> Result<Self> {
        let matched = Matched::of(of.a, of.b, names);
        let selection = if asked.only.is_empty() { None } else { Some(Selection::only(&asked.only)?) };
        let takes = |name: &str| selection.as_ref().is_none_or(|only| only.takes(name));
        let mut only = [Vec::new(), Vec::new()];
        for (side, layers) in [(Side::A, &matched.only_a), (Side::B, &matched.only_b)] {
            let checkpoint = if side == Side::A { of.a } else { of.b };
            let own = layers.iter().map(|&layer| {
                let spec = checkpoint.layers.spec(layer);
                let name = checkpoint.layers.name(&checkpoint.files.names, layer);
                Only { name, label: spec.label(), shape: spec.shape.clone() }
            });
            let biases = matched.lone_biases.iter().filter(|(of, _)| *of == side).map(|(_, tensor)| {
                let record = &checkpoint.files.tensors[*tensor as usize];
                let (name, shape) = (checkpoint.files.tensor_name(*tensor), checkpoint.files.shape(record));
                Only { name, label: record.dtype.to_string(), shape: shape.to_vec() }
            });
            only[side as usize] = own.chain(biases).filter(|only| takes(&only.name)).collect();
        }
        let pairs = matched.pairs.into_iter().filter(|pair| takes(&pair.name));
        let entries: Vec<Entry> = pairs
            .map(|pair| Entry {
                labels: pair.labels(of.a, of.b),
                differs: pair.differs(of.a, of.b),
                values: Values::NotAsked,
                pair,
            })
            .collect();
        if selection.is_some() && entries.is_empty() && only.iter().all(Vec::is_empty) {
            let globs = escape(&asked.only.join(" ")).into_owned();
            return Err(Error::input(format!("--only {globs}: no layer of either is called so")));
        }
        let mut notes = matched.notes;
        let mut is_partial = false;
        for (side, checkpoint) in Side::BOTH.into_iter().zip([of.a, of.b]) {
            for shard in checkpoint.files.shards.iter().filter(|shard| shard.unreadable) {
                is_partial = true;
                let (name, side) = (escape(&shard.name), side.name());
                notes.push(format!("{name} of {side} could not be read: what it holds is not known"));
            }
        }
        let mut report = Self { asked, of, notes, only, entries, is_partial };
        if asked.values {
            report.compare(quiet);
        }
        Ok(report)
    }

    /// Compares the values of all pairs of one shape.
    fn compare(&mut self, quiet: bool) {
        let mut list = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            match &entry.differs.shape {
                Some((a, b)) => {
                    let (a, b) = (units::shape(a), units::shape(b));
                    entry.values = Values::Not(format!("its shape is {a} in A, {b} in B"));
                }
                None => list.push(at),
            }
        }
        let pairs: Vec<&Pair> = list.iter().map(|&at| &self.entries[at].pair).collect();
        let total = pairs.iter().map(|pair| self.of.count(pair)).fold(0, u64::saturating_add);
        let watch = Shown { total, on_terminal: !quiet && shows_progress(), ..Shown::default() };
        let found = Mutex::new(Vec::with_capacity(pairs.len()));
        let threads = self.asked.threads.map(usize::from);
        let threads =
            threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
        self.of.compare(&pairs, threads, &watch, &|at, compared| {
            let values = match compared {
                Ok(compared) => Values::Compared(Figures::from(compared)),
                Err(error) => Values::Not(error.message),
            };
            found.lock().unwrap_or_else(PoisonError::into_inner).push((at, values));
        });
        watch.clear();
        for (at, values) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.entries[list[at]].values = values;
        }
    }

    /// Returns the pairs whose values were compared.
    fn compared(&self) -> impl Iterator<Item = (&Entry, &Figures)> {
        self.entries.iter().filter_map(|entry| match &entry.values {
            Values::Compared(figures) => Some((entry, figures)),
            _ => None,
        })
    }

    /// Returns the pairs whose values could not be compared, and why.
    fn not_compared(&self) -> impl Iterator<Item = (&Entry, &str)> {
        self.entries.iter().filter_map(|entry| match &entry.values {
            Values::Not(why) => Some((entry, why.as_str())),
            _ => None,
        })
    }

    fn equal(&self) -> usize {
        self.compared().filter(|(_, figures)| figures.changed == 0).count()
    }

    fn code(&self) -> u8 {
        let headers_differ = self.only.iter().any(|only| !only.is_empty())
            || self.entries.iter().any(|entry| !entry.differs.is_nothing());
        let values_differ = self.compared().any(|(_, figures)| figures.changed > 0);
        if self.is_partial {
            FAILED
        } else if headers_differ || values_differ {
            FOUND
        } else if self.not_compared().next().is_some() {
            FAILED
        } else {
            DONE
        }
    }
}

/// Shows on a terminal how many values have been compared.
#[derive(Default)]
struct Shown {
    total: u64,
    done: AtomicU64,
    percent: AtomicU64,
    on_terminal: bool,
}

impl Watch for Shown {
    fn read(&self, values: u64) {
        let done = self.done.fetch_add(values, Ordering::Relaxed).saturating_add(values);
        let percent = done.saturating_mul(100) / self.total.max(1);
        // One line a percent at most; never 100 before it is done.
        if self.on_terminal && self.percent.fetch_max(percent, Ordering::Relaxed) < percent && percent < 100 {
            let of = units::count(self.total);
            let _ = write!(std::io::stderr(), "\rcompared {percent}% of {of} values");
        }
    }
}

impl Shown {
    fn clear(&self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
