//! Distributions: the values of A and B over each other, and those of their differences.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use crate::app::compare::close::{BINS, Close};
use crate::stats::histogram::Histogram;
use crate::ui::spark::spark;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Returns the lines of a pair's values and errors for a pane of some cells.
pub(super) fn lines(close: &Close, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    // Each cell has as many bins as any other.
    let cells = [60, 30, 20, 10].into_iter().find(|cells| cells + 4 <= width).unwrap_or(10);
    let mut lines = vec![Line::default(), heading("values", theme)];
    let bars = close.values.each_ref().map(|of| grouped(of, cells));
    let most = bars.iter().flatten().copied().max().unwrap_or(0);
    for ((bars, side), role) in bars.iter().zip(["A", "B"]).zip([Role::SideA, Role::SideB]) {
        lines.push(Line::from(vec![
            Span::styled(format!("{side} "), theme.style(role)),
            Span::styled(drawn(bars, most), theme.style(role)),
        ]));
    }
    lines.push(axis(&close.values[0], cells, theme));
    lines.extend(beyond(close, theme));
    if let Some(error) = &close.error {
        lines.extend([Line::default(), heading("error A - B", theme)]);
        let bars = grouped(error, cells);
        let most = bars.iter().copied().max().unwrap_or(0);
        lines.push(Line::from(vec![
            Span::raw("  "),
            Span::styled(drawn(&bars, most), theme.style(Role::Heat3)),
        ]));
        lines.push(axis(error, cells, theme));
    }
    lines
}

fn heading(words: &str, theme: &Theme) -> Line<'static> {
    Line::from(Span::styled(words.to_owned(), theme.style(Role::Heading)))
}

/// Returns the counts of neighboring bins together, one a cell.
fn grouped(histogram: &Histogram, cells: usize) -> Vec<u64> {
    histogram.counts.chunks((BINS / cells).max(1)).map(|bins| bins.iter().sum()).collect()
}

/// Returns counts as heights; where there is nothing nothing is drawn.
fn drawn(counts: &[u64], most: u64) -> String {
    spark(counts.iter().map(|count| (*count > 0).then_some(*count as f64)), most as f64)
}

/// Returns the ends of a histogram, and zero where it lies.
fn axis(histogram: &Histogram, cells: usize, theme: &Theme) -> Line<'static> {
    let (Some(&low), Some(&high)) = (histogram.edges.first(), histogram.edges.last()) else {
        return Line::default();
    };
    let (first, last) = (units::value(low), units::value(high));
    let mut text: Vec<char> = " ".repeat(cells).chars().collect();
    let mut put = |at: usize, words: &str| {
        let is_free = |at: usize| text.get(at).is_none_or(|sign| *sign == ' ');
        // Words that would touch others are left out.
        if at + words.width() > cells || (at.saturating_sub(1)..=at + words.width()).any(|at| !is_free(at)) {
            return;
        }
        text.splice(at..at + words.width(), words.chars());
    };
    put(0, &first);
    put(cells.saturating_sub(last.width()), &last);
    if low < 0.0 && high > 0.0 {
        let zero = (-low / (high - low) * cells as f64) as usize;
        put(zero.min(cells.saturating_sub(1)), "0");
    }
    let text: String = text.into_iter().collect();
    Line::from(Span::styled(format!("  {}", text.trim_end()), theme.style(Role::Muted)))
}

/// Returns how many values lie outside the histogram, if any do.
fn beyond(close: &Close, theme: &Theme) -> Option<Line<'static>> {
    let inside: u64 = close.values.iter().flat_map(|of| &of.counts).sum();
    let finite = |side: usize| {
        let none = close.figures.nan[side] + close.figures.infinite[side];
        close.figures.count.saturating_sub(none)
    };
    let all = finite(0) + finite(1);
    let outside = all.saturating_sub(inside);
    let words = format!("  {} of {} lie outside", units::exact(outside), units::exact(all));
    (outside > 0).then(|| Line::from(Span::styled(words, theme.style(Role::Muted))))
}
