//! The list of the norms of all rows or columns: its order, and where the cursor is.

use super::super::{App, Effect, Focus, Overlay};
use super::Key;
use crate::stats::summary::Axis;

/// The orders of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormOrder {
    /// The largest norm first.
    #[default]
    Largest,
    /// The least norm first: rows and columns of zeros.
    Least,
    /// As they stand.
    Index,
}

impl NormOrder {
    /// All of them, in the order of the menu.
    pub const ALL: [Self; 3] = [Self::Largest, Self::Least, Self::Index];

    /// Returns what it is called.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Largest => "the largest first",
            Self::Least => "the least first",
            Self::Index => "by index",
        }
    }
}

/// The list, while it shows.
#[derive(Debug, Default)]
pub struct NormList {
    /// Of rows or of columns.
    pub axis: Axis,
    /// Its order.
    pub order: NormOrder,
    /// The place of the cursor in that order.
    pub cursor: usize,
    /// The place of the first that shows, at the last frame.
    pub top: usize,
    /// The sum of the squares of all norms, and the largest norm.
    pub energy: f64,
    /// See `energy`.
    pub most: f64,
    /// Indices of rows or columns, in that order: of what was asked for by the key.
    sorted: Vec<u32>,
    made_of: Option<(Key, Axis, NormOrder)>,
}

impl NormList {
    /// Returns the indices of rows or columns in the order of the list; empty until they are read.
    #[must_use]
    pub fn sorted(&self) -> &[u32] {
        &self.sorted
    }

    /// Returns the index of the row or column under the cursor.
    #[must_use]
    pub fn current(&self) -> Option<u32> {
        self.sorted.get(self.cursor).copied()
    }

    /// Sets which show, where there is room for so many: the cursor in their middle.
    pub fn show(&mut self, room: usize) {
        let last = self.sorted.len().saturating_sub(room);
        self.top = self.cursor.saturating_sub(room.saturating_sub(1) / 2).min(last);
    }

    fn step(&mut self, by: isize) {
        self.cursor = self.cursor.saturating_add_signed(by).min(self.sorted.len().saturating_sub(1));
    }

    /// Sorts norms.
    fn sort(&mut self, norms: &[f64]) {
        let mut sorted: Vec<u32> = (0..u32::try_from(norms.len()).unwrap_or(u32::MAX)).collect();
        let of = |at: &u32| norms.get(*at as usize).copied().unwrap_or(0.0);
        match self.order {
            NormOrder::Largest => sorted.sort_by(|a, b| of(b).total_cmp(&of(a))),
            NormOrder::Least => sorted.sort_by(|a, b| of(a).total_cmp(&of(b))),
            NormOrder::Index => {}
        }
        self.sorted = sorted;
        self.energy = norms.iter().map(|norm| norm * norm).sum();
        self.most = norms.iter().copied().fold(0.0, f64::max);
        self.step(0);
    }
}

impl App {
    /// Sorts the list anew where what it shows has changed.
    pub(super) fn tend_norms(&mut self) {
        let values = &mut self.values;
        let Some(mut list) = values.list.take() else { return };
        let norms = values.figures().and_then(|figures| figures.summary.sides.as_ref());
        let wanted = values.wanted.filter(|_| norms.is_some()).map(|key| (key, list.axis, list.order));
        if list.made_of != wanted {
            if list.made_of.map(|of| of.0) != wanted.map(|of| of.0) {
                list.cursor = 0;
            }
            list.sort(norms.map_or(&[], |sides| sides.norms(list.axis)));
            list.made_of = wanted;
        }
        values.list = Some(list);
    }

    /// Shows the norms of rows or columns.
    pub(super) fn show_norms(&mut self, axis: Axis) {
        let order = self.values.list.as_ref().map(|list| list.order).unwrap_or_default();
        self.values.list = Some(NormList { axis, order, ..NormList::default() });
        self.focus = Focus::Side;
    }

    /// Moves the cursor of the list.
    pub(in crate::app) fn step_norms(&mut self, by: isize) -> Vec<Effect> {
        if let Some(list) = &mut self.values.list {
            list.step(by);
        }
        Vec::new()
    }

    /// Marks a line of the list that shows; a second click goes to its place on the map.
    pub(super) fn click_norm(&mut self, line: usize) -> Vec<Effect> {
        self.focus = Focus::Side;
        let Some(list) = &mut self.values.list else { return Vec::new() };
        let place = list.top.saturating_add(line);
        if place == list.cursor {
            return to_map(self);
        }
        if place < list.sorted.len() {
            list.cursor = place;
        }
        Vec::new()
    }

    /// Takes a key for the menu of orders.
    pub(in crate::app) fn norm_order_key(&mut self, at: usize, key: &str) -> Vec<Effect> {
        let last = NormOrder::ALL.len() - 1;
        match key {
            "esc" | "q" | "s" => {}
            "j" | "down" => self.overlay = Some(Overlay::NormOrderMenu((at + 1).min(last))),
            "k" | "up" => self.overlay = Some(Overlay::NormOrderMenu(at.saturating_sub(1))),
            "enter" => {
                if let Some(list) = &mut self.values.list {
                    (list.order, list.cursor) = (NormOrder::ALL[at.min(last)], 0);
                }
            }
            _ => self.overlay = Some(Overlay::NormOrderMenu(at)),
        }
        Vec::new()
    }
}

/// The list has the focus.
pub(in crate::app) fn on_norms(app: &App) -> bool {
    super::in_values(app) && app.focus == Focus::Side && app.values.list.is_some()
}

/// The list shows, and the tree has the focus.
pub(in crate::app) fn beside_norms(app: &App) -> bool {
    super::in_values(app) && app.focus == Focus::Tree && app.values.list.is_some()
}

pub(in crate::app) fn shows_list(app: &App) -> Result<(), String> {
    super::needs_values(app)?;
    if app.values.list.is_some() { Ok(()) } else { Err("no norms are shown (f in Values)".into()) }
}

/// Opens the menu of orders.
pub(in crate::app) fn choose_order(app: &mut App) -> Vec<Effect> {
    let order = app.values.list.as_ref().map(|list| list.order).unwrap_or_default();
    let at = NormOrder::ALL.iter().position(|of| *of == order).unwrap_or(0);
    app.overlay = Some(Overlay::NormOrderMenu(at));
    Vec::new()
}

/// Goes from a row or column of the list to its place on the map.
pub(in crate::app) fn to_map(app: &mut App) -> Vec<Effect> {
    let Some(list) = app.values.list.take() else { return Vec::new() };
    if let Some(at) = list.current() {
        let axis = usize::from(list.axis == Axis::Columns);
        app.values.view.cursor[axis] = u64::from(at);
    }
    Vec::new()
}

/// Ends the list.
pub(in crate::app) fn leave(app: &mut App) -> Vec<Effect> {
    app.values.list = None;
    app.focus = Focus::Tree;
    Vec::new()
}

pub(in crate::app) fn has_list(app: &App) -> Result<(), String> {
    if on_norms(app) { Ok(()) } else { Err("only in the list of norms (f in Values)".into()) }
}
