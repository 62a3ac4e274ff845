//! What lies over the panes, or in their place: help, palette, menus, log, opening, and what cannot be read.

use std::sync::atomic::Ordering;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;
use unicode_width::UnicodeWidthStr as _;

use super::command_line;
use super::header::{field_text, key_name, pretty};
use super::pane::{block, text, wrap};
use super::plan::indented;
use super::theme::{Role, Theme};
use crate::app::board::{Order, Show};
use crate::app::command::{COMMANDS, Command, search};
use crate::app::compare::show::Show as Compared;
use crate::app::findings::Findings;
use crate::app::keys::keys_of;
use crate::app::values::Choice;
use crate::app::values::norms::NormOrder;
use crate::app::{App, Overlay, Ready};
use crate::checkpoint::Progress;
use crate::checkpoint::tree::Sort;
use crate::diagnose::rule::Purpose;
use crate::error::Error;
use crate::name::{cut_middle, escape};
use crate::stats::summary::Axis;
use crate::units;

/// Cells of the keys in help.
const KEYS: usize = 14;
/// The last lines of help.
const HELP_END: [&str; 3] = [
    "◆ quantized  · dense  ● adapter lands here  ✓ fine  ▲ warning  ✗ error  ≠ unlike its siblings  ×28 alike layers, folded",
    "filter: words, dtype: format: shape: shard: bits: is:broken, ~fuzzy, -not",
    "mouse: click selects, again opens; wheel scrolls; drag the border; Shift-drag selects text",
];

/// Draws the overlay, if there is one that lies over the panes.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    match &app.overlay {
        Some(Overlay::Help(input, top)) => help(frame, area, app, (input.value(), *top), theme),
        Some(Overlay::Palette(input, at)) => palette(frame, area, app, (input, *at), theme),
        Some(Overlay::SortMenu(at)) => sort_menu(frame, area, (&app.sorts(), *at), theme),
        Some(Overlay::StatesMenu(at)) => {
            menu(frame, area, ("Show", 30), &Show::ALL.map(Show::name), *at, theme);
        }
        Some(Overlay::OrderMenu(at)) => {
            menu(frame, area, ("Sort by", 36), &Order::ALL.map(Order::about), *at, theme);
        }
        Some(Overlay::PartMenu(at)) => {
            let choices: Vec<&str> = app.values.choices().into_iter().map(Choice::name).collect();
            menu(frame, area, ("Values of", 30), &choices, *at, theme);
        }
        Some(Overlay::NormOrderMenu(at)) => {
            menu(frame, area, ("Norms", 30), &NormOrder::ALL.map(NormOrder::about), *at, theme);
        }
        Some(Overlay::ShowMenu(at)) => {
            menu(frame, area, ("Show", 30), &Compared::ALL.map(Compared::name), *at, theme);
        }
        Some(Overlay::PurposeMenu(at)) => {
            let lines = Purpose::ALL.map(|purpose| format!("{:<6} {}", purpose.name(), purpose.words()));
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            menu(frame, area, ("For what", 50), &lines, *at, theme);
        }
        Some(Overlay::Matrix(top)) => super::matrix::draw(frame, area, app, *top, theme),
        Some(Overlay::Error) => super::error::draw(frame, area, app, theme),
        Some(Overlay::Picture(input)) => {
            let about = ("A picture of this screen", ".svg: a picture   any other name: text");
            new_file(frame, area, input, about, theme);
        }
        Some(Overlay::Export(input)) => {
            let as_stats = ".json, .csv: as ckpt stats prints them";
            let about = match &app.values.list {
                _ if app.exported_comparison().is_some() => {
                    ("This comparison", ".json: as ckpt diff prints it")
                }
                Some(list) if list.axis == Axis::Rows => ("The norms of all rows", as_stats),
                Some(_) => ("The norms of all columns", as_stats),
                None => ("The figures of these values", as_stats),
            };
            new_file(frame, area, input, about, theme);
        }
        Some(Overlay::Log) => log(frame, area, app, theme),
        Some(Overlay::Ask(question)) => ask(frame, area, &app.question(*question), theme),
        Some(Overlay::Picker(_)) | None => {}
    }
}

/// Returns a centered part of an area.
fn centered(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height)
}

fn help(frame: &mut Frame<'_>, area: Rect, app: &App, at: (&str, usize), theme: &Theme) {
    let (typed, top) = at;
    let area = centered(area, 112, area.height.saturating_sub(2));
    let width = usize::from(area.width.saturating_sub(4));
    let typed_lower = typed.to_lowercase();
    let matches = |command: &&Command| {
        typed.is_empty()
            || command.name.contains(&typed_lower)
            || command.doc.to_lowercase().contains(&typed_lower)
            || keys_of(&app.keymap, command).contains(&typed)
    };
    let found: Vec<&Command> =
        COMMANDS.iter().filter(matches).filter(|c| !keys_of(&app.keymap, c).is_empty()).collect();
    let (now, later): (Vec<&Command>, Vec<&Command>) =
        found.into_iter().partition(|c| (c.ready)(app).is_ok());
    let mut lines = Vec::new();
    let columns = if width >= 96 { 2 } else { 1 };
    let cell = width / columns;
    for row in 0..now.len().div_ceil(columns) {
        let spans = (0..columns).filter_map(|column| now.get(row + column * now.len().div_ceil(columns)));
        lines.push(Line::from(
            spans.flat_map(|command| help_cell(command, command.doc, cell, (app, theme))).collect::<Vec<_>>(),
        ));
    }
    if !later.is_empty() {
        lines.push(Line::default());
        lines.push(Line::from(Span::styled(" not now, and why", theme.style(Role::Heading))));
        for command in later {
            let why = format!("{}: {}", command.doc, (command.ready)(app).err().unwrap_or_default());
            for (at, words) in wrap(&why, width.saturating_sub(KEYS + 3)).iter().enumerate() {
                let mut cell = help_cell(command, words, width, (app, theme));
                if at > 0 {
                    cell[1] = Span::raw(" ".repeat(KEYS + 1));
                }
                lines.push(Line::from(cell));
            }
        }
    }
    lines.push(Line::default());
    for words in HELP_END {
        let wrapped = wrap(words, width.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::from(format!(" {line}"))));
    }
    let title = if typed.is_empty() { "Help".to_owned() } else { format!("Help: {}", escape(typed)) };
    text(frame, area, block(&title, true, theme), lines, top);
}

fn help_cell(command: &Command, doc: &str, width: usize, (app, theme): (&App, &Theme)) -> Vec<Span<'static>> {
    let keys: Vec<String> = keys_of(&app.keymap, command).into_iter().map(pretty).collect();
    let keys = cut_middle(&keys.join(" "), KEYS).into_owned();
    let room = width.saturating_sub(KEYS + 3);
    let doc = cut_middle(doc, room).into_owned();
    let pad = " ".repeat(room.saturating_sub(doc.width()));
    vec![
        Span::raw(" "),
        Span::styled(format!("{keys:<KEYS$} "), theme.style(Role::Key)),
        Span::styled(doc, theme.style(Role::Text)),
        Span::raw(format!("{pad} ")),
    ]
}

fn palette(frame: &mut Frame<'_>, area: Rect, app: &App, typed: (&tui_input::Input, usize), theme: &Theme) {
    let (input, at) = typed;
    let found = search(input.value());
    let area = centered(area, 84, 18);
    let rows = usize::from(area.height).saturating_sub(4);
    let top = at.saturating_sub(rows.saturating_sub(1));
    let width = usize::from(area.width.saturating_sub(4));
    let room = width.saturating_sub(2);
    let (field, cursor) = field_text(input.value(), input.visual_cursor(), room);
    let mut lines = vec![
        Line::from(vec![
            Span::styled(" : ", theme.style(Role::Key)),
            Span::styled(format!("{field:<room$}"), theme.style(Role::Input)),
        ]),
        Line::default(),
    ];
    for (index, command) in found.iter().enumerate().skip(top).take(rows) {
        let ready = (command.ready)(app);
        let doc = ready.as_ref().err().map_or(command.doc, String::as_str);
        let gutter = if index == at { "▌" } else { " " };
        let role = if ready.is_ok() { Role::Text } else { Role::Muted };
        let mut line = Line::from(vec![
            Span::raw(gutter),
            Span::styled(format!("{:<21}", command.name), theme.style(role)),
            Span::styled(format!("{:<7}", key_name(command, app)), theme.style(Role::Key)),
            Span::styled(cut_middle(doc, width.saturating_sub(30)).into_owned(), theme.style(role)),
        ]);
        if index == at {
            line = line.style(theme.style(Role::Cursor));
        }
        lines.push(line);
    }
    if found.is_empty() {
        lines.push(Line::from(" No command matches."));
    }
    text(frame, area, block("Commands", true, theme), lines, 0);
    frame.set_cursor_position((area.x + 4 + cursor as u16, area.y + 1));
}

fn sort_menu(frame: &mut Frame<'_>, area: Rect, (sorts, at): (&[Sort], usize), theme: &Theme) {
    let lines = sorts.iter().enumerate().map(|(index, sort)| {
        let words = match sort {
            Sort::Natural => "name: the tree".to_owned(),
            sort => format!("{}: a flat list, most first", sort.name()),
        };
        let line = Line::from(format!("{}{words}", if index == at { "▌" } else { " " }));
        if index == at { line.style(theme.style(Role::Cursor)) } else { line }
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let area = centered(area, 44, lines.len() as u16 + 2);
    text(frame, area, block("Sort by", true, theme), lines, 0);
}

/// A menu of lines in a box of so many cells.
fn menu(
    frame: &mut Frame<'_>,
    area: Rect,
    (title, cells): (&str, u16),
    words: &[&str],
    at: usize,
    theme: &Theme,
) {
    let lines = words.iter().enumerate().map(|(index, words)| {
        let line = Line::from(format!("{}{words}", if index == at { "▌" } else { " " }));
        if index == at { line.style(theme.style(Role::Cursor)) } else { line }
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let area = centered(area, cells, lines.len() as u16 + 2);
    text(frame, area, block(title, true, theme), lines, 0);
}

/// Draws the question where something goes: what that is, and which names there are.
fn new_file(
    frame: &mut Frame<'_>,
    area: Rect,
    input: &tui_input::Input,
    (what, names): (&str, &str),
    theme: &Theme,
) {
    let area = centered(area, 60, 5);
    let room = usize::from(area.width.saturating_sub(8));
    let (field, cursor) = field_text(input.value(), input.visual_cursor(), room);
    let lines = vec![
        Line::from(vec![
            Span::styled(" to ", theme.style(Role::Key)),
            Span::styled(format!("{field:<room$}"), theme.style(Role::Input)),
        ]),
        Line::default(),
        Line::styled(format!(" {names}"), theme.style(Role::Muted)),
    ];
    text(frame, area, block(what, true, theme), lines, 0);
    frame.set_cursor_position((area.x + 5 + cursor as u16, area.y + 1));
}

fn log(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let width = area.width.min(100);
    let room = usize::from(width.saturating_sub(4));
    let lines = app.log.iter().flat_map(|command| command_line::lines(command, room, theme)).collect();
    let lines = indented(lines);
    let height = (lines.len() as u16 + 2).clamp(5, area.height);
    text(
        frame,
        centered(area, width, height),
        block("This session as shell commands", true, theme),
        lines,
        usize::MAX,
    );
}

/// Draws a question: what, its cost, the answers.
fn ask(frame: &mut Frame<'_>, area: Rect, [what, cost, answers]: &[String; 3], theme: &Theme) {
    let width = area.width.min(76);
    let room = usize::from(width.saturating_sub(4));
    let mut lines = vec![Line::default()];
    lines.extend(wrap(cost, room).into_iter().map(Line::from));
    lines.push(Line::default());
    lines.push(Line::from(Span::styled(answers.clone(), theme.style(Role::Key))));
    let height = lines.len() as u16 + 2;
    text(frame, centered(area, width, height), block(what, true, theme), indented(lines), 0);
}

/// Draws what shows while headers are read.
pub fn opening(frame: &mut Frame<'_>, area: Rect, progress: &Progress, theme: &Theme) {
    let (done, total) = (progress.done.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
    let words =
        if total == 0 { "reading headers".to_owned() } else { format!("reading headers {done} of {total}") };
    let line = Line::from(Span::styled(format!(" {words}"), theme.style(Role::Muted)));
    text(frame, area, block("Layers", true, theme), vec![line], 0);
}

/// Draws why a path could not be opened at all.
pub fn failed(frame: &mut Frame<'_>, area: Rect, error: &Error, theme: &Theme) {
    let width = usize::from(area.width.saturating_sub(6));
    let mut lines = vec![
        Line::default(),
        Line::from(Span::styled(" ✗ This could not be opened", theme.style(Role::Error))),
        Line::default(),
    ];
    lines.extend(
        wrap(&escape(&error.message), width).into_iter().map(|line| Line::from(format!("   {line}"))),
    );
    lines.push(Line::default());
    lines.push(Line::from(Span::styled("   o opens another path, R tries again", theme.style(Role::Muted))));
    text(frame, area, block("Not opened", true, theme), lines, 0);
}

/// Draws a checkpoint of which nothing can be read: what each file really is.
pub fn unreadable(frame: &mut Frame<'_>, area: Rect, (ready, findings): (&Ready, &Findings), theme: &Theme) {
    let width = usize::from(area.width.saturating_sub(8));
    let files = ready.files();
    let mut lines = vec![
        Line::default(),
        Line::from(Span::styled(" ✗ Nothing here can be read as a checkpoint", theme.style(Role::Error))),
        Line::default(),
        Line::from(Span::styled(
            format!(" {}", escape(&files.path.display().to_string())),
            theme.style(Role::Path),
        )),
    ];
    for shard in &files.shards {
        let name = cut_middle(&escape(&shard.name), 40).into_owned();
        lines.push(Line::from(format!("   {name:<40} {:>10}", units::bytes(shard.bytes))));
    }
    for (name, bytes) in files.others.iter().take(12) {
        let name = cut_middle(&escape(name), 40).into_owned();
        lines.push(Line::from(Span::styled(
            format!("   {name:<40} {:>10}", units::bytes(*bytes)),
            theme.style(Role::Muted),
        )));
    }
    for (finding, severity) in findings.shown() {
        lines.push(Line::default());
        let (glyph, role) = super::findings::mark(severity);
        lines.push(Line::from(Span::styled(format!(" {glyph} {:?}", finding.rule), theme.style(role))));
        let parts = [
            (Role::Text, "", finding.title.as_str()),
            (Role::Muted, "", finding.rule.why),
            (Role::Path, "what helps:  ", finding.rule.remedy),
        ];
        for (role, label, words) in parts {
            for (at, line) in wrap(words, width.saturating_sub(label.len())).into_iter().enumerate() {
                let label = if at == 0 { label.to_owned() } else { " ".repeat(label.len()) };
                lines.push(Line::from(vec![
                    Span::styled(format!("   {label}"), theme.style(Role::Muted)),
                    Span::styled(line, theme.style(role)),
                ]));
            }
        }
    }
    frame.render_widget(Clear, area);
    text(frame, area, block("Error", true, theme), lines, 0);
}
