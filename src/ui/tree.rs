//! The layer tree: tui-tree-widget, fed only the rows of the window.
//!
//! The widget flattens every open row each frame and keeps a path for each: at a million rows that is
//! most of a second. It is handed the visible rows and the ancestors of the first of them instead; the
//! ancestors are scrolled out of sight. One trap: `scroll_down` clamps to the row count of the *previous*
//! frame, so after a frame with fewer rows than ancestors the widget is rendered once into a scratch
//! buffer first.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Scrollbar, ScrollbarOrientation, ScrollbarState, StatefulWidget};
use tui_tree_widget::{Tree as TreeWidget, TreeItem, TreeState};
use unicode_width::UnicodeWidthStr as _;

use super::compare::{self, Columns};
use super::pane;
use super::theme::{Role, Theme};
use crate::app::board::Board;
use crate::app::{App, Focus, Ready};
use crate::checkpoint::tree::{Expand, Mark, Mode, RowKind, RowText, Sort, State, Tree};
use crate::name::{cut_middle, cut_name, escape};
use crate::units;

/// Below this width of the pane names have all the room.
const BYTES_MIN: u16 = 30;
/// From this width on formats have a column.
const FORMAT_MIN: u16 = 34;
/// From this width on, shapes have a column.
const SHAPE_MIN: u16 = 52;
/// From this width on bits, group and shard have columns.
const WIDE: u16 = 96;
/// Cells of the bar of what packing took.
const BAR: usize = 5;
/// Cells of a label that columns must leave.
const LABEL_MIN: usize = 12;

/// What the pane keeps between frames.
#[derive(Default)]
pub struct TreePane {
    state: TreeState<usize>,
    /// First row of the window.
    pub top: usize,
    /// Rows handed to the widget at the last frame.
    last_rows: usize,
    /// Where the rows were drawn.
    pub area: Rect,
}

impl TreePane {
    /// Returns the row drawn at a screen line.
    #[must_use]
    pub fn row_at(&self, line: u16) -> Option<usize> {
        let inside = line >= self.area.y && line < self.area.bottom();
        inside.then(|| self.top + usize::from(line - self.area.y))
    }

    /// Moves the window so that the cursor is in it.
    fn follow(&mut self, cursor: usize, rows: usize, height: usize) {
        if cursor < self.top {
            self.top = cursor;
        } else if height > 0 && cursor >= self.top + height {
            self.top = cursor + 1 - height;
        }
        self.top = self.top.min(rows.saturating_sub(height));
    }
}

/// Draws the tree pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, pane_state: &mut TreePane, theme: &Theme) {
    let Some(ready) = app.ready() else { return };
    let block = frame_block(app, ready, area.width, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let gutter = Rect { width: 1.min(inner.width), ..inner };
    let body = Rect { x: inner.x + gutter.width, width: inner.width.saturating_sub(2), ..inner };
    let compared = Columns::of(app, usize::from(body.width), theme);
    let (inner, body) = match &compared {
        Some(columns) => around_rows(frame, inner, body, columns),
        None => (inner, body),
    };
    let rows = ready.tree.rows().len();
    pane_state.follow(ready.tree.cursor(), rows, usize::from(inner.height));
    pane_state.area = inner;
    if rows == 0 {
        let what = if ready.tree.filter().is_some() {
            "No hit. Esc clears the filter."
        } else if ready.tree.hits().is_some() {
            "No layer is so. f shows others, Esc all."
        } else {
            "No tensor is here."
        };
        return frame.render_widget(Line::from(Span::styled(what, theme.style(Role::Muted))), body);
    }
    let format_cells = ready.summary.formats.iter().map(|f| f.label.width()).max().unwrap_or(0).clamp(4, 9);
    let width = usize::from(body.width);
    let lines = Lines { ready, board: app.board(), compared, width, format_cells, theme };
    window(frame.buffer_mut(), body, &lines, pane_state);
    let line = cursor(frame.buffer_mut(), inner, ready, pane_state, app.focus == Focus::Tree, theme);
    if let Some((columns, line)) = lines.compared.as_ref().zip(line) {
        columns.mark_walked(frame.buffer_mut(), Rect { width: line.width.saturating_sub(1), ..line });
    }
    if rows > usize::from(inner.height) {
        let mut state = ScrollbarState::new(rows.saturating_sub(usize::from(inner.height)))
            .position(pane_state.top)
            .viewport_content_length(usize::from(inner.height));
        let bar = Scrollbar::new(ScrollbarOrientation::VerticalRight)
            .begin_symbol(None)
            .end_symbol(None)
            .track_symbol(Some("│"))
            .thumb_symbol("█")
            .style(theme.style(Role::Border));
        // The corners stay.
        let lines = Rect { y: inner.y, height: inner.height, ..area };
        StatefulWidget::render(bar, lines, frame.buffer_mut(), &mut state);
    }
}

/// Draws what stands above and below the rows while two are compared; returns the areas that are left.
fn around_rows(frame: &mut Frame<'_>, inner: Rect, body: Rect, columns: &Columns<'_>) -> (Rect, Rect) {
    let width = usize::from(body.width);
    let foot = columns.foot(width, inner.height);
    let rows = inner.height.saturating_sub(1 + foot.len() as u16);
    frame.render_widget(columns.head(width), Rect { height: 1.min(body.height), ..body });
    for (y, line) in (inner.y + 1 + rows..inner.bottom()).zip(foot) {
        frame.render_widget(line, Rect { y, height: 1, ..body });
    }
    let cut = |area: Rect| Rect { y: area.y + 1, height: rows, ..area };
    (cut(inner), cut(body))
}

fn frame_block(app: &App, ready: &Ready, width: u16, theme: &Theme) -> Block<'static> {
    let is_focused = app.focus == Focus::Tree;
    let is_layers = ready.tree.mode() == Mode::Layers;
    if let Some(of) = app.compare().filter(|of| of.matched().is_some() && is_layers) {
        let width = usize::from(width.saturating_sub(2));
        let counts = compare::counts(of, ready, width);
        let foot = Line::styled(counts, theme.style(Role::Muted)).right_aligned();
        return pane::block(&compare::title(of, ready, width), is_focused, theme).title_bottom(foot);
    }
    let tree = &ready.tree;
    let mut title = match tree.mode() {
        Mode::Layers => "Layers".to_owned(),
        Mode::Tensors => "Tensors".to_owned(),
    };
    if let Some(filter) = tree.filter() {
        title = format!("{title}  /{}", cut_middle(&escape(filter.text()), 30));
    }
    if let Some(measured) = &ready.measured {
        let what = if measured.is_merged { "left of the adapter" } else { "lost in packing" };
        title = format!("{title}   {what}");
    }
    if tree.sort() != Sort::Natural {
        title = format!("{title}  by {}", tree.sort().name());
    }
    let totals = tree.totals();
    let mut foot = match tree.hits() {
        Some(hits) => format!(" {} ", units::plural(hits, "hit")),
        None if tree.mode() == Mode::Tensors => {
            format!(" {} ", units::plural(ready.files().tensors.len(), "tensor"))
        }
        None => {
            format!(" {}  {} ◆  {} · ", units::plural(totals.layers, "layer"), totals.quantized, totals.dense)
        }
    };
    if totals.broken > 0 {
        foot = format!("{foot} {} ✗ ", totals.broken);
    }
    if !ready.marks.is_empty() {
        let marked = format!(" {} marked ", ready.marks.len());
        let fits = marked.width() + foot.width() + 2 <= usize::from(width);
        foot = if fits { marked + &foot } else { marked };
    }
    pane::block(&title, is_focused, theme)
        .title_bottom(Line::styled(foot, theme.style(Role::Muted)).right_aligned())
}

/// Draws rows `top..` through the widget.
fn window(buffer: &mut Buffer, area: Rect, lines: &Lines<'_>, pane_state: &mut TreePane) {
    let tree = &lines.ready.tree;
    let height = usize::from(area.height);
    // One more row than fits, so that the last drawn one knows whether it is open.
    let end = (pane_state.top + height + 1).min(tree.rows().len());
    let mut rows: Vec<usize> = ancestors(tree, pane_state.top);
    let hidden = rows.len();
    rows.extend(pane_state.top..end);
    let state = &mut pane_state.state;
    state.close_all();
    state.select(Vec::new());
    let mut at = 0;
    let mut path = Vec::new();
    let Some(items) = items(lines, &rows, &mut at, &mut path, state) else { return };
    let widget = || {
        TreeWidget::new(&items)
            .ok()
            .map(|w| w.node_closed_symbol("▸ ").node_open_symbol("▾ ").node_no_children_symbol(""))
    };
    if hidden + 1 > pane_state.last_rows {
        // See the trap above.
        let mut scratch = Buffer::empty(area);
        if let Some(widget) = widget() {
            StatefulWidget::render(widget, area, &mut scratch, state);
        }
    }
    state.scroll_up(usize::MAX);
    if hidden > 0 {
        state.scroll_down(hidden);
    }
    if let Some(widget) = widget() {
        StatefulWidget::render(widget.style(lines.theme.style(Role::Text)), area, buffer, state);
    }
    pane_state.last_rows = rows.len();
    // Columns are drawn after the widget: they are aligned over all depths, which its rows are not.
    for row in pane_state.top..end.min(pane_state.top + height) {
        let line = Rect { y: area.y + (row - pane_state.top) as u16, height: 1, ..area };
        lines.columns(buffer, line, row);
    }
}

/// Returns the rows above `row` that it is below, outermost first.
fn ancestors(tree: &Tree, row: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = row;
    while let Some(parent) = tree.parent_row(at) {
        found.push(parent);
        at = parent;
    }
    found.reverse();
    found
}

/// Makes the items of consecutive rows below `path`. Depth is bounded by the tree of names.
fn items<'a>(
    lines: &Lines<'a>,
    rows: &[usize],
    at: &mut usize,
    path: &mut Vec<usize>,
    state: &mut TreeState<usize>,
) -> Option<Vec<TreeItem<'a, usize>>> {
    let tree = &lines.ready.tree;
    let mut found = Vec::new();
    while let Some(&row) = rows.get(*at) {
        // Rows are in preorder: those deeper than the parent are below it, up to the next that is not.
        if path.last().is_some_and(|&parent| tree.rows()[row].depth <= tree.rows()[parent].depth) {
            break;
        }
        *at += 1;
        path.push(row);
        let children = items(lines, rows, at, path, state)?;
        let text = lines.label(row);
        let expand = lines.describe(row).expand;
        let item = if !children.is_empty() {
            state.open(path.clone());
            TreeItem::new(row, text, children).ok()?
        } else if expand == Expand::Leaf {
            TreeItem::new_leaf(row, text)
        } else {
            // A child that is not in the window gives the arrow; an open row shows its own.
            if expand == Expand::Open {
                state.open(path.clone());
            }
            TreeItem::new(row, text, vec![TreeItem::new_leaf(usize::MAX, "")]).ok()?
        };
        path.pop();
        found.push(item);
    }
    Some(found)
}

/// How rows are written.
struct Lines<'a> {
    ready: &'a Ready,
    /// The adapter that is attached.
    board: Option<&'a Board>,
    /// The checkpoint that this one is compared with.
    compared: Option<Columns<'a>>,
    width: usize,
    /// Cells of the format column: as wide as the widest word, within reason.
    format_cells: usize,
    theme: &'a Theme,
}

impl<'a> Lines<'a> {
    fn describe(&self, row: usize) -> RowText {
        self.ready.tree.describe(&self.ready.checkpoint, row)
    }

    /// Returns the columns at the right of a row, as they are written.
    fn right(&self, row: usize, text: &RowText) -> Vec<(String, Role)> {
        if let Some(columns) = &self.compared {
            return columns.right(row);
        }
        let mut columns = Vec::new();
        let width = self.width as u16 + 2;
        let role = if text.state == State::Quantized { Role::Quant } else { Role::Dense };
        let is_group = text.state == State::Group;
        let cells = self.format_cells;
        let format = cut_middle(&escape(&text.format), cells).into_owned();
        // What packing took stands where formats and shapes do, unless there is room for them.
        let measured = self.measured(row);
        if (measured.is_none() || width >= SHAPE_MIN) && width >= FORMAT_MIN {
            columns.push((format!("{format:<cells$}"), role));
        }
        if width >= WIDE {
            let bits = text.bits.map_or_else(String::new, |b| {
                format!("{b:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
            });
            columns.push((format!("{bits:>5}"), Role::Muted));
            let group = text.group_size.map_or_else(String::new, |g| g.to_string());
            columns.push((format!("{group:>5}"), Role::Muted));
            let shard = match text.shards {
                Some((a, b)) if a == b => (a + 1).to_string(),
                Some((a, b)) => format!("{}-{}", a + 1, b + 1),
                None => String::new(),
            };
            columns.push((format!("{shard:>7}"), Role::Muted));
        }
        // In a flat list the full name needs the room, unless the list is about sizes.
        let is_list = !matches!(self.ready.tree.sort(), Sort::Natural | Sort::Parameters);
        let takes_place = measured.is_some() && width < WIDE;
        if !takes_place && width >= if is_list { WIDE } else { SHAPE_MIN } {
            let middle = match (&text.shape, is_group) {
                (Some(shape), _) => units::shape(shape),
                (None, true) => text.parameters.map_or_else(String::new, units::count),
                (None, false) => String::new(),
            };
            columns.push((
                format!("{:>15}", cut_middle(&middle, 15)),
                if is_group { Role::Number } else { Role::Muted },
            ));
        }
        columns.extend(measured);
        let bytes = if text.tied && text.bytes == 0 { String::new() } else { units::bytes(text.bytes) };
        if width >= BYTES_MIN {
            columns.push((format!("{bytes:>8}"), Role::Number));
        }
        columns
    }

    fn label(&self, row: usize) -> Line<'a> {
        let text = self.describe(row);
        let depth = usize::from(self.ready.tree.rows()[row].depth);
        // Empty columns give their room to the label.
        let columns = self.right(row, &text);
        let first = columns.iter().position(|(c, _)| !c.trim().is_empty()).unwrap_or(columns.len());
        let blanks = columns.get(first).map_or(0, |(c, _)| c.width() - c.trim_start().width());
        let right: usize = columns[first..].iter().map(|(c, _)| c.width() + 1).sum::<usize>() - blanks;
        let arrow = if text.expand == Expand::Leaf { 0 } else { 2 };
        let room = self.width.saturating_sub(right + 2 * depth + arrow + 1).max(LABEL_MIN);
        let mut spans = Vec::new();
        let glyph = match (text.mark, text.state) {
            (Mark::Error, _) => Some(("✗ ", Role::Error)),
            (Mark::Warning, _) => Some(("▲ ", Role::Warn)),
            (Mark::None, State::Quantized) => Some(("◆ ", Role::Quant)),
            (Mark::None, State::Dense) => Some(("· ", Role::Dense)),
            (Mark::None, State::Guest) => Some(("+ ", Role::SideB)),
            (Mark::None, State::Group) => None,
        };
        let mut room = room;
        if let Some((glyph, role)) = glyph {
            spans.push(Span::styled(glyph, self.theme.style(role)));
            room = room.saturating_sub(2);
        }
        let bias = if text.bias && self.width as u16 >= SHAPE_MIN { " +bias" } else { "" };
        let odd = if text.is_odd { " ≠" } else { "" };
        let lands = self.lands(row);
        let fold = text.fold.as_ref().map_or_else(String::new, |fold| {
            let blank = if text.label.is_empty() { "" } else { " " };
            format!("{blank}{} ×{} alike", fold.members, fold.count)
        });
        let beside = fold.width() + bias.width() + lands.width() + odd.width() + text.label.width();
        let marked = self.marked(row, room.saturating_sub(beside));
        let tail = fold.width() + bias.width() + lands.width() + odd.width() + marked.width();
        let name_room = room.saturating_sub(tail).max(LABEL_MIN.min(room));
        spans.extend(self.name(&text, name_room));
        spans.push(Span::styled(fold, self.theme.style(Role::Muted)));
        spans.push(Span::styled(bias, self.theme.style(Role::Muted)));
        spans.push(Span::styled(lands, self.theme.style(Role::Adapter)));
        spans.push(Span::styled(odd, self.theme.style(Role::Warn)));
        spans.push(Span::styled(marked, self.theme.style(Role::Ok)));
        Line::from(spans)
    }

    /// Returns what packing took of the layers of a row, for the result of a job: in numbers, beside a bar if there is room.
    fn measured(&self, row: usize) -> Option<(String, Role)> {
        let measured = self.ready.measured.as_ref()?;
        let row = self.ready.tree.rows().get(row)?;
        let bar_cells = if self.width as u16 + 2 >= SHAPE_MIN { BAR } else { 0 };
        let (names, layers) = (&self.ready.files().names, &self.ready.checkpoint.layers);
        let range = match row.kind {
            RowKind::Group => Some(layers.within(row.node, names.end(row.node))),
            RowKind::Layer(layer) => Some(layer..layer + 1),
            RowKind::Tensor(_) | RowKind::Guest(_) => None,
        };
        let Some((bar, share)) = range.and_then(|range| measured.share(range)) else {
            return Some((" ".repeat(bar_cells + 6), Role::Muted));
        };
        let filled = ((bar * bar_cells as f64).round() as usize).min(bar_cells);
        let words = format!("{:.1}%", 100.0 * share);
        let is_low = measured.is_merged && share < 0.5;
        let role = if is_low { Role::Warn } else { Role::Number };
        Some((format!("{}{}{words:>6}", "█".repeat(filled), "░".repeat(bar_cells - filled)), role))
    }

    /// Returns which of the layers of a row a person has marked, in words as far as there is room.
    fn marked(&self, row: usize, room: usize) -> String {
        if self.ready.marks.is_empty() {
            return String::new();
        }
        let layers = self.ready.tree.alike_layers(&self.ready.checkpoint, row);
        match self.ready.marks.among(&layers) {
            [0, _] => String::new(),
            [marked, all] if marked == all => " ✓".into(),
            [marked, all] => [format!(" ✓ {marked} of {all}"), format!(" ✓{marked}")]
                .into_iter()
                .find(|words| words.width() <= room)
                .unwrap_or_default(),
        }
    }

    /// Returns the mark of a layer that the attached adapter changes.
    fn lands(&self, row: usize) -> &'static str {
        match (self.board, self.ready.tree.rows().get(row).map(|row| row.kind)) {
            (Some(board), Some(RowKind::Layer(layer))) if board.lands_on(layer) => " ●",
            _ => "",
        }
    }

    /// Returns the name with the filter's hits marked; one that must be cut or escaped is plain.
    fn name(&self, text: &RowText, room: usize) -> Vec<Span<'a>> {
        let shown = escape(&text.label);
        let style = self.theme.style(if text.state == State::Group { Role::Heading } else { Role::Text });
        if text.state == State::Guest && shown.width() > room {
            return vec![Span::styled(compare::guest_name(&shown, room), style)];
        }
        if text.hits.is_empty() || shown.width() > room || shown != text.label {
            return vec![Span::styled(cut_name(&shown, room).into_owned(), style)];
        }
        let mut spans = Vec::new();
        let mut at = 0;
        for hit in &text.hits {
            let (Some(before), Some(inside)) = (text.label.get(at..hit.start), text.label.get(hit.clone()))
            else {
                continue;
            };
            spans.push(Span::styled(before.to_owned(), style));
            spans.push(Span::styled(inside.to_owned(), self.theme.style(Role::Match)));
            at = hit.end;
        }
        spans.push(Span::styled(text.label.get(at..).unwrap_or_default().to_owned(), style));
        spans
    }

    fn columns(&self, buffer: &mut Buffer, line: Rect, row: usize) {
        let columns = self.right(row, &self.describe(row));
        let width: usize = columns.iter().map(|(c, _)| c.width() + 1).sum();
        let mut x = line.right().saturating_sub(width as u16);
        for (text, role) in columns {
            x += 1;
            // Only the words are drawn: blanks would wipe a label that lies over an empty column.
            let blanks = (text.width() - text.trim_start().width()) as u16;
            let room = usize::from(line.right().saturating_sub(x + blanks));
            match &self.compared {
                Some(columns) if role == Role::Heat1 => columns.draw_strip(buffer, (x, line.y), &text),
                _ => {
                    buffer.set_stringn(x + blanks, line.y, text.trim(), room, self.theme.style(role));
                }
            }
            x += text.width() as u16;
        }
    }
}

/// Marks the row under the cursor: a bar in the gutter, and its style over the whole row. Returns its line.
fn cursor(
    buffer: &mut Buffer,
    inner: Rect,
    ready: &Ready,
    pane_state: &TreePane,
    is_focused: bool,
    theme: &Theme,
) -> Option<Rect> {
    let row = ready.tree.cursor();
    if row < pane_state.top || row - pane_state.top >= usize::from(inner.height) {
        return None;
    }
    let line = Rect { y: inner.y + (row - pane_state.top) as u16, height: 1, ..inner };
    let style = theme.style(if is_focused { Role::Cursor } else { Role::CursorAway });
    buffer.set_style(line, style);
    buffer.set_string(line.x, line.y, "▌", Style::new());
    Some(line)
}

#[cfg(test)]
mod tests;
