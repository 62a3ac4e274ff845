//! Norms of rows and columns: as bars along the edges of the map.

use std::ops::Range;

use crate::app::values::figures::Energy;
use crate::ui::gauge_bar::bar;
use crate::ui::spark::spark;

/// The norms of one side, held against the largest of them.
pub(super) struct Profile<'a> {
    norms: &'a [f64],
    most: f64,
}

impl<'a> Profile<'a> {
    /// Cells beside the map, a blank before the bars.
    pub(super) const CELLS: usize = 7;

    /// Returns the profile of norms; `None` where there is nothing to be told apart.
    pub(super) fn of(norms: &'a [f64], energy: Option<&Energy>) -> Option<Self> {
        let largest = *energy?.largest.first()?;
        let most = *norms.get(usize::try_from(largest).ok()?)?;
        (most > 0.0).then_some(Self { norms, most })
    }

    /// Returns the largest norm of some.
    fn most(&self, range: Range<u64>) -> f64 {
        let range = range.start as usize..range.end as usize;
        self.norms.get(range).unwrap_or(&[]).iter().copied().fold(0.0, f64::max)
    }

    /// Returns the bar of the largest norm of some rows.
    pub(super) fn bar(&self, rows: Range<u64>) -> String {
        bar(Self::CELLS - 1, self.most(rows) / self.most).replace('░', " ")
    }

    /// Returns the bars of columns that end there, each so many cells wide.
    pub(super) fn line(&self, ends: &[u64], cell: usize) -> String {
        let norms = ends.windows(2).map(|ends| self.most(ends[0]..ends[1]));
        let cells = norms.flat_map(|norm| std::iter::repeat_n((norm > 0.0).then_some(norm), cell));
        spark(cells, self.most)
    }
}
