//! What a fix changes: each edit as it is and as it will be, and what the folder holds.

use ratatui::text::{Line, Span};

use super::{needs, standing};
use crate::app::App;
use crate::app::form::{Fixes, Fixing, Planned};
use crate::name::escape;
use crate::plan::fixed::Change;
use crate::ui::pane::wrap;
use crate::ui::theme::{Role, Theme};

/// Changes that are listed; the command line prints all.
const LISTED_MAX: usize = 200;

/// Returns the plan of a fix as lines.
pub(super) fn lines(
    (fixing, fixes): (&Fixing, &Fixes),
    planned: &Planned,
    app: &App,
    width: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let mut page = Page { lines: standing(planned, width, theme), width, theme };
    page.words(&format!("{}  {}", fixing.code, escape(&fixing.summary)), Role::Heading, 0);
    if !fixing.loss.is_empty() {
        page.words(fixing.loss, Role::Muted, 0);
    }
    let mut last = None;
    for change in fixes.changes.iter().take(LISTED_MAX) {
        page.change(change, last);
        last = Some(change.file.as_str());
    }
    if fixes.changes.len() > LISTED_MAX {
        let more = fixes.changes.len() - LISTED_MAX;
        page.words(&format!("… {more} more; the command below prints all with --dry-run"), Role::Muted, 0);
    }
    if !fixes.idle.is_empty() {
        page.lines.push(Line::default());
    }
    for words in &fixes.idle {
        page.words(&format!("· {words}"), Role::Muted, 0);
    }
    if !fixes.changes.is_empty() {
        page.lines.push(Line::default());
        for words in planned.plan.said_files() {
            page.words(&words, Role::Text, 0);
        }
        page.lines.push(Line::default());
        page.lines.extend(needs(planned, app, width, theme));
    }
    for warning in &planned.plan.warnings {
        page.lines.push(Line::default());
        page.words(&format!("▲ {warning}"), Role::Warn, 0);
    }
    page.lines
}

/// Lines under headings.
struct Page<'a> {
    lines: Vec<Line<'static>>,
    width: usize,
    theme: &'a Theme,
}

impl Page<'_> {
    fn words(&mut self, words: &str, role: Role, indent: usize) {
        let style = self.theme.style(role);
        let wrapped = wrap(words, self.width.saturating_sub(indent));
        let line = |line: String| Line::from(vec![Span::raw(" ".repeat(indent)), Span::styled(line, style)]);
        self.lines.extend(wrapped.into_iter().map(line));
    }

    /// One change; its file is named where it is another than the last.
    fn change(&mut self, change: &Change, last: Option<&str>) {
        let Change { file, what, before, after, .. } = change;
        if last != Some(file.as_str()) {
            self.lines.push(Line::default());
            self.words(file, Role::Heading, 0);
        }
        if !what.is_empty() {
            self.words(what, Role::Text, 1);
        }
        for (mark, text, role) in [("-", before, Role::Warn), ("+", after, Role::Repair)] {
            if !text.is_empty() {
                self.words(&format!("{mark} {text}"), role, 2);
            }
        }
    }
}
