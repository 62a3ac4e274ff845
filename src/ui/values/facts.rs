//! The figures of values, in a few lines.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::{Progress, WIDE};
use crate::app::values::figures::{Energy, Figures};
use crate::app::values::words::{codes, energy, packed, quantile_names, share};
use crate::name::{cut_middle, escape};
use crate::stats::Part;
use crate::stats::summary::{Extreme, QUANTILES};
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of the name before a line of the tail.
pub(super) const NAME: usize = 9;

/// The quantiles that there is always room for: both ends and the middle.
const FIRST_QUANTILES: [usize; 3] = [0, QUANTILES.len() / 2, QUANTILES.len() - 1];

/// The parts that there are, the one that shows in ‹ ›; nothing if there is just one.
fn parts(figures: &Figures) -> String {
    if figures.parts.len() < 2 {
        return String::new();
    }
    let name = |part: &Part| {
        if *part == figures.part { format!("‹ {} ›", part.name()) } else { part.name().to_owned() }
    };
    let names: Vec<String> = figures.parts.iter().map(name).collect();
    format!("of {}", names.join(" "))
}

/// Returns how many lines the head has.
pub(super) fn head_height(figures: &Figures, width: usize) -> usize {
    2 + usize::from(has_parts_below(figures, width))
}

fn has_parts_below(figures: &Figures, width: usize) -> bool {
    let parts = parts(figures).width();
    parts > 0 && escape(&figures.name).width() + 2 + parts > width
}

/// Returns the name and the parts, how many values there are, and how far they are read.
pub(super) fn head(figures: &Figures, progress: Progress, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let parts = parts(figures);
    let name = cut_middle(&escape(&figures.name), width).into_owned();
    let gap = " ".repeat(width.saturating_sub(name.width() + parts.width()));
    let mut title = Line::from(Span::styled(name, theme.style(Role::Heading)));
    let of = Span::styled(parts, theme.style(Role::Quant));
    let mut lines = Vec::new();
    if has_parts_below(figures, width) {
        lines.extend([title, Line::from(of)]);
    } else {
        title.spans.extend([Span::raw(gap), of]);
        lines.push(title);
    }
    let read = units::percent_done(figures.share_read());
    let (right, role) = match (progress, figures.elapsed) {
        // What is left are codes and scales.
        (Progress::Reading, _)
            if figures.summary.count == figures.total && figures.summary.sides.is_some() =>
        {
            ("all read".to_owned(), Role::Muted)
        }
        (Progress::Reading, _) => (format!("first {read}   x stops"), Role::BarThis),
        (Progress::Stopped, _) => (format!("stopped at {read}   x reads on"), Role::Warn),
        (Progress::Read, Some(time)) if time.as_secs() < 10 => {
            (format!("all read in {:.2} s", time.as_secs_f64()), Role::Muted)
        }
        (Progress::Read, Some(time)) => (format!("all read in {} s", time.as_secs()), Role::Muted),
        (Progress::Read, None) => ("all read".to_owned(), Role::Muted),
    };
    let summary = &figures.summary;
    let shape = format!("  {} {}", units::shape(&summary.shape), summary.dtype);
    let count = format!("{} value{}", units::exact(figures.total), if figures.total == 1 { "" } else { "s" });
    let shape =
        if count.width() + shape.width() + right.width() + 2 <= width { shape } else { String::new() };
    let gap = " ".repeat(width.saturating_sub(count.width() + shape.width() + right.width()).max(1));
    lines.push(Line::from(vec![
        Span::styled(count, theme.style(Role::Number)),
        Span::styled(shape, theme.style(Role::Muted)),
        Span::raw(gap),
        Span::styled(right, theme.style(role)),
    ]));
    lines
}

/// Returns how many lines the figures have.
pub(super) fn height(width: usize) -> usize {
    if width >= WIDE { 3 } else { 4 }
}

/// Returns the figures.
pub(super) fn lines(figures: &Figures, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let facts = Facts { figures, theme };
    let summary = &figures.summary;
    let name = |text: &str| Span::styled(text.to_owned(), theme.style(Role::Muted));
    let [min, max] = [("min", summary.min), ("max", summary.max)].map(|(word, of)| {
        let mut spans = vec![name(&format!("{word}  "))];
        spans.extend(facts.extreme(of));
        spans
    });
    let [mean, std] = [("mean", summary.mean), ("std", summary.std)].map(|(word, of)| {
        let value = of.map_or_else(|| "none".into(), units::value);
        vec![name(&format!("{word:<4}  ")), Span::styled(value, theme.style(Role::Number))]
    });
    if width >= WIDE {
        let (first, second) = (width * 3 / 7, width / 4);
        return vec![
            columns([(min, first), (mean, second), (facts.zeros(), 0)]),
            columns([(max, first), (std, second), (facts.broken(), 0)]),
            columns([
                (facts.quantiles(first + second - 2), first + second),
                (facts.rows_zero(), 0),
                (Vec::new(), 0),
            ]),
        ];
    }
    let first = (width * 5 / 8).max(28);
    let mut last = facts.zeros();
    last.push(Span::raw("  "));
    last.extend(facts.broken());
    let rows = facts.rows_zero();
    let taken: usize = last.iter().chain(&rows).map(|span| span.content.width()).sum();
    if taken + 2 <= width {
        last.push(Span::raw("  "));
        last.extend(rows);
    }
    vec![
        columns([(min, first), (mean, 0), (Vec::new(), 0)]),
        columns([(max, first), (std, 0), (Vec::new(), 0)]),
        Line::from(facts.quantiles(width)),
        Line::from(last),
    ]
}

/// Columns of a line, each as wide as it is said, or as its text.
fn columns(columns: [(Vec<Span<'static>>, usize); 3]) -> Line<'static> {
    let mut spans = Vec::new();
    for (column, width) in columns {
        let used: usize = column.iter().map(|span| span.content.width()).sum();
        spans.extend(column);
        // Two columns never touch.
        spans.push(Span::raw(" ".repeat(width.saturating_sub(used).max(usize::from(width > 0)))));
    }
    Line::from(spans)
}

struct Facts<'a> {
    figures: &'a Figures,
    theme: &'a Theme,
}

impl Facts<'_> {
    fn span(&self, text: impl Into<String>, role: Role) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(role))
    }

    fn extreme(&self, of: Option<Extreme>) -> Vec<Span<'static>> {
        let Some(of) = of else { return vec![self.span("none is finite", Role::Warn)] };
        let place = self.figures.place(of.at);
        vec![
            self.span(format!("{:>8}", units::value(of.value)), Role::Number),
            self.span(format!(" at {place}"), Role::Muted),
        ]
    }

    fn zeros(&self) -> Vec<Span<'static>> {
        let summary = &self.figures.summary;
        let share = share(summary.zeros, summary.count);
        let share = if summary.zeros == 0 { String::new() } else { format!(" {share}") };
        vec![
            self.span("zeros ", Role::Muted),
            self.span(units::exact(summary.zeros), Role::Number),
            self.span(share, Role::Muted),
        ]
    }

    fn broken(&self) -> Vec<Span<'static>> {
        let summary = &self.figures.summary;
        let one = |name: &str, count: u64| {
            let (mark, role) = if count > 0 { ("✗ ", Role::Error) } else { ("", Role::Number) };
            [self.span(format!("{mark}{name} "), Role::Muted), self.span(units::exact(count), role)]
        };
        let [nan, inf] = [one("NaN", summary.nan), one("Inf", summary.infinite)];
        nan.into_iter().chain([Span::raw("  ")]).chain(inf).collect()
    }

    /// Rows that are all zero; nothing of values without rows.
    fn rows_zero(&self) -> Vec<Span<'static>> {
        let summary = &self.figures.summary;
        let Some(zero) = summary.rows_zero.filter(|_| summary.shape.len() > 1) else { return Vec::new() };
        let (mark, count, role) = if zero > 0 {
            ("▲ ", format!("{} of {}", units::exact(zero), units::exact(summary.rows)), Role::Warn)
        } else {
            ("", "0".to_owned(), Role::Number)
        };
        vec![self.span(format!("{mark}zero rows "), Role::Muted), self.span(count, role)]
    }

    /// The quantiles that there is room for.
    fn quantiles(&self, width: usize) -> Vec<Span<'static>> {
        let summary = &self.figures.summary;
        let about = if summary.is_exact { "" } else { "≈" };
        let all: Vec<(String, String)> = quantile_names()
            .zip(summary.quantiles.iter().map(|value| format!("{about}{}", units::value(*value))))
            .collect();
        let spans = |some: &[&(String, String)]| {
            let mut spans = Vec::new();
            for (at, (name, value)) in some.iter().enumerate() {
                let gap = if at > 0 { "  " } else { "" };
                spans.push(self.span(format!("{gap}{name} "), Role::Muted));
                spans.push(self.span(value.clone(), Role::Number));
            }
            spans
        };
        let whole = spans(&all.iter().collect::<Vec<_>>());
        if whole.iter().map(|span| span.content.width()).sum::<usize>() <= width {
            return whole;
        }
        spans(&FIRST_QUANTILES.iter().filter_map(|at| all.get(*at)).collect::<Vec<_>>())
    }
}

/// Returns what stands below all else: outliers, rows and columns that stand out, codes and scales.
pub(super) fn tail(figures: &Figures, width: usize) -> Vec<(&'static str, String)> {
    let mut tail = Vec::new();
    let summary = &figures.summary;
    // Of codes the largest is just one of them.
    let is_code = figures.part == Part::Codes;
    if !summary.outliers.is_empty() && !is_code {
        let mut words = String::new();
        for of in &summary.outliers {
            let one = format!("{} {}", units::value(of.value), figures.place(of.at));
            let gap = if words.is_empty() { "" } else { "  " };
            if !words.is_empty() && words.width() + gap.len() + one.width() > width.saturating_sub(NAME) {
                break;
            }
            words = words + gap + &one;
        }
        tail.push(("largest", words));
    }
    let is_wide = width >= WIDE;
    let side = |of: &Option<Energy>, what: &'static str| of.as_ref().map(|of| energy(of, what, is_wide));
    if !is_code {
        tail.extend(side(&figures.columns, "column").map(|words| ("columns", words)));
        tail.extend(side(&figures.rows, "row").map(|words| ("rows", words)));
    }
    if let Some(of) = figures.code_count {
        let used = figures.distribution.single(usize::MAX).map_or(0, <[_]>::len) as u64;
        tail.push(("codes", codes(used, of)));
    }
    if let Some(of) = &figures.packed {
        let words = packed(of);
        let one = words.iter().map(|(name, words)| format!("{name} {words}")).collect::<Vec<_>>().join("   ");
        match &words[..] {
            // Codes name themselves.
            [(_, codes), (_, scales)] if one.width() <= width => {
                tail.push(("codes", format!("{codes}   scales {scales}")));
            }
            _ => tail.extend(words),
        }
    }
    tail
}
