//! The weights part of the Memory tab: bytes by format.

use ratatui::text::{Line, Span};

use super::bar;
use crate::name::cut_middle;
use crate::ui::theme::{Role, Theme};
use crate::units;

/// Returns the weights part of the Memory tab for `width` cells: one row a format, and their sum. `formats` is
/// `(label, bytes)`, in the order to show.
#[must_use]
pub fn format_lines(formats: &[(String, u64)], width: usize, theme: &Theme) -> Vec<Line<'static>> {
    /// `label            1.07 GiB  100%  ` before the bar.
    const COLUMNS: usize = 16 + 10 + 6 + 2;
    let total = formats.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let bar_cells = width.saturating_sub(COLUMNS).min(40);
    let mut lines = Vec::with_capacity(formats.len() + 1);
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
    lines
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
