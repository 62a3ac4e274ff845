//! Candidates: the formats that could be written side by side, by size and by what a sample of them loses.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use crate::app::form::{Form, Planned};
use crate::engine::candidates::{Candidate, Estimate};
use crate::name::{cut_middle, escape};
use crate::plan::To;
use crate::ui::pane::wrap;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of a table that is not drawn apart over a wide pane.
const CELLS_MAX: usize = 66;
/// Cells of a bar.
const BAR: usize = 10;
/// Cells of the table that leave room for bars.
const BAR_MIN: usize = 56;

/// Returns the table; nothing if nothing was looked at.
pub(super) fn lines(form: &Form, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let looks = &form.looks;
    if looks.found.is_empty() && looks.waiting.is_empty() {
        return Vec::new();
    }
    let chosen = form.plan.as_ref().and_then(|plan| plan.as_ref().ok()).and_then(chosen);
    let estimates = || looks.found.iter().filter_map(|candidate| candidate.estimate.as_ref().ok());
    let is_merged = estimates().any(|estimate| estimate.sampled.delta_kept.is_some());
    let most = estimates().map(|estimate| estimate.sampled.relative_error).fold(0.0, f64::max);
    let mut head = vec![Span::styled("candidates", theme.style(Role::Heading))];
    if let Some(layers) = estimates().map(|estimate| estimate.sampled.layers).max() {
        let words = format!("   by some rows of {}", units::plural(layers, "layer"));
        head.push(Span::styled(words, theme.style(Role::Muted)));
    }
    if !looks.waiting.is_empty() {
        let words = format!("   looking at {} more", looks.waiting.len());
        head.push(Span::styled(words, theme.style(Role::Muted)));
    }
    let mut lines = vec![Line::default(), Line::from(head)];
    let width = width.min(CELLS_MAX);
    let table = Table { width, is_merged, most, theme };
    if !looks.found.is_empty() {
        lines.push(table.head());
    }
    let mut found: Vec<&Candidate> = looks.found.iter().collect();
    // Those that cannot be are last; the others by their size.
    found.sort_by_key(|candidate| candidate.estimate.as_ref().map_or(u64::MAX, |estimate| estimate.bytes));
    for candidate in found {
        let is_chosen = chosen.as_deref() == Some(&candidate.aim.flags());
        match &candidate.estimate {
            Ok(estimate) => lines.push(table.row(estimate, is_chosen)),
            Err(why) => lines.extend(table.refused(candidate, why, is_chosen)),
        }
    }
    lines
}

/// Returns what is asked by the plan, if layers are packed anew.
fn chosen(planned: &Planned) -> Option<String> {
    match &planned.plan.order.to {
        To::Packed(aim) => Some(aim.flags()),
        To::Dense | To::Same => None,
    }
}

/// The table, and what all its rows share.
struct Table<'a> {
    width: usize,
    is_merged: bool,
    /// The largest error.
    most: f64,
    theme: &'a Theme,
}

impl Table<'_> {
    /// Cells of what stands before the numbers.
    fn name(&self) -> usize {
        let numbers = 11 + 9 + if self.is_merged { 8 } else { 0 } + if self.has_bar() { BAR + 2 } else { 0 };
        self.width.saturating_sub(numbers + 2)
    }

    fn has_bar(&self) -> bool {
        self.width >= BAR_MIN
    }

    fn head(&self) -> Line<'static> {
        let kept = if self.is_merged { format!("{:>8}", "delta") } else { String::new() };
        let words = format!("  {:<width$}{:>11}{:>9}{kept}", "", "size", "error", width = self.name());
        Line::from(Span::styled(words, self.theme.style(Role::Muted)))
    }

    fn row(&self, estimate: &Estimate, is_chosen: bool) -> Line<'static> {
        let name = cut_middle(&estimate.label, self.name()).into_owned();
        let pad = self.name().saturating_sub(name.width());
        let error = estimate.sampled.relative_error;
        let mut spans = vec![
            Span::styled(if is_chosen { "▶ " } else { "  " }, self.theme.style(Role::Heading)),
            Span::styled(name, self.theme.style(if is_chosen { Role::Heading } else { Role::Quant })),
            Span::raw(" ".repeat(pad)),
            Span::styled(format!("{:>11}", units::bytes(estimate.bytes)), self.theme.style(Role::Number)),
            Span::styled(format!("{:>7.2} %", 100.0 * error), self.theme.style(Role::Number)),
        ];
        if self.is_merged {
            let kept = estimate.sampled.delta_kept;
            let words = kept.map_or_else(String::new, |kept| format!("{:.0} %", 100.0 * kept));
            let role = if kept.is_some_and(|kept| kept < 0.5) { Role::Warn } else { Role::Number };
            spans.push(Span::styled(format!("{words:>8}"), self.theme.style(role)));
        }
        if self.has_bar() {
            let filled = if self.most > 0.0 { (error / self.most * BAR as f64).ceil() as usize } else { 0 };
            let filled = filled.min(BAR);
            spans.push(Span::raw("  "));
            spans.push(Span::styled("█".repeat(filled), self.theme.style(Role::Warn)));
            spans.push(Span::styled("░".repeat(BAR - filled), self.theme.style(Role::Muted)));
        }
        Line::from(spans)
    }

    fn refused(&self, candidate: &Candidate, why: &str, is_chosen: bool) -> Vec<Line<'static>> {
        let mark = if is_chosen { "▶ " } else { "  " };
        let words = format!("{mark}{}: not possible: {}", candidate.aim.name, escape(why));
        let wrapped = wrap(&words, self.width).into_iter();
        // The first words say which of them; the whole reason stands where it is chosen.
        let shown = if is_chosen { usize::MAX } else { 1 };
        wrapped
            .take(shown)
            .map(|line| Line::from(Span::styled(line, self.theme.style(Role::Muted))))
            .collect()
    }
}
