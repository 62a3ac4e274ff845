//! The screen: one function draws it from the app; one file a view. Reads no file, clock or device.
//!
//! Row 1 says what this is, the panes show it, the last two rows are the machine and what can be done now.
//! Views draw with full colors and glyphs; the degrade pass over the finished buffer fits them to the
//! terminal.

pub mod adapter;
pub mod board;
pub mod command_line;
pub mod compare;
pub mod degrade;
pub mod detail;
pub mod error;
pub mod findings;
pub mod form;
pub mod gauge_bar;
pub mod gpu;
pub mod header;
pub mod jobs;
pub mod matrix;
pub mod memory;
pub mod overlay;
mod page;
pub mod pane;
pub mod picker;
pub mod picture;
pub mod plan;
mod spark;
pub mod theme;
pub mod tree;
pub mod values;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use crate::app::{App, Focus, OpenState, Overlay, Tab};
use degrade::Degrade;
use gauge_bar::GaugeBar;
use theme::{Role, Theme};

/// The smallest screen on which the workbench is drawn.
const WIDTH_MIN: u16 = 40;
/// See `WIDTH_MIN`.
const HEIGHT_MIN: u16 = 10;
/// Below this width one pane shows at a time.
const TWO_PANES_MIN: u16 = 60;

/// What the screen remembers between frames: scroll state of the tree widget, and where things were drawn.
#[derive(Default)]
pub struct Scroll {
    /// State of the tree pane.
    pub tree: tree::TreePane,
    /// The pane of the tab, as drawn last.
    pub side: Rect,
    /// Where each tab's name was drawn.
    pub tabs: Vec<(Rect, Tab)>,
    /// Screen lines of the picker's places, with their place among those shown.
    pub places: Vec<(u16, usize)>,
    /// Screen lines of the form's fields, with their row in the table.
    pub fields: Vec<(u16, usize)>,
    /// Screen lines of the board's rows, with their place.
    pub board: Vec<(u16, usize)>,
    /// Screen lines of the findings, with their row.
    pub findings: Vec<(u16, usize)>,
    /// Screen lines of the jobs, with their row.
    pub jobs: Vec<(u16, usize)>,
    /// Screen lines of the GPUs, with their row.
    pub gpus: Vec<(u16, usize)>,
    /// Where the map of values was drawn.
    pub map: values::Drawn,
    /// True while the border between the panes is held.
    pub is_dragging: bool,
}

/// How to draw.
pub struct Look<'a> {
    /// Styles by meaning.
    pub theme: &'a Theme,
    /// What the terminal can show.
    pub degrade: Degrade,
}

/// Draws the app.
pub fn draw(frame: &mut Frame<'_>, app: &mut App, scroll: &mut Scroll, look: &Look<'_>) {
    let area = frame.area();
    scroll.tabs.clear();
    scroll.places.clear();
    scroll.fields.clear();
    scroll.jobs.clear();
    scroll.gpus.clear();
    scroll.board.clear();
    scroll.findings.clear();
    scroll.map = values::Drawn::default();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        too_small(frame, app, look.theme);
    } else {
        let rows = [Constraint::Length(1), Constraint::Min(1), Constraint::Length(1), Constraint::Length(1)];
        let [top, main, gauges, foot] = Layout::vertical(rows).areas(area);
        header::draw(frame, top, app, look.theme);
        body(frame, main, app, scroll, look);
        let bar = GaugeBar { sample: app.sample.as_ref(), job: jobs::summary(app), theme: look.theme };
        bar.render(gauges, frame.buffer_mut());
        header::footer(frame, foot, app, look.theme);
        overlay::draw(frame, main, app, look.theme);
    }
    degrade::apply(frame.buffer_mut(), look.degrade);
}

fn body(frame: &mut Frame<'_>, area: Rect, app: &mut App, scroll: &mut Scroll, look: &Look<'_>) {
    let theme = look.theme;
    scroll.tree.area = Rect::default();
    scroll.side = Rect::default();
    if let Some(Overlay::Picker(picker)) = &app.overlay {
        scroll.places = picker::draw(frame, area, picker, theme);
        return;
    }
    if app.is_form_open {
        form::draw(frame, area, app, scroll, theme);
        return;
    }
    let Some(open) = app.opens.get(app.current) else { return };
    match &open.state {
        // Jobs and GPUs are not of one checkpoint.
        _ if app.tab.is_of_all() => panes(frame, area, app, scroll, look),
        OpenState::Opening(progress) => overlay::opening(frame, area, progress, theme),
        OpenState::Failed(error) => overlay::failed(frame, area, error, theme),
        OpenState::Ready(ready)
            if ready.files().shards.iter().all(|s| s.unreadable) && app.tab != Tab::Findings =>
        {
            overlay::unreadable(frame, area, (ready, &open.findings), theme);
        }
        OpenState::Ready(_) => panes(frame, area, app, scroll, look),
    }
}

fn panes(frame: &mut Frame<'_>, area: Rect, app: &mut App, scroll: &mut Scroll, look: &Look<'_>) {
    let theme = look.theme;
    if app.beside().is_some() {
        return compare::beside::draw(frame, area, app, theme);
    }
    let is_narrow = area.width < TWO_PANES_MIN;
    let (mut shows_tree, mut shows_side) = (app.shows_tree(), app.shows_side());
    if is_narrow && shows_tree && shows_side {
        // Values are looked at while the rows go by: what shows is them.
        shows_tree = app.focus == Focus::Tree && app.tab != Tab::Values;
        shows_side = !shows_tree;
    }
    let (left, right) = match (shows_tree, shows_side) {
        (true, true) => {
            let width = u32::from(area.width) * u32::from(compare::tree_percent(app, area.width)) / 100;
            let [left, right] =
                Layout::horizontal([Constraint::Length(width as u16), Constraint::Min(20)]).areas(area);
            (Some(left), Some(right))
        }
        (true, false) => (Some(area), None),
        _ => (None, Some(area)),
    };
    if let Some(left) = left {
        app.page_rows = usize::from(left.height.saturating_sub(2));
        tree::draw(frame, left, app, &mut scroll.tree, theme);
    }
    let Some(right) = right else { return };
    if left.is_none() {
        app.page_rows = usize::from(right.height.saturating_sub(2));
    }
    scroll.side = right;
    let (block, tabs) = pane::tab_block(right, app, theme);
    scroll.tabs = tabs;
    match app.tab {
        Tab::Detail => detail::draw(frame, right, block, app, theme),
        Tab::Values => scroll.map = values::draw(frame, right, block, app, look),
        Tab::Findings => scroll.findings = findings::draw(frame, right, block, app, theme),
        Tab::Adapter if app.attached().is_some() => {
            scroll.board = board::draw(frame, right, block, app, theme);
        }
        Tab::Adapter => adapter::draw(frame, right, block, app, theme),
        Tab::Memory => memory::draw(frame, right, block, app, theme),
        Tab::Jobs => scroll.jobs = jobs::draw(frame, right, block, app, theme),
        Tab::Gpu => scroll.gpus = gpu::draw(frame, right, block, app, theme),
    }
}

/// What fits into a screen that is too small for the workbench.
fn too_small(frame: &mut Frame<'_>, app: &App, theme: &Theme) {
    let area = frame.area();
    let mut lines =
        vec![Line::from(format!("ckpt needs {WIDTH_MIN}x{HEIGHT_MIN}, has {}x{}", area.width, area.height))];
    lines.extend(header::facts(app, false).into_iter().map(|fact| Line::from(format!(" {fact}"))));
    // What is wrong and the way out are never crowded out.
    let kept = 2 + u16::from(app.jobs.running().is_some());
    lines.truncate(usize::from(area.height.saturating_sub(kept)).max(1));
    if let Some(job) = app.jobs.running() {
        lines.push(Line::from(format!(" {}", job.at())));
    }
    let mut verdict = header::verdict(app, false, theme);
    verdict.insert(0, Span::raw(" "));
    lines.push(Line::from(verdict));
    lines.push(Line::from(vec![Span::styled(" q", theme.style(Role::Key)), Span::raw(" quit")]));
    for (row, line) in lines.into_iter().take(usize::from(area.height)).enumerate() {
        let at = Rect { y: area.y + row as u16, height: 1, ..area };
        frame.render_widget(line, at);
    }
}
