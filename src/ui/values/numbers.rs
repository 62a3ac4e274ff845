//! The numbers at the cursor of the map, with their rows and columns; those of a vector with their indices.

use std::ops::Range;

use ratatui::text::{Line, Span};

use crate::app::App;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of the row numbers at the left.
const LABEL: usize = 8;
/// Cells of a number, with a blank before it.
const NUMBER: usize = 11;

/// Returns how many columns of numbers there is room for.
pub(super) fn columns(width: usize) -> usize {
    (width.saturating_sub(LABEL) / NUMBER).max(1)
}

/// Returns the numbers: a heading of the cell under the cursor, the columns, and so many rows.
pub(super) fn lines(app: &App, width: usize, height: usize, theme: &Theme) -> Vec<Line<'static>> {
    let span = |text: String, role: Role| Span::styled(text, theme.style(role));
    let mut lines = vec![Line::from(span(cell_words(app), Role::Heading))];
    let Some(([rows, shown], numbers)) = app.values.numbers() else {
        let words = app.values.region_failure().unwrap_or("…");
        lines.push(Line::from(span(words.to_owned(), Role::Muted)));
        return lines;
    };
    if app.values.vector().is_some() {
        lines.extend(of_vector(app, shown, numbers, theme).into_iter().take(height + 1));
        return lines;
    }
    let wide = (shown.end - shown.start) as usize;
    let mut heads = " ".repeat(LABEL);
    for column in shown.clone().take(columns(width)) {
        heads = format!("{heads}{column:>NUMBER$}");
    }
    lines.push(Line::from(span(heads, Role::Muted)));
    for (row, line) in rows.clone().zip(numbers.chunks(wide.max(1))).take(height) {
        let mut spans = vec![span(format!("{row:>width$} ", width = LABEL - 1), Role::Muted)];
        for (column, number) in shown.clone().zip(line).take(columns(width)) {
            spans.extend(cells(*number, app.values.view.cursor == [row, column], theme));
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// A number, with the blanks before it.
fn cells(number: f64, is_marked: bool, theme: &Theme) -> [Span<'static>; 2] {
    let text = units::value(number);
    let pad = " ".repeat(NUMBER.saturating_sub(text.len()));
    let role = match (is_marked, number.is_finite()) {
        (true, _) => Role::Cursor,
        (false, true) => Role::Number,
        (false, false) => Role::Error,
    };
    [Span::raw(pad), Span::styled(text, theme.style(role))]
}

/// The numbers of a vector, line by line, each with the index of its first; above them how far each is from that.
fn of_vector(app: &App, shown: &Range<u64>, numbers: &[f64], theme: &Theme) -> Vec<Line<'static>> {
    let muted = |text: String| Span::styled(text, theme.style(Role::Muted));
    let columns = app.values.number_room[1].max(1);
    let mut heads = " ".repeat(LABEL);
    for column in 0..columns.min(shown.end - shown.start) {
        heads = format!("{heads}{:>NUMBER$}", format!("+{column}"));
    }
    let mut lines = vec![Line::from(muted(heads))];
    for (first, line) in shown.clone().step_by(columns as usize).zip(numbers.chunks(columns as usize)) {
        let mut spans = vec![muted(format!("{first:>width$} ", width = LABEL - 1))];
        for (at, number) in (first..).zip(line) {
            spans.extend(cells(*number, app.values.view.cursor[1] == at, theme));
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// What the cell under the cursor holds, or which values of a vector show.
fn cell_words(app: &App) -> String {
    if app.values.vector().is_some() {
        let shown = app.values.numbers().map(|([_, shown], _)| shown.clone());
        return shown.map_or_else(
            || "values".to_owned(),
            |shown| format!("values {}-{}", shown.start, shown.end - 1),
        );
    }
    let words = || {
        let (cut, cells) = app.values.cells()?;
        let [line, column] = cut.cell(app.values.view.cursor)?;
        let most = cells.get(line * cut.size()[1] + column)?;
        let range = |ends: &[u64], at: usize, name: &str| {
            let (from, to) = (ends[at], ends[at + 1] - 1);
            if from == to { format!("{name} {from}") } else { format!("{name}s {from}-{to}") }
        };
        let (rows, columns) = (range(&cut.rows, line, "row"), range(&cut.columns, column, "column"));
        let words = if most.is_finite() {
            format!("up to {}", units::value(f64::from(*most)))
        } else {
            "not all are finite".to_owned()
        };
        Some(format!("{rows}, {columns}: {words}"))
    };
    words().unwrap_or_default()
}
