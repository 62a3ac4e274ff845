//! The convert form: fields at the left, the plan of what they say at the right.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::header::field_text;
use super::pane::{block, text, wrap};
use super::theme::{Role, Theme};
use super::{Scroll, command_line};
use crate::app::App;
use crate::app::convert::{DTYPES, FORMATS, Field, Form, PROOFS, Planned};
use crate::error::Error;
use crate::gauges::Sample;
use crate::name::{cut_middle, escape};
use crate::plan::Group;
use crate::units;

/// Cells of the form's pane: the row of dtypes fits the smaller one.
const FORM_CELLS: (u16, u16) = (38, 46);
/// Below this width the plan stands under the form.
const BESIDE_MIN: u16 = 70;
/// Lines of the form when the plan stands under it.
const FORM_LINES: u16 = 11;
/// Cells of a row of alike steps.
const GROUP_CELLS_MAX: usize = 66;
/// Cells of a field's name, with the gutter.
const LABEL: usize = 9;

/// Draws form and plan.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, scroll: &mut Scroll, theme: &Theme) {
    let Some(form) = app.form() else { return };
    let is_beside = area.width >= BESIDE_MIN;
    let [left, right] = if is_beside {
        let cells = (area.width * 38 / 100).clamp(FORM_CELLS.0, FORM_CELLS.1);
        Layout::horizontal([Constraint::Length(cells), Constraint::Min(20)]).areas(area)
    } else {
        Layout::vertical([Constraint::Length(FORM_LINES), Constraint::Min(3)]).areas(area)
    };
    scroll.side = if is_beside { right } else { Rect { x: area.right(), ..right } };
    fields(frame, left, (app, form), is_beside, scroll, theme);
    plan(frame, right, (app, form), theme);
}

fn fields(
    frame: &mut Frame<'_>,
    area: Rect,
    (app, form): (&App, &Form),
    has_room: bool,
    scroll: &mut Scroll,
    theme: &Theme,
) {
    let width = usize::from(area.width.saturating_sub(2));
    let mut lines = Vec::new();
    if has_room {
        lines.extend(subject(app, form, width, theme));
    }
    for field in Field::ALL {
        if field == Field::Button && has_room {
            lines.push(Line::default());
        }
        scroll.fields.push((area.y + 1 + lines.len() as u16, field));
        let mut line = row(form, field, width, theme);
        if form.field == field {
            if field == Field::Where {
                let (_, at) = field_text(form.output.value(), form.output.visual_cursor(), room(width));
                frame
                    .set_cursor_position((area.x + 1 + (LABEL + at) as u16, area.y + 1 + lines.len() as u16));
            }
            let pad = width.saturating_sub(line.width());
            line.spans.push(Span::raw(" ".repeat(pad)));
            line = line.style(theme.style(Role::Cursor));
        }
        lines.push(line);
    }
    let note = |words: &str, role: Role| -> Vec<Line<'static>> {
        let wrapped = wrap(words, width.saturating_sub(2));
        wrapped.into_iter().map(|l| Line::from(Span::styled(format!(" {l}"), theme.style(role)))).collect()
    };
    if let Err(why) = form.startable() {
        let role = if form.is_planning() { Role::Muted } else { Role::Error };
        let glyph = if form.is_planning() { "" } else { "✗ " };
        lines.extend(note(&format!("{glyph}{}", escape(&why)), role));
    }
    lines.push(Line::default());
    lines.extend(note("about this choice", Role::Heading));
    lines.extend(note(about(form), Role::Muted));
    text(frame, area, block("Convert", true, theme), lines, 0);
}

/// What is converted: its name, format and size.
fn subject(app: &App, form: &Form, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let label = |word: &str| Span::styled(format!(" {word:<8}"), theme.style(Role::Muted));
    let room = width.saturating_sub(LABEL + 1);
    let title = cut_middle(&escape(&form.title), room).into_owned();
    let facts = app.ready().map_or_else(String::new, |ready| {
        format!("{}   {}", escape(&ready.headline), units::bytes(ready.summary.bytes))
    });
    vec![
        Line::from(vec![label("input"), Span::styled(title, theme.style(Role::Heading))]),
        Line::from(vec![
            label(""),
            Span::styled(cut_middle(&facts, room).into_owned(), theme.style(Role::Quant)),
        ]),
        Line::default(),
    ]
}

fn room(width: usize) -> usize {
    width.saturating_sub(LABEL + 1)
}

fn row(form: &Form, field: Field, width: usize, theme: &Theme) -> Line<'static> {
    let is_focused = form.field == field;
    let gutter = Span::raw(if is_focused { "▌" } else { " " });
    let label = match field {
        Field::Format => "format",
        Field::Dtype => "dtype",
        Field::Where => "where",
        Field::Verify => "verify",
        Field::Device => "device",
        Field::Button => return button(form, gutter, theme),
    };
    let mut spans = vec![
        gutter,
        Span::styled(format!("{label:<8}"), theme.style(if is_focused { Role::Text } else { Role::Muted })),
    ];
    match field {
        Field::Format => spans.extend(choices(&FORMATS.map(|c| c.word), 0, theme)),
        Field::Dtype => spans.extend(choices(&DTYPES.map(|c| c.word), form.dtype, theme)),
        Field::Verify => spans.extend(choices(&PROOFS.map(|c| c.word), form.proof, theme)),
        Field::Device => spans.extend(choices(&["cpu", "cuda"], 0, theme)),
        Field::Where | Field::Button => {
            let room = room(width);
            let shown = if is_focused {
                field_text(form.output.value(), form.output.visual_cursor(), room).0
            } else {
                cut_middle(&escape(form.output.value()), room).into_owned()
            };
            let pad = room.saturating_sub(shown.width());
            spans.push(Span::styled(format!("{shown}{}", " ".repeat(pad)), theme.style(Role::Input)));
        }
    }
    Line::from(spans)
}

/// A row of values, the chosen one in brackets; blanks keep the others in place.
fn choices(words: &[&'static str], chosen: usize, theme: &Theme) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if at == chosen {
            spans.push(Span::styled(format!("‹ {word} ›"), theme.style(Role::Heading)));
        } else {
            spans.push(Span::styled((*word).to_owned(), theme.style(Role::Muted)));
        }
        spans.push(Span::raw("  "));
    }
    spans.pop();
    spans
}

fn button(form: &Form, gutter: Span<'static>, theme: &Theme) -> Line<'static> {
    let is_ready = form.startable().is_ok();
    let mut spans = vec![
        gutter,
        Span::styled("[ Convert ]", theme.style(if is_ready { Role::Heading } else { Role::Muted })),
    ];
    if is_ready && form.field == Field::Button {
        spans.push(Span::styled("   Enter starts the job", theme.style(Role::Muted)));
    }
    Line::from(spans)
}

fn about(form: &Form) -> &'static str {
    match form.field {
        Field::Format => FORMATS[0].about,
        Field::Dtype => DTYPES[form.dtype].about,
        Field::Where => {
            "A new folder. It appears when all is written and compared, whole or not at all. ~ is your home folder."
        }
        Field::Verify => PROOFS[form.proof].about,
        Field::Device => {
            "cpu decodes on all cores; most often the disk is the limit. cuda is off: GPUs cannot convert yet."
        }
        Field::Button => "Nothing is written before Enter. The input is opened for reading only.",
    }
}

fn plan(frame: &mut Frame<'_>, area: Rect, (app, form): (&App, &Form), theme: &Theme) {
    let width = usize::from(area.width.saturating_sub(4));
    let verdict = match (&form.plan, form.is_planning()) {
        (_, true) | (None, _) => "…",
        (Some(Err(_)), _) => "✗ refused",
        (Some(Ok(planned)), _) if planned.obstacle.is_some() => "✗ not yet",
        (Some(Ok(_)), _) => "✓ ready",
    };
    let mut lines = match &form.plan {
        None => vec![Line::from(Span::styled("reading what the layers need", theme.style(Role::Muted)))],
        Some(Err(error)) => refusal(error, width, theme),
        Some(Ok(planned)) => planned_lines(planned, app.sample.as_ref(), width, theme),
    };
    lines.push(Line::default());
    lines.push(Line::from(vec![
        Span::styled("same thing in a shell", theme.style(Role::Heading)),
        Span::styled("   Y copies", theme.style(Role::Muted)),
    ]));
    lines.extend(command_line::lines(&form.command().join(" "), width, theme));
    let lines = indented(lines);
    text(frame, area, block(&format!("Plan  {verdict}"), false, theme), lines, form.top);
}

/// Puts a blank before each line.
pub(super) fn indented(lines: Vec<Line<'static>>) -> Vec<Line<'static>> {
    let indent = |mut line: Line<'static>| {
        line.spans.insert(0, Span::raw(" "));
        line
    };
    lines.into_iter().map(indent).collect()
}

fn planned_lines(
    planned: &Planned,
    sample: Option<&Sample>,
    width: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let plan = &planned.plan;
    let mut lines = group_lines(&plan.groups(), width, theme);
    lines.push(Line::default());
    let files = units::plural(plan.shards.len(), "file");
    let written: Vec<String> = std::iter::once(format!("{files} of tensors"))
        .chain(plan.texts.iter().map(|text| escape(&text.file).into_owned()))
        .collect();
    lines.extend(fact("writes", &written.join(", "), Role::Text, width, theme));
    if !plan.copies.is_empty() {
        let names: Vec<&str> = plan.copies.iter().map(|copied| copied.file.as_str()).collect();
        lines.extend(fact("copies", &escape(&names.join(", ")), Role::Text, width, theme));
    }
    lines.push(Line::default());
    lines.extend(needs(planned, sample, width, theme));
    let notes = planned.obstacle.iter().map(|why| (format!("✗ {}", escape(why)), Role::Error));
    let notes = notes.chain(plan.warnings.iter().map(|warning| (format!("▲ {warning}"), Role::Warn)));
    for (words, role) in notes {
        lines.push(Line::default());
        lines.extend(
            wrap(&words, width).into_iter().map(|line| Line::from(Span::styled(line, theme.style(role)))),
        );
    }
    lines
}

/// What it needs, what there is, and whether that is enough.
fn needs(planned: &Planned, sample: Option<&Sample>, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let ram = sample.and_then(|sample| sample.ram.as_ref().ok()).map(crate::gauges::Ram::free);
    let rows = [
        ("output", planned.plan.bytes_written(), "disk", planned.disk_free),
        ("memory", planned.peak, "RAM", ram),
    ];
    let is_wide = width >= 50;
    let mut lines = Vec::new();
    for (word, need, place, free) in rows {
        let mut spans = vec![
            Span::styled(format!("{word:<7}"), theme.style(Role::Muted)),
            Span::styled(format!("{:>9}", units::bytes(need)), theme.style(Role::Number)),
        ];
        if let Some(free) = free {
            let gap = if is_wide { "    " } else { " " };
            spans.push(Span::styled(format!("{gap}{place:<4}"), theme.style(Role::Muted)));
            spans.push(Span::styled(format!("{:>9}", units::bytes(free)), theme.style(Role::Number)));
            let (words, role) = match (free > need, is_wide) {
                (true, _) => ("✓ fits", Role::Ok),
                (false, true) => ("✗ does not fit", Role::Error),
                (false, false) => ("✗ over", Role::Error),
            };
            spans.push(Span::styled(if is_wide { " free    " } else { "  " }, theme.style(Role::Muted)));
            spans.push(Span::styled(words, theme.style(role)));
        } else if word == "memory" {
            spans.push(Span::styled(" at most", theme.style(Role::Muted)));
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// A word and what it means here, wrapped beside it.
pub(super) fn fact(word: &str, what: &str, role: Role, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let wrapped = wrap(what, width.saturating_sub(8));
    let row = |(at, line): (usize, String)| {
        let word = if at == 0 { word } else { "" };
        Line::from(vec![
            Span::styled(format!("{word:<8}"), theme.style(Role::Muted)),
            Span::styled(line, theme.style(role)),
        ])
    };
    wrapped.into_iter().enumerate().map(row).collect()
}

/// Alike steps: how many layers, what becomes of them, and their bytes before and after.
pub(super) fn group_lines(groups: &[Group], width: usize, theme: &Theme) -> Vec<Line<'static>> {
    // The rows of a table are not drawn apart over a wide pane; what costs most comes first.
    let width = width.min(GROUP_CELLS_MAX);
    let mut groups: Vec<&Group> = groups.iter().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes_out));
    let count = groups.iter().map(|group| units::exact(group.layers as u64).len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for group in groups {
        let what = if group.from == group.to {
            group.from.clone()
        } else {
            format!("{} → {}", group.from, group.to)
        };
        let layers = units::exact(group.layers as u64);
        let role = if group.from == "dense" { Role::Dense } else { Role::Quant };
        let bytes = if group.bytes_in == group.bytes_out {
            units::bytes(group.bytes_in)
        } else {
            format!("{} → {}", units::bytes(group.bytes_in), units::bytes(group.bytes_out))
        };
        let head = vec![
            Span::styled(format!("{layers:>count$} "), theme.style(Role::Number)),
            Span::styled(format!("{:<11}", group.action.verb()), theme.style(Role::Text)),
            Span::styled(what, theme.style(role)),
        ];
        let used: usize = head.iter().map(|span| span.content.width()).sum();
        let mut line = Line::from(head);
        if used + 2 + bytes.width() > width {
            lines.push(std::mem::take(&mut line));
            line.spans.push(Span::raw(" ".repeat(width.saturating_sub(bytes.width()))));
        } else {
            line.spans.push(Span::raw(" ".repeat(width - used - bytes.width())));
        }
        line.spans.push(Span::styled(bytes, theme.style(Role::Number)));
        lines.push(line);
    }
    lines
}

/// Why there is no plan: each thing that stands in the way on a line of its own.
fn refusal(error: &Error, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::from(Span::styled("✗ This cannot be converted as it is", theme.style(Role::Error))),
        Line::default(),
    ];
    // What is refused is a list behind a colon.
    let mut message = escape(&error.message).into_owned();
    for head in ["cannot be decoded: ", "as they are: "] {
        message = message.replacen(head, &format!("{}; ", head.trim_end()), 1);
    }
    for (at, part) in message.split("; ").enumerate() {
        let indent = if at == 0 { "" } else { "  " };
        let wrapped = wrap(part, width.saturating_sub(indent.len()));
        lines.extend(wrapped.into_iter().map(|line| Line::from(format!("{indent}{line}"))));
    }
    lines
}
