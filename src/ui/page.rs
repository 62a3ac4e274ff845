//! Page: a column of text in the making, wrapped and indented.

use ratatui::text::{Line, Span};

use super::pane::wrap;
use super::theme::{Role, Theme};

/// A column of text in the making.
pub(super) struct Page<'a> {
    pub(super) lines: Vec<Line<'static>>,
    /// Cells of a line.
    pub(super) width: usize,
    pub(super) theme: &'a Theme,
    /// The lines of what the cursor is on: they stay on the screen.
    pub(super) marked: Option<(usize, usize)>,
}

impl<'a> Page<'a> {
    /// Returns an empty page for a pane of this inner width.
    pub(super) fn new(inner: usize, theme: &'a Theme) -> Self {
        Self { lines: Vec::new(), width: inner.saturating_sub(2), theme, marked: None }
    }

    pub(super) fn blank(&mut self) {
        self.lines.push(Line::default());
    }

    /// Adds a text, indented by so many cells.
    pub(super) fn words(&mut self, role: Role, by: usize, words: &str) {
        let indent = " ".repeat(by + 1);
        for line in wrap(words, self.width.saturating_sub(by)) {
            let style = self.theme.style(role);
            self.lines.push(Line::from(vec![Span::raw(indent.clone()), Span::styled(line, style)]));
        }
    }

    /// Returns the first line to draw, so that what the cursor is on shows, where `top` was the first.
    pub(super) fn top(marked: Option<(usize, usize)>, top: usize, height: usize) -> usize {
        marked.map_or(top, |(from, to)| top.max(to.saturating_sub(height)).min(from))
    }
}
