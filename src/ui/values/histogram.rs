//! The histogram of values, in eighths of a cell.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use crate::app::values::figures::Figures;
use crate::app::values::words::share;
use crate::stats::Part;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Cells of the counts at the left.
const LABEL: usize = 7;
/// Heights that a cell can have.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Different values that have a bar each, unless they are codes.
const SINGLE_MAX: usize = 16;
/// Cells of the widest bar.
const BAR_MAX: usize = 4;

/// What is drawn: how many values each bar has, and where the bars are.
struct Bars {
    counts: Vec<u64>,
    /// Cells of each.
    cells: usize,
    low: f64,
    high: f64,
    /// True if each is a single value.
    is_single: bool,
    below: u64,
    above: u64,
}

impl Bars {
    fn of(figures: &Figures, width: usize) -> Option<Self> {
        let distribution = &figures.distribution;
        let most = if figures.part == Part::Codes { width } else { SINGLE_MAX.min(width) };
        if let Some(single) = distribution.single(most) {
            // What is not finite has no bar, nor has a code that does not occur: codes have a bar each up to the last.
            let (low, high) = (single.first()?.low, single.last()?.low);
            let counts: Vec<u64> = match figures.code_count {
                Some(all) if all <= width as u64 => {
                    let mut counts = vec![0; all as usize];
                    for bucket in single {
                        *counts.get_mut(bucket.low as usize)? = bucket.count;
                    }
                    counts
                }
                _ => single.iter().map(|bucket| bucket.count).collect(),
            };
            let (low, high) = if figures.code_count.is_some_and(|all| all as usize == counts.len()) {
                (0.0, counts.len() as f64 - 1.0)
            } else {
                (low, high)
            };
            let cells = (width / counts.len()).clamp(1, BAR_MAX);
            return Some(Self { counts, cells, low, high, is_single: true, below: 0, above: 0 });
        }
        let (bins, (low, high)) = if figures.part == Part::Codes {
            // As many codes in each bar: else those of one more would stand out.
            let (least, largest) = (figures.summary.min?.value, figures.summary.max?.value);
            let each = ((largest - least + 1.0) / width as f64).ceil().max(1.0);
            let count = ((largest - least + 1.0) / each).ceil();
            let (low, high) = (least - 0.5, least - 0.5 + count * each);
            (distribution.bins(low, high, count as usize), (low, high))
        } else {
            let (low, high) = figures.range()?;
            (distribution.bins(low, high, width), (low, high))
        };
        Some(Self {
            counts: bins.counts,
            cells: 1,
            low: *bins.edges.first()?,
            high: *bins.edges.last()?,
            is_single: false,
            below: distribution.below(low),
            above: distribution.total() - distribution.at_most(high),
        })
    }

    /// What is left out, in words.
    fn beyond(&self, total: u64) -> String {
        match (self.below, self.above) {
            (0, 0) => String::new(),
            (below, 0) => format!("{} lie below", share(below, total)),
            (0, above) => format!("{} lie above", share(above, total)),
            (below, above) => format!("{} below, {} above", share(below, total), share(above, total)),
        }
    }
}

/// Returns the histogram: a heading, bars of so many lines, an axis. `scale`: lines, and true for logarithms.
pub(super) fn lines(
    figures: &Figures,
    width: usize,
    (height, is_log): (usize, bool),
    theme: &Theme,
) -> Vec<Line<'static>> {
    let span = |text: String, role: Role| Span::styled(text, theme.style(role));
    let Some(bars) = Bars::of(figures, width.saturating_sub(LABEL).max(1)) else {
        return vec![Line::from(span("histogram: no value is finite".into(), Role::Muted))];
    };
    let scale = if is_log { "logarithmic" } else { "linear" };
    let total = figures.distribution.total();
    let beyond = bars.beyond(total);
    let many = if bars.is_single {
        format!("{}, a bar each", units::plural(bars.counts.len(), "value"))
    } else {
        format!("{} bins", bars.counts.len())
    };
    let heading = format!("histogram  {scale} (L)");
    let room = width.saturating_sub(heading.width() + 2);
    let whole = if beyond.is_empty() { many } else { format!("{many}, {beyond}") };
    // What is left out is said before how many bins there are.
    let what = if whole.width() <= room || beyond.is_empty() { whole } else { beyond };
    let what = if what.width() <= room { what } else { String::new() };
    let gap = " ".repeat(width.saturating_sub(heading.width() + what.width()));
    let mut lines =
        vec![Line::from(vec![span(heading, Role::Heading), Span::raw(gap), span(what, Role::Muted)])];
    let peak = bars.counts.iter().copied().max().unwrap_or(0);
    let share_of = |count: u64| match (count, is_log) {
        (0, _) => 0.0,
        (count, true) => (count as f64).ln_1p() / (peak as f64).ln_1p(),
        (count, false) => count as f64 / peak as f64,
    };
    // What is not nothing shows.
    let eighths: Vec<usize> = bars
        .counts
        .iter()
        .map(|count| ((share_of(*count) * (height * 8) as f64).round() as usize).max(usize::from(*count > 0)))
        .collect();
    for line in 0..height {
        let below = (height - 1 - line) * 8;
        let label = match line {
            0 => units::count(peak),
            // The count of a bar that ends in the middle.
            _ if line * 2 == height || line * 2 == height + 1 && height > 3 => {
                let share = (height - line) as f64 / height as f64;
                let count =
                    if is_log { ((peak as f64).ln_1p() * share).exp_m1() } else { peak as f64 * share };
                units::count(count.round() as u64)
            }
            _ if line + 1 == height => "0".into(),
            _ => String::new(),
        };
        let cells: String = eighths
            .iter()
            .flat_map(|count| std::iter::repeat_n(EIGHTHS[count.saturating_sub(below).min(8)], bars.cells))
            .collect();
        lines.push(Line::from(vec![
            span(format!("{label:>width$} ", width = LABEL - 1), Role::Muted),
            span(cells, Role::BarThis),
        ]));
    }
    lines.push(Line::from(span(axis(&bars), Role::Muted)));
    lines
}

/// The ends of the bars and zero, each below its place.
fn axis(bars: &Bars) -> String {
    let cells = bars.counts.len() * bars.cells;
    let (low, high) = (units::value(bars.low), units::value(bars.high));
    if bars.counts.len() == 1 {
        return format!("{}{low}", " ".repeat(LABEL));
    }
    let mut text = " ".repeat(LABEL) + &low;
    if !bars.is_single && bars.low < 0.0 && bars.high > 0.0 {
        let at = LABEL + (-bars.low / (bars.high - bars.low) * cells as f64) as usize;
        if at > text.width() + 1 && at + 2 + high.width() < LABEL + cells {
            text = format!("{text:<at$}0");
        }
    }
    let gap = (LABEL + cells).saturating_sub(text.width() + high.width()).max(2);
    text + &" ".repeat(gap) + &high
}
