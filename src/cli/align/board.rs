//! The board: the gate line, modules that do not fit first, those that do folded by kind, and what else was seen.

use std::io::Write;

use super::Pair;
use crate::adapter::align::Aligned;
use crate::adapter::board::{self, Fold, Gate};
use crate::name::{cut_middle, escape};
use crate::units;

/// Rows of modules that do not fit; `--json` has all.
const ROWS_MAX: usize = 200;
/// Names that are listed of a kind.
const LISTED_MAX: usize = 8;
/// Cells of a name.
const NAME_CELLS: usize = 64;

pub(super) fn write(pair: &Pair<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let alignment = &pair.held.alignment;
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value}"));
    writeln!(
        out,
        "{} on {}   {}   r {}   alpha {}   {}",
        escape(&pair.held.adapter.files.title),
        escape(&pair.held.base.files.title),
        escape(&alignment.kind),
        pair.held.rank().map_or_else(|| "-".into(), |rank| rank.to_string()),
        number(pair.held.facts.alpha),
        escape(
            pair.held
                .facts
                .peft_version
                .as_deref()
                .map_or_else(|| "PEFT version not told".into(), |v| format!("PEFT {v}"))
                .as_str()
        ),
    )?;
    writeln!(out, "{}", gate(pair))?;
    let odd: Vec<&Aligned> =
        board::odd(alignment).into_iter().map(|at| &alignment.modules[at as usize]).collect();
    if !odd.is_empty() {
        writeln!(out)?;
    }
    for module in odd.iter().take(ROWS_MAX) {
        let rank = module.rank.map_or_else(String::new, |rank| format!("r {rank}"));
        writeln!(
            out,
            "{} {:<10}  {}  →  {}  {}",
            board::mark(module),
            module.state.name(),
            cut_middle(&escape(&module.name), NAME_CELLS),
            cut_middle(&escape(&pair.layer_name(module).unwrap_or_else(|| "nothing".into())), NAME_CELLS),
            rank
        )?;
        writeln!(out, "              {}", escape(&module.evidence))?;
    }
    if odd.len() > ROWS_MAX {
        writeln!(out, "… {} more; --json has all", odd.len() - ROWS_MAX)?;
    }
    folded(pair, out)?;
    let unused: Vec<String> = alignment.unused.iter().map(|&tensor| pair.key(tensor)).collect();
    listed(out, "· unused", &unused)?;
    listed(out, "· untouched", &alignment.untouched)?;
    let problems = &pair.held.problems;
    if !problems.is_empty() {
        writeln!(out)?;
    }
    for problem in problems {
        let mark = if problem.is_error() { "✗" } else { "▲" };
        writeln!(out, "{mark} {} {}: {}", problem.kind.code, problem.kind.name, escape(&problem.message))?;
    }
    Ok(())
}

/// The first line: how many fit, what a repair could do.
pub(super) fn gate(pair: &Pair<'_>) -> String {
    let gate = Gate::of(&pair.held.alignment);
    let head = format!("{} of {} aligned", gate.aligned, units::plural(gate.total, "module"));
    std::iter::once(head).chain(gate.notes()).collect::<Vec<_>>().join(" · ")
}

/// Modules that fit: one line for those that differ by their layer's number only.
fn folded(pair: &Pair<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let folds = board::folds(&pair.held.alignment);
    if !folds.is_empty() {
        writeln!(out)?;
    }
    for Fold { kind: (stack, tail), numbers, modules } in folds {
        let Some(&first) = modules.first() else { continue };
        let module = &pair.held.alignment.modules[first as usize];
        let delta = module.delta.map_or_else(String::new, |delta| units::shape(&delta));
        let rank = module.rank.map_or_else(String::new, |rank| format!("r {rank}"));
        let kind = if tail.is_empty() { stack } else { format!("{stack} {tail}") };
        let layers =
            if numbers.is_empty() { String::new() } else { format!("  {}", board::ranges(&numbers)) };
        writeln!(
            out,
            "✓ {:<10}  ×{}  {}{layers}  {rank}  {delta}",
            module.state.name(),
            modules.len(),
            cut_middle(&escape(&kind), NAME_CELLS)
        )?;
    }
    Ok(())
}

fn listed(out: &mut dyn Write, what: &str, names: &[String]) -> std::io::Result<()> {
    for name in names.iter().take(LISTED_MAX) {
        writeln!(out, "{what:<12}  {}", escape(name))?;
    }
    if names.len() > LISTED_MAX {
        writeln!(out, "{what:<12}  … {} more", names.len() - LISTED_MAX)?;
    }
    Ok(())
}
