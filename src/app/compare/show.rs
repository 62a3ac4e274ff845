//! Show: which layers the tree shows while two are compared, and those that only B has, as rows of their own.

use std::sync::Arc;

use super::figures::Cell;
use super::{App, Compare, Effect};
use crate::app::Overlay;
use crate::checkpoint::tree::{Guest, Shown};
use crate::stats::matched::Side;

/// Which layers show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// All of both.
    #[default]
    All,
    /// Those that are not the same, only in one, or incomparable.
    Differing,
    /// Those that are the same.
    Equal,
    /// Those that only A or only B has.
    OnlyInOne,
    /// Those that both have, whose values cannot be compared.
    Incomparable,
}

impl Show {
    /// All of them, as a menu lists them.
    pub const ALL: [Self; 5] = [Self::All, Self::Differing, Self::Equal, Self::OnlyInOne, Self::Incomparable];

    /// Returns the word of menu, footer and title.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Differing => "differing",
            Self::Equal => "equal",
            Self::OnlyInOne => "only in one",
            Self::Incomparable => "incomparable",
        }
    }

    fn takes(self, cell: Cell) -> bool {
        match self {
            Self::All => true,
            Self::Differing => cell.differs(),
            Self::Equal => cell == Cell::Equal,
            Self::OnlyInOne => cell == Cell::OnlyA,
            Self::Incomparable => cell == Cell::Unknown,
        }
    }

    fn shown(self, compare: &Compare) -> Option<Shown> {
        let layers = compare.facts.as_ref().map_or(0, |facts| facts.of[0].layers.len()) as u32;
        let shown = || Shown {
            layers: (0..layers).map(|layer| self.takes(compare.table.cell(layer))).collect(),
            guests: matches!(self, Self::Differing | Self::OnlyInOne),
        };
        (self != Self::All).then(shown)
    }
}

/// Opens the menu of what shows.
pub(in crate::app) fn choose_show(app: &mut App) -> Vec<Effect> {
    let show = app.compare().map_or(Show::All, |compare| compare.show);
    app.overlay = Some(Overlay::ShowMenu(Show::ALL.iter().position(|known| *known == show).unwrap_or(0)));
    Vec::new()
}

impl Compare {
    /// Returns the pair in which a layer that only B stores is held against what A ties it to.
    #[must_use]
    pub fn tied_pair(&self, layer: u32) -> Option<u32> {
        let pairs = &self.matched()?.pairs;
        let place = pairs.iter().position(|pair| pair.tied == Some(Side::A) && pair.b == layer);
        place.map(|place| place as u32)
    }
}

impl App {
    /// Gives the tree of A rows of what only B has, and shows what is to show.
    pub(super) fn dress_tree(&mut self) {
        let Some(compare) = self.compare.as_deref_mut() else { return };
        let Some(facts) = &mut compare.facts else { return };
        let (a, guests) = (compare.a, facts.take_guests());
        if let Some(ready) = self.by_id(a) {
            let checkpoint = Arc::clone(&ready.checkpoint);
            ready.tree.set_guests(&checkpoint, guests);
        }
        self.show_layers();
    }

    /// Takes what only B has, and what is to show, from the tree of A.
    pub(super) fn undress_tree(&mut self) {
        let Some(a) = self.compare.as_deref().map(|compare| compare.a) else { return };
        if let Some(ready) = self.by_id(a) {
            let checkpoint = Arc::clone(&ready.checkpoint);
            ready.tree.clear_guests(&checkpoint);
        }
    }

    /// Shows the layers that are to show, by what is known of them now.
    pub(super) fn show_layers(&mut self) {
        let Some(compare) = self.compare.as_deref() else { return };
        let (a, shown) = (compare.a, compare.show.shown(compare));
        if let Some(ready) = self.by_id(a) {
            let checkpoint = Arc::clone(&ready.checkpoint);
            ready.tree.set_shown(&checkpoint, shown);
        }
    }

    /// Chooses which layers show.
    pub(super) fn set_show(&mut self, show: Show) {
        if let Some(compare) = self.compare_mut() {
            compare.show = show;
        }
        if let Some(ready) = self.ready_mut() {
            ready.detail_top = 0;
        }
        self.show_layers();
    }

    /// Takes a key for the menu of what shows.
    pub(in crate::app) fn show_key(&mut self, at: usize, key: &str) -> Vec<Effect> {
        let last = Show::ALL.len() - 1;
        match key {
            "esc" | "q" | "f" => {}
            "j" | "down" => self.overlay = Some(Overlay::ShowMenu((at + 1).min(last))),
            "k" | "up" => self.overlay = Some(Overlay::ShowMenu(at.saturating_sub(1))),
            "enter" => self.set_show(Show::ALL[at.min(last)]),
            _ => self.overlay = Some(Overlay::ShowMenu(at)),
        }
        Vec::new()
    }

    /// Returns the layers that only B has, of the row under the cursor.
    #[must_use]
    pub fn guests(&self) -> Vec<&Guest> {
        self.ready().map_or_else(Vec::new, |ready| ready.tree.guests(ready.tree.cursor()))
    }
}
