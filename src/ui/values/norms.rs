//! Norms of rows and columns: as bars along the edges of the map, and as a list of all.

use std::ops::Range;

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use crate::app::App;
use crate::app::values::figures::{Energy, Figures};
use crate::app::values::words::percent;
use crate::ui::gauge_bar::bar;
use crate::ui::spark::spark;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of an index, a norm and a share in the list.
const INDEX: usize = 10;
const NORM: usize = 11;
const SHARE: usize = 9;
/// Cells of the longest bar in the list.
const BAR_MAX: usize = 40;

/// The norms of one side, held against the largest of them.
pub(super) struct Profile<'a> {
    norms: &'a [f64],
    most: f64,
}

impl<'a> Profile<'a> {
    /// Cells beside the map, a blank before the bars.
    pub(super) const CELLS: usize = 7;

    /// Returns the profile of norms; `None` where there is nothing to be told apart.
    pub(super) fn of(norms: &'a [f64], energy: Option<&Energy>) -> Option<Self> {
        let largest = *energy?.largest.first()?;
        let most = *norms.get(usize::try_from(largest).ok()?)?;
        (most > 0.0).then_some(Self { norms, most })
    }

    /// Returns the largest norm of some.
    fn most(&self, range: Range<u64>) -> f64 {
        let range = range.start as usize..range.end as usize;
        self.norms.get(range).unwrap_or(&[]).iter().copied().fold(0.0, f64::max)
    }

    /// Returns the bar of the largest norm of some rows.
    pub(super) fn bar(&self, rows: Range<u64>) -> String {
        bar(Self::CELLS - 1, self.most(rows) / self.most).replace('░', " ")
    }

    /// Returns the bars of columns that end there, each so many cells wide.
    pub(super) fn line(&self, ends: &[u64], cell: usize) -> String {
        let norms = ends.windows(2).map(|ends| self.most(ends[0]..ends[1]));
        let cells = norms.flat_map(|norm| std::iter::repeat_n((norm > 0.0).then_some(norm), cell));
        spark(cells, self.most)
    }
}

/// Returns the share of the energy that a row or column of a norm has.
fn share(norm: f64, energy: f64) -> String {
    match norm * norm / energy {
        share if !share.is_finite() => "-".to_owned(),
        share if share <= 0.0 => "0%".to_owned(),
        share if share >= 1.0 - 1e-12 => "100%".to_owned(),
        share => percent(share),
    }
}

/// Returns the list: a heading, the names of its columns, so many of its rows around the cursor.
pub(super) fn lines(
    app: &App,
    figures: &Figures,
    (width, height): (usize, usize),
    theme: &Theme,
) -> Vec<Line<'static>> {
    let span = |text: String, role: Role| Span::styled(text, theme.style(role));
    let Some(list) = &app.values.list else { return Vec::new() };
    let Some(sides) = &figures.summary.sides else {
        let why = if figures.summary.shape.len() < 2 {
            "a vector has no rows and columns: f shows its values"
        } else if figures.summary.count < figures.total {
            "norms come when all values are read"
        } else {
            "rows or columns are too many or too long to keep their norms"
        };
        return vec![Line::from(span(why.to_owned(), Role::Muted))];
    };
    let norms = sides.norms(list.axis);
    let heading = format!("norms of all {}", list.axis.name());
    let order = format!("{}, {} (s)", units::exact(norms.len() as u64), list.order.about());
    let gap = " ".repeat(width.saturating_sub(heading.width() + order.width()).max(1));
    let mut lines =
        vec![Line::from(vec![span(heading, Role::Heading), Span::raw(gap), span(order, Role::Muted)])];
    let (name, norm, share_name) = (list.axis.one(), "norm", "energy");
    let heads = format!("{name:>INDEX$}{norm:>NORM$}{share_name:>SHARE$}");
    lines.push(Line::from(span(heads, Role::Muted)));
    let cells = width.saturating_sub(INDEX + NORM + SHARE + 2).min(BAR_MAX);
    let sorted = list.sorted();
    for (place, at) in sorted.iter().enumerate().skip(list.top).take(height) {
        let norm = norms.get(*at as usize).copied().unwrap_or(0.0);
        let is_here = place == list.cursor;
        let gutter = if is_here { "▌" } else { " " };
        let share = share(norm, list.energy);
        let text =
            format!("{gutter}{at:>index$}{:>NORM$}{share:>SHARE$}", units::value(norm), index = INDEX - 1);
        let length = if list.most > 0.0 { norm / list.most * cells as f64 } else { 0.0 };
        // What is not nothing shows.
        let bar = "━".repeat((length.round() as usize).max(usize::from(norm > 0.0)).min(cells));
        let line = Line::from(vec![span(text, Role::Number), span(format!("  {bar}"), Role::Heat3)]);
        lines.push(if is_here { marked(line, theme) } else { line });
    }
    lines
}

/// Returns a line as that of the cursor.
fn marked(mut line: Line<'static>, theme: &Theme) -> Line<'static> {
    line.spans.iter_mut().for_each(|span| span.style = theme.style(Role::Cursor));
    line
}

/// The place of the row or column under the cursor, and how many there are.
pub(super) fn cursor_words(app: &App) -> String {
    let Some(list) = app.values.list.as_ref().filter(|list| !list.sorted().is_empty()) else {
        return String::new();
    };
    let (place, all) = (list.cursor as u64 + 1, list.sorted().len() as u64);
    format!(" {} of {} {} ", units::exact(place), units::exact(all), list.axis.name())
}
