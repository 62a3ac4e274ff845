//! Explaining an error: the text above, the answer below: the verdict, what the message names against what the files
//! say, the fixes.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use super::page::Page;
use super::pane::{block, text, wrap};
use super::theme::{Role, Theme};
use crate::app::App;
use crate::diagnose::message::{Answer, Verdict, template};
use crate::name::{cut_middle, escape};

/// Cells of the overlay at most.
const WIDTH_MAX: u16 = 112;
/// Lines of the text box at most; a traceback ends with what matters.
const TEXT_LINES_MAX: u16 = 8;

/// Draws the overlay.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let width = area.width.min(WIDTH_MAX);
    let area = Rect::new(area.x + (area.width - width) / 2, area.y, width, area.height);
    let outer = block("Explain an error", true, theme);
    let inner = outer.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(outer, area);
    let box_height = (inner.height / 3).clamp(3, TEXT_LINES_MAX + 2);
    let rows = [Constraint::Length(1), Constraint::Length(box_height), Constraint::Min(1)];
    let [head, pasted, answer] = Layout::vertical(rows).areas(inner);
    let words = " Paste the traceback, or type its last line. Nothing leaves this machine.";
    frame.render_widget(Line::from(Span::styled(words, theme.style(Role::Muted))), head);
    draw_text(frame, pasted, app, theme);
    let (lines, marked) = answer_lines(app, usize::from(answer.width), theme);
    // The fix under the cursor stays on the screen, with its command.
    // The last line says how much there is below.
    let top = Page::top(marked, app.error.top, usize::from(answer.height.saturating_sub(1)));
    text(frame, answer, Block::new(), lines, top);
}

/// Draws the end of the text, or where it was scrolled to.
fn draw_text(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let error = &app.error;
    let is_focused = !error.is_in_answer;
    let border = theme.style(if is_focused { Role::BorderFocus } else { Role::Border });
    let mut outline = Block::bordered().border_style(border);
    let count = error.text.lines().count();
    if count > 0 {
        let matched = error.answer.as_ref().and_then(|answer| answer.matched.as_ref());
        let at = matched.map_or_else(String::new, |matched| format!(" · line {} matched", matched.line + 1));
        let lines = crate::units::plural(count, "line");
        outline = outline.title_bottom(Line::from(format!(" {lines}{at} ")).right_aligned());
    }
    let inner = outline.inner(area);
    let (width, height) = (usize::from(inner.width.saturating_sub(2)), usize::from(inner.height));
    let lines: Vec<&str> = error.text.lines().collect();
    let end = lines.len().saturating_sub(error.up).max(height.min(lines.len()));
    let shown = &lines[end.saturating_sub(height)..end];
    let mut drawn: Vec<Line<'_>> = Vec::new();
    for (number, line) in shown.iter().enumerate() {
        let plain = escape(&line.replace('\t', "    ")).into_owned();
        let is_last = end == lines.len() && number + 1 == shown.len();
        // The end of a line that is being typed matters most.
        let caret = if is_last && is_focused && !error.text.ends_with('\n') { "█" } else { "" };
        let cut = cut_middle(&plain, width.saturating_sub(caret.len().min(1))).into_owned();
        drawn.push(Line::from(Span::styled(format!(" {cut}{caret}"), theme.style(Role::Text))));
    }
    if is_focused && (error.text.is_empty() || (error.text.ends_with('\n') && drawn.len() < height)) {
        drawn.push(Line::from(Span::styled(" █", theme.style(Role::Text))));
    }
    frame.render_widget(Paragraph::new(drawn).block(outline), area);
}

/// Lines of the answer, and which of them are those of the fix under the cursor.
type Lines = (Vec<Line<'static>>, Option<(usize, usize)>);

fn answer_lines(app: &App, width: usize, theme: &Theme) -> Lines {
    let mut page = Page::new(width, theme);
    page.blank();
    let Some(answer) = &app.error.answer else {
        if app.error.text.trim().is_empty() {
            page.words(Role::Muted, 0, "The answer stands here as soon as there is a text.");
            page.words(
                Role::Muted,
                0,
                "Colors, line numbers, wrapped lines, prefixes of ranks and containers do not matter.",
            );
        }
        return (page.lines, None);
    };
    page.verdict(answer);
    if let Some(matched) = &answer.matched {
        let said = template::filled(matched.message.text, &matched.captured);
        page.words(Role::Muted, 2, &format!("{}   ({})", escape(&said), matched.message.seen_in));
        page.blank();
    }
    let confirmed = app.confirmed();
    if let Some(finding) = confirmed.first() {
        page.words(Role::Text, 2, &finding.title);
        page.words(Role::Muted, 2, finding.rule.why);
    } else if let Some(matched) = &answer.matched {
        page.fine(app, answer);
        page.words(Role::Text, 2, matched.rule.why);
        if !matched.rule.outside.is_empty() {
            page.words(Role::Text, 2, matched.rule.outside);
        }
        page.words(Role::Muted, 2, matched.rule.remedy);
    }
    page.checks(answer);
    if app.ready().is_none() {
        page.blank();
        page.words(
            Role::Warn,
            2,
            "No checkpoint is open: with one (o) the message is held against its files.",
        );
    }
    if let Some((finding, fixes)) = app.fixes_of_error() {
        page.blank();
        for (at, fix) in fixes.iter().enumerate() {
            let is_here = app.error.is_in_answer && at == app.error.fix;
            let from = page.lines.len();
            let mark = if fix.applies() { "▸" } else { " " };
            let kind = if fix.applies() { "" } else { "   advice" };
            let gutter = if is_here { "▌" } else { " " };
            let role = if is_here { Role::Cursor } else { Role::Text };
            let words = format!("{mark} fix {}   {}{kind}", at + 1, escape(&fix.summary));
            for (number, line) in wrap(&words, page.width.saturating_sub(4)).into_iter().enumerate() {
                let indent = if number == 0 { "" } else { "          " };
                page.lines.push(Line::from(vec![
                    Span::raw(format!(" {gutter} {indent}")),
                    Span::styled(line, theme.style(role)),
                ]));
            }
            if let Some(command) = app.command_of_fix(finding, fix) {
                page.words(Role::Path, 12, &format!("$ {}", escape(&command)));
            }
            if is_here {
                page.marked = Some((from, page.lines.len()));
            }
        }
    }
    for near in &answer.nearest {
        page.words(Role::Text, 2, &format!("{:?}", near.rule));
        page.words(Role::Muted, 4, near.message.text);
    }
    if !answer.also.is_empty() {
        let also: Vec<String> = answer.also.iter().map(|rule| format!("{rule:?}")).collect();
        page.blank();
        page.words(Role::Muted, 2, &format!("the same message is also of: {}", also.join(", ")));
    }
    (page.lines, page.marked)
}

impl Page<'_> {
    fn verdict(&mut self, answer: &Answer) {
        let role = match answer.verdict {
            Verdict::Cause => Role::Error,
            Verdict::NotShown => Role::Warn,
            Verdict::Unknown => Role::Muted,
        };
        self.words(role, 0, &answer.headline());
    }

    /// That nothing is wrong with the files, where that is so: as loud as a fault.
    fn fine(&mut self, app: &App, answer: &Answer) {
        let diagnosis = app.findings().and_then(|findings| findings.diagnosis.as_deref());
        let fine = diagnosis.and_then(|diagnosis| {
            app.with_subject(|subject| answer.fine_words(subject, diagnosis)).flatten()
        });
        if let Some(fine) = fine {
            self.words(Role::Ok, 2, &fine);
            self.blank();
        }
    }

    /// What the message names against what the files say, line by line.
    fn checks(&mut self, answer: &Answer) {
        if answer.checks.is_empty() {
            return;
        }
        self.blank();
        let left = answer.checks.iter().map(|check| check.says.width()).max().unwrap_or(0).clamp(12, 44);
        let head = format!("   {:<left$}   these files say", "message says");
        self.lines.push(Line::from(Span::styled(head, self.theme.style(Role::Muted))));
        for check in &answer.checks {
            let (mark, role) = match check.agrees {
                Some(true) => ("  ✓ agrees", Role::Ok),
                Some(false) => ("  ✗ differs", Role::Error),
                None => ("", Role::Muted),
            };
            let says = cut_middle(&check.says, left).into_owned();
            let pad = " ".repeat(left.saturating_sub(says.width()));
            let room = self.width.saturating_sub(left + 6 + mark.width()).max(12);
            for (number, line) in wrap(&check.files, room).into_iter().enumerate() {
                let (first, mark) =
                    if number == 0 { (format!("{says}{pad}"), mark) } else { (" ".repeat(left), "") };
                self.lines.push(Line::from(vec![
                    Span::styled(format!("   {first}   "), self.theme.style(Role::Path)),
                    Span::raw(line),
                    Span::styled(mark, self.theme.style(role)),
                ]));
            }
        }
    }
}
