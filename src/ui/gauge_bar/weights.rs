//! The weights part of the Memory tab: bytes by format, and where they fit.

use ratatui::text::{Line, Span};

use super::{GIB, bar, short_name};
use crate::gauges::{Ram, Sample};
use crate::name::cut_middle;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Returns whether `need` bytes fit into `free`: `✓ fits`, or `✗ 1.4 GiB over`.
#[must_use]
pub fn verdict(need: u64, free: u64) -> (Role, String) {
    match need.checked_sub(free) {
        None | Some(0) => (Role::Ok, "✓ fits".to_string()),
        Some(over) => (Role::Error, format!("✗ {} over", over_in_words(over))),
    }
}

/// One decimal in GiB from half a GiB on; below that the amount in its own unit.
fn over_in_words(bytes: u64) -> String {
    let value = bytes as f64 / GIB;
    if (0.5..99.95).contains(&value) { format!("{value:.1} GiB") } else { units::bytes(bytes) }
}

/// Returns the weights part of the Memory tab for `width` cells: one row a format, their sum, and for
/// each GPU its free memory and the verdict. `formats` is `(label, bytes)`, in the order to show.
#[must_use]
pub fn memory_lines(
    formats: &[(String, u64)],
    sample: &Sample,
    width: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    /// `label            1.07 GiB  100%  ` before the bar.
    const COLUMNS: usize = 16 + 10 + 6 + 2;
    let total = formats.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let bar_cells = width.saturating_sub(COLUMNS).min(40);
    let mut lines = Vec::with_capacity(formats.len() + sample.gpus.len() + 2);
    for (label, bytes) in formats {
        let share = if total == 0 { 0.0 } else { *bytes as f64 / total as f64 };
        lines.push(Line::from(vec![
            Span::styled(format!("{:<16}", cut_middle(label, 15)), theme.style(Role::Text)),
            Span::styled(format!("{:>10}", units::bytes(*bytes)), theme.style(Role::Number)),
            Span::styled(format!("{:>6}  ", share_in_percent(share)), theme.style(Role::Muted)),
            Span::styled(bar(bar_cells, share), theme.style(Role::BarThis)),
        ]));
    }
    lines.push(Line::from(vec![
        Span::styled(format!("{:<16}", "all weights"), theme.style(Role::Heading)),
        Span::styled(format!("{:>10}", units::bytes(total)), theme.style(Role::Number)),
    ]));
    lines.extend(places(sample).map(|(label, free)| match free {
        Ok(free) => {
            let (role, words) = verdict(total, free);
            Line::from(vec![
                Span::styled(format!("{label:<16}"), theme.style(Role::Text)),
                Span::styled(format!("{:>10}", units::bytes(free)), theme.style(Role::Number)),
                Span::styled(" free  ", theme.style(Role::Unit)),
                Span::styled(words, theme.style(role)),
            ])
        }
        Err(why) => Line::from(vec![
            Span::styled(format!("{label:<16}"), theme.style(Role::Text)),
            Span::styled(format!("  free memory not known: {why}"), theme.style(Role::Muted)),
        ]),
    }));
    if sample.gpus.is_empty() && !sample.gpu_state.why.is_empty() {
        let text = format!("no GPU: {}", sample.gpu_state.why);
        lines.push(Line::styled(cut_end(&text, width), theme.style(Role::Muted)));
    }
    lines
}

/// Where weights can go: each GPU, then RAM, with what is free there.
fn places(sample: &Sample) -> impl Iterator<Item = (String, Result<u64, String>)> + '_ {
    let gpus = sample.gpus.iter().map(|gpu| {
        let name = gpu.name.as_ref().map(|name| short_name(name)).unwrap_or_default();
        let label = format!("{} {name}", gpu.label());
        let free = gpu.vram.as_ref().map(|vram| vram.free).map_err(ToString::to_string);
        (cut_middle(&label, 15).into_owned(), free)
    });
    let ram = sample.ram.as_ref().map(Ram::free).map_err(ToString::to_string);
    gpus.chain(std::iter::once(("RAM".to_string(), ram)))
}

/// Whole percent; the last part is not rounded up to the whole, nor a small one down to nothing.
fn share_in_percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0%".to_string(),
        ..1.0 => "<1%".to_string(),
        percent @ 99.0..100.0 => format!("{:.0}%", percent.floor()),
        percent => format!("{percent:.0}%"),
    }
}

fn cut_end(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let head: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{head}…")
}
