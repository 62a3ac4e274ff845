//! Moves: along the cells of a strip, and to what differs.

use std::sync::Arc;

use super::figures::Cell;
use super::{App, Effect};
use crate::app::Focus;
use crate::checkpoint::tree::{Expand, RowKind};

/// Two are compared, and the tree has the focus.
pub(super) fn in_tree(app: &App) -> bool {
    app.focus == Focus::Tree && super::on_screen(app)
}

/// The row under the cursor has a strip of several cells.
pub(in crate::app) fn is_on_strip(app: &App) -> bool {
    if !in_tree(app) {
        return false;
    }
    let Some(ready) = app.ready() else { return false };
    let row = ready.tree.cursor();
    let is_layer = ready.tree.current().is_some_and(|row| matches!(row.kind, RowKind::Layer(_)));
    is_layer
        && ready.tree.describe(&ready.checkpoint, row).expand == Expand::Leaf
        && app.row_layers(row).len() > 1
}

/// The cells of the row under the cursor are walked.
pub(in crate::app) fn is_walking(app: &App) -> bool {
    in_tree(app) && app.walked_cell().is_some()
}

/// Goes to the next cell, or to the first.
pub(in crate::app) fn next_cell(app: &mut App) -> Vec<Effect> {
    let place = app.walked_cell().map_or(0, |place| place + 1);
    step(app, place)
}

/// Goes to the cell before; it stays in the strip.
pub(in crate::app) fn previous_cell(app: &mut App) -> Vec<Effect> {
    let place = app.walked_cell().map_or(0, |place| place.saturating_sub(1));
    step(app, place)
}

fn step(app: &mut App, place: usize) -> Vec<Effect> {
    let Some(ready) = app.ready() else { return Vec::new() };
    let Some(row) = ready.tree.current() else { return Vec::new() };
    let last = app.row_layers(ready.tree.cursor()).len().saturating_sub(1);
    if let Some(compare) = app.compare_mut() {
        compare.walk = Some((row.node, place.min(last)));
    }
    if let Some(ready) = app.ready_mut() {
        ready.detail_top = 0;
    }
    Vec::new()
}

/// Goes to the next row that differs.
pub(in crate::app) fn next_differing(app: &mut App) -> Vec<Effect> {
    to_differing(app, true)
}

/// Goes to the row before that differs.
pub(in crate::app) fn previous_differing(app: &mut App) -> Vec<Effect> {
    to_differing(app, false)
}

fn to_differing(app: &mut App, forward: bool) -> Vec<Effect> {
    let Some(compare) = app.compare() else { return Vec::new() };
    let cells = (0..compare.facts.as_ref().map_or(0, |facts| facts.of[0].layers.len()) as u32)
        .map(|layer| compare.table.cell(layer));
    let differs: Vec<bool> = cells.map(Cell::differs).collect();
    let waiting = compare.table.whole().waiting();
    let Some(ready) = app.ready_mut() else { return Vec::new() };
    let checkpoint = Arc::clone(&ready.checkpoint);
    ready.detail_top = 0;
    let is_wanted = |layer: u32| differs.get(layer as usize).is_some_and(|differs| *differs);
    if ready.tree.next_of(&checkpoint, forward, is_wanted).is_none() {
        app.toast = Some(match waiting {
            0 => "no layer differs".to_owned(),
            _ => "no layer that was compared so far differs".to_owned(),
        });
    }
    Vec::new()
}
