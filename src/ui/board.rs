//! The board of an attached adapter: the gate, a row each for what does not fit, folds of what does, and below them
//! the row under the cursor spelled out.

mod keys;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use super::gauge_bar::bar;
use super::pane::{block, text, wrap};
use super::plan::indented;
use super::theme::{Role, Theme};
use crate::adapter::align::{Aligned, State};
use crate::adapter::board::{mark, ranges};
use crate::adapter::names::{PREFIX, split};
use crate::app::App;
use crate::app::attach::{AttachState, Attached};
use crate::app::board::{Board, Order, Row, Show};
use crate::name::{cut_middle, cut_name, escape};
use crate::units;

/// From this width on the base layer has a column.
const WIDE: usize = 96;
/// From this height on the lower pane has room for all that is to be said.
const TALL: u16 = 27;
/// Cells of the column of states: `✗ incomplete`.
const STATE: usize = 13;
/// Cells of the column of ranks.
const RANK: usize = 5;

/// Draws the tab; returns the screen line of each row that shows.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    tabs: Block<'_>,
    app: &mut App,
    theme: &Theme,
) -> Vec<(u16, usize)> {
    let command = app.attached().zip(app.opens.get(app.current)).map(|(attached, open)| {
        format!(
            "ckpt align {} -a {} --repair -o OUT",
            crate::app::shell_path(&open.path),
            crate::app::shell_path(&attached.path)
        )
    });
    if app.board().is_none() {
        let width = usize::from(area.width.saturating_sub(4));
        let lines = app.attached().map_or_else(Vec::new, |attached| waiting(attached, width, theme));
        text(frame, area, tabs, lines, 0);
        return Vec::new();
    }
    let Some(board) = app.board_mut() else { return Vec::new() };
    let below = match (board.is_reading, area.height >= TALL) {
        (true, _) => area.height.saturating_sub(10).max(area.height / 2),
        (false, true) => 17,
        (false, false) => (area.height / 3).clamp(3, 7),
    };
    let [above, below] = Layout::vertical([Constraint::Min(3), Constraint::Length(below)]).areas(area);
    let rows = rows(frame, above, tabs, board, theme);
    let width = usize::from(below.width.saturating_sub(4));
    let is_brief = below.height < 12;
    let (title, lines) = keys::lines(board, command.as_deref().unwrap_or_default(), width, is_brief, theme);
    let title = cut_middle(&title, width).into_owned();
    let lower = block(&title, board.is_reading, theme);
    board.top = text(frame, below, lower, indented(lines), board.top);
    rows
}

/// What shows while there is no board yet, or why there is none.
fn waiting(attached: &Attached, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let line = |words: &str, role: Role| -> Vec<Line<'static>> {
        wrap(words, width)
            .into_iter()
            .map(|l| Line::from(Span::styled(format!(" {l}"), theme.style(role))))
            .collect()
    };
    match &attached.state {
        AttachState::Failed(error) => {
            let mut lines = line("✗ This adapter could not be attached", Role::Error);
            lines.push(Line::default());
            lines.extend(line(&escape(&error.message), Role::Text));
            lines.push(Line::default());
            lines.extend(line("a attaches another.", Role::Muted));
            lines
        }
        _ => line(
            &format!("aligning {}: keys, shapes, and whether values are zero or NaN", escape(&attached.path)),
            Role::Muted,
        ),
    }
}

fn rows(
    frame: &mut Frame<'_>,
    area: Rect,
    tabs: Block<'_>,
    board: &mut Board,
    theme: &Theme,
) -> Vec<(u16, usize)> {
    let foot = match board.odd() {
        0 => format!(" {} ", units::plural(board.gate.total, "module")),
        odd => format!(" {odd} of {} not aligned ", board.gate.total),
    };
    let tabs = tabs.title_bottom(Line::from(foot).right_aligned());
    let mut notes = Vec::new();
    if board.show != Show::All {
        notes.push(format!("shows: {}   Esc shows all", board.show.name()));
    }
    notes.extend(board.weighed.state());
    if board.order != Order::State {
        notes.push(format!("by {}", board.order.name()));
    }
    let tabs = if notes.is_empty() {
        tabs
    } else {
        tabs.title_bottom(Line::from(format!(" {} ", notes.join("   "))))
    };
    let inner = tabs.inner(area);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    let mut lines = vec![gate(board, width, theme)];
    if let Some(why) = &board.unmergeable {
        // It fits, and that is not enough.
        let wrapped = wrap(&format!("✗ it cannot be merged: {why}"), width.saturating_sub(2));
        let line = |words: String| Line::from(Span::styled(format!(" {words}"), theme.style(Role::Error)));
        lines.extend(wrapped.into_iter().take(height / 3).map(line));
    }
    if height > 8 {
        lines.push(Line::default());
    }
    lines.push(head(width, theme));
    let room = height.saturating_sub(lines.len());
    let first = board.first.min(board.rows.len().saturating_sub(room)).min(board.cursor);
    board.first = first.max((board.cursor + 1).saturating_sub(room));
    let mut places = Vec::new();
    for (at, row) in board.rows.iter().copied().enumerate().skip(board.first).take(room) {
        if row != Row::Rule {
            places.push((inner.y + lines.len() as u16, at));
        }
        lines.push(line(board, row, at == board.cursor, width, theme));
    }
    if board.rows.is_empty() {
        let words = if board.show == Show::All { " The adapter has no modules." } else { " None." };
        lines.push(Line::from(Span::styled(words, theme.style(Role::Muted))));
    }
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(tabs), area);
    places
}

/// The first line: how many modules fit, what a repair could do, and what a merge waits for.
fn gate(board: &Board, width: usize, theme: &Theme) -> Line<'static> {
    let gate = board.gate;
    let is_all = board.odd() == 0 && gate.total > 0;
    let role = if is_all { Role::Ok } else { Role::Heading };
    let noun = if width >= WIDE { " modules" } else { "" };
    let mut line = Line::from(Span::styled(
        format!(" {} of {}{noun} aligned", gate.aligned, gate.total),
        theme.style(role),
    ));
    let ratio = gate.aligned as f64 / gate.total.max(1) as f64;
    line.spans.push(Span::styled(format!("  {}", bar(10, ratio)), theme.style(Role::BarThis)));
    for note in gate.notes() {
        let role = match note.split_once(' ') {
            Some((_, "can be repaired")) => Role::Repair,
            Some((_, "can not")) => Role::Error,
            Some((_, "without effect")) => Role::Warn,
            _ => Role::Muted,
        };
        if line.width() + 2 + note.width() <= width {
            line.spans.push(Span::styled(format!("  {note}"), theme.style(role)));
        }
    }
    let is_ready = is_all && board.unmergeable.is_none();
    let verdict = match (is_all, &board.unmergeable) {
        (_, Some(_)) => String::new(),
        (true, None) => "✓ ready to merge".to_owned(),
        (false, None) => format!("merge waits for {0} of {0}", gate.total),
    };
    let used = line.width();
    if used + 3 + verdict.width() < width {
        let pad = width - used - verdict.width() - 1;
        line.spans.push(Span::raw(" ".repeat(pad)));
        line.spans.push(Span::styled(verdict, theme.style(if is_ready { Role::Ok } else { Role::Muted })));
    }
    line
}

/// Cells of the column of a shape.
fn shape_cells(width: usize) -> usize {
    if width >= WIDE { 15 } else { 13 }
}

/// Cells of the names of module and base layer.
fn name_cells(width: usize) -> (usize, usize) {
    let room = width.saturating_sub(1 + STATE + RANK + 2 * shape_cells(width));
    if width >= WIDE {
        let layer = (room * 2 / 5).max(12);
        (room.saturating_sub(layer + 1), layer)
    } else {
        (room, 0)
    }
}

fn head(width: usize, theme: &Theme) -> Line<'static> {
    let (module, layer) = name_cells(width);
    let base = if layer > 0 { format!(" {:<layer$}", "base layer") } else { String::new() };
    let shape = shape_cells(width);
    let words = format!(
        "  {:<state$}{:<module$}{base}{:>RANK$}{:>shape$}{:>shape$}",
        "state",
        "adapter module",
        "rank",
        "delta",
        "base",
        state = STATE - 1
    );
    Line::from(Span::styled(cut(&words, width), theme.style(Role::Muted)))
}

/// Cuts a line of ours at the right: on a screen too narrow for its columns.
fn cut(words: &str, width: usize) -> String {
    words.chars().take(width).collect()
}

/// One row in its columns.
struct Cells {
    state: (String, Role),
    module: String,
    layer: String,
    rank: String,
    delta: String,
    base: String,
}

fn line(board: &Board, row: Row, is_marked: bool, width: usize, theme: &Theme) -> Line<'static> {
    if row == Row::Rule {
        return Line::from(Span::styled("─".repeat(width), theme.style(Role::Border)));
    }
    let cells = cells(board, row);
    let (module, layer) = name_cells(width);
    let shape = shape_cells(width);
    let gutter = if is_marked { "▌" } else { " " };
    let mut spans = vec![
        Span::raw(gutter),
        Span::styled(
            format!("{:<STATE$}", cut_middle(&cells.state.0, STATE - 1)),
            theme.style(cells.state.1),
        ),
    ];
    // What is said of a problem or a name needs the room of the columns.
    let is_text = matches!(row, Row::Problem(_) | Row::Untouched(_));
    if is_text {
        let room = width.saturating_sub(STATE + 2);
        let shown = cut_middle(&cells.module, room).into_owned();
        let pad = " ".repeat((room + 1).saturating_sub(shown.width()));
        spans.push(Span::styled(format!("{shown}{pad}"), theme.style(Role::Text)));
    } else {
        let name = |name: &str, room: usize| {
            let name = cut_name(name, room);
            let pad = " ".repeat(room.saturating_sub(name.width()));
            format!("{name}{pad}")
        };
        spans.push(Span::styled(name(&cells.module, module), theme.style(Role::Text)));
        if layer > 0 {
            let role = if cells.layer.starts_with('◆') { Role::Quant } else { Role::Dense };
            spans.push(Span::styled(format!(" {}", name(&cells.layer, layer)), theme.style(role)));
        }
        spans.push(Span::styled(
            format!("{:>RANK$}", cut_middle(&cells.rank, RANK - 1)),
            theme.style(Role::Number),
        ));
        spans.push(Span::styled(
            format!("{:>shape$}", cut_middle(&cells.delta, shape - 1)),
            theme.style(Role::Adapter),
        ));
        let role = if cells.state.0.contains("shape") || cells.state.0.contains("padded") {
            Role::Error
        } else {
            Role::Muted
        };
        spans
            .push(Span::styled(format!("{:>shape$}", cut_middle(&cells.base, shape - 1)), theme.style(role)));
    }
    let line = Line::from(spans);
    if is_marked { line.style(theme.style(Role::Cursor)) } else { line }
}

fn cells(board: &Board, row: Row) -> Cells {
    let empty = || Cells {
        state: (String::new(), Role::Muted),
        module: String::new(),
        layer: String::new(),
        rank: String::new(),
        delta: String::new(),
        base: String::new(),
    };
    let held = &board.held;
    match row {
        Row::Rule => empty(),
        Row::Problem(at) => {
            let Some(problem) = held.problems.get(at as usize) else { return empty() };
            let (glyph, role) = if problem.is_error() { ("✗", Role::Error) } else { ("▲", Role::Warn) };
            let module = format!("{}: {}", problem.kind.name, escape(&problem.message));
            Cells { state: (format!("{glyph} {}", problem.kind.code), role), module, ..empty() }
        }
        Row::Unused(tensor) => {
            let files = &held.adapter.files;
            let record = &files.tensors[tensor as usize];
            Cells {
                state: ("· unused".into(), Role::Muted),
                module: short(&files.tensor_name(tensor), ""),
                layer: "none".into(),
                delta: units::shape(files.shape(record)),
                ..empty()
            }
        }
        Row::Untouched(at) => {
            let name = held.alignment.untouched.get(at as usize);
            let module = name.map_or_else(String::new, |name| escape(name).into_owned());
            Cells { state: ("· untouched".into(), Role::Muted), module, ..empty() }
        }
        Row::Odd(_) | Row::Fine(_) | Row::Fold(_) => {
            let Some(module) = board.module_of(row) else { return empty() };
            // Both are shown from where their stack of layers begins, so that what differs is on the screen.
            let before = split(&module.path).0;
            let layer = board.layer_name(module).map_or_else(|| "none".into(), |name| short(&name, before));
            let layer = format!("{}{layer}", glyph(board, module));
            let state = match state_of(module) {
                (words, role) if matches!(row, Row::Odd(_)) => (words, role),
                (words, role) => (format!("  {words}"), role),
            };
            let cells = Cells {
                state,
                module: short(&module.name, before),
                layer,
                rank: module.rank.map_or_else(|| "-".into(), |rank| rank.to_string()),
                delta: module.delta.map_or_else(String::new, |delta| units::shape(&delta)),
                base: module.base_shape.as_ref().map_or_else(String::new, |shape| units::shape(shape)),
            };
            let Row::Fold(fold) = row else { return cells };
            fold_cells(board, fold, module, cells)
        }
    }
}

fn fold_cells(board: &Board, fold: u32, module: &Aligned, cells: Cells) -> Cells {
    let Some(found) = board.folds.get(fold as usize) else { return cells };
    let arrow = if board.is_unfolded(fold) { "▾" } else { "▸" };
    let (stack, tail) = &found.kind;
    let saved = if module.state == State::Saved { "  saved" } else { "" };
    Cells {
        state: (format!("{arrow} ✓ ×{}", found.modules.len()), Role::Ok),
        module: format!("{} {}  {}{saved}", escape(stack), ranges(&found.numbers), escape(tail)),
        layer: format!("{}×{}", glyph(board, module), found.modules.len()),
        ..cells
    }
}

/// Glyph and word of a module's state.
fn state_of(module: &Aligned) -> (String, Role) {
    let glyph = mark(module);
    let role = match glyph {
        "✗" => Role::Error,
        "≈" => Role::Repair,
        _ if module.is_applied => Role::Ok,
        _ => Role::Warn,
    };
    (format!("{glyph} {}", module.state.name()), role)
}

fn glyph(board: &Board, module: &Aligned) -> &'static str {
    let Some(layer) = module.layer else { return "" };
    let is_dense = board.held.base.layers.spec(layer).format.get().name() == "dense";
    if is_dense { "· " } else { "◆ " }
}

/// Returns a path without what PEFT puts before every one, and without what stands before the base's layers.
fn short(name: &str, before: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let rest = name.strip_prefix(before).and_then(|rest| rest.strip_prefix('.'));
    escape(rest.unwrap_or(name)).into_owned()
}
