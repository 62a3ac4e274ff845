//! How much an adapter changes each layer: as a table, JSON or CSV.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::super::table::table;
use super::super::{DONE, stdout_error};
use super::{Line, NAME_CELLS_MAX, Stats, json, no_such, shows_progress};
use crate::adapter::held::Held;
use crate::checkpoint::Checkpoint;
use crate::engine::Progress;
use crate::engine::deltas::{Delta, Weighed, of_adapter};
use crate::error::{Error, Result};
use crate::name::{cut_name, escape};
use crate::plan::select::Selection;
use crate::stats::report::csv::{number, write_line};
use crate::units;

/// Names of the columns of CSV.
const COLUMNS: [&str; 8] =
    ["name", "modules", "norm", "base_norm", "relative", "rank", "effective_rank", "is_zero"];

/// A layer in the document.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    delta: &'a Delta,
    relative: Option<f64>,
}

/// Runs the command for an adapter: exit 0.
///
/// # Errors
/// Nothing of the adapter can be merged, a weight cannot be read or decoded, a pattern is of no layer that it changes,
/// or stdout fails.
pub(super) fn run(
    asked: &Stats,
    (base, adapter): (Checkpoint, &str),
    quiet: bool,
    out: &mut dyn Write,
) -> Result<u8> {
    let held = Held::open(Arc::new(base), adapter, None)?;
    let line = Line::new(held.alignment.modules.len() as u64, !quiet && shows_progress());
    let found = of_adapter(&held, &Progress::default(), &|_| line.add(1));
    line.end();
    let Weighed { mut deltas, left } = found?;
    if !asked.globs.is_empty() {
        let names: Vec<String> = deltas.iter().map(|delta| delta.name.clone()).collect();
        for glob in &asked.globs {
            let selection = Selection::only(std::slice::from_ref(glob))?;
            if !names.iter().any(|name| selection.takes(name)) {
                return Err(Error::input(no_such(asked, glob, &names)));
            }
        }
        let selection = Selection::only(&asked.globs)?;
        deltas.retain(|delta| selection.takes(&delta.name));
    }
    if asked.json {
        let rows: Vec<Row<'_>> =
            deltas.iter().map(|delta| Row { delta, relative: delta.relative() }).collect();
        json::write_line(out, &serde_json::json!({"adapter": adapter, "layers": rows, "not_merged": left}))?;
    } else if asked.csv {
        write_csv(&deltas, out).map_err(|e| stdout_error(&e))?;
    } else {
        write_text(&mut deltas, &left, out).map_err(|e| stdout_error(&e))?;
    }
    Ok(DONE)
}

fn write_csv(deltas: &[Delta], out: &mut dyn Write) -> std::io::Result<()> {
    write_line(out, &COLUMNS.map(str::to_owned))?;
    deltas.iter().try_for_each(|delta| {
        let optional = |value: Option<f64>| value.map_or_else(String::new, number);
        let modules: Vec<_> = delta.modules.iter().map(|module| escape(module)).collect();
        write_line(
            out,
            &[
                escape(&delta.name).into_owned(),
                modules.join(" "),
                number(delta.norm),
                number(delta.base_norm),
                optional(delta.relative()),
                delta.rank.map_or_else(String::new, |rank| rank.to_string()),
                optional(delta.effective_rank),
                delta.is_zero.to_string(),
            ],
        )
    })
}

/// Writes a table: what changes nothing first, then by the share that changes, the largest first.
fn write_text(deltas: &mut [Delta], left: &[String], out: &mut dyn Write) -> std::io::Result<()> {
    let key =
        |delta: &Delta| if delta.is_zero { f64::INFINITY } else { delta.relative().unwrap_or(f64::MAX) };
    deltas.sort_by(|a, b| key(b).total_cmp(&key(a)).then_with(|| a.name.cmp(&b.name)));
    let row = |delta: &Delta| {
        let none = || "-".to_owned();
        let share = delta.relative().map_or_else(none, |share| format!("{:.3} %", 100.0 * share));
        let rank = delta.rank.map_or_else(none, |rank| rank.to_string());
        let effective = delta.effective_rank.map_or_else(none, |rank| format!("{rank:.1}"));
        let says = if delta.is_zero { "▲ it changes nothing" } else { "" };
        let name = cut_name(&escape(&delta.name), NAME_CELLS_MAX).into_owned();
        let norms = [delta.norm, delta.base_norm].map(|norm| format!("{norm:.4}"));
        let [norm, base] = norms;
        vec![name, share, norm, base, rank, effective, says.to_owned()]
    };
    let rows: Vec<Vec<String>> = deltas.iter().map(row).collect();
    let head = ["layer", "change", "norm", "of layer", "rank", "effective", ""];
    table(out, &head, &rows, &[false, true, true, true, true, true, false])?;
    let zeros = deltas.iter().filter(|delta| delta.is_zero).count();
    let changed = units::plural(deltas.len() - zeros, "layer");
    writeln!(out)?;
    write!(out, "{changed} changed, {zeros} with a change that is all zero")?;
    if !left.is_empty() {
        write!(out, ", {} not merged:", units::plural(left.len(), "module"))?;
        writeln!(out)?;
        return left.iter().try_for_each(|why| writeln!(out, "  {}", escape(why)));
    }
    writeln!(out)
}
