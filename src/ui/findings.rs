//! Findings: at the left what was found for one purpose, and how the others stand; at the right one finding from top
//! to bottom: what, why, where it was seen, the message upstream, the fixes with their commands.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;
use unicode_width::UnicodeWidthStr as _;

use super::page::Page;
use super::pane::{self, text, wrap};
use super::theme::{Role, Theme};
use crate::app::findings::{Findings, seen_words};
use crate::app::{App, Focus};
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::message::template::filled;
use crate::diagnose::rule::Purpose;
use crate::diagnose::{Diagnosis, RULES};
use crate::name::{cut_middle, escape};
use crate::problem::Severity;

/// Below this width the list and the finding take turns.
const TWO_PANES_MIN: u16 = 72;

/// Messages of a finding that are shown: the fixes are to be seen as well.
const MESSAGES_MAX: usize = 3;

/// Returns the glyph and the role of a severity.
#[must_use]
pub fn mark(severity: Severity) -> (&'static str, Role) {
    match severity {
        Severity::Error => ("✗", Role::Error),
        Severity::Warning => ("▲", Role::Warn),
        Severity::Info => ("·", Role::Muted),
    }
}

/// Returns how a purpose stands: the word of the header row.
#[must_use]
pub fn standing(diagnosis: &Diagnosis, purpose: Purpose) -> (String, Role) {
    match diagnosis.count(purpose) {
        (0, 0) => (format!("{} ✓", purpose.name()), Role::Ok),
        (0, warnings) => (format!("{} ▲{warnings}", purpose.name()), Role::Warn),
        (errors, _) => (format!("{} ✗{errors}", purpose.name()), Role::Error),
    }
}

/// Draws the tab. Returns the screen line of each finding that shows, with its row.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    tabs: Block<'_>,
    app: &mut App,
    theme: &Theme,
) -> Vec<(u16, usize)> {
    let Some(findings) = app.findings() else { return Vec::new() };
    let Some(diagnosis) = &findings.diagnosis else {
        let words = "headers are read; quant states are being read, then the rules look";
        text(
            frame,
            area,
            tabs,
            vec![Line::from(Span::styled(format!(" {words}"), theme.style(Role::Muted)))],
            0,
        );
        return Vec::new();
    };
    let is_inside = findings.item.is_some();
    if area.width < TWO_PANES_MIN {
        if is_inside {
            finding(frame, area, tabs, app, theme);
            return Vec::new();
        }
        return list(frame, area, tabs, (findings, diagnosis), theme);
    }
    let left = (area.width * 38 / 100).clamp(32, 46);
    let [left, right] = Layout::horizontal([Constraint::Length(left), Constraint::Min(20)]).areas(area);
    let block = pane::block("Findings", app.focus == Focus::Side && !is_inside, theme);
    let rows = list(frame, left, block, (findings, diagnosis), theme);
    finding(frame, right, tabs, app, theme);
    rows
}

/// Draws the findings of the purpose, and below them how the other purposes stand.
fn list(
    frame: &mut Frame<'_>,
    area: Rect,
    block: Block<'_>,
    (findings, diagnosis): (&Findings, &Diagnosis),
    theme: &Theme,
) -> Vec<(u16, usize)> {
    let inner = block.inner(area);
    let width = usize::from(inner.width);
    let purpose = findings.purpose;
    let mut lines = vec![Line::from(vec![
        Span::styled(" for ", theme.style(Role::Muted)),
        Span::styled(format!("‹ {} ›", purpose.name()), theme.style(Role::Heading)),
    ])];
    for words in wrap(purpose.words(), width.saturating_sub(2)) {
        lines.push(Line::from(Span::styled(format!(" {words}"), theme.style(Role::Muted))));
    }
    lines.push(Line::default());
    let mut starts = Vec::new();
    let shown = findings.shown();
    for (row, (found, severity)) in shown.iter().enumerate() {
        let is_here = row == findings.row;
        let (glyph, role) = mark(*severity);
        let gutter = if is_here { "▌" } else { " " };
        let name = cut_middle(&format!("{:?}", found.rule), width.saturating_sub(4)).into_owned();
        starts.push((lines.len(), row));
        let name_role = match (is_here, findings.item.is_none()) {
            (true, true) => Role::Cursor,
            (true, false) => Role::CursorAway,
            _ => Role::Text,
        };
        lines.push(Line::from(vec![
            Span::raw(gutter),
            Span::styled(format!("{glyph} "), theme.style(role)),
            Span::styled(name, theme.style(name_role)),
        ]));
        let loud = if found.rule.is_silent { "silent: " } else { "" };
        let title = cut_end(&format!("{loud}{}", found.title), width.saturating_sub(8));
        lines.push(Line::from(vec![
            Span::raw(format!("{gutter}      ")),
            Span::styled(title, theme.style(Role::Muted)),
        ]));
    }
    if shown.is_empty() {
        let count = RULES.iter().filter(|rule| rule.purposes.contains(&purpose)).count();
        for words in wrap(&format!("✓ nothing found; {count} rules looked"), width.saturating_sub(2)) {
            lines.push(Line::from(Span::styled(format!(" {words}"), theme.style(Role::Ok))));
        }
    }
    lines.push(Line::default());
    let rule = "─ other purposes ";
    let rest = "─".repeat(width.saturating_sub(rule.width() + 2));
    lines.push(Line::from(Span::styled(format!(" {rule}{rest}"), theme.style(Role::Border))));
    for other in Purpose::ALL.into_iter().filter(|other| *other != purpose) {
        lines.push(other_purpose(diagnosis, other, width, theme));
    }
    // The row under the cursor stays on the screen.
    let height = usize::from(inner.height);
    let at = starts.get(findings.row).map_or(0, |(line, _)| *line);
    let top = (at + 2).saturating_sub(height);
    let counts = [Severity::Error, Severity::Warning, Severity::Info]
        .map(|wanted| (shown.iter().filter(|(_, severity)| *severity == wanted).count(), mark(wanted).0));
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, glyph)| format!("{count} {glyph}"))
        .collect();
    let block = if counts.is_empty() {
        block
    } else {
        block.title_bottom(Line::from(format!(" {} ", counts.join("  "))).right_aligned())
    };
    let top = text(frame, area, block, lines, top);
    let on_screen = |(line, row): (usize, usize)| {
        let line = line.checked_sub(top).filter(|line| *line < height)?;
        Some([(inner.y + line as u16, row), (inner.y + line as u16 + 1, row)])
    };
    starts.into_iter().filter_map(on_screen).flatten().collect()
}

/// A line like `▲ merge  1: Q014 merge-needs-dequantize`.
fn other_purpose(diagnosis: &Diagnosis, purpose: Purpose, width: usize, theme: &Theme) -> Line<'static> {
    let (errors, warnings) = diagnosis.count(purpose);
    let (glyph, role) = match (errors, warnings) {
        (0, 0) => ("✓", Role::Ok),
        (0, _) => ("▲", Role::Warn),
        _ => ("✗", Role::Error),
    };
    let first = diagnosis.for_purpose(purpose).next().map(|(finding, _)| format!("{:?}", finding.rule));
    let words = match (errors + warnings, first) {
        (0, Some(first)) => format!("to know: {first}"),
        (0, None) => "nothing found".to_owned(),
        (count, first) => format!("{count}: {}", first.unwrap_or_default()),
    };
    let words = cut_end(&words, width.saturating_sub(12));
    Line::from(vec![
        Span::styled(format!(" {glyph} "), theme.style(role)),
        Span::styled(format!("{:<7}", purpose.name()), theme.style(Role::Text)),
        Span::styled(words, theme.style(Role::Muted)),
    ])
}

/// Cuts a text at its end: sentences, unlike names, say most at their beginning.
fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if cut.width() + 1 >= width {
            break;
        }
        cut.push(c);
    }
    format!("{}…", cut.trim_end())
}

/// Draws one finding, read top to bottom.
fn finding(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, app: &mut App, theme: &Theme) {
    let inner = block.inner(area);
    let Some((lines, marked)) = finding_lines(app, usize::from(inner.width), theme) else {
        let words =
            "The weights themselves were not read: ckpt diagnose --deep looks for NaN and bad scales.";
        let lines = wrap(words, usize::from(inner.width).saturating_sub(2));
        let lines = lines
            .into_iter()
            .map(|line| Line::from(Span::styled(format!(" {line}"), theme.style(Role::Muted))));
        text(frame, area, block, lines.collect(), 0);
        return;
    };
    let code =
        app.findings().and_then(|findings| Some(findings.current()?.0.rule.code())).unwrap_or_default();
    let block = block.title_bottom(Line::from(format!(" ckpt explain {code} ")));
    let Some(findings) = app.findings_mut() else { return };
    let height = usize::from(inner.height);
    findings.top = Page::top(marked, findings.top, height.saturating_sub(1));
    findings.top = text(frame, area, block, lines, findings.top);
}

/// Lines of the finding under the cursor, and which of them are those of its marked line.
type Lines = (Vec<Line<'static>>, Option<(usize, usize)>);

fn finding_lines(app: &App, width: usize, theme: &Theme) -> Option<Lines> {
    let findings = app.findings()?;
    let (found, severity) = findings.current()?;
    let mut lines = Page::new(width, theme);
    let width = lines.width;
    let (glyph, role) = mark(severity);
    let head = format!("{:?}", found.rule);
    let scope = format!("{glyph} {} for {}", severity.name(), findings.purpose.name());
    let gap = width.saturating_sub(head.width() + scope.width()).max(2);
    lines.lines.push(Line::from(vec![
        Span::styled(format!(" {head}"), theme.style(Role::Heading)),
        Span::raw(" ".repeat(gap)),
        Span::styled(scope, theme.style(role)),
    ]));
    if found.rule.is_silent {
        lines.words(Role::Error, 0, "silent: no loader says anything of it");
    }
    lines.blank();
    lines.words(Role::Text, 0, &found.title);
    lines.words(Role::Muted, 0, found.rule.why);
    let mut item = 0;
    if !found.seen.is_empty() {
        lines.blank();
        lines.words(Role::Muted, 0, "seen");
    }
    for seen in &found.seen {
        lines.item((findings.item == Some(item), seen.tensor.is_some()), &seen_words(seen), Role::Path);
        item += 1;
    }
    if !found.rule.messages.is_empty() {
        lines.blank();
        lines.words(Role::Muted, 0, "message you will meet");
    }
    for message in found.messages().into_iter().take(MESSAGES_MAX) {
        let said = escape(&filled(message.text, &found.fills)).into_owned();
        lines.words(Role::Text, 2, &said);
        lines.words(Role::Muted, 6, message.seen_in);
    }
    let more = found.rule.messages.len().saturating_sub(MESSAGES_MAX);
    if more > 0 {
        lines.words(Role::Muted, 2, &format!("and {more} more: ckpt explain {}", found.rule.code()));
    }
    for (at, fix) in found.fixes.iter().enumerate() {
        lines.blank();
        let is_here = findings.item == Some(item);
        fix_lines(&mut lines, app, (found, at, fix), is_here);
        if is_here {
            // What it does and its command belong to it.
            lines.marked = lines.marked.map(|(from, _)| (from, lines.lines.len()));
        }
        item += 1;
    }
    Some((lines.lines, lines.marked))
}

fn fix_lines(lines: &mut Page<'_>, app: &App, (found, at, fix): (&Finding, usize, &Fix), is_here: bool) {
    let number =
        if found.fixes.len() > 1 { format!("fix {} of {}", at + 1, found.fixes.len()) } else { "fix".into() };
    let kind = if fix.applies() { "▸ plan" } else { "advice" };
    lines.item((is_here, fix.applies()), &format!("{number}   {kind}"), Role::Repair);
    lines.words(Role::Text, 2, &escape(&fix.summary));
    if !fix.loss.is_empty() {
        lines.words(Role::Muted, 2, &format!("cost  {}", fix.loss));
    }
    if let Some(command) = app.command_of_fix(found, fix) {
        lines.words(Role::Path, 2, &format!("$ {}", escape(&command)));
    }
}

impl Page<'_> {
    /// A line that Enter does something with; `goes` if it leads somewhere.
    fn item(&mut self, (is_here, goes): (bool, bool), words: &str, role: Role) {
        let from = self.lines.len();
        let hint = if is_here && goes { "Enter" } else { "" };
        let room = self.width.saturating_sub(4 + hint.len());
        for (number, line) in wrap(words, room).into_iter().enumerate() {
            let gutter = if is_here { "▌" } else { " " };
            let style = self.theme.style(if is_here { Role::Cursor } else { role });
            let pad = " ".repeat(room.saturating_sub(line.width()) + 1);
            let mut spans = vec![Span::raw(format!("{gutter} ")), Span::styled(line, style)];
            if number == 0 && !hint.is_empty() {
                spans.extend([Span::raw(pad), Span::styled(hint, self.theme.style(Role::Key))]);
            }
            self.lines.push(Line::from(spans));
        }
        if is_here {
            self.marked = Some((from, self.lines.len()));
        }
    }
}
