//! The readable form of `ckpt diff`: what only one has, what differs by the headers, then the values, worst first.

use std::cmp::Ordering;
use std::io::Write;

use rustc_hash::FxHashMap;

use super::Report;
use crate::adapter::board::ranges;
use crate::checkpoint::Checkpoint;
use crate::cli::table::table;
use crate::name::{cut_name, escape};
use crate::stats::report::difference::{Entry, Figures};
use crate::units;

/// Rows of a list; `--json` has all.
const ROWS_MAX: usize = 200;
/// Cells of a name.
const NAME_CELLS: usize = 56;

impl Report<'_> {
    pub(super) fn write_text(&self, out: &mut dyn Write) -> std::io::Result<()> {
        side(out, "A", self.of.a)?;
        side(out, "B", self.of.b)?;
        if !self.found.notes.is_empty() {
            writeln!(out)?;
        }
        for note in &self.found.notes {
            writeln!(out, "▲ {}", escape(note))?;
        }
        for (only, head) in self.found.only.iter().zip(["only in A", "only in B"]) {
            let lines = only.iter().map(|of| {
                let what = format!("{} {}", of.label, units::shape(&of.shape));
                (of.name.as_str(), what)
            });
            section(out, head, lines)?;
        }
        let differs = || self.found.entries.iter().map(|entry| (entry.pair.name.as_str(), &entry.differs));
        let shapes = differs().filter_map(|(name, of)| {
            let (a, b) = of.shape.as_ref()?;
            Some((name, format!("{} in A, {} in B", units::shape(a), units::shape(b))))
        });
        let head = if self.asked.values { "shapes differ, values not compared" } else { "shapes differ" };
        section(out, head, shapes)?;
        // A packed layer's dtype says less than its format.
        let dtypes = differs().filter(|(_, of)| of.format.is_none()).filter_map(|(name, of)| {
            let (a, b) = of.dtype?;
            Some((name, format!("{a} in A, {b} in B")))
        });
        section(out, "dtypes differ", dtypes)?;
        let formats = differs().filter_map(|(name, of)| {
            let (a, b) = of.format.as_ref()?;
            Some((name, format!("{a} in A, {b} in B")))
        });
        section(out, "formats differ", formats)?;
        if self.asked.values {
            self.values(out)?;
            let others = self.found.not_compared().filter(|(entry, _)| entry.differs.shape.is_none());
            section(
                out,
                "values not compared",
                others.map(|(entry, why)| (entry.pair.name.as_str(), why.to_owned())),
            )?;
        }
        writeln!(out, "\n{}", self.counts())
    }

    /// The values that differ, those that lie farthest apart first.
    fn values(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut rows: Vec<(&Entry, &Figures)> =
            self.found.compared().filter(|(_, figures)| figures.changed > 0).collect();
        if rows.is_empty() {
            return Ok(());
        }
        rows.sort_by(|a, b| farther(a.1, b.1));
        let cells: Vec<Vec<String>> =
            rows.iter().take(ROWS_MAX).map(|(entry, figures)| row(entry, figures)).collect();
        writeln!(out)?;
        let head =
            ["values differ", "A", "B", "rel L2", "cosine", "max abs", "at", "mean abs", "changed", ""];
        let right = [false, false, false, true, true, true, false, true, true, false];
        table(out, &head, &cells, &right)?;
        if rows.len() > ROWS_MAX {
            writeln!(out, "… {} more; --json has all", rows.len() - ROWS_MAX)?;
        }
        Ok(())
    }

    /// The last line.
    fn counts(&self) -> String {
        let mut parts = Vec::new();
        if self.asked.values {
            parts.push(format!("{} compared", units::exact(self.found.compared().count() as u64)));
            parts.push(format!("{} equal", units::exact(self.found.equal() as u64)));
        } else {
            let differ = self.found.entries.iter().filter(|entry| !entry.differs.is_nothing()).count();
            parts.push(format!("{} in both", units::exact(self.found.entries.len() as u64)));
            parts.push(format!("{} with another shape, dtype or format", units::exact(differ as u64)));
        }
        for (only, side) in self.found.only.iter().zip(["A", "B"]) {
            if !only.is_empty() {
                parts.push(format!("{} only in {side}", units::exact(only.len() as u64)));
            }
        }
        parts.push(if self.asked.values {
            format!("{} not compared", units::exact(self.found.not_compared().count() as u64))
        } else {
            "values not compared (--values)".to_owned()
        });
        parts.join(", ")
    }
}

fn side(out: &mut dyn Write, name: &str, of: &Checkpoint) -> std::io::Result<()> {
    let layers = units::plural(of.layers.len(), "layer");
    writeln!(out, "{name}  {}  {layers}  {}", escape(&of.files.title), units::bytes(of.files.total_bytes()))
}

/// Orders by relative L2, descending; what has none because B is zero there comes first.
fn farther(a: &Figures, b: &Figures) -> Ordering {
    let key = |of: &Figures| of.relative_l2.unwrap_or(f64::INFINITY);
    key(b).total_cmp(&key(a))
}

fn row(entry: &Entry, of: &Figures) -> Vec<String> {
    let value = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), units::value);
    let [a, b] = entry.labels.clone();
    vec![
        cut_name(&escape(&entry.pair.name), NAME_CELLS).into_owned(),
        a,
        b,
        value(of.relative_l2),
        of.cosine.map_or_else(|| "-".to_owned(), cosine),
        value(of.max_abs.map(|(most, _)| most)),
        of.place().map_or_else(String::new, |place| units::shape(&place)),
        value(of.mean_abs),
        share(of.changed, of.count),
        says(entry, of),
    ]
}

/// What is to be said beside the figures.
fn says(entry: &Entry, of: &Figures) -> String {
    let mut says = Vec::new();
    if let Some(side) = entry.pair.tied {
        says.push(format!("tied in {}", side.name()));
    }
    if of.relative_l2.is_none() && of.left_out < of.count {
        says.push("B is all zero".to_owned());
    }
    for (counts, what) in [(of.nan, "NaN"), (of.infinite, "Inf")] {
        for (count, side) in counts.iter().zip(["A", "B"]).filter(|(count, _)| **count > 0) {
            says.push(format!("{} {what} in {side}", units::exact(*count)));
        }
    }
    if of.left_out > 0 {
        says.push(format!("{} left out of sums", units::exact(of.left_out)));
    }
    says.join(", ")
}

/// Returns a cosine; never 1 that is less.
fn cosine(cosine: f64) -> String {
    let cut = (cosine * 1e6).floor() / 1e6;
    if cosine < 1.0 { format!("{cut:.6}") } else { "1".to_owned() }
}

/// Returns the share of values that differ: `6.3%`; never 100% of fewer than all.
fn share(changed: u64, count: u64) -> String {
    let percent = changed as f64 * 100.0 / count.max(1) as f64;
    match percent {
        _ if changed == count => "100%".to_owned(),
        ..0.05 => "<0.1%".to_owned(),
        _ => format!("{:.1}%", percent.min(99.9)),
    }
}

/// Lines of one kind, alike layers together.
#[derive(Default)]
struct Fold<'a> {
    name: &'a str,
    numbers: Vec<u64>,
    count: usize,
}

/// Writes what is said of layers: one line for those that differ by a number only and of which the same is said.
fn section<'a>(
    out: &mut dyn Write,
    head: &str,
    lines: impl Iterator<Item = (&'a str, String)>,
) -> std::io::Result<()> {
    let mut folds: Vec<(Fold<'a>, String)> = Vec::new();
    let mut known: FxHashMap<(String, String), usize> = FxHashMap::default();
    let mut count = 0;
    for (name, what) in lines {
        count += 1;
        let (kind, number) = kind(name);
        let at = *known.entry((kind, what.clone())).or_insert_with(|| {
            folds.push((Fold { name, ..Fold::default() }, what));
            folds.len() - 1
        });
        folds[at].0.numbers.extend(number);
        folds[at].0.count += 1;
    }
    if count == 0 {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = folds
        .iter()
        .take(ROWS_MAX)
        .map(|(fold, what)| {
            let (name, many) = match fold.count {
                1 => (fold.name.to_owned(), String::new()),
                count => (kind(fold.name).0, format!("×{count}  {}", ranges(&fold.numbers))),
            };
            let name = cut_name(&escape(&name), NAME_CELLS).into_owned();
            vec![format!("  {name}"), many, escape(what).into_owned()]
        })
        .collect();
    writeln!(out)?;
    table(out, &[&format!("{head} ({})", units::exact(count)), "", ""], &rows, &[false; 3])?;
    if folds.len() > ROWS_MAX {
        writeln!(out, "  … {} more lines; --json has all", folds.len() - ROWS_MAX)?;
    }
    Ok(())
}

/// Returns a name with `#` for its first number, and the number.
fn kind(name: &str) -> (String, Option<u64>) {
    let mut number = None;
    let parts: Vec<&str> = name
        .split('.')
        .map(|part| match part.parse() {
            Ok(parsed) if number.is_none() && !part.starts_with('+') => {
                number = Some(parsed);
                "#"
            }
            _ => part,
        })
        .collect();
    (parts.join("."), number)
}
