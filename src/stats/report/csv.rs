//! The figures as CSV (RFC 4180): a line that names the columns, then one a layer, in natural order.
//!
//! A cell that holds several numbers has blanks between them; a place is `[row:column]`.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{Result, Write};

use super::{Document, Entry};
use crate::name::escape;
use crate::stats::odd::LOOKS;
use crate::stats::summary::QUANTILES;
use crate::stats::{Extreme, Summary};

/// Columns before those of the quantiles, and behind them.
const COLUMNS: [&[&str]; 2] = [
    &[
        "name",
        "format",
        "shape",
        "dtype",
        "count",
        "min",
        "min_at",
        "max",
        "max_at",
        "mean",
        "std",
        "zeros",
        "nan",
        "inf",
        "rows",
        "rows_zero",
    ],
    &["edges", "counts", "outliers", "odd", "error"],
];

/// Writes the figures as CSV.
///
/// # Errors
/// The write fails.
pub fn write(document: &Document<'_>, out: &mut dyn Write) -> Result<()> {
    let [before, behind] = COLUMNS.map(|names| names.iter().map(|name| (*name).to_owned()));
    let quantiles = QUANTILES.iter().map(f64::to_string);
    let head: Vec<String> = before.chain(quantiles).chain(behind).collect();
    write_line(out, &head)?;
    document.entries.iter().try_for_each(|entry| write_line(out, &cells(entry, head.len())))?;
    document.files.iter().try_for_each(|(file, why)| {
        let mut cells = vec![escape(file).into_owned(), "file".to_owned()];
        cells.resize(head.len() - 1, String::new());
        cells.push(escape(why).into_owned());
        write_line(out, &cells)
    })
}

fn cells(entry: &Entry, columns: usize) -> Vec<String> {
    let mut cells = vec![escape(&entry.name).into_owned(), entry.format.clone()];
    match &entry.found {
        Ok(figures) => cells.extend(figures_cells(figures, entry)),
        Err(unread) => {
            cells.resize(columns - 1, String::new());
            cells.push(escape(&unread.why).into_owned());
        }
    }
    cells
}

fn figures_cells(figures: &Summary, entry: &Entry) -> Vec<String> {
    let value = |of: Option<Extreme>| of.map_or_else(String::new, |of| number(of.value));
    let place = |at: u64| {
        let [row, column] = figures.place(at);
        format!("[{row}:{column}]")
    };
    let at = |of: Option<Extreme>| of.map_or_else(String::new, |of| place(of.at));
    let optional = |of: Option<f64>| of.map_or_else(String::new, number);
    let counted = |of: Option<u64>| of.map_or_else(String::new, |count| count.to_string());
    let mut cells = vec![
        joined(&figures.shape),
        figures.dtype.to_string(),
        figures.count.to_string(),
        value(figures.min),
        at(figures.min),
        value(figures.max),
        at(figures.max),
        optional(figures.mean),
        optional(figures.std),
        figures.zeros.to_string(),
        figures.nan.to_string(),
        figures.infinite.to_string(),
        counted(figures.rows_zero.map(|_| figures.rows)),
        counted(figures.rows_zero),
    ];
    cells.extend((0..QUANTILES.len()).map(|at| optional(figures.quantiles.get(at).copied())));
    let histogram = figures.histogram.as_ref();
    cells.push(histogram.map_or_else(String::new, |of| joined(of.edges.iter().map(|edge| number(*edge)))));
    cells.push(histogram.map_or_else(String::new, |of| joined(&of.counts)));
    cells.push(joined(figures.outliers.iter().map(|of| number(of.value) + &place(of.at))));
    let odd = entry.odd.iter().map(|odd| format!("{}: {}", LOOKS[odd.look].name, odd.says));
    cells.push(odd.collect::<Vec<_>>().join("; "));
    cells.push(String::new());
    cells
}

/// Returns the shortest digits that are read back as the same number.
#[must_use]
pub fn number(value: f64) -> String {
    format!("{value:?}")
}

fn joined(parts: impl IntoIterator<Item = impl Display>) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(" ")
}

/// Writes the cells of a line.
///
/// # Errors
/// The write fails.
pub fn write_line(out: &mut dyn Write, cells: &[String]) -> Result<()> {
    let cells: Vec<Cow<'_, str>> = cells.iter().map(|cell| quoted(cell)).collect();
    write!(out, "{}\r\n", cells.join(","))
}

/// Returns a cell in quotes where it needs them, those in it doubled.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains([',', '"', '\r', '\n']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}

#[cfg(test)]
mod tests;
