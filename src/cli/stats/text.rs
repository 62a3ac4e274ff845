//! The figures as a table: what could not be read, what looks odd, then what is fine, alike layers in one row; last
//! layers that have no such part.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use super::super::table::table;
use super::{NAME_CELLS_MAX, Report};
use crate::name::{cut_name, escape};
use crate::stats::odd::{LOOKS, is_number, role};
use crate::stats::report::Entry;
use crate::stats::{Part, Summary};
use crate::units;

/// Rows that look right from which on alike ones are folded: what a terminal shows at once.
const ROWS_MAX: usize = 24;
/// Reasons why values were not read that the last line names.
const REASONS: usize = 3;

impl Report<'_> {
    pub(super) fn write_text(&self, out: &mut dyn Write) -> Result<()> {
        let unread = self.entries.iter().filter(|entry| entry.is_unread());
        let without = self.entries.iter().filter(|entry| entry.found.is_err() && !entry.is_unread());
        let mut odd: Vec<&Entry> = self.entries.iter().filter(|entry| !entry.odd.is_empty()).collect();
        odd.sort_by_key(|entry| entry.odd.first().map(|odd| odd.look));
        let fine: Vec<Row> = self
            .entries
            .iter()
            .filter(|entry| entry.odd.is_empty())
            .filter_map(|entry| Some(Row::of(entry, entry.found.as_ref().ok()?)))
            .collect();
        let fine = if fine.len() > ROWS_MAX { folded(fine) } else { fine };
        let mut rows: Vec<Vec<String>> = unread.map(unread_row).collect();
        rows.extend(odd.iter().filter_map(|entry| Some(odd_row(entry, entry.found.as_ref().ok()?))));
        rows.extend(fine.iter().map(|row| row.cells("")));
        rows.extend(without.map(unread_row));
        let unit = self.asked.unit();
        let head = [unit, "format", "values", "min", "max", "mean", "std", "zeros", ""];
        let right = [false, false, true, true, true, true, true, true, false];
        table(out, &head, &rows, &right)?;
        writeln!(out)?;
        self.write_odd(odd.len(), out)?;
        for (_, why) in &self.files {
            writeln!(out, "✗ {}", escape(why))?;
        }
        self.write_count(out)
    }

    /// Says how many look odd, and for each test that saw something what it means.
    fn write_odd(&self, count: usize, out: &mut dyn Write) -> Result<()> {
        if count == 0 {
            return writeln!(out, "nothing looks odd");
        }
        for (at, look) in LOOKS.iter().enumerate() {
            let seen = self.entries.iter().filter(|entry| entry.odd.iter().any(|odd| odd.look == at)).count();
            if seen > 0 {
                writeln!(
                    out,
                    "▲ {:<10} {}: {}",
                    look.name,
                    units::plural(seen, self.asked.unit()),
                    look.means
                )?;
            }
        }
        Ok(())
    }

    /// Says of how many there are figures, and why not of the others.
    pub(super) fn write_count(&self, out: &mut dyn Write) -> Result<()> {
        let part: Part = self.asked.part.into();
        let of = if part == Part::Weights { String::new() } else { format!("{} of ", part.name()) };
        let read: Vec<&Summary> = self.entries.iter().filter_map(|entry| entry.found.as_ref().ok()).collect();
        let values = read.iter().map(|figures| figures.count).fold(0, u64::saturating_add);
        let all = units::plural(self.entries.len(), self.asked.unit());
        write!(out, "{of}{} of {all}, {} values", read.len(), units::count(values))?;
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for unread in self.entries.iter().filter_map(|entry| entry.found.as_ref().err()) {
            *reasons.entry(&unread.why).or_default() += 1;
        }
        if !reasons.is_empty() {
            let not: usize = reasons.values().sum();
            let mut words: Vec<String> = reasons
                .iter()
                .take(REASONS)
                .map(|(why, count)| format!("{} ×{count}", escape(why)))
                .collect();
            if reasons.len() > REASONS {
                words.push(format!("{} reasons more", reasons.len() - REASONS));
            }
            write!(out, ", {not} not: {}", words.join(", "))?;
        }
        writeln!(out)
    }
}

fn unread_row(entry: &Entry) -> Vec<String> {
    let mark = if entry.is_unread() { "✗" } else { "·" };
    let why = entry.found.as_ref().err().map_or("", |unread| &unread.why);
    let mut cells = vec![shown(&entry.name), entry.label.clone()];
    cells.resize(8, "-".to_owned());
    cells.push(format!("{mark} {}", escape(why)));
    cells
}

fn odd_row(entry: &Entry, figures: &Summary) -> Vec<String> {
    let says: Vec<&str> = entry.odd.iter().map(|odd| odd.says.as_str()).collect();
    Row::of(entry, figures).cells(&format!("▲ {}", says.join(", ")))
}

fn shown(name: &str) -> String {
    cut_name(&escape(name), NAME_CELLS_MAX).into_owned()
}

/// A row: the figures of one layer, or of alike ones together.
struct Row<'a> {
    entry: &'a Entry,
    shape: &'a [u64],
    layers: usize,
    /// For each component of the name that is a number the least and the largest.
    numbers: Vec<(u64, u64)>,
    count: u64,
    finite: u64,
    zeros: u64,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    std: Option<f64>,
}

impl<'a> Row<'a> {
    fn of(entry: &'a Entry, figures: &'a Summary) -> Self {
        let numbers = entry.name.split('.').filter(|part| is_number(part));
        Self {
            entry,
            shape: &figures.shape,
            layers: 1,
            numbers: numbers
                // One of more digits than a number has is shown as the largest.
                .map(|part| part.parse().unwrap_or(u64::MAX))
                .map(|number| (number, number))
                .collect(),
            count: figures.count,
            finite: figures.finite(),
            zeros: figures.zeros,
            min: figures.min.map(|min| min.value),
            max: figures.max.map(|max| max.value),
            mean: figures.mean,
            std: figures.std,
        }
    }

    /// Adds the figures of a layer like it.
    fn add(&mut self, other: &Self) {
        self.layers += other.layers;
        for (of, (low, high)) in self.numbers.iter_mut().zip(&other.numbers) {
            *of = (of.0.min(*low), of.1.max(*high));
        }
        let both = |a: Option<f64>, b: Option<f64>, f: fn(f64, f64) -> f64| match (a, b) {
            (Some(a), Some(b)) => Some(f(a, b)),
            (a, b) => a.or(b),
        };
        self.min = both(self.min, other.min, f64::min);
        self.max = both(self.max, other.max, f64::max);
        if let (Some(a), Some(b)) = (self.mean.zip(self.std), other.mean.zip(other.std)) {
            let share = other.finite as f64 / (self.finite + other.finite).max(1) as f64;
            let far = b.0 - a.0;
            let spread = a.1 * a.1 * (1.0 - share) + b.1 * b.1 * share + far * far * share * (1.0 - share);
            self.mean = Some(a.0 + far * share);
            self.std = Some(spread.sqrt());
        } else {
            (self.mean, self.std) = (self.mean.or(other.mean), self.std.or(other.std));
        }
        self.count = self.count.saturating_add(other.count);
        self.finite = self.finite.saturating_add(other.finite);
        self.zeros = self.zeros.saturating_add(other.zeros);
    }

    fn name(&self) -> String {
        if self.layers == 1 {
            return shown(&self.entry.name);
        }
        let mut numbers = self.numbers.iter();
        let role = role(&self.entry.name);
        let parts = role.split('.').map(|part| match (part == "#").then(|| numbers.next()).flatten() {
            Some((low, high)) if low < high => format!("{low}-{high}"),
            Some((low, _)) => low.to_string(),
            None => part.to_owned(),
        });
        format!("{} ×{}", shown(&parts.collect::<Vec<_>>().join(".")), self.layers)
    }

    fn cells(&self, says: &str) -> Vec<String> {
        let value = |of: Option<f64>| of.map_or_else(|| "-".to_owned(), units::value);
        vec![
            self.name(),
            self.entry.label.clone(),
            units::count(self.count),
            value(self.min),
            value(self.max),
            value(self.mean),
            value(self.std),
            share(self.zeros, self.count),
            says.to_owned(),
        ]
    }
}

/// Puts alike layers into one row, where the first of them stands.
fn folded(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let mut places: BTreeMap<(String, &str, &[u64]), usize> = BTreeMap::new();
    let mut folded: Vec<Row<'_>> = Vec::new();
    for row in rows {
        let at = *places.entry((role(&row.entry.name), &row.entry.label, row.shape)).or_insert(folded.len());
        match folded.get_mut(at) {
            Some(alike) => alike.add(&row),
            None => folded.push(row),
        }
    }
    folded
}

/// Returns the share of values that are zero: `6.3%`, `0` if none is.
fn share(zeros: u64, count: u64) -> String {
    if zeros == 0 {
        return "0".to_owned();
    }
    let percent = zeros as f64 * 100.0 / count.max(1) as f64;
    match percent {
        ..0.05 => "<0.1%".to_owned(),
        ..9.95 => format!("{percent:.1}%"),
        _ if zeros < count => format!("{:.0}%", percent.min(99.0)),
        _ => "100%".to_owned(),
    }
}
