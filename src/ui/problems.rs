//! Problems: what is wrong, worst first; the marked one is spelled out below.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;

use super::pane::{text, wrap};
use super::theme::{Role, Theme};
use crate::app::App;
use crate::name::{cut_middle, escape};

/// Draws the tab.
pub fn draw(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, app: &mut App, theme: &Theme) {
    let Some(ready) = app.ready_mut() else { return };
    let inner = block.inner(area);
    let width = usize::from(inner.width.saturating_sub(2));
    if ready.problems.is_empty() {
        let words = if ready.checkpoint.examined {
            "✓ No problem was found: headers, offsets, index, config and quant states agree."
        } else {
            "No problem in the headers; quant states are being read."
        };
        let line = |words: String, role| Line::from(Span::styled(format!(" {words}"), theme.style(role)));
        let mut lines: Vec<Line<'_>> =
            wrap(words, width).into_iter().map(|part| line(part, Role::Ok)).collect();
        lines.push(Line::default());
        let unread =
            "The weights themselves were not read: ckpt verify --deep looks for NaN and unreadable bytes.";
        lines.extend(wrap(unread, width).into_iter().map(|part| line(part, Role::Muted)));
        text(frame, area, block, lines, 0);
        return;
    }
    let mut lines = Vec::new();
    let mut marked = 0;
    for (index, problem) in ready.problems.iter().enumerate() {
        let is_marked = index == ready.problem;
        let (glyph, role) = if problem.is_error() { ("✗", Role::Error) } else { ("▲", Role::Warn) };
        let gutter = if is_marked { "▌" } else { " " };
        let head = format!("{} {}", problem.kind.code, problem.kind.name);
        let mut spans = vec![
            Span::raw(gutter),
            Span::styled(format!("{glyph} "), theme.style(role)),
            Span::styled(
                format!("{head:<30} "),
                theme.style(if is_marked { Role::Heading } else { Role::Text }),
            ),
        ];
        if is_marked {
            marked = lines.len();
            lines.push(Line::from(spans));
            lines.extend(spelled_out(problem, width, theme));
        } else {
            let message = cut_middle(&escape(&problem.message), width.saturating_sub(34)).into_owned();
            spans.push(Span::styled(message, theme.style(Role::Muted)));
            lines.push(Line::from(spans));
        }
    }
    let height = usize::from(inner.height);
    let (top, end) = (ready.tab_top, marked + 6);
    ready.tab_top = if marked < top { marked } else { top.max(end.saturating_sub(height)) };
    let errors = ready.problems.iter().filter(|p| p.is_error()).count();
    let counts = [(errors, "✗"), (ready.problems.len() - errors, "▲")];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, glyph)| format!("{n} {glyph}")).collect();
    let block = block.title_bottom(Line::from(format!(" {} ", counts.join("  "))));
    ready.tab_top = text(frame, area, block, lines, ready.tab_top);
}

fn spelled_out(problem: &crate::problem::Problem, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = wrap(&escape(&problem.message), width.saturating_sub(6))
        .into_iter()
        .map(|line| Line::from(format!("▌    {line}")))
        .collect();
    let place = |word: &str, what: &str, role: Role| {
        Line::from(vec![
            Span::raw("▌    "),
            Span::styled(format!("{word:<8}"), theme.style(Role::Muted)),
            Span::styled(cut_middle(&escape(what), width.saturating_sub(14)).into_owned(), theme.style(role)),
        ])
    };
    if let Some(file) = &problem.file {
        lines.push(place("file", file, Role::Path));
    }
    if let Some(tensor) = &problem.tensor {
        lines.push(place("tensor", tensor, Role::Text));
    }
    lines.push(Line::default());
    lines
}
