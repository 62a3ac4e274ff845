//! Which rows of a board show, and in which order.

use crate::adapter::align::{Aligned, Repair};
use crate::adapter::board;

/// Which rows show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// All.
    All,
    /// Modules that do not fit, and problems.
    Odd,
    /// What a repair puts right.
    Repairable,
    /// What no repair helps.
    Hopeless,
    /// What fits.
    Fine,
    /// What changes nothing.
    WithoutEffect,
    /// Tensors that are not used, and targets that nothing is for.
    Unused,
}

impl Show {
    /// All choices, in the order of the menu.
    pub const ALL: [Self; 7] = [
        Self::All,
        Self::Odd,
        Self::Repairable,
        Self::Hopeless,
        Self::Fine,
        Self::WithoutEffect,
        Self::Unused,
    ];

    /// Returns its words in the menu.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Odd => "not aligned",
            Self::Repairable => "can be repaired",
            Self::Hopeless => "can not be repaired",
            Self::Fine => "aligned",
            Self::WithoutEffect => "without effect",
            Self::Unused => "unused and untouched",
        }
    }

    pub(super) fn shows(self, module: &Aligned) -> bool {
        match self {
            Self::All => true,
            Self::Odd => !board::is_fine(module),
            Self::Repairable => matches!(module.repair, Repair::Rename | Repair::Config),
            Self::Hopeless => matches!(module.repair, Repair::No(_)),
            Self::Fine => board::is_fine(module),
            Self::WithoutEffect => module.zero_delta,
            Self::Unused => false,
        }
    }
}

/// The order of the rows: modules that do not fit stand above the others in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Worst first, then as the adapter has them.
    State,
    /// As the adapter has them: natural order of their names.
    Name,
    /// Those with the most values in their delta first.
    Delta,
    /// Those of the highest rank first.
    Rank,
}

impl Order {
    /// All orders, as the menu has them.
    pub const ALL: [Self; 4] = [Self::State, Self::Name, Self::Delta, Self::Rank];

    /// Returns its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Name => "name",
            Self::Delta => "delta",
            Self::Rank => "rank",
        }
    }

    /// Returns what the menu says.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::State => "state: worst first",
            Self::Name => "name: as the adapter has them",
            Self::Delta => "delta: most values first",
            Self::Rank => "rank: highest first",
        }
    }

    /// Returns how much comes before in this order; alike ones stay as they are.
    fn weight(self, module: &Aligned) -> u64 {
        match self {
            Self::State | Self::Name => 0,
            Self::Delta => module.delta.map_or(0, |[rows, columns]| rows.saturating_mul(columns)),
            Self::Rank => module.rank.unwrap_or(0),
        }
    }

    /// Sorts things by their modules. They come by state, modules that fit as the adapter has them.
    pub(super) fn sort<T>(self, list: &mut [T], place: impl Fn(&T) -> u32, modules: &[Aligned]) {
        match self {
            Self::State => {}
            Self::Name => list.sort_by_key(place),
            Self::Delta | Self::Rank => {
                list.sort_by_key(|item| {
                    let at = place(item);
                    (std::cmp::Reverse(modules.get(at as usize).map_or(0, |module| self.weight(module))), at)
                });
            }
        }
    }
}
