//! Walking: what keys do that move through rows, panes and tabs; what they mean depends on the tab.

use std::sync::Arc;

use tui_input::Input;

use super::super::picker::Picker;
use super::super::{App, Effect, Focus, Overlay, Ready, Tab, board, jobs, values};
use crate::checkpoint::tree::{Mode, Sort};

/// Runs `change` on the checkpoint that is shown.
fn with(app: &mut App, change: impl FnOnce(&mut Ready)) -> Vec<Effect> {
    if let Some(ready) = app.ready_mut() {
        change(ready);
    }
    Vec::new()
}

pub(super) fn step(app: &mut App, by: isize) -> Vec<Effect> {
    if app.step_beside([by, 0]) {
        return Vec::new();
    }
    let (tab, focus) = (app.tab, app.focus);
    if tab == Tab::Jobs {
        app.jobs.step(by);
        return Vec::new();
    }
    if tab == Tab::Gpu {
        app.step_gpu(by);
        return Vec::new();
    }
    if values::norms::on_norms(app) {
        return app.step_norms(by);
    }
    if is_on_map(app) {
        return app.step_on_map([by, 0]);
    }
    if let Some(board) = app.board_mut().filter(|_| tab == Tab::Adapter) {
        board.step(by);
        return Vec::new();
    }
    if tab == Tab::Findings {
        if let Some(findings) = app.findings_mut() {
            findings.step(by);
        }
        return Vec::new();
    }
    if tab == Tab::Memory {
        app.step_task(by);
        return Vec::new();
    }
    with(app, |ready| match (tab, focus) {
        (Tab::Detail, Focus::Tree) | (Tab::Values, _) => {
            ready.tree.move_cursor(by);
            ready.detail_top = 0;
        }
        (Tab::Detail, Focus::Side) => ready.detail_top = ready.detail_top.saturating_add_signed(by),
        _ => ready.tab_top = ready.tab_top.saturating_add_signed(by),
    })
}

pub(super) fn half_page(app: &mut App, direction: isize) -> Vec<Effect> {
    if app.page_beside(direction) {
        return Vec::new();
    }
    let rows = (app.page_rows / 2).max(1) as isize;
    if is_on_map(app) {
        let values = &app.values;
        let lines =
            if values.vector().is_some() { values.number_room[0] as usize } else { values.map_room[0] };
        return app.step_on_map([(lines / 2).max(1) as isize * direction, 0]);
    }
    if app.tab == Tab::Gpu {
        app.gpus.top = app.gpus.top.saturating_add_signed(rows * direction);
        return Vec::new();
    }
    if app.tab == Tab::Memory {
        // Where it ends the view knows; it stops there.
        return with(app, |ready| ready.tab_top = ready.tab_top.saturating_add_signed(rows * direction));
    }
    step(app, rows * direction)
}

/// The map of values has the keys that move, or the numbers of a vector.
fn is_on_map(app: &App) -> bool {
    let values = &app.values;
    let has_cursor = values.sides().is_some() || values.vector().is_some();
    app.tab == Tab::Values && app.focus == Focus::Side && values.list.is_none() && has_cursor
}

/// Goes to the first row.
pub(in crate::app) fn first(app: &mut App) -> Vec<Effect> {
    step(app, -isize::MAX)
}

pub(super) fn last(app: &mut App) -> Vec<Effect> {
    let is_list = matches!(app.tab, Tab::Findings | Tab::Jobs | Tab::Memory | Tab::Gpu) || app.is_on_board();
    let is_text = app.focus == Focus::Side && !is_list && app.tab != Tab::Values;
    // Texts end at their last line; the view stops there, but a huge top would be stuck.
    step(app, if is_text { 1000 } else { isize::MAX })
}

pub(super) fn expand(app: &mut App) -> Vec<Effect> {
    if app.step_beside([0, 1]) {
        return Vec::new();
    }
    if app.tab == Tab::Findings {
        return app.enter_finding();
    }
    if is_on_map(app) {
        return app.step_on_map([0, 1]);
    }
    if app.focus == Focus::Side {
        return Vec::new();
    }
    with(app, |ready| {
        let checkpoint = Arc::clone(&ready.checkpoint);
        let row = ready.tree.cursor();
        ready.tree.open(&checkpoint, row);
    })
}

pub(super) fn collapse(app: &mut App) -> Vec<Effect> {
    if app.step_beside([0, -1]) {
        return Vec::new();
    }
    if app.tab == Tab::Findings {
        leave_finding(app);
        return Vec::new();
    }
    if is_on_map(app) {
        return app.step_on_map([0, -1]);
    }
    if app.focus == Focus::Side {
        app.focus = Focus::Tree;
        return Vec::new();
    }
    with(app, |ready| {
        let checkpoint = Arc::clone(&ready.checkpoint);
        ready.tree.close_or_parent(&checkpoint);
    })
}

pub(super) fn enter(app: &mut App) -> Vec<Effect> {
    match (app.tab, app.focus) {
        (Tab::Findings, _) => app.enter_on_finding(),
        (Tab::Adapter, _) => {
            app.board_mut().map(board::Board::enter);
            Vec::new()
        }
        (Tab::Jobs, _) => match jobs::can_open_result(app) {
            Ok(()) => jobs::open_result(app),
            Err(why) => {
                app.toast = Some(why);
                Vec::new()
            }
        },
        (Tab::Values, Focus::Side) if app.values.list.is_some() => values::norms::to_map(app),
        (Tab::Values, Focus::Side) => values::zoom_in(app),
        (Tab::Detail | Tab::Values, Focus::Tree) => {
            let opened = app.ready_mut().is_some_and(|ready| {
                let checkpoint = Arc::clone(&ready.checkpoint);
                let row = ready.tree.cursor();
                ready.tree.open(&checkpoint, row)
            });
            if !opened && app.tab == Tab::Values {
                return app.enter_map();
            }
            if !opened {
                app.focus = Focus::Side;
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Goes from a finding back to the list; returns false if the list had the focus.
fn leave_finding(app: &mut App) -> bool {
    app.findings_mut().is_some_and(|findings| findings.item.take().is_some())
}

pub(super) fn filter(app: &mut App) -> Vec<Effect> {
    if app.tab != Tab::Values {
        app.show(Tab::Detail);
    }
    app.focus = Focus::Tree;
    let text = app.ready().and_then(|ready| ready.tree.filter()).map(|f| f.text().to_owned());
    app.filter_input = Some(Input::new(text.unwrap_or_default()));
    Vec::new()
}

pub(super) fn tensors(app: &mut App) -> Vec<Effect> {
    if app.tab != Tab::Values {
        app.show(Tab::Detail);
    }
    with(app, |ready| {
        let checkpoint = Arc::clone(&ready.checkpoint);
        let mode = match ready.tree.mode() {
            Mode::Layers => Mode::Tensors,
            Mode::Tensors => Mode::Layers,
        };
        ready.tree.set_mode(&checkpoint, mode);
    })
}

pub(super) fn unfold(app: &mut App) -> Vec<Effect> {
    with(app, |ready| {
        let checkpoint = Arc::clone(&ready.checkpoint);
        let row = ready.tree.cursor();
        ready.tree.toggle_unfold(&checkpoint, row);
    })
}

pub(super) fn sort(app: &mut App) -> Vec<Effect> {
    if app.is_on_board() {
        return board::choose_order(app);
    }
    if values::norms::on_norms(app) {
        return values::norms::choose_order(app);
    }
    let at = app.ready().map_or(0, |r| Sort::ALL.iter().position(|s| *s == r.tree.sort()).unwrap_or(0));
    app.overlay = Some(Overlay::SortMenu(at));
    Vec::new()
}

pub(super) fn next(app: &mut App, forward: bool) -> Vec<Effect> {
    if matches!(app.tab, Tab::Findings | Tab::Jobs | Tab::Gpu) {
        return step(app, if forward { 1 } else { -1 });
    }
    if app.is_on_board() {
        return board::next(app, forward);
    }
    let Some(ready) = app.ready_mut() else { return Vec::new() };
    let checkpoint = Arc::clone(&ready.checkpoint);
    let from = ready.tree.cursor();
    ready.detail_top = 0;
    if ready.tree.next_marked(&checkpoint, from, forward).is_none() {
        app.toast = Some("nothing stands out: no problem, no odd layer".into());
    }
    Vec::new()
}

pub(super) fn show(app: &mut App, tab: Tab) -> Vec<Effect> {
    // A second press does nothing: on the map the cursor stays there.
    if app.tab != tab || tab != Tab::Values {
        app.show(tab);
    }
    Vec::new()
}

pub(super) fn other_pane(app: &mut App) -> Vec<Effect> {
    if app.tab == Tab::Findings && !leave_finding(app) {
        return app.enter_finding();
    }
    if app.tab == Tab::Values && app.focus == Focus::Tree {
        return app.enter_map();
    }
    if app.tab.is_beside_tree() && app.beside().is_none() {
        app.focus = if app.focus == Focus::Tree { Focus::Side } else { Focus::Tree };
    }
    Vec::new()
}

/// Opens the picker.
pub(in crate::app) fn open(app: &mut App) -> Vec<Effect> {
    let is_first = app.opens.is_empty();
    app.overlay = Some(Overlay::Picker(Box::new(Picker { is_first, ..Picker::default() })));
    vec![Effect::FindPlaces]
}

pub(super) fn turn(app: &mut App, by: isize) -> Vec<Effect> {
    let count = app.opens.len() as isize;
    app.current = (app.current as isize + by).rem_euclid(count.max(1)) as usize;
    Vec::new()
}

pub(super) fn wide(app: &mut App) -> Vec<Effect> {
    app.is_wide = !app.is_wide;
    if app.is_wide && app.tab == Tab::Values {
        app.focus = Focus::Side;
    }
    Vec::new()
}

pub(super) fn reload(app: &mut App) -> Vec<Effect> {
    let Some(open) = app.opens.get(app.current) else { return Vec::new() };
    app.toast = Some("read again".into());
    vec![Effect::Open(open.id, open.path.clone())]
}

pub(super) fn back(app: &mut App) -> Vec<Effect> {
    let is_filtered = app.ready().is_some_and(|ready| ready.tree.filter().is_some());
    if app.tab == Tab::Findings && leave_finding(app) || app.return_from_jump() {
        return Vec::new();
    }
    if app.is_on_board() {
        app.back_on_board();
    } else if app.leave_number() {
        // The tasks have the focus again.
    } else if app.tab == Tab::Values && app.values.list.is_some() {
        return values::norms::leave(app);
    } else if app.tab == Tab::Values && app.focus == Focus::Side {
        app.focus = Focus::Tree;
    } else if app.tab != Tab::Detail || app.focus == Focus::Side {
        app.show(Tab::Detail);
    } else if is_filtered {
        app.set_filter("");
    } else {
        app.toast = Some("q quits".into());
    }
    Vec::new()
}
