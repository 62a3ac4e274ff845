//! Memory: the weights' bytes by format, beside the free memory of each GPU and of the machine.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;

use super::gauge_bar::weights::memory_lines;
use super::pane::text;
use super::theme::{Role, Theme};
use crate::app::App;
use crate::units;

/// Draws the tab.
pub fn draw(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, app: &mut App, theme: &Theme) {
    let width = usize::from(block.inner(area).width.saturating_sub(2));
    let sample = app.sample.clone();
    let Some(ready) = app.ready_mut() else { return };
    let note = |words: String| Line::from(Span::styled(words, theme.style(Role::Muted)));
    let mut lines = vec![
        Line::from(Span::styled("weights as they are stored", theme.style(Role::Heading))),
        Line::default(),
    ];
    let formats: Vec<(String, u64)> =
        ready.summary.formats.iter().map(|f| (f.label.clone(), f.bytes)).collect();
    if let Some(sample) = &sample {
        lines.extend(memory_lines(&formats, sample, width, theme));
    } else {
        for (label, bytes) in &formats {
            lines.push(Line::from(format!("{label:<16}{:>10}", units::bytes(*bytes))));
        }
        lines.push(note("Free memory is not sampled: the gauges are off.".into()));
    }
    let summary = &ready.summary;
    let dense = summary.parameters.saturating_mul(2);
    lines.push(Line::default());
    lines.push(note(format!("as 16-bit the weights would take {}", units::bytes(dense))));
    lines.push(note("not counted: KV cache, activations, the runtime's own memory".into()));
    let lines = lines.into_iter().map(|mut line| {
        line.spans.insert(0, Span::raw(" "));
        line
    });
    ready.tab_top = text(frame, area, block, lines.collect(), ready.tab_top);
}
