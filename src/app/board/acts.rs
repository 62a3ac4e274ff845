//! What keys and clicks do on the board.

use std::sync::Arc;

use super::{Order, Show};
use crate::app::attach::{AttachState, has_adapter};
use crate::app::{App, Effect, Overlay, Tab};
use crate::name::escape;

impl App {
    /// Returns true if the board shows.
    #[must_use]
    pub fn is_on_board(&self) -> bool {
        self.tab == Tab::Adapter && self.board().is_some()
    }

    pub(in crate::app) fn click_board(&mut self, row: usize) -> Vec<Effect> {
        if let Some(board) = self.board_mut() {
            if board.cursor == row && !board.is_reading {
                board.enter();
            } else {
                board.is_reading = false;
                board.move_to(row, 1);
            }
        }
        Vec::new()
    }

    pub(in crate::app) fn states_key(&mut self, at: usize, key: &str) -> Vec<Effect> {
        let last = Show::ALL.len() - 1;
        match key {
            "esc" | "q" | "f" => {}
            "j" | "down" => self.overlay = Some(Overlay::StatesMenu((at + 1).min(last))),
            "k" | "up" => self.overlay = Some(Overlay::StatesMenu(at.saturating_sub(1))),
            "enter" => {
                if let Some(board) = self.board_mut() {
                    board.set_show(Show::ALL[at.min(last)]);
                }
            }
            _ => self.overlay = Some(Overlay::StatesMenu(at)),
        }
        Vec::new()
    }

    pub(in crate::app) fn order_key(&mut self, at: usize, key: &str) -> Vec<Effect> {
        let last = Order::ALL.len() - 1;
        match key {
            "esc" | "q" | "s" => {}
            "j" | "down" => self.overlay = Some(Overlay::OrderMenu((at + 1).min(last))),
            "k" | "up" => self.overlay = Some(Overlay::OrderMenu(at.saturating_sub(1))),
            "enter" => {
                if let Some(board) = self.board_mut() {
                    board.set_order(Order::ALL[at.min(last)]);
                }
            }
            _ => self.overlay = Some(Overlay::OrderMenu(at)),
        }
        Vec::new()
    }

    /// Takes a step back on the board: to its rows, to all of them, or to the tree on the layer of the row.
    pub(in crate::app) fn back_on_board(&mut self) {
        let Some(board) = self.board_mut() else { return };
        if board.back() {
            return;
        }
        let layer = board.row().and_then(|row| board.module_of(row)).and_then(|module| module.layer);
        if let (Some(layer), Some(ready)) = (layer, self.ready_mut()) {
            let checkpoint = Arc::clone(&ready.checkpoint);
            let name = checkpoint.layers.name(&checkpoint.files.names, layer);
            if let Some(node) = ready.tree.find(&checkpoint, &name) {
                ready.tree.select_node(&checkpoint, node);
            }
        }
        self.show(Tab::Detail);
    }
}

/// Opens the menu of what the board shows.
pub(in crate::app) fn choose(app: &mut App) -> Vec<Effect> {
    let show = app.board().map_or(Show::All, |board| board.show);
    let at = Show::ALL.iter().position(|choice| *choice == show).unwrap_or(0);
    app.overlay = Some(Overlay::StatesMenu(at));
    Vec::new()
}

/// Opens the menu of orders.
pub(in crate::app) fn choose_order(app: &mut App) -> Vec<Effect> {
    let order = app.board().map_or(Order::State, |board| board.order);
    let at = Order::ALL.iter().position(|choice| *choice == order).unwrap_or(0);
    app.overlay = Some(Overlay::OrderMenu(at));
    Vec::new()
}

pub(in crate::app) fn next(app: &mut App, is_forward: bool) -> Vec<Effect> {
    if app.board_mut().is_some_and(|board| !board.next_odd(is_forward)) {
        app.toast = Some("every module that shows is aligned".into());
    }
    Vec::new()
}

pub(in crate::app) fn needs_board(app: &App) -> Result<(), String> {
    has_adapter(app)?;
    if app.is_on_board() {
        return Ok(());
    }
    let why = match app.attached().map(|attached| &attached.state) {
        Some(AttachState::Ready(_)) => "only on the adapter board (4)".into(),
        Some(AttachState::Failed(error)) => escape(&error.message).into_owned(),
        Some(AttachState::Aligning) => "the adapter is still being aligned".into(),
        None => "this is an adapter itself: o opens its base, a chooses it".into(),
    };
    Err(why)
}
