//! Values of A and B beside each other: the same rows and columns of both, and where they differ.
//!
//! Two grids stand beside each other where there is room; else a row of A stands above that of B. A mark behind a value of B
//! says how far it lies from that of A, in quarters of the largest difference of the layer.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use crate::app::App;
use crate::app::compare::beside::Beside;
use crate::name::{cut_name, escape};
use crate::stats::seek::differs;
use crate::ui::pane;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// From this width on the two stand side by side.
const WIDE: usize = 96;
/// Cells of a row's number and a blank.
const LABEL: usize = 8;
/// Cells of the letter of a side and a blank.
const LETTER: usize = 2;
/// Cells of a value, with a blank before it.
const NUMBER: usize = 10;
/// Cells of a value by itself.
const DIGITS: usize = NUMBER - 1;
/// Cells of the mark behind a value.
const MARK: usize = 1;
/// Cells between two grids.
const GAP: usize = 3;
/// Lines above and below the values.
const LINES: usize = 3;

/// Draws the values in place of tree and tab.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, theme: &Theme) {
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    let (width, height) =
        (usize::from(inner.width).saturating_sub(2), usize::from(area.height).saturating_sub(2));
    let is_wide = width >= WIDE;
    let room = room(width, height, is_wide);
    if let Some(beside) = app.beside_mut() {
        beside.make_room(room.map(|cells| cells as u64));
    }
    let Some((beside, compare)) = app.beside().zip(app.compare()) else { return };
    let Some((pair, of)) = compare.pair(beside.pair) else { return };
    let page = Page { beside, labels: pair.labels(of[0], of[1]), theme };
    let name = cut_name(&escape(&pair.name), width.saturating_sub(24)).into_owned();
    let block = pane::block(&format!("{name}  values A|B"), true, theme)
        .title_bottom(Line::from(page.cursor_words(width)).right_aligned());
    let mut lines = if is_wide { page.grids() } else { page.pairs() };
    lines.truncate(height.saturating_sub(1));
    lines.resize(height.saturating_sub(1), Line::default());
    lines.push(page.legend(width));
    let lines: Vec<Line<'_>> = lines
        .into_iter()
        .map(|mut line| {
            line.spans.insert(0, Span::raw(" "));
            line
        })
        .collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Returns the rows and columns that there is room for.
fn room(width: usize, height: usize, is_wide: bool) -> [usize; 2] {
    let lines = height.saturating_sub(LINES);
    if is_wide {
        [lines, width.saturating_sub(LABEL + GAP) / (2 * NUMBER + MARK)]
    } else {
        [lines / 2, width.saturating_sub(LABEL + LETTER) / (NUMBER + MARK)]
    }
}

struct Page<'a> {
    beside: &'a Beside,
    labels: [String; 2],
    theme: &'a Theme,
}

impl Page<'_> {
    fn span(&self, text: impl Into<String>, role: Role) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(role))
    }

    /// Both grids, side by side.
    fn grids(&self) -> Vec<Line<'static>> {
        let [rows, columns] = self.beside.window();
        let count = (columns.end - columns.start) as usize;
        let [mut heads, mut numbers] = [0, 1].map(|_| vec![Span::raw(" ".repeat(LABEL))]);
        for (side, role) in [Role::SideA, Role::SideB].into_iter().enumerate() {
            let head = format!("{} {}", ["A", "B"][side], escape(&self.labels[side]));
            let wide = count * NUMBER;
            heads.push(self.span(format!("{head:>wide$}{:GAP$}", ""), role));
            numbers.extend(self.column_numbers(side * MARK));
            numbers.push(Span::raw(" ".repeat(GAP)));
        }
        let mut lines = vec![Line::from(heads), Line::from(numbers)];
        if let Some(why) = self.failure() {
            lines.push(why);
            return lines;
        }
        for row in rows {
            let mut spans = vec![self.row_number(row)];
            spans.extend(self.values(row, 0, 0));
            spans.push(self.span(format!("{:^GAP$}", "│"), Role::Border));
            spans.extend(self.values(row, 1, MARK));
            lines.push(Line::from(spans));
        }
        lines
    }

    /// A row of A, then that of B below it.
    fn pairs(&self) -> Vec<Line<'static>> {
        let [rows, _] = self.beside.window();
        let sides = [("A", Role::SideA), ("B", Role::SideB)];
        let mut heads = vec![Span::raw(" ".repeat(LABEL))];
        for (at, (side, role)) in sides.into_iter().enumerate() {
            heads.push(self.span(format!("{side} {}   ", escape(&self.labels[at])), role));
        }
        let mut numbers = vec![Span::raw(" ".repeat(LABEL + LETTER))];
        numbers.extend(self.column_numbers(MARK));
        let mut lines = vec![Line::from(heads), Line::from(numbers)];
        if let Some(why) = self.failure() {
            lines.push(why);
            return lines;
        }
        for row in rows {
            for (at, (side, role)) in sides.into_iter().enumerate() {
                let label = if at == 0 { self.row_number(row) } else { Span::raw(" ".repeat(LABEL)) };
                let mut spans = vec![label, self.span(format!("{side} "), role)];
                spans.extend(self.values(row, at, MARK));
                lines.push(Line::from(spans));
            }
        }
        lines
    }

    fn failure(&self) -> Option<Line<'static>> {
        let (_, outcome) = self.beside.read()?;
        outcome.as_ref().err().map(|why| Line::from(self.span(escape(why).into_owned(), Role::Error)))
    }

    fn row_number(&self, row: u64) -> Span<'static> {
        let role = if row == self.beside.cursor[0] { Role::Heading } else { Role::Muted };
        self.span(format!("{row:>width$} ", width = LABEL - 1), role)
    }

    fn column_numbers(&self, mark: usize) -> Vec<Span<'static>> {
        let [_, columns] = self.beside.window();
        let one = |column: u64| {
            let role = if column == self.beside.cursor[1] { Role::Heading } else { Role::Muted };
            let number = if self.beside.is_upright { String::new() } else { column.to_string() };
            self.span(format!("{number:>NUMBER$}{:mark$}", ""), role)
        };
        columns.map(one).collect()
    }

    /// The values of one side of a row, each with cells for a mark, which those of B have.
    fn values(&self, row: u64, side: usize, mark: usize) -> Vec<Span<'static>> {
        let [_, columns] = self.beside.window();
        let mut spans = Vec::new();
        for column in columns {
            let Some(both) = self.beside.at([row, column]) else {
                spans.push(self.span(format!("{:>NUMBER$}{:mark$}", "…", ""), Role::Muted));
                continue;
            };
            let text = number(both[side]);
            spans.push(Span::raw(" ".repeat(NUMBER.saturating_sub(text.len()))));
            let role = match (self.beside.cursor == [row, column], both[side].is_finite()) {
                (true, _) => Role::Cursor,
                (false, false) => Role::Error,
                (false, true) if differs(both[0], both[1]) => Role::Number,
                (false, true) => Role::Muted,
            };
            spans.push(self.span(text, role));
            let (sign, role) = if side == 1 { self.mark(both) } else { (' ', Role::Muted) };
            spans.extend((mark > 0).then(|| self.span(sign.to_string(), role)));
        }
        spans
    }

    /// Returns the mark of two values, in quarters of the largest difference.
    fn mark(&self, [a, b]: [f64; 2]) -> (char, Role) {
        if !differs(a, b) {
            return (' ', Role::Muted);
        }
        let far = (a - b).abs();
        let Some((most, _)) = self.beside.most.filter(|(most, _)| *most > 0.0) else {
            return ('≠', Role::Warn);
        };
        match far / most {
            share if share < 0.25 => ('░', Role::Heat1),
            share if share < 0.5 => ('▒', Role::Heat2),
            share if share < 0.75 => ('▓', Role::Heat3),
            share if share.is_finite() => ('█', Role::Heat4),
            _ => ('×', Role::Error),
        }
    }

    /// The place of the cursor and what is there; without the place where there is no room.
    fn cursor_words(&self, width: usize) -> String {
        let place = self.beside.place(self.beside.cursor);
        match self.beside.under_cursor() {
            Some([a, b]) => {
                let far = if differs(a, b) { units::value(a - b) } else { "0".into() };
                let values = format!(" A {}  B {}  A-B {far} ", units::value(a), units::value(b));
                let words = format!(" {place} {values}");
                if words.width() <= width { words } else { values }
            }
            None => format!(" {place} … "),
        }
    }

    /// What the marks mean.
    fn legend(&self, width: usize) -> Line<'static> {
        if self.beside.is_seeking() {
            return Line::from(self.span("looking for the next value that differs", Role::BarThis));
        }
        if self.beside.is_equal {
            return Line::from(self.span("= all values are the same", Role::Ok));
        }
        let Some((most, place)) = self.beside.most else {
            return Line::from(self.span("≠ differs; the largest difference is not known", Role::Muted));
        };
        let words = format!("|A-B| up to {} at {}:", units::value(most), self.beside.place(place));
        let mut spans = vec![self.span(words, Role::Muted)];
        for (mark, role, share) in [
            ("░", Role::Heat1, "25%"),
            ("▒", Role::Heat2, "50%"),
            ("▓", Role::Heat3, "75%"),
            ("█", Role::Heat4, "100%"),
        ] {
            spans.push(self.span(format!("  {mark}"), role));
            spans.push(self.span(format!(" to {share}"), Role::Muted));
        }
        spans.push(self.span("   unmarked is equal", Role::Muted));
        let line = Line::from(spans);
        if line.width() <= width { line } else { Line::from(line.spans[..9].to_vec()) }
    }
}

/// Returns a value in at most as many cells as a column has.
fn number(value: f64) -> String {
    let text = units::value(value);
    if text.len() <= DIGITS {
        return text;
    }
    let short = |digits: usize| format!("{value:.digits$e}");
    (1..=3).rev().map(short).find(|text| text.len() <= DIGITS).unwrap_or_else(|| short(0))
}
