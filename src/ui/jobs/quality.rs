//! What packing took, as a job shows it: in all, and of each layer beside a bar.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use crate::app::jobs::Job;
use crate::engine::verify::measured::Sums;
use crate::engine::verify::totals::{Totals, worst_first};
use crate::engine::verify::{Proven, Quality};
use crate::name::{cut_middle, escape};
use crate::ui::pane::wrap;
use crate::ui::theme::{Role, Theme};

/// Cells of a bar.
const BAR: usize = 10;
/// Cells of a layer's name at most.
const NAME_MAX: usize = 52;
/// Below this share of an adapter's change most of it is gone.
const MOSTLY_GONE: f64 = 0.5;

/// Returns the lines; nothing if no layer was packed.
pub(super) fn lines(job: &Job, proof: &Proven, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let Some(totals) = Totals::of(&proof.quality) else { return Vec::new() };
    let paragraph = |words: &str, role: Role| -> Vec<Line<'static>> {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = words.strip_prefix("quality ").unwrap_or(&words).to_owned();
        let wrapped = wrap(&words, width.saturating_sub(2)).into_iter();
        wrapped.map(|line| Line::from(Span::styled(format!("  {line}"), theme.style(role)))).collect()
    };
    let mut lines = vec![
        Line::default(),
        Line::from(vec![
            Span::styled("quality", theme.style(Role::Heading)),
            Span::styled(
                "   of all values that were written, as a loader decodes them",
                theme.style(Role::Muted),
            ),
        ]),
    ];
    for words in totals.words(job.facts.target.as_deref()) {
        lines.extend(paragraph(&words, Role::Text));
    }
    if let Some(warning) = totals.warning() {
        let words = format!("{warning}; the form (m) shows which formats would keep it");
        lines.extend(paragraph(&words, Role::Warn));
    }
    lines.push(Line::default());
    lines.extend(table(job, &proof.quality, width, theme));
    lines
}

/// Every layer: those of which packing took most come first.
fn table(job: &Job, quality: &[(u32, Quality)], width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let is_merged = quality.iter().any(|(_, quality)| quality.is_merged);
    let is_searched = quality.iter().any(|(_, quality)| quality.nearest.is_some());
    let numbers = 10 + if is_merged { 12 + 10 } else { 0 } + if is_searched { 10 } else { 0 };
    let name_cells = width.saturating_sub(numbers + BAR + 5).clamp(12, NAME_MAX);
    let most = quality.iter().map(|(_, quality)| quality.sums.relative_error()).fold(0.0, f64::max);
    let mut head = if is_merged { format!("{:>12}{:>10}", "delta kept", "codes") } else { String::new() };
    if is_searched {
        head = format!("{head}{:>10}", "nearest");
    }
    let mut lines = vec![Line::from(Span::styled(
        format!("  {:<name_cells$}{:>10}{head}", "layer", "error"),
        theme.style(Role::Muted),
    ))];
    for (pack, quality) in worst_first(quality) {
        let name = job.facts.packed.get(*pack as usize).map_or("", String::as_str);
        let name = cut_middle(&escape(name), name_cells).into_owned();
        let percent =
            |share: Option<f64>| share.map_or_else(String::new, |share| format!("{:.1} %", 100.0 * share));
        let pad = name_cells.saturating_sub(name.width());
        let mut spans = vec![
            Span::raw("  "),
            Span::styled(name, theme.style(Role::Text)),
            Span::raw(" ".repeat(pad)),
            Span::styled(
                format!("{:>10}", percent(Some(quality.sums.relative_error()))),
                theme.style(Role::Number),
            ),
        ];
        if is_merged {
            let kept = quality.delta_kept();
            let role = if kept.is_some_and(|kept| kept < MOSTLY_GONE) { Role::Warn } else { Role::Number };
            spans.push(Span::styled(format!("{:>12}", percent(kept)), theme.style(role)));
            spans.push(Span::styled(
                format!("{:>10}", percent(quality.codes_changed)),
                theme.style(Role::Number),
            ));
        }
        if is_searched {
            // What round-to-nearest would lose.
            let nearest = percent(quality.nearest.map(Sums::relative_error));
            spans.push(Span::styled(format!("{nearest:>10}"), theme.style(Role::Muted)));
        }
        spans.push(Span::raw("  "));
        spans.extend(bar(quality, most, theme));
        lines.push(Line::from(spans));
    }
    lines
}

/// A bar: what is left of an adapter's change, or what is lost of the values beside the layer that lost most.
fn bar(quality: &Quality, most: f64, theme: &Theme) -> Vec<Span<'static>> {
    let (share, role) = match quality.delta_kept() {
        Some(kept) if kept < MOSTLY_GONE => (kept, Role::Warn),
        Some(kept) => (kept, Role::Ok),
        None if most > 0.0 => (quality.sums.relative_error() / most, Role::Warn),
        None => (0.0, Role::Warn),
    };
    let filled = ((share.clamp(0.0, 1.0) * BAR as f64).round() as usize).min(BAR);
    vec![
        Span::styled("█".repeat(filled), theme.style(role)),
        Span::styled("░".repeat(BAR - filled), theme.style(Role::Muted)),
    ]
}
