//! The heat map of the largest magnitudes: glyphs that grow denser, with the colors of the theme beside them.

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::Drawn;
use crate::app::App;
use crate::app::values::figures::Figures;
use crate::app::values::map::Cut;
use crate::stats::{Of, Part};
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of the row numbers at the left.
pub(super) const LABEL: usize = 8;
/// Steps of the map, lightest first.
const STEPS: [(char, Role); 4] =
    [('░', Role::Heat1), ('▒', Role::Heat2), ('▓', Role::Heat3), ('█', Role::Heat4)];
/// The least that is told apart, as a part of the most.
const RANGE_MAX: f64 = 256.0;
/// Cells of the screen that one of the map may have, where a map is small.
const CELL_MAX: usize = 4;

/// Where the cells of the map stand among the lines of the tab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The line of the first.
    pub(super) line: usize,
    /// Lines of them.
    pub(super) lines: usize,
    /// Columns of them.
    pub(super) columns: usize,
    /// Cells of the screen that one has.
    pub(super) cell: usize,
}

impl Place {
    /// Returns where that is on the screen.
    pub(super) fn on(self, inner: Rect) -> Drawn {
        let area = Rect {
            x: inner.x + 1 + LABEL as u16,
            y: inner.y + self.line as u16,
            width: (self.columns * self.cell) as u16,
            height: self.lines as u16,
        };
        Drawn { area: area.intersection(inner), cell: self.cell as u16 }
    }
}

/// Returns the map: a heading, its cells, an axis; `marked` is the place of the cursor. `None` if there is no map.
pub(super) fn lines(
    app: &App,
    figures: &Figures,
    width: usize,
    marked: Option<[u64; 2]>,
    theme: &Theme,
) -> Option<(Vec<Line<'static>>, Place)> {
    let (cut, cells) = app.values.cells()?;
    let [high, wide] = cut.size();
    if high == 0 || wide == 0 {
        return None;
    }
    let least = cells.iter().copied().filter(|cell| *cell > 0.0).fold(f32::INFINITY, f32::min);
    let most = cells.iter().copied().fold(0f32, f32::max);
    let scale = Scale { least, most, is_even: figures.part == Part::Codes };
    let cell = (width.saturating_sub(LABEL) / wide).clamp(1, CELL_MAX);
    let span = |text: String, role: Role| Span::styled(text, theme.style(role));
    let mut lines = vec![heading(app, figures, &cut, (least, most, cells.contains(&0.0)), width, theme)];
    let marked = marked.and_then(|place| cut.cell(place));
    for (at, line) in cells.chunks_exact(wide).enumerate() {
        let is_here = marked.is_some_and(|[line, _]| line == at);
        let label = format!("{:>width$}", cut.rows[at], width = LABEL - 1);
        let role = if is_here { Role::Cursor } else { Role::Muted };
        let mut spans = vec![span(label, role), Span::raw(" ")];
        let mut column = 0;
        while column < wide {
            let is_marked = marked == Some([at, column]);
            let step = scale.step(line[column]);
            let mut end = column + 1;
            while !is_marked && end < wide && marked != Some([at, end]) && scale.step(line[end]) == step {
                end += 1;
            }
            let (glyph, role) = step.map_or((' ', Role::Text), |step| STEPS[step]);
            // A cursor on a blank cell shows too, where there are no colors.
            let glyph = if is_marked && glyph == ' ' { '·' } else { glyph };
            let text: String = std::iter::repeat_n(glyph, (end - column) * cell).collect();
            spans.push(span(text, if is_marked { Role::Cursor } else { role }));
            column = end;
        }
        lines.push(Line::from(spans));
    }
    lines.push(Line::from(span(axis(app, &cut, wide * cell), Role::Muted)));
    Some((lines, Place { line: 1, lines: high, columns: wide, cell }))
}

/// What the steps of a map stand for.
#[derive(Clone, Copy)]
struct Scale {
    least: f32,
    most: f32,
    /// True if steps are of one width; else each is as many times the one before: what stands out would leave nothing to
    /// see of the others.
    is_even: bool,
}

impl Scale {
    /// Returns the step of a magnitude; `None` of zero.
    fn step(self, cell: f32) -> Option<usize> {
        if cell <= 0.0 {
            return None;
        }
        let [cell, least, most] = [cell, self.least, self.most].map(f64::from);
        let least = if self.is_even { least } else { least.max(most / RANGE_MAX) };
        if most <= least {
            return Some(1);
        }
        let share = if self.is_even {
            (cell - least) / (most - least)
        } else {
            (cell / least).ln() / (most / least).ln()
        };
        Some(((share.max(0.0) * STEPS.len() as f64) as usize).min(STEPS.len() - 1))
    }
}

/// What a cell is, and what the steps mean.
fn heading(
    app: &App,
    figures: &Figures,
    cut: &Cut,
    (least, most, has_zero): (f32, f32, bool),
    width: usize,
    theme: &Theme,
) -> Line<'static> {
    let what = match figures.part {
        Part::Codes => "code",
        _ => "|w|",
    };
    let size = |ends: &[u64]| ends.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(1);
    let (rows, columns) = (size(&cut.rows), size(&cut.columns));
    let words = if rows * columns == 1 {
        format!("{what} of each value")
    } else {
        format!("largest {what} per block of {rows} × {columns}")
    };
    let words = match (app.values.is_reading_cells(), app.values.region_failure()) {
        (_, Some(why)) => format!("{words}: {why}"),
        (true, None) => format!("{words} …"),
        (false, None) => words,
    };
    let zero = if has_zero { "blank 0  " } else { "" };
    let mut legend = vec![Span::styled(zero.to_owned(), theme.style(Role::Muted))];
    if most > 0.0 {
        legend.push(Span::styled(format!("{} ", units::value(f64::from(least))), theme.style(Role::Number)));
        legend.extend(STEPS.map(|(glyph, role)| Span::styled(glyph.to_string(), theme.style(role))));
        legend.push(Span::styled(format!(" {}", units::value(f64::from(most))), theme.style(Role::Number)));
    }
    let taken: usize = legend.iter().map(|span| span.content.width()).sum();
    let room = width.saturating_sub(taken + 1);
    let words = if words.width() > room { words.replacen("per block of", "per", 1) } else { words };
    let words = if words.width() > room { super::cut_end(&words, room) } else { words };
    let gap = " ".repeat(width.saturating_sub(words.width() + taken));
    let mut spans = vec![Span::styled(words, theme.style(Role::Heading)), Span::raw(gap)];
    spans.extend(legend);
    Line::from(spans)
}

/// The first and the last column, and what columns are.
fn axis(app: &App, cut: &Cut, cells: usize) -> String {
    let (first, last) = (cut.columns[0], cut.columns[cut.columns.len() - 1].saturating_sub(1));
    // Columns of a linear layer are its inputs; of other tensors nobody knows.
    let is_layer = matches!(app.values_of_row(), Ok(Of::Layer(_)));
    let is_linear = is_layer && app.values.figures().is_some_and(|figures| figures.summary.shape.len() == 2);
    let what = if is_linear { "input →" } else { "column →" };
    let (first, last) = (first.to_string(), last.to_string());
    let free = cells.saturating_sub(first.width() + last.width());
    let middle = if free >= what.width() + 4 { what } else { "" };
    let before = (free - middle.width().min(free)) / 2;
    let after = free.saturating_sub(before + middle.width());
    let last = if first == last { String::new() } else { last };
    format!("{}{first}{}{middle}{}{last}", " ".repeat(LABEL), " ".repeat(before), " ".repeat(after))
}
