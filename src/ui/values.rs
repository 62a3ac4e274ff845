//! Values: the values of the row under the cursor: figures, then the shape of their distribution, then where the largest
//! are.
//!
//! What matters first stands first: a low screen keeps the figures and a few bars, and says how the map is seen. While the
//! map has the focus it takes the room of the histogram, and the numbers at the cursor stand below it.

mod facts;
mod heat;
mod histogram;
mod norms;
mod numbers;
mod ramp;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use self::ramp::Ramp;
use super::Look;
use super::pane::wrap;
use super::theme::{Role, Theme};
use crate::app::values::Looked;
use crate::app::values::figures::Figures;
use crate::app::{App, Focus};
use crate::name::{cut_middle, escape};
use crate::units;

/// From this width on figures stand in three columns.
const WIDE: usize = 66;
/// From this height on blank lines part what belongs apart.
const AIRY: usize = 26;

/// What was drawn of the map, or the list in its place: where, how many cells of the screen a cell of it is wide, and how many rows a line has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drawn {
    /// Where its cells are.
    pub area: Rect,
    /// Cells of the screen that one of it has.
    pub cell: u16,
    /// Rows of the map in a line of the screen.
    pub rows: usize,
}

impl Drawn {
    /// Returns the line and column of the cell at a place of the screen, of two in one line the upper one.
    #[must_use]
    pub fn at(&self, x: u16, y: u16) -> Option<[usize; 2]> {
        let is_inside = self.area.contains((x, y).into()) && self.cell > 0;
        let line = || usize::from(y - self.area.y) * self.rows;
        is_inside.then(|| [line(), usize::from((x - self.area.x) / self.cell)])
    }
}

/// Draws the tab; returns where the map is, or the list in its place.
pub fn draw(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, app: &mut App, look: &Look<'_>) -> Drawn {
    let (theme, ramp) = (look.theme, Ramp::of(look));
    let inner = block.inner(area);
    let (width, height) = (usize::from(inner.width.saturating_sub(2)), usize::from(inner.height));
    let shows = Shows::of(app);
    let room = Room::of(app, (width, height), shows);
    let rows_a_line = if ramp.is_some() { 2 } else { 1 };
    app.values.map_room = [room.map.max(1) * rows_a_line, heat::columns(width)];
    app.values.number_room = [room.numbers as u64, numbers::columns(width) as u64];
    if let Some(list) = &mut app.values.list {
        list.show(room.norms);
    }
    let mut view = View { app, width, room, shows, theme, ramp, lines: Vec::new(), map: None };
    view.fill();
    let View { lines, map, .. } = view;
    let foot = match shows {
        Shows::Plain => String::new(),
        Shows::Map | Shows::Vector => cursor_words(app),
        Shows::Norms => norms::cursor_words(app),
    };
    let block = if foot.is_empty() { block } else { block.title_bottom(Line::from(foot).right_aligned()) };
    let lines: Vec<Line<'_>> = lines.into_iter().take(height).map(indented).collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block), area);
    map.map_or_else(Drawn::default, |map| map.on(inner))
}

fn indented(mut line: Line<'static>) -> Line<'static> {
    line.spans.insert(0, Span::raw(" "));
    line
}

/// The place of the cursor and the value there.
fn cursor_words(app: &App) -> String {
    let [row, column] = app.values.view.cursor;
    let value = app.values.under_cursor().map_or_else(|| "…".into(), units::value);
    let row = if app.values.vector().is_some() { String::new() } else { format!("{row}, ") };
    format!(" cursor [{row}{column}] = {value} ")
}

/// What shows below the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// The histogram, the map and what is to be said of it.
    Plain,
    /// The map and the numbers at its cursor.
    Map,
    /// The numbers of a vector.
    Vector,
    /// The list of norms.
    Norms,
}

impl Shows {
    fn of(app: &App) -> Self {
        let values = &app.values;
        let has_map = values.figures().is_some_and(|figures| figures.map_values().is_some());
        match app.focus {
            _ if values.list.is_some() => Self::Norms,
            Focus::Side if values.vector().is_some() => Self::Vector,
            Focus::Side if has_map => Self::Map,
            _ => Self::Plain,
        }
    }
}

/// Lines that each section has.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    has_figures: bool,
    is_airy: bool,
    bars: usize,
    map: usize,
    numbers: usize,
    norms: usize,
    tail: usize,
}

impl Room {
    fn of(app: &App, (width, height): (usize, usize), shows: Shows) -> Self {
        let Some(figures) = app.values.figures() else { return Self::default() };
        let is_airy = height >= AIRY;
        let gap = usize::from(is_airy);
        let head = facts::head_height(figures, width) + gap;
        let middle = facts::height(width) + gap;
        // The map and the histogram have a heading and an axis, numbers two lines above them.
        let around = heat::lines_around(width);
        let without_map = |least: usize| {
            let has_figures = height >= head + middle + least;
            (has_figures, height.saturating_sub(head + if has_figures { middle } else { 0 }))
        };
        if shows == Shows::Norms {
            let (has_figures, left) = without_map(2 + 6);
            return Self { has_figures, is_airy, norms: left.saturating_sub(2), ..Self::default() };
        }
        if shows == Shows::Vector {
            let (has_figures, left) = without_map(2 + 4);
            let bars = if left >= 20 { 6 } else { 0 };
            let taken = 2 + if bars > 0 { bars + 2 + gap } else { 0 };
            let numbers = left.saturating_sub(taken);
            return Self { has_figures, is_airy, bars, numbers, ..Self::default() };
        }
        if shows == Shows::Map {
            let has_figures = height >= head + middle + 16;
            let left = height.saturating_sub(head + if has_figures { middle } else { 0 });
            let numbers = (left / 4).clamp(1, 7);
            return Self {
                has_figures,
                is_airy,
                numbers,
                map: left.saturating_sub(around + gap + 2 + numbers),
                ..Self::default()
            };
        }
        let left = height.saturating_sub(head + middle);
        let tail = facts::tail(figures, width).len().min(left.saturating_sub(5));
        let tail_lines = if tail > 0 { tail + gap } else { 0 };
        let both = left.saturating_sub(2 + tail_lines);
        let has_map = figures.map_values().is_some();
        if has_map && both >= 3 + gap + around + 3 {
            let shared = both - gap - around;
            let bars = (shared * 9 / 20).clamp(3, 10);
            return Self { has_figures: true, is_airy, bars, map: shared - bars, tail, ..Self::default() };
        }
        let has_hint = has_map || app.values.vector().is_some();
        let bars = both.saturating_sub(usize::from(has_hint)).clamp(1, 14);
        Self { has_figures: true, is_airy, bars, tail, ..Self::default() }
    }
}

/// The tab in the making.
struct View<'a> {
    app: &'a App,
    width: usize,
    room: Room,
    shows: Shows,
    theme: &'a Theme,
    ramp: Option<Ramp>,
    lines: Vec<Line<'static>>,
    map: Option<heat::Place>,
}

impl View<'_> {
    fn fill(&mut self) {
        match self.app.values_looked() {
            Looked::Nothing(why) => self.words(Role::Muted, why),
            Looked::Failed(why) => {
                self.title();
                self.gap(true);
                self.words(Role::Error, "✗ These values cannot be read");
                self.words(Role::Text, &escape(why));
                self.gap(true);
                self.words(Role::Muted, "1 shows what the row is made of, d what is wrong with it.");
            }
            Looked::Reading(None) => {
                self.title();
                let is_known = self.app.ready().is_some_and(|ready| ready.checkpoint.examined);
                self.words(Role::Muted, if is_known { "…" } else { "reading quant states" });
            }
            Looked::Stopped(None) => {
                self.title();
                self.words(Role::Muted, "stopped before any was read; x reads on");
            }
            Looked::Reading(Some(figures)) => self.page(figures, Progress::Reading),
            Looked::Stopped(Some(figures)) => self.page(figures, Progress::Stopped),
            Looked::Seen(figures) => self.page(figures, Progress::Read),
        }
    }

    fn page(&mut self, figures: &Figures, progress: Progress) {
        let room = self.room;
        self.lines.extend(facts::head(figures, progress, self.width, self.theme));
        self.gap(room.is_airy);
        if room.has_figures {
            self.lines.extend(facts::lines(figures, self.width, self.theme));
            self.gap(room.is_airy);
        }
        if room.bars > 0 {
            let scale = (room.bars, self.app.values.is_log);
            self.lines.extend(histogram::lines(figures, self.width, scale, self.theme));
        }
        if self.shows == Shows::Norms {
            let lines = norms::lines(self.app, figures, (self.width, room.norms), self.theme);
            // Below a heading and the names of columns.
            let (line, lines_of_list) = (self.lines.len() + 2, lines.len().saturating_sub(2));
            let list =
                heat::Place { line, lines: lines_of_list, label: 0, columns: self.width, cell: 1, rows: 1 };
            self.map = Some(list).filter(|list| list.lines > 0);
            self.lines.extend(lines);
            return;
        }
        let on_map = self.shows == Shows::Map;
        if room.map > 0 {
            self.gap(room.is_airy && !on_map);
            self.heat(figures);
        } else if let Some(words) = self.hint(figures) {
            self.lines.push(Line::from(Span::styled(words, self.theme.style(Role::Muted))));
        }
        if self.shows != Shows::Plain {
            self.gap(room.is_airy && (on_map || room.bars > 0));
            let shown = numbers::lines(self.app, self.width, room.numbers, self.theme);
            self.lines.extend(shown);
        } else if room.tail > 0 {
            self.gap(room.is_airy);
            for (name, words) in facts::tail(figures, self.width).into_iter().take(room.tail) {
                let cells = self.width.saturating_sub(facts::NAME);
                let words = if words.width() > cells { cut_end(&words, cells) } else { words };
                self.lines.push(Line::from(vec![
                    Span::styled(
                        format!("{name:<width$}", width = facts::NAME),
                        self.theme.style(Role::Muted),
                    ),
                    Span::styled(words, self.theme.style(Role::Text)),
                ]));
            }
        }
    }

    /// How what has no room here is seen.
    fn hint(&self, figures: &Figures) -> Option<&'static str> {
        match (figures.map_values(), self.app.values.vector()) {
            _ if self.shows != Shows::Plain => None,
            (Some(_), _) => Some("map and numbers: Tab, over the whole width z"),
            (None, Some(_)) => Some("numbers: Tab, over the whole width z"),
            (None, None) => None,
        }
    }

    fn heat(&mut self, figures: &Figures) {
        let above = self.lines.len();
        let marked = (self.shows == Shows::Map).then_some(self.app.values.view.cursor);
        let heat = heat::Heat {
            app: self.app,
            figures,
            width: self.width,
            room: self.room.map,
            marked,
            theme: self.theme,
            ramp: self.ramp.as_ref(),
        };
        let Some((lines, place)) = heat.lines() else { return };
        self.lines.extend(lines);
        self.map = Some(heat::Place { line: place.line + above, ..place });
    }

    /// The name of the row, before anything is known of its values.
    fn title(&mut self) {
        let Some(ready) = self.app.ready() else { return };
        let Some(row) = ready.tree.current() else { return };
        let name = match ready.layer().filter(|_| self.app.values_of_row().is_ok()) {
            Some(layer) if matches!(row.kind, crate::checkpoint::tree::RowKind::Layer(_)) => {
                ready.checkpoint.layers.name(&ready.files().names, layer)
            }
            _ => ready.files().names.name(row.node),
        };
        let name = cut_middle(&escape(&name), self.width).into_owned();
        self.lines.push(Line::from(Span::styled(name, self.theme.style(Role::Heading))));
    }

    fn words(&mut self, role: Role, words: &str) {
        let style = self.theme.style(role);
        self.lines
            .extend(wrap(words, self.width).into_iter().map(|line| Line::from(Span::styled(line, style))));
    }

    fn gap(&mut self, is_wanted: bool) {
        if is_wanted {
            self.lines.push(Line::default());
        }
    }
}

/// How far reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Reading,
    Stopped,
    Read,
}

/// Returns the first cells of a text, with a mark that it goes on.
fn cut_end(text: &str, cells: usize) -> String {
    let mut cut = String::new();
    for c in text.chars() {
        if cut.width() + 1 >= cells {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}
