//! Board: an adapter that is attached, as rows: what does not fit worst first, what fits folded, what is left over.
//!
//! Rows are made when the adapter is attached, and when another choice of them is to show; a frame reads those
//! that are on the screen.

mod acts;
mod show;
pub mod weighed;

use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) use self::acts::{choose, choose_order, needs_board, next};
pub use self::show::{Order, Show};
pub(super) use self::weighed::weigh;
use crate::adapter::align::{Aligned, State};
use crate::adapter::board::{self, Fold, Gate};
use crate::adapter::delta::Recipe;
use crate::adapter::held::Held;
use crate::adapter::repair::{Asks, Repair, Wishes};
use crate::plan::Coverage;
use crate::plan::merge::landing::{Attached, Landings};
use crate::plan::merge::refused;

/// An adapter and its base, as rows.
pub struct Board {
    /// The two.
    pub held: Arc<Held>,
    /// What a repair has to be told.
    pub asks: Asks,
    /// The alignment in numbers.
    pub gate: Gate,
    /// The modules that fit, alike ones together.
    pub folds: Vec<Fold>,
    /// The rows that show.
    pub rows: Vec<Row>,
    /// The row under the cursor.
    pub cursor: usize,
    /// Which rows show.
    pub show: Show,
    /// Their order.
    pub order: Order,
    /// True if the keys of the row have the focus.
    pub is_reading: bool,
    /// First line of the keys that shows.
    pub top: usize,
    /// The first row that was drawn last.
    pub first: usize,
    /// True if a repair would change something, or something stands in its way.
    pub is_repairable: bool,
    /// Why nothing of it can be merged, though it fits: its kind, or how its training began.
    pub unmergeable: Option<String>,
    /// How much it changes each layer, if that was asked for.
    pub weighed: weighed::Weighed,
    odd: Vec<u32>,
    unfolded: BTreeSet<u32>,
    lands: Vec<bool>,
}

/// A row of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A module that does not fit, by its place in the alignment.
    Odd(u32),
    /// A problem of the adapter, by its place.
    Problem(u32),
    /// The line between what does not fit and the rest.
    Rule,
    /// Alike modules that fit.
    Fold(u32),
    /// A module that fits: one of a fold, or alone of its kind.
    Fine(u32),
    /// A tensor that is not used, by its number in the adapter.
    Unused(u32),
    /// A target that the adapter has nothing for, by its place.
    Untouched(u32),
}

impl Board {
    /// Makes the board of an adapter.
    #[must_use]
    pub fn new(held: Held) -> Self {
        let mut lands = vec![false; held.base.layers.len()];
        for module in &held.alignment.modules {
            let layers = module.places.iter().map(|place| place.layer).chain(module.layer);
            for layer in layers {
                if let Some(lands) = lands.get_mut(layer as usize) {
                    *lands = true;
                }
            }
        }
        let repair =
            Repair::plan(&held.base, &held.adapter, &held.facts, &held.alignment, &Wishes::default());
        let mut made = Self {
            asks: repair.asks,
            is_repairable: !repair.is_empty() || !repair.refused.is_empty(),
            unmergeable: unmergeable(&held),
            gate: Gate::of(&held.alignment),
            folds: board::folds(&held.alignment),
            odd: board::odd(&held.alignment),
            held: Arc::new(held),
            rows: Vec::new(),
            cursor: 0,
            show: Show::All,
            order: Order::State,
            is_reading: false,
            weighed: weighed::Weighed::Not,
            top: 0,
            first: 0,
            unfolded: BTreeSet::new(),
            lands,
        };
        made.fill();
        made
    }

    /// Returns a module by its place.
    #[must_use]
    pub fn module(&self, at: u32) -> &Aligned {
        &self.held.alignment.modules[at as usize]
    }

    /// Returns true if the adapter changes this layer of the base.
    #[must_use]
    pub fn lands_on(&self, layer: u32) -> bool {
        self.lands.get(layer as usize).copied().unwrap_or_default()
    }

    /// Returns true if the members of a fold show.
    #[must_use]
    pub fn is_unfolded(&self, fold: u32) -> bool {
        self.unfolded.contains(&fold)
    }

    /// Returns the row under the cursor.
    #[must_use]
    pub fn row(&self) -> Option<Row> {
        self.rows.get(self.cursor).copied()
    }

    /// Returns the module that a row is about: of a fold the first.
    #[must_use]
    pub fn module_of(&self, row: Row) -> Option<&Aligned> {
        let at = match row {
            Row::Odd(at) | Row::Fine(at) => at,
            Row::Fold(fold) => *self.folds.get(fold as usize)?.modules.first()?,
            _ => return None,
        };
        self.held.alignment.modules.get(at as usize)
    }

    /// Returns the name of the base layer that a module goes to.
    #[must_use]
    pub fn layer_name(&self, module: &Aligned) -> Option<String> {
        let layer = module.layer?;
        if module.places.len() > 1 {
            return Some(module.path.clone());
        }
        Some(self.held.base.layers.name(&self.held.base.files.names, layer))
    }

    /// Returns how many modules do not fit.
    #[must_use]
    pub fn odd(&self) -> usize {
        self.odd.len()
    }

    /// Returns true if a module may be merged: it fits, or its rows in a fused layer are known. The plan knows more.
    #[must_use]
    pub fn can_merge(&self) -> bool {
        let may = |module: &Aligned| module.is_applied || module.state == State::Fused;
        self.held.alignment.modules.iter().any(may)
    }

    /// Makes the rows anew.
    fn fill(&mut self) {
        let held = Arc::clone(&self.held);
        let modules = &held.alignment.modules;
        let shows = |at: &u32| self.show.shows(&modules[*at as usize]);
        let mut odd: Vec<u32> = self.odd.iter().copied().filter(shows).collect();
        self.order.sort(&mut odd, |at| *at, modules);
        let mut folds: Vec<(usize, &Fold)> = self.folds.iter().enumerate().collect();
        let first = |(_, fold): &(usize, &Fold)| fold.modules.first().copied().unwrap_or(u32::MAX);
        self.order.sort(&mut folds, first, modules);
        let mut rows: Vec<Row> = odd.into_iter().map(Row::Odd).collect();
        if matches!(self.show, Show::All | Show::Odd) {
            rows.extend((0..held.problems.len() as u32).map(Row::Problem));
        }
        let above = rows.len();
        for (at, fold) in folds {
            let shown: Vec<u32> = fold.modules.iter().copied().filter(shows).collect();
            match shown.as_slice() {
                [] => {}
                [one] => rows.push(Row::Fine(*one)),
                // Of a fold of which a part shows, that part is spelled out.
                several if several.len() < fold.modules.len() => {
                    rows.extend(several.iter().copied().map(Row::Fine));
                }
                several => {
                    rows.push(Row::Fold(at as u32));
                    if self.unfolded.contains(&(at as u32)) {
                        rows.extend(several.iter().copied().map(Row::Fine));
                    }
                }
            }
        }
        if matches!(self.show, Show::All | Show::Unused) {
            rows.extend(held.alignment.unused.iter().copied().map(Row::Unused));
            rows.extend((0..held.alignment.untouched.len() as u32).map(Row::Untouched));
        }
        if above > 0 && above < rows.len() {
            rows.insert(above, Row::Rule);
        }
        self.rows = rows;
        self.move_to(self.cursor, 1);
    }

    /// Puts the cursor on a row; the rule is passed over.
    fn move_to(&mut self, row: usize, direction: isize) {
        let row = row.min(self.rows.len().saturating_sub(1));
        let is_rule = self.rows.get(row) == Some(&Row::Rule);
        self.cursor = if is_rule { row.saturating_add_signed(direction.signum()) } else { row };
        self.top = 0;
    }

    pub(super) fn go_to(&mut self, name: &str) {
        let modules = &self.held.alignment.modules;
        let is_it = |row: &Row| match *row {
            Row::Odd(at) | Row::Fine(at) => {
                modules.get(at as usize).is_some_and(|m| name.starts_with(&m.name))
            }
            _ => false,
        };
        if let Some(at) = self.rows.iter().position(is_it) {
            self.cursor = at;
        }
    }

    pub(super) fn step(&mut self, by: isize) {
        if self.is_reading {
            // Where it ends the view knows; it stops there.
            self.top = self.top.saturating_add_signed(by.clamp(-100_000, 100_000));
        } else {
            self.move_to(self.cursor.saturating_add_signed(by), by);
        }
    }

    /// Goes to the next module that does not fit; returns false if there is no other.
    pub(super) fn next_odd(&mut self, is_forward: bool) -> bool {
        let is_odd = |row: &Row| matches!(row, Row::Odd(_) | Row::Problem(_));
        let count = self.rows.len();
        let at = (1..=count).map(|by| {
            let by = if is_forward { by } else { count - by };
            (self.cursor + by) % count
        });
        let found = at.into_iter().find(|&at| is_odd(&self.rows[at]));
        found.map(|at| self.move_to(at, 1)).is_some()
    }

    pub(super) fn set_show(&mut self, show: Show) {
        self.show = show;
        (self.cursor, self.first, self.is_reading) = (0, 0, false);
        self.fill();
    }

    /// Sorts the rows; the cursor stays on its row.
    pub(super) fn set_order(&mut self, order: Order) {
        let row = self.row();
        self.order = order;
        self.fill();
        let at = row.and_then(|row| self.rows.iter().position(|other| *other == row));
        self.move_to(at.unwrap_or(0), 1);
    }

    /// Unfolds the row, or folds it again; of any other its keys get the focus.
    pub(super) fn enter(&mut self) {
        match self.row() {
            Some(Row::Fold(fold)) => {
                if !self.unfolded.remove(&fold) {
                    self.unfolded.insert(fold);
                }
                self.fill();
            }
            Some(_) => (self.is_reading, self.top) = (!self.is_reading, 0),
            None => {}
        }
    }

    /// Takes one step back; returns false if there is none but to the tree.
    fn back(&mut self) -> bool {
        if self.is_reading {
            (self.is_reading, self.top) = (false, 0);
        } else if self.show == Show::All {
            return false;
        } else {
            self.set_show(Show::All);
        }
        true
    }

    /// Returns what the row under the cursor is, for copying.
    #[must_use]
    pub fn copied(&self) -> Option<String> {
        let row = self.row()?;
        match row {
            Row::Problem(at) => {
                let problem = self.held.problems.get(at as usize)?;
                Some(format!("{} {}: {}", problem.kind.code, problem.kind.name, problem.message))
            }
            Row::Unused(tensor) => Some(self.held.adapter.files.tensor_name(tensor)),
            Row::Untouched(at) => self.held.alignment.untouched.get(at as usize).cloned(),
            _ => self.module_of(row).map(|module| module.name.clone()),
        }
    }
}

/// Returns why nothing of an adapter can be merged, as the plan of a merge finds it.
fn unmergeable(held: &Held) -> Option<String> {
    let mut landings = Landings::default();
    let attached = Attached::new(held, 1.0);
    if let Err(why) = refused::check(&attached, false) {
        return Some(why);
    }
    landings.add(&held.base, 0, &attached, Recipe::Peft);
    let Coverage { merged, left, .. } = landings.coverage;
    // What does not fit is said row by row.
    let fits = held.alignment.modules.iter().any(board::is_fine);
    if merged > 0 || !fits { None } else { left.into_iter().next() }
}

#[cfg(test)]
mod tests;
