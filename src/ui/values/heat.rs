//! The heat map of the largest magnitudes: in half blocks of a ramp of colors, where there are colors enough, else in
//! glyphs that grow denser. Along its edges stand the norms of rows and columns.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::norms::Profile;
use super::ramp::{self, Ramp, Shade};
use super::{Drawn, WIDE};
use crate::app::App;
use crate::app::values::figures::Figures;
use crate::app::values::map::Cut;
use crate::stats::{Of, Part};
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of the row numbers at the left.
const LABEL: usize = 8;
/// Glyphs of the map where there is no ramp, lightest first.
const GLYPHS: [(char, Role); 4] =
    [('░', Role::Heat1), ('▒', Role::Heat2), ('▓', Role::Heat3), ('█', Role::Heat4)];
/// The least that is told apart, as a part of the most.
const RANGE_MAX: f64 = 256.0;
/// Cells of the screen that one of the map may have, where a map is small.
const CELL_MAX: usize = 4;
/// What is written of a cell with a value that is not finite.
const BROKEN: &str = "NaN/Inf";

/// Returns how many columns of cells there is room for.
pub(super) fn columns(width: usize) -> usize {
    let profile = if has_profile(width) { Profile::CELLS } else { 0 };
    width.saturating_sub(LABEL + profile).max(1)
}

/// Returns how many lines stand around the cells: a heading, norms of columns, an axis.
pub(super) fn lines_around(width: usize) -> usize {
    2 + usize::from(has_profile(width))
}

/// Norms have room beside the map.
fn has_profile(width: usize) -> bool {
    width >= WIDE
}

/// Where the cells of the map stand among the lines of the tab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The line of the first.
    pub(super) line: usize,
    /// Lines of them.
    pub(super) lines: usize,
    /// Cells of the screen before them.
    pub(super) label: usize,
    /// Columns of them.
    pub(super) columns: usize,
    /// Cells of the screen that one has.
    pub(super) cell: usize,
    /// Rows of the map in a line of the screen.
    pub(super) rows: usize,
}

impl Place {
    /// Returns where that is on the screen.
    pub(super) fn on(self, inner: Rect) -> Drawn {
        let area = Rect {
            x: inner.x + 1 + self.label as u16,
            y: inner.y + self.line as u16,
            width: (self.columns * self.cell) as u16,
            height: self.lines as u16,
        };
        Drawn { area: area.intersection(inner), cell: self.cell as u16, rows: self.rows }
    }
}

/// What is drawn, and how.
pub(super) struct Heat<'a> {
    pub(super) app: &'a App,
    pub(super) figures: &'a Figures,
    /// Cells of a line.
    pub(super) width: usize,
    /// Lines that there are for cells.
    pub(super) room: usize,
    /// The place of the cursor, if it shows.
    pub(super) marked: Option<[u64; 2]>,
    pub(super) theme: &'a Theme,
    pub(super) ramp: Option<&'a Ramp>,
}

impl Heat<'_> {
    /// Returns the map: a heading, its cells, an axis. `None` if there is no map.
    pub(super) fn lines(&self) -> Option<(Vec<Line<'static>>, Place)> {
        let (cut, cells) = self.app.values.cells()?;
        let [high, wide] = cut.size();
        if high == 0 || wide == 0 {
            return None;
        }
        let scale = Scale::of(&cells, self);
        let marked = self.marked.and_then(|place| cut.cell(place));
        let cell = (columns(self.width) / wide).clamp(1, CELL_MAX);
        // Rows that have room have a line each.
        let rows = if self.ramp.is_some() && high > self.room { 2 } else { 1 };
        let shade = |line: usize, column: usize| match cells.get(line * wide + column) {
            _ if marked == Some([line, column]) => Shade::Cursor,
            Some(cell) => scale.shade(*cell),
            None => Shade::Zero,
        };
        let mark = |line: usize, column: usize| {
            let Some(ramp) = self.ramp else {
                let under = cells.get(line * wide + column).map_or(Shade::Zero, |cell| scale.shade(*cell));
                return self.glyph(under, marked == Some([line, column]));
            };
            let upper = shade(line, column);
            ramp.halves(upper, if rows == 2 { shade(line + 1, column) } else { upper })
        };
        let mut lines = vec![self.heading(&cut, &scale)];
        let sides = self.figures.summary.sides.as_ref().filter(|_| has_profile(self.width));
        let profile = sides.and_then(|of| Profile::of(&of.rows, self.figures.rows.as_ref()));
        for first in (0..high).step_by(rows) {
            let here = marked.filter(|[line, _]| (first..first + rows).contains(line));
            let label = format!("{:>width$}", cut.rows[here.map_or(first, |at| at[0])], width = LABEL - 1);
            let role = if here.is_some() { Role::Cursor } else { Role::Muted };
            let mut spans = vec![self.span(label, role), Span::raw(" ")];
            let mut column = 0;
            while column < wide {
                let (glyph, style) = mark(first, column);
                let alike = (column..wide).take_while(|at| mark(first, *at) == (glyph, style)).count();
                let text: String = std::iter::repeat_n(glyph, alike * cell).collect();
                spans.push(Span::styled(text, style));
                column += alike;
            }
            if let Some(profile) = &profile {
                let bar = profile.bar(cut.rows[first]..cut.rows[(first + rows).min(high)]);
                spans.push(self.span(format!(" {bar}"), Role::Heat2));
            }
            lines.push(Line::from(spans));
        }
        let place = Place { line: 1, lines: high.div_ceil(rows), label: LABEL, columns: wide, cell, rows };
        if let Some(of) = sides {
            lines.push(self.column_norms(&of.columns, &cut, cell));
        }
        lines.push(self.axis(&cut, (wide * cell, cell), marked.map(|at| at[1]), profile.is_some()));
        Some((lines, place))
    }

    fn span(&self, text: String, role: Role) -> Span<'static> {
        Span::styled(text, self.theme.style(role))
    }

    /// Returns the glyph of a cell where there is no ramp, and its style.
    fn glyph(&self, shade: Shade, is_marked: bool) -> (char, Style) {
        let (glyph, role) = match shade {
            // A cursor on a blank cell shows too, where there are no colors.
            Shade::Zero | Shade::Cursor => (if is_marked { '·' } else { ' ' }, Role::Text),
            Shade::Step(at) => GLYPHS[at.min(GLYPHS.len() - 1)],
            Shade::Broken => ('✗', Role::Error),
        };
        (glyph, self.theme.style(if is_marked { Role::Cursor } else { role }))
    }

    /// The norms of the columns of each cell, the largest of them.
    fn column_norms(&self, norms: &[f64], cut: &Cut, cell: usize) -> Line<'static> {
        let profile = Profile::of(norms, self.figures.columns.as_ref());
        let bars = profile.map_or_else(String::new, |profile| profile.line(&cut.columns, cell));
        let name = format!("{:>width$} ", "norms", width = LABEL - 1);
        Line::from(vec![self.span(name, Role::Muted), self.span(bars, Role::Heat2)])
    }

    /// What a cell is, and what the steps mean.
    fn heading(&self, cut: &Cut, scale: &Scale) -> Line<'static> {
        let what = match self.figures.part {
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
        let values = &self.app.values;
        let words = match (values.is_reading_cells(), values.region_failure()) {
            (_, Some(why)) => format!("{words}: {why}"),
            (true, None) => format!("{words} …"),
            (false, None) => words,
        };
        let legend = self.legend(scale);
        let taken: usize = legend.iter().map(|span| span.content.width()).sum();
        let room = self.width.saturating_sub(taken + 1);
        let words = if words.width() > room { words.replacen("per block of", "per", 1) } else { words };
        let words = if words.width() > room { super::cut_end(&words, room) } else { words };
        let gap = " ".repeat(self.width.saturating_sub(words.width() + taken));
        let mut spans = vec![self.span(words, Role::Heading), Span::raw(gap)];
        spans.extend(legend);
        Line::from(spans)
    }

    /// What the shades stand for.
    fn legend(&self, scale: &Scale) -> Vec<Span<'static>> {
        let is_wide = self.width >= WIDE;
        let mut legend = Vec::new();
        if scale.has_broken {
            let mark = if self.ramp.is_some() { '█' } else { '✗' };
            let name = if is_wide { BROKEN } else { "NaN" };
            legend.push(self.span(mark.to_string(), Role::Error));
            legend.push(self.span(format!(" {name}  "), Role::Muted));
        }
        if scale.has_zero && (is_wide || !scale.has_broken) {
            legend.push(self.span("blank 0  ".to_owned(), Role::Muted));
        }
        if scale.most <= 0.0 {
            return legend;
        }
        let ends = [scale.least, scale.most].map(|end| units::value(f64::from(end)));
        legend.push(self.span(format!("{} ", ends[0]), Role::Number));
        match self.ramp {
            Some(ramp) => {
                let each = if is_wide { 1 } else { 2 };
                legend.extend((0..ramp::STEPS).step_by(each).map(|at| {
                    let color = ramp.color(Shade::Step(at)).unwrap_or_default();
                    Span::styled("█", Style::new().fg(color))
                }));
            }
            None => legend.extend(GLYPHS.map(|(glyph, role)| self.span(glyph.to_string(), role))),
        }
        legend.push(self.span(format!(" {}", ends[1]), Role::Number));
        legend
    }

    /// The first and the last column, and what columns are; a mark below that of the cursor.
    fn axis(
        &self,
        cut: &Cut,
        (cells, cell): (usize, usize),
        marked: Option<usize>,
        has_rows: bool,
    ) -> Line<'static> {
        let (first, last) = (cut.columns[0], cut.columns[cut.columns.len() - 1].saturating_sub(1));
        // Columns of a linear layer are its inputs; of other tensors nobody knows.
        let is_layer = matches!(self.app.values_of_row(), Ok(Of::Layer(_)));
        let is_linear = is_layer && self.figures.summary.shape.len() == 2;
        let what = if is_linear { "input →" } else { "column →" };
        let (first, last) = (first.to_string(), last.to_string());
        let free = cells.saturating_sub(first.width() + last.width());
        let middle = if free >= what.width() + 4 { what } else { "" };
        let before = (free - middle.width().min(free)) / 2;
        let after = free.saturating_sub(before + middle.width());
        let last = if first == last { String::new() } else { last };
        let axis = format!("{first}{}{middle}{}{last}", " ".repeat(before), " ".repeat(after));
        let rows = if has_rows { " norms" } else { "" };
        let mut spans = vec![Span::raw(" ".repeat(LABEL))];
        match marked.map(|at| at * cell).filter(|at| *at < axis.chars().count()) {
            Some(at) => {
                let part = |range: std::ops::Range<usize>| -> String {
                    axis.chars().skip(range.start).take(range.len()).collect()
                };
                let under = part(at..at + 1);
                let under = if under == " " { "↑".to_owned() } else { under };
                spans.push(self.span(part(0..at), Role::Muted));
                spans.push(self.span(under, Role::Cursor));
                spans.push(self.span(part(at + 1..axis.chars().count()) + rows, Role::Muted));
            }
            None => spans.push(self.span(axis + rows, Role::Muted)),
        }
        Line::from(spans)
    }
}

/// What the steps of a map stand for.
#[derive(Clone, Copy)]
struct Scale {
    /// The least and the largest magnitude that are not zero, of the cells without one that is not finite.
    least: f32,
    most: f32,
    has_zero: bool,
    has_broken: bool,
    steps: usize,
    /// True if steps are of one width; else each is as many times the one before: what stands out would leave nothing to
    /// see of the others.
    is_even: bool,
}

impl Scale {
    fn of(cells: &[f32], heat: &Heat<'_>) -> Self {
        let finite = cells.iter().copied().filter(|cell| cell.is_finite());
        Self {
            least: finite.clone().filter(|cell| *cell > 0.0).fold(f32::INFINITY, f32::min),
            most: finite.fold(0f32, f32::max),
            has_zero: cells.contains(&0.0),
            has_broken: cells.iter().any(|cell| !cell.is_finite()),
            steps: if heat.ramp.is_some() { ramp::STEPS } else { GLYPHS.len() },
            is_even: heat.figures.part == Part::Codes,
        }
    }

    /// Returns the shade of a magnitude.
    fn shade(self, cell: f32) -> Shade {
        if !cell.is_finite() {
            return Shade::Broken;
        }
        if cell <= 0.0 {
            return Shade::Zero;
        }
        let [cell, least, most] = [cell, self.least, self.most].map(f64::from);
        let least = if self.is_even { least } else { least.max(most / RANGE_MAX) };
        if most <= least {
            return Shade::Step(self.steps / 3);
        }
        let share = if self.is_even {
            (cell - least) / (most - least)
        } else {
            (cell / least).ln() / (most / least).ln()
        };
        Shade::Step(((share.max(0.0) * self.steps as f64) as usize).min(self.steps - 1))
    }
}
