//! The `QLoRA` matrix: which base format trains adapters and takes a merge, by versions, and what the training projects
//! take. The row of this checkpoint has a mark; the row under the cursor is spelled out below.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;
use unicode_width::UnicodeWidthStr as _;

use super::pane::{block, text, wrap};
use super::theme::{Role, Theme};
use crate::app::App;
use crate::app::findings::matrix_row;
use crate::diagnose::matrix::{ROWS, Row, STACKS, Stack, VERSIONS, lines, row_of};
use crate::name::cut_middle;

/// Lines of the part that spells out a row.
const BELOW: u16 = 12;
/// Cells of the column of formats.
const FORMAT: usize = 27;
/// Cells of the columns of versions: `4.52 to 4.57`.
const TRAINS: usize = 13;

/// Draws the view with the cursor on a row: of the formats, then of the projects.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, at: usize, theme: &Theme) {
    let Some(ready) = app.ready() else { return };
    frame.render_widget(Clear, area);
    let below = BELOW.min(area.height / 2);
    let [above, below] = Layout::vertical([Constraint::Min(3), Constraint::Length(below)]).areas(area);
    let own = row_of(&ready.checkpoint);
    let mut page = Vec::new();
    page.push(head(theme));
    for (number, row) in ROWS.iter().enumerate() {
        let is_own = own.is_some_and(|own| std::ptr::eq(own, row));
        page.push(format_line(row, (is_own, number == at), theme));
    }
    page.push(Line::default());
    let words = " training projects and engines: what they train on";
    page.push(Line::from(Span::styled(words, theme.style(Role::Muted))));
    let width = usize::from(above.width.saturating_sub(2));
    for (number, stack) in STACKS.iter().enumerate() {
        page.push(stack_line(stack, number + ROWS.len() == at, width, theme));
    }
    // The line under the cursor stays on the screen: the rows, a line above them, two before the projects.
    let line = 1 + at + if at >= ROWS.len() { 2 } else { 0 };
    let height = usize::from(above.height.saturating_sub(2));
    let title = "QLoRA matrix: does a LoRA train on it, does PEFT merge into it";
    text(frame, above, block(title, true, theme), page, (line + 1).saturating_sub(height));
    let (title, said) = match matrix_row(at) {
        Some(Ok(row)) if own.is_some_and(|own| std::ptr::eq(own, row)) => {
            (format!("this checkpoint: {}", row.format), row.lines())
        }
        Some(Ok(row)) => (row.format.to_owned(), row.lines()),
        Some(Err(stack)) => (stack.name.to_owned(), stack_words(stack)),
        None => ("this checkpoint".to_owned(), lines(&ready.checkpoint)),
    };
    let width = usize::from(below.width.saturating_sub(4));
    let said = said.iter().flat_map(|line| wrap(line, width));
    let said: Vec<Line<'_>> = said.map(|line| Line::from(format!(" {line}"))).collect();
    text(frame, below, block(&title, false, theme), said, 0);
}

fn head(theme: &Theme) -> Line<'static> {
    let versions = VERSIONS.map(|version| format!("{version:<TRAINS$}")).concat();
    let words = format!("   {:<FORMAT$}{versions}merge", "transformers");
    Line::from(Span::styled(words, theme.style(Role::Muted)))
}

fn format_line(row: &Row, (is_own, is_here): (bool, bool), theme: &Theme) -> Line<'static> {
    let mut spans = mark(row.format, (is_own, is_here), theme);
    for cell in row.trains {
        let (words, role) = answer(cell);
        spans.push(Span::styled(format!("{words:<TRAINS$}"), theme.style(role)));
    }
    let (words, role) = answer(row.merges);
    spans.push(Span::styled(words.to_owned(), theme.style(role)));
    Line::from(spans)
}

fn stack_line(stack: &Stack, is_here: bool, width: usize, theme: &Theme) -> Line<'static> {
    let mut spans = mark(stack.name, (false, is_here), theme);
    let words = cut_middle(stack.trains, width.saturating_sub(FORMAT + 4)).into_owned();
    spans.push(Span::styled(words, theme.style(Role::Muted)));
    Line::from(spans)
}

/// The gutter and the name of a row.
fn mark(name: &str, (is_own, is_here): (bool, bool), theme: &Theme) -> Vec<Span<'static>> {
    let name = cut_middle(name, FORMAT - 1).into_owned();
    let pad = " ".repeat(FORMAT.saturating_sub(name.width()));
    let role = match (is_here, is_own) {
        (true, _) => Role::Cursor,
        (_, true) => Role::Heading,
        _ => Role::Text,
    };
    vec![
        Span::raw(if is_here { "▌" } else { " " }),
        Span::styled(if is_own { "● " } else { "  " }, theme.style(Role::Quant)),
        Span::styled(name, theme.style(role)),
        Span::raw(pad),
    ]
}

/// What a cell begins with; a condition that follows is spelled out below.
fn answer(cell: &str) -> (&'static str, Role) {
    let has_more = cell.contains([',', ':', ';']);
    match cell {
        _ if cell.starts_with("yes") && has_more => ("✓ yes, if", Role::Ok),
        _ if cell.starts_with("yes") => ("✓ yes", Role::Ok),
        _ if cell.starts_with("no looked") || cell.starts_with("not ") => ("· not known", Role::Muted),
        _ if cell.starts_with("no") => ("✗ no", Role::Error),
        _ if cell.starts_with("unknown") => ("· not there", Role::Muted),
        _ => ("▲ partly", Role::Warn),
    }
}

fn stack_words(stack: &Stack) -> Vec<String> {
    let parts = [("trains on", stack.trains), ("merges", stack.merges), ("notes", stack.notes)];
    parts
        .iter()
        .filter(|(_, words)| !words.is_empty())
        .map(|(label, words)| format!("{label}: {words}"))
        .collect()
}
