//! The numbers at the cursor of the map, with their rows and columns.

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
    let wide = (shown.end - shown.start) as usize;
    let mut heads = " ".repeat(LABEL);
    for column in shown.clone().take(columns(width)) {
        heads = format!("{heads}{column:>NUMBER$}");
    }
    lines.push(Line::from(span(heads, Role::Muted)));
    for (row, line) in rows.clone().zip(numbers.chunks(wide.max(1))).take(height) {
        let mut spans = vec![span(format!("{row:>width$} ", width = LABEL - 1), Role::Muted)];
        for (column, number) in shown.clone().zip(line).take(columns(width)) {
            let is_marked = app.values.view.cursor == [row, column];
            let text = units::value(*number);
            let pad = " ".repeat(NUMBER.saturating_sub(text.len()));
            let role = match (is_marked, number.is_finite()) {
                (true, _) => Role::Cursor,
                (false, true) => Role::Number,
                (false, false) => Role::Error,
            };
            spans.extend([Span::raw(pad), span(text, role)]);
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// What the cell under the cursor holds.
fn cell_words(app: &App) -> String {
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
