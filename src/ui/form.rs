//! A form: its fields at the left, the plan of what they say at the right.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::header::field_text;
use super::pane::{block, text, wrap};
use super::theme::{Role, Theme};
use super::{Scroll, plan};
use crate::adapter::board::Gate;
use crate::app::App;
use crate::app::form::{Choice, Form, Holding, Kind, Task, Value};
use crate::name::{cut_middle, escape};
use crate::units;

/// Cells of the form's pane: the row of dtypes fits the smaller one.
const FORM_CELLS: (u16, u16) = (38, 46);
/// Below this width the plan stands under the form.
const BESIDE_MIN: u16 = 70;
/// Lines that a form with its plan under it keeps for what is to be known of a field.
const ABOUT_STACKED: u16 = 2;
/// Lines of the form at most when the plan stands under it.
const FORM_LINES: u16 = 15;
/// Lines that are kept for what is to be known of a field, so that the rows stand still.
const ABOUT_LINES: usize = 4;
/// Cells of a field's name, with the gutter.
const LABEL: usize = 9;

/// Draws form and plan.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, scroll: &mut Scroll, theme: &Theme) {
    let top = app.form().map(|form| {
        // What is repaired is a list of long keys: it has the whole width.
        let is_beside = area.width >= BESIDE_MIN && form.task != Task::Repair;
        let [left, right] = if is_beside {
            let cells = (area.width * 38 / 100).clamp(FORM_CELLS.0, FORM_CELLS.1);
            Layout::horizontal([Constraint::Length(cells), Constraint::Min(20)]).areas(area)
        } else {
            let more = if form.task == Task::Repair {
                let hinders = form.startable().err().map_or(1, |why| {
                    wrap(&escape(&format!("✗ {why}")), usize::from(area.width.saturating_sub(4))).len()
                });
                hinders as u16 + ABOUT_STACKED
            } else {
                2
            };
            let lines = form.shown().count() as u16 + 2 + more;
            let lines = lines.min(FORM_LINES).min(area.height * 2 / 3);
            Layout::vertical([Constraint::Length(lines), Constraint::Min(3)]).areas(area)
        };
        scroll.side = if is_beside { right } else { Rect { x: area.right(), ..right } };
        fields(frame, left, (app, form), is_beside, scroll, theme);
        plan::draw(frame, right, (app, form), theme)
    });
    if let (Some(top), Some(form)) = (top, app.form.as_mut()) {
        form.top = top;
    }
}

fn fields(
    frame: &mut Frame<'_>,
    area: Rect,
    (app, form): (&App, &Form),
    is_beside: bool,
    scroll: &mut Scroll,
    theme: &Theme,
) {
    let width = usize::from(area.width.saturating_sub(2));
    let height = usize::from(area.height.saturating_sub(2));
    let note = |words: &str, role: Role| -> Vec<Line<'static>> {
        let wrapped = wrap(words, width.saturating_sub(2));
        wrapped.into_iter().map(|l| Line::from(Span::styled(format!(" {l}"), theme.style(role)))).collect()
    };
    let below = match form.startable() {
        Ok(_) => Vec::new(),
        Err(why) if form.is_planning() => note(&escape(&why), Role::Muted),
        Err(why) if form.is_in_order() => note(&format!("✓ {why}"), Role::Ok),
        Err(why) => note(&format!("✗ {}", escape(&why)), Role::Error),
    };
    let about = note(&form.about(), Role::Muted);
    // Input, fields, three blanks, a heading, and what is below them; without room for all, the words go first
    // that say least.
    let subject = if is_beside { subject(app, form, width, theme) } else { Vec::new() };
    let needed = subject.len() + form.shown().count() + 4 + below.len() + about.len().max(ABOUT_LINES);
    let is_airy = is_beside && needed <= height;
    let mut lines = subject;
    if is_airy {
        lines.push(Line::default());
    }
    let first = lines.len();
    let mut rows: Vec<(usize, usize)> = Vec::new();
    for (at, field) in form.shown() {
        if matches!(field.kind, Kind::Button(_)) && is_airy {
            lines.push(Line::default());
        }
        rows.push((lines.len(), at));
        lines.push(row(form, at, width, theme));
    }
    lines.extend(below);
    if is_airy {
        lines.push(Line::default());
        lines.extend(note("about this choice", Role::Heading));
    } else if lines.len() + about.len() < height {
        lines.push(Line::default());
    }
    if is_beside || form.task == Task::Repair {
        lines.extend(about);
    }
    // The field that has the focus shows on any screen.
    let focused = rows.iter().find(|(_, at)| *at == form.cursor).map_or(first, |(line, _)| *line);
    let top = (focused + 2).min(lines.len()).saturating_sub(height);
    let top = text(frame, area, block(&title(form), true, theme), lines, top);
    let on_screen =
        |line: usize| (line >= top && line < top + height).then(|| area.y + 1 + (line - top) as u16);
    scroll.fields.extend(rows.iter().filter_map(|&(line, at)| Some((on_screen(line)?, at))));
    if let (true, Some(y)) = (takes_text(&form.field().kind), on_screen(focused)) {
        let input = &form.values[form.cursor].text;
        let (_, at) = field_text(input.value(), input.visual_cursor(), text_room(&form.field().kind, width));
        frame.set_cursor_position((area.x + 1 + (LABEL + at) as u16, y));
    }
}

/// The command's name as a title.
fn title(form: &Form) -> String {
    let mut letters = form.task.verb().chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What is converted: its name, format and size; and the adapters that are merged into it.
fn subject(app: &App, form: &Form, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let label = |word: &str| Span::styled(format!(" {word:<8}"), theme.style(Role::Muted));
    let room = room(width);
    let title = cut_middle(&escape(&form.title), room).into_owned();
    let facts = app.ready().map_or_else(String::new, |ready| {
        format!("{}   {}", escape(&ready.headline), units::bytes(ready.summary.bytes))
    });
    let mut lines = vec![
        Line::from(vec![
            label(if form.used.is_empty() { "input" } else { "base" }),
            Span::styled(title, theme.style(Role::Heading)),
        ]),
        Line::from(vec![
            label(""),
            Span::styled(cut_middle(&facts, room).into_owned(), theme.style(Role::Quant)),
        ]),
    ];
    for used in &form.used {
        let (words, role) = match &used.holding {
            Holding::Here(held) => {
                let gate = Gate::of(&held.alignment);
                let is_all = gate.aligned == gate.total;
                let mark = if is_all { "✓" } else { "▲" };
                let kind = held.facts.headline();
                let words = format!("{kind}   {} of {} aligned {mark}", gate.aligned, gate.total);
                (words, if is_all { Role::Ok } else { Role::Warn })
            }
            Holding::Aligning(_) => ("aligning".to_owned(), Role::Muted),
            Holding::Failed(_) => ("✗ cannot be merged: the plan says why".to_owned(), Role::Error),
        };
        let name = cut_middle(&escape(used.name()), room).into_owned();
        lines.push(Line::from(vec![label("adapter"), Span::styled(name, theme.style(Role::Adapter))]));
        let words = cut_middle(&words, room).into_owned();
        lines.push(Line::from(vec![label(""), Span::styled(words, theme.style(role))]));
    }
    lines
}

/// Cells of a number.
const NUMBER: usize = 8;

/// Returns true if a field shows a caret.
fn takes_text(kind: &Kind) -> bool {
    kind.is_text() || matches!(kind, Kind::Scale(_))
}

/// Cells of the text of a field.
fn text_room(kind: &Kind, width: usize) -> usize {
    if matches!(kind, Kind::Scale(_)) { NUMBER.min(room(width)) } else { room(width) }
}

fn room(width: usize) -> usize {
    width.saturating_sub(LABEL + 1)
}

fn row(form: &Form, at: usize, width: usize, theme: &Theme) -> Line<'static> {
    let (field, value) = (&form.fields[at], &form.values[at]);
    let is_focused = form.cursor == at;
    let mut spans = vec![Span::raw(if is_focused { "▌" } else { " " })];
    if !matches!(field.kind, Kind::Button(_)) {
        let role = if is_focused { Role::Text } else { Role::Muted };
        spans.push(Span::styled(format!("{:<8}", field.name), theme.style(role)));
    }
    match &field.kind {
        Kind::Choice(all) => spans.extend(choices(all, value.at, room(width), theme)),
        Kind::Button(_) => spans.extend(button(form, is_focused, width, theme)),
        kind => spans.extend(text_field(form, kind, value, (is_focused, width), theme)),
    }
    let mut line = Line::from(spans);
    if is_focused {
        let pad = width.saturating_sub(line.width());
        line.spans.push(Span::raw(" ".repeat(pad)));
        line = line.style(theme.style(Role::Cursor));
    }
    line
}

/// A text as it stands in its field, and beside a scale the adapter that it is for.
fn text_field(
    form: &Form,
    kind: &Kind,
    value: &Value,
    (is_focused, width): (bool, usize),
    theme: &Theme,
) -> Vec<Span<'static>> {
    let (input, cells) = (&value.text, text_room(kind, width));
    let mut style = theme.style(Role::Input);
    let empty = match kind {
        Kind::Globs { empty, .. } | Kind::Wish { empty, .. } => empty,
        _ => "",
    };
    let shown = if input.value().is_empty() && !empty.is_empty() {
        // It takes text, and what it says is none that was typed.
        style.fg = theme.style(Role::Muted).fg.or(style.fg);
        empty.to_owned()
    } else if is_focused {
        field_text(input.value(), input.visual_cursor(), cells).0
    } else {
        cut_middle(&escape(input.value()), cells).into_owned()
    };
    let pad = cells.saturating_sub(shown.width());
    let mut spans = vec![Span::styled(format!("{shown}{}", " ".repeat(pad)), style)];
    if let Kind::Scale(at) = kind
        && let Some(used) = form.used.get(*at)
    {
        let room = room(width).saturating_sub(cells + 2);
        let name = cut_middle(&escape(used.name()), room).into_owned();
        spans.push(Span::styled(format!("  {name}"), theme.style(Role::Adapter)));
    }
    spans
}

/// A row of values, the chosen one in brackets; without room for all, the chosen one and how many there are.
fn choices(all: &[Choice], chosen: usize, room: usize, theme: &Theme) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    for (at, choice) in all.iter().enumerate() {
        if at == chosen {
            spans.push(Span::styled(format!("‹ {} ›", choice.word), theme.style(Role::Heading)));
        } else {
            spans.push(Span::styled(choice.word.to_owned(), theme.style(Role::Muted)));
        }
        spans.push(Span::raw("  "));
    }
    spans.pop();
    if spans.iter().map(Span::width).sum::<usize>() > room {
        let more = Span::styled(format!("  {} of {}", chosen + 1, all.len()), theme.style(Role::Muted));
        spans.retain(|span| span.content.starts_with('‹'));
        spans.push(more);
    }
    spans
}

fn button(form: &Form, is_focused: bool, width: usize, theme: &Theme) -> Vec<Span<'static>> {
    let is_ready = form.startable().is_ok();
    let role = if is_ready { Role::Heading } else { Role::Muted };
    let mut spans = vec![Span::styled(format!("[ {} ]", form.button()), theme.style(role))];
    let room = width.saturating_sub(1 + spans[0].width());
    let hint = ["   Enter starts the job", "   Enter starts"].into_iter().find(|hint| hint.len() <= room);
    if let Some(hint) = hint.filter(|_| is_ready && is_focused) {
        spans.push(Span::styled(hint, theme.style(Role::Muted)));
    }
    spans
}
