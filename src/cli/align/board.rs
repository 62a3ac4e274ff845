//! The board: the gate line, modules that do not fit first, those that do folded by kind, and what else was seen.

use std::fmt::Write as _;
use std::io::Write;

use super::Pair;
use crate::adapter::align::{Aligned, Repair, State};
use crate::adapter::names::split;
use crate::name::{cut_middle, escape};
use crate::units;

/// Rows of modules that do not fit; `--json` has all.
const ROWS_MAX: usize = 200;
/// Names that are listed of a kind.
const LISTED_MAX: usize = 8;
/// Cells of a name.
const NAME_CELLS: usize = 64;

pub(super) fn write(pair: &Pair<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let alignment = &pair.alignment;
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value}"));
    writeln!(
        out,
        "{} on {}   {}   r {}   alpha {}   {}",
        escape(&pair.adapter.files.title),
        escape(&pair.base.files.title),
        escape(&alignment.kind),
        pair.rank().map_or_else(|| "-".into(), |rank| rank.to_string()),
        number(pair.facts.alpha),
        escape(
            pair.facts
                .peft_version
                .as_deref()
                .map_or_else(|| "PEFT version not told".into(), |v| format!("PEFT {v}"))
                .as_str()
        ),
    )?;
    writeln!(out, "{}", gate(pair))?;
    let mut odd: Vec<&Aligned> = alignment.modules.iter().filter(|module| !is_fine(module)).collect();
    odd.sort_by_key(|module| (module.is_applied, module.state));
    if !odd.is_empty() {
        writeln!(out)?;
    }
    for module in odd.iter().take(ROWS_MAX) {
        let rank = module.rank.map_or_else(String::new, |rank| format!("r {rank}"));
        writeln!(
            out,
            "{} {:<10}  {}  →  {}  {}",
            mark(module),
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
    let problems = pair.problems();
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
    let alignment = &pair.alignment;
    let (aligned, total) = (alignment.aligned(), alignment.modules.len());
    let mut line = format!("{aligned} of {} aligned", units::plural(total, "module"));
    let hopeless = alignment.modules.iter().filter(|m| matches!(m.repair, Repair::No(_))).count();
    for (count, what) in [
        (alignment.repairable(), "can be repaired"),
        (hopeless, "can not"),
        (alignment.zero_deltas(), "without effect"),
    ] {
        if count > 0 {
            let _ = write!(line, " · {count} {what}");
        }
    }
    if !alignment.unused.is_empty() {
        let _ = write!(line, " · {} unused", units::plural(alignment.unused.len(), "key"));
    }
    line
}

fn is_fine(module: &Aligned) -> bool {
    module.is_applied && matches!(module.state, State::Aligned | State::Saved)
}

fn mark(module: &Aligned) -> &'static str {
    match module.repair {
        Repair::No(_) => "✗",
        Repair::Rename | Repair::Config => "≈",
        Repair::Nothing => "✓",
    }
}

/// Modules that fit: one line for those that differ by their layer's number only.
fn folded(pair: &Pair<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let mut groups: Vec<(String, Vec<u64>, &Aligned, usize)> = Vec::new();
    for module in pair.alignment.modules.iter().filter(|module| is_fine(module)) {
        let (_, rest) = split(&module.path);
        let mut parts = rest.splitn(3, '.');
        let (stack, number, tail) =
            (parts.next(), parts.next().and_then(|n| n.parse::<u64>().ok()), parts.next());
        let kind = match (stack, number, tail) {
            (Some(stack), Some(_), Some(tail)) => format!("{stack} {tail}"),
            _ => module.path.clone(),
        };
        let alike = |known: &&mut (String, Vec<u64>, &Aligned, usize)| {
            known.0 == kind
                && (known.2.rank, known.2.delta, known.2.state) == (module.rank, module.delta, module.state)
        };
        match groups.iter_mut().find(alike) {
            Some(group) => {
                group.1.extend(number);
                group.3 += 1;
            }
            None => groups.push((kind, number.into_iter().collect(), module, 1)),
        }
    }
    if !groups.is_empty() {
        writeln!(out)?;
    }
    for (kind, numbers, module, count) in groups {
        let delta = module.delta.map_or_else(String::new, |delta| units::shape(&delta));
        let rank = module.rank.map_or_else(String::new, |rank| format!("r {rank}"));
        let layers = if numbers.is_empty() { String::new() } else { format!("  {}", ranges(&numbers)) };
        writeln!(
            out,
            "✓ {:<10}  ×{count}  {}{layers}  {rank}  {delta}",
            module.state.name(),
            cut_middle(&escape(&kind), NAME_CELLS)
        )?;
    }
    Ok(())
}

/// Returns numbers as `0-4 6-27`.
fn ranges(numbers: &[u64]) -> String {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let mut text = String::new();
    let mut at = 0;
    while at < numbers.len() {
        let start = at;
        while at + 1 < numbers.len() && numbers[at + 1] == numbers[at].saturating_add(1) {
            at += 1;
        }
        let blank = if text.is_empty() { "" } else { " " };
        let _ = if start == at {
            write!(text, "{blank}{}", numbers[at])
        } else {
            write!(text, "{blank}{}-{}", numbers[start], numbers[at])
        };
        at += 1;
    }
    text
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

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn numbers_are_said_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 4, 6, 7, u64::MAX]), format!("0-2 4 6-7 {}", u64::MAX));
    }
}
