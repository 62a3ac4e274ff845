//! `ckpt diff`: two checkpoints of any formats, by their headers and, with `--values`, value by value.

mod text;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Args;

use super::{DONE, FAILED, FOUND, json, shows_progress, stdout_error};
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::select::Selection;
use crate::stats::pairs::Of;
use crate::stats::report::difference::{Difference, Figures, Values};
use crate::stats::{Matched, NameMap, Pair, Watch};
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

/// Everything that was found.
struct Report<'a> {
    asked: &'a Diff,
    of: Of<'a>,
    found: Difference,
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
        json::write_line(out, &report.found.document(asked.values))?;
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
        let found = Difference::of([of.a, of.b], &matched, &takes);
        if selection.is_some() && found.entries.is_empty() && found.only.iter().all(Vec::is_empty) {
            let globs = escape(&asked.only.join(" ")).into_owned();
            return Err(Error::input(format!("--only {globs}: no layer of either is called so")));
        }
        let mut report = Self { asked, of, found };
        if asked.values {
            report.compare(quiet);
        }
        Ok(report)
    }

    /// Compares the values of all pairs of one shape.
    fn compare(&mut self, quiet: bool) {
        let list = self.found.comparable();
        let pairs: Vec<&Pair> = list.iter().map(|&at| &self.found.entries[at].pair).collect();
        let total = pairs.iter().map(|pair| self.of.count(pair)).fold(0, u64::saturating_add);
        let watch = Shown { total, on_terminal: !quiet && shows_progress(), ..Shown::default() };
        let found = Mutex::new(Vec::with_capacity(pairs.len()));
        let threads = self.asked.threads.map(usize::from);
        let threads =
            threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
        self.of.compare(&pairs, threads, &watch, &|at, compared| {
            let figures = compared.map(|compared| Figures::of(&compared)).map_err(|error| error.message);
            found.lock().unwrap_or_else(PoisonError::into_inner).push((at, Values::from(figures)));
        });
        watch.clear();
        for (at, values) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.found.entries[list[at]].values = values;
        }
    }

    fn code(&self) -> u8 {
        let headers_differ = self.found.only.iter().any(|only| !only.is_empty())
            || self.found.entries.iter().any(|entry| !entry.differs.is_nothing());
        let values_differ = self.found.compared().any(|(_, figures)| figures.changed > 0);
        if self.found.is_partial {
            FAILED
        } else if headers_differ || values_differ {
            FOUND
        } else if self.found.not_compared().next().is_some() {
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
