//! The readable form of `inspect`: facts, formats, folded layers, problems.

use std::io::Write;

use crate::adapter::Adapter;
use crate::checkpoint::tree::{RowKind, State, Tree};
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::name::{cut_middle, escape};
use crate::problem::Problem;
use crate::units;

/// The readable table.
pub(super) struct Text<'a> {
    pub(super) path: &'a str,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) adapter: Option<&'a Adapter>,
    pub(super) problems: &'a dyn Fn() -> Vec<Problem>,
}

impl Text<'_> {
    pub(super) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        self.head(out)?;
        if self.checkpoint.layers.is_empty() {
            return write_problems(out, &(self.problems)());
        }
        self.formats(out)?;
        if let Some(adapter) = self.adapter {
            write_adapter(out, self.checkpoint, adapter)?;
        }
        self.layers(out)?;
        write_problems(out, &(self.problems)())
    }

    fn head(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let checkpoint = self.checkpoint;
        let files = &checkpoint.files;
        let summary = checkpoint.summary();
        let what = match checkpoint.kind {
            CheckpointKind::Model => "model",
            CheckpointKind::Adapter => "adapter",
            CheckpointKind::Unknown => "nothing readable",
        };
        let architecture = checkpoint.architecture().map(|a| format!(", {}", escape(a))).unwrap_or_default();
        writeln!(out, "{}   {what}, {}{architecture}", escape(self.path), files.container.name())?;
        writeln!(
            out,
            "{}   {} params   {}   {:.2} bit/w   whole file {:.2}",
            checkpoint.headline(),
            units::count(summary.parameters),
            units::bytes(summary.bytes),
            summary.bits_per_weight,
            summary.bits_per_weight_file,
        )?;
        let unreadable = files.shards.iter().filter(|s| s.unreadable).count();
        let note = if unreadable > 0 { format!(", {unreadable} not readable") } else { String::new() };
        writeln!(
            out,
            "{}{note}   {}   {}",
            units::plural(files.shards.len(), "file"),
            units::plural(files.tensors.len(), "tensor"),
            units::plural(checkpoint.layers.len(), "layer"),
        )
    }

    fn formats(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let rows: Vec<Vec<String>> = self
            .checkpoint
            .summary()
            .formats
            .iter()
            .map(|f| {
                let broken = if f.broken > 0 { format!("{} broken", f.broken) } else { String::new() };
                vec![
                    f.label.clone(),
                    f.format.to_owned(),
                    f.layers.to_string(),
                    units::count(f.parameters),
                    units::bytes(f.bytes),
                    format!("{:.2}", f.bits_per_weight()),
                    broken,
                ]
            })
            .collect();
        writeln!(out)?;
        let head = ["", "format", "layers", "params", "bytes", "bit/w", ""];
        table(out, &head, &rows, &[false, false, true, true, true, true, false])
    }

    /// The layers as the workbench shows them: alike ones folded, all groups open.
    fn layers(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out)?;
        let checkpoint = self.checkpoint;
        let mut tree = Tree::new(checkpoint);
        tree.open_all(checkpoint);
        let shown = tree.rows().len().min(ROWS_MAX);
        let rows: Vec<Vec<String>> = (0..shown).map(|row| self.row(&tree, row)).collect();
        table(
            out,
            &["layer", "", "shape", "params", "bytes", ""],
            &rows,
            &[false, false, true, true, true, false],
        )?;
        if tree.rows().len() > shown {
            writeln!(out, "… {} more rows; --json has all layers", tree.rows().len() - shown)?;
        }
        Ok(())
    }

    fn row(&self, tree: &Tree, row: usize) -> Vec<String> {
        let (at, text) = (tree.rows()[row], tree.describe(self.checkpoint, row));
        let mark = match text.state {
            State::Group | State::Guest => "",
            State::Dense => "· ",
            State::Quantized => "◆ ",
        };
        let bias = if text.bias { " +bias" } else { "" };
        let broken = match at.kind {
            RowKind::Layer(layer) => self.checkpoint.layers.spec(layer).broken.join(", "),
            _ => String::new(),
        };
        let label = text.full();
        vec![
            format!(
                "{}{mark}{}{bias}",
                "  ".repeat(usize::from(at.depth)),
                cut_middle(&escape(&label), LABEL_CELLS_MAX)
            ),
            escape(&text.format).into_owned(),
            text.shape.as_deref().map_or_else(String::new, units::shape),
            text.parameters.map_or_else(String::new, units::count),
            units::bytes(text.bytes),
            if broken.is_empty() { broken } else { format!("✗ {}", escape(&broken)) },
        ]
    }
}

/// Rows of the readable table; a checkpoint whose layers are all different has more.
const ROWS_MAX: usize = 2000;
/// Cells of a label; longer ones are cut in the middle.
const LABEL_CELLS_MAX: usize = 60;

fn write_adapter(out: &mut dyn Write, checkpoint: &Checkpoint, adapter: &Adapter) -> std::io::Result<()> {
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v}"));
    let variations = if adapter.variations.is_empty() {
        String::new()
    } else {
        format!("   {}", adapter.variations.join(" "))
    };
    writeln!(
        out,
        "\n{}   r {}   alpha {}   scaling {}{variations}",
        escape(adapter.kind()),
        adapter.rank.map_or_else(|| "-".into(), |r| r.to_string()),
        number(adapter.alpha),
        number(adapter.scaling),
    )?;
    if let Some(base) = &adapter.base {
        writeln!(out, "base     {}", escape(base))?;
    }
    if !adapter.targets.is_empty() {
        writeln!(out, "targets  {}", escape(&adapter.targets.join(" ")))?;
    }
    if let Some(version) = &adapter.peft_version {
        writeln!(out, "peft     {}", escape(version))?;
    }
    let saved = match adapter.saved.first() {
        Some(&first) => format!(
            ", {} saved beside them ({}…)",
            units::plural(adapter.saved.len(), "tensor"),
            escape(&checkpoint.files.tensor_name(first))
        ),
        None => String::new(),
    };
    writeln!(out, "modules  {}{saved}", adapter.modules.len())
}

/// Writes the problems, errors first.
///
/// # Errors
/// The write fails.
pub(super) fn write_problems(out: &mut dyn Write, problems: &[Problem]) -> std::io::Result<()> {
    if problems.is_empty() {
        return writeln!(out, "\nno problem found");
    }
    writeln!(out)?;
    for problem in problems {
        let mark = if problem.is_error() { "✗" } else { "▲" };
        writeln!(out, "{mark} {} {}: {}", problem.kind.code, problem.kind.name, escape(&problem.message))?;
    }
    Ok(())
}

/// Writes a table with columns as wide as their widest cell; `right` says which are numbers.
pub(super) fn table(
    out: &mut dyn Write,
    head: &[&str],
    rows: &[Vec<String>],
    right: &[bool],
) -> std::io::Result<()> {
    use unicode_width::UnicodeWidthStr as _;
    let width = |column: usize| {
        rows.iter().map(|row| row[column].width()).chain([head[column].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.width());
            let (before, after) = if right[column] { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.push_str(before);
            line.push_str(cell);
            line.push_str(after);
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
