//! The norms of all rows or columns of layers: as tables, JSON or CSV.

use std::io::Write;

use super::super::table::table;
use super::{Report, json, stdout_error};
use crate::error::Result;
use crate::name::escape;
use crate::stats::report::norms::{NormsDocument, norms, write_csv};
use crate::stats::report::{Entry, Unread};
use crate::stats::summary::Axis;
use crate::units;

/// Makes an entry one that could not be read if it has no norms.
pub(super) fn need(entry: &mut Entry, axis: Axis) {
    let unread: Option<Unread> = entry.found.as_ref().ok().and_then(|figures| norms(figures, axis).err());
    if let Some(unread) = unread {
        entry.found = Err(unread);
    }
}

impl Report<'_> {
    pub(super) fn write_norms(&self, axis: Axis, out: &mut dyn Write) -> Result<()> {
        let document = NormsDocument { entries: &self.entries, files: &self.files, axis };
        if self.asked.json {
            return json::write_line(out, &document);
        }
        let written = if self.asked.csv { write_csv(&document, out) } else { self.write_tables(axis, out) };
        written.map_err(|e| stdout_error(&e))
    }

    /// Writes a table a layer, rows or columns in their order, then those that have none.
    fn write_tables(&self, axis: Axis, out: &mut dyn Write) -> std::io::Result<()> {
        for entry in &self.entries {
            let Ok(figures) = &entry.found else { continue };
            let Ok(norms) = norms(figures, axis) else { continue };
            let shape = units::shape(&figures.shape);
            writeln!(out, "{}  {}  {shape}", escape(&entry.name), entry.label)?;
            let energy: f64 = norms.iter().map(|norm| norm * norm).sum();
            let share = |norm: f64| match norm * norm * 100.0 / energy {
                share if share.is_finite() => format!("{share:.2}%"),
                _ => "-".to_owned(),
            };
            let rows: Vec<Vec<String>> = norms
                .iter()
                .enumerate()
                .map(|(at, norm)| vec![at.to_string(), units::value(*norm), share(*norm)])
                .collect();
            table(out, &[axis.one(), "norm", "energy"], &rows, &[true, true, true])?;
            writeln!(out)?;
        }
        for entry in &self.entries {
            if let Err(unread) = &entry.found {
                let mark = if entry.is_unread() { "✗" } else { "·" };
                writeln!(out, "{mark} {}  {}", escape(&entry.name), escape(&unread.why))?;
            }
        }
        for (_, why) in &self.files {
            writeln!(out, "✗ {}", escape(why))?;
        }
        self.write_count(out)
    }
}
