//! The map: which rows and columns show, in how many cells, and where the cursor is.
//!
//! As long as a cell on the screen is at least one of the map that a scan makes, cells are put together from those, at
//! whole ones, so that no cell says something of values beside it. Deeper, just that region is read.

use crate::stats::summary::Map;

/// What shows of the map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// How often the sides were halved.
    pub zoom: u32,
    /// The row and the column of the cursor.
    pub cursor: [u64; 2],
    /// The first row and column that are to show, as far as the cursor does.
    origin: [u64; 2],
}

/// Where cells end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first row of each line of cells, then the end of the last.
    pub rows: Vec<u64>,
    /// The first column of each cell, then the end of the last.
    pub columns: Vec<u64>,
    /// True if each cell is put together from whole ones of the scan's map.
    pub is_of_map: bool,
}

/// How long a side is: in values, in cells of the scan's map, and in those that the screen has room for.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Values.
    pub values: u64,
    /// Cells of the map.
    pub cells: u64,
    /// Cells on the screen.
    pub shown: u64,
}

/// Returns the sides of a map, for a screen with room for so many lines and columns of cells; `None` of nothing.
#[must_use]
pub fn sides(values: [u64; 2], map: &Map, room: [usize; 2]) -> Option<[Side; 2]> {
    let side = |at: usize, cells: usize| Side {
        values: values[at],
        cells: cells as u64,
        shown: (room[at] as u64).max(1),
    };
    let sides = [side(0, map.rows), side(1, map.columns)];
    sides.iter().all(|side| side.values > 0 && side.cells > 0).then_some(sides)
}

impl Side {
    /// Returns the first value of a cell of the map.
    fn begin(self, cell: u64) -> u64 {
        (u128::from(cell) * u128::from(self.values)).div_ceil(u128::from(self.cells)) as u64
    }

    /// Returns the cell of the map in which a value is.
    fn cell_of(self, value: u64) -> u64 {
        (u128::from(value) * u128::from(self.cells) / u128::from(self.values)) as u64
    }

    /// Returns true if the map is fine enough.
    fn suits(self, zoom: u32) -> bool {
        self.cells == self.values || halved(self.cells, zoom) >= self.shown.min(self.cells)
    }

    /// Returns true if there is a cell on the screen for each value that shows.
    fn is_whole(self, zoom: u32) -> bool {
        halved(self.values, zoom) <= self.shown
    }

    fn ends(self, zoom: u32, is_of_map: bool, origin: u64, cursor: u64) -> Vec<u64> {
        let all = if is_of_map { self.cells } else { self.values };
        let within = |value: u64| if is_of_map { self.cell_of(value) } else { value };
        let count = halved(all, zoom).max(self.shown.min(all));
        let cursor = within(cursor.min(self.values - 1));
        // The cursor shows, and nothing beyond the last.
        let low = (cursor + 1).saturating_sub(count);
        let first = within(origin.min(self.values - 1)).clamp(low, cursor.min(all - count).max(low));
        let shown = self.shown.min(count);
        let end = |at: u64| first + (u128::from(at) * u128::from(count) / u128::from(shown)) as u64;
        (0..=shown).map(|at| if is_of_map { self.begin(end(at)) } else { end(at) }).collect()
    }
}

fn halved(number: u64, times: u32) -> u64 {
    number.checked_shr(times).unwrap_or(0)
}

impl Cut {
    /// Returns the line and the column of the cell in which a place is.
    #[must_use]
    pub fn cell(&self, place: [u64; 2]) -> Option<[usize; 2]> {
        let find = |ends: &[u64], at: u64| {
            let cell = ends.partition_point(|end| *end <= at).checked_sub(1)?;
            (cell + 1 < ends.len()).then_some(cell)
        };
        Some([find(&self.rows, place[0])?, find(&self.columns, place[1])?])
    }

    /// Returns how many lines and columns of cells there are.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.rows.len().saturating_sub(1), self.columns.len().saturating_sub(1)]
    }

    /// Returns the largest magnitude in each cell by the scan's map, row by row: of a cell that is finer than the map
    /// what is known of its surroundings.
    #[must_use]
    pub fn pooled(&self, sides: [Side; 2], map: &Map) -> Vec<f32> {
        let spans = |ends: &[u64], side: Side| -> Vec<std::ops::Range<usize>> {
            let span = |ends: &[u64]| {
                let first = side.cell_of(ends[0].min(side.values - 1));
                let last = side.cell_of(ends[1].clamp(1, side.values) - 1);
                first as usize..last.max(first) as usize + 1
            };
            ends.windows(2).map(span).collect()
        };
        let (rows, columns) = (spans(&self.rows, sides[0]), spans(&self.columns, sides[1]));
        let most = |rows: &std::ops::Range<usize>, columns: &std::ops::Range<usize>| {
            let line = |row: usize| map.cells.get(row * map.columns..(row + 1) * map.columns).unwrap_or(&[]);
            let cells = rows.clone().flat_map(|row| line(row).get(columns.clone()).unwrap_or(&[]));
            cells.fold(0f32, |most, cell| most.max(*cell))
        };
        rows.iter().flat_map(|row| columns.iter().map(move |column| most(row, column))).collect()
    }
}

impl View {
    /// Returns where the cells end that show.
    #[must_use]
    pub fn cut(&self, sides: [Side; 2]) -> Cut {
        let is_of_map = sides.iter().all(|side| side.suits(self.zoom));
        let ends = |at: usize| sides[at].ends(self.zoom, is_of_map, self.origin[at], self.cursor[at]);
        Cut { rows: ends(0), columns: ends(1), is_of_map }
    }

    /// Returns true if there is more to see closer.
    #[must_use]
    pub fn can_zoom_in(&self, sides: [Side; 2]) -> bool {
        !sides.iter().all(|side| side.is_whole(self.zoom))
    }

    /// Halves the sides around the cursor, or doubles them.
    pub fn zoom(&mut self, sides: [Side; 2], is_in: bool) {
        if is_in && !self.can_zoom_in(sides) || !is_in && self.zoom == 0 {
            return;
        }
        let cut = self.cut(sides);
        for (at, ends) in [&cut.rows, &cut.columns].into_iter().enumerate() {
            let before = self.cursor[at].saturating_sub(ends.first().copied().unwrap_or(0));
            let before = if is_in { before / 2 } else { before.saturating_mul(2) };
            self.origin[at] = self.cursor[at].saturating_sub(before);
        }
        self.zoom = if is_in { self.zoom + 1 } else { self.zoom - 1 };
    }

    /// Moves the cursor by cells down and to the right; at an edge what shows moves along.
    pub fn step(&mut self, sides: [Side; 2], by: [isize; 2]) {
        let cut = self.cut(sides);
        let Some(cell) = cut.cell(self.cursor) else { return };
        for (at, ends) in [&cut.rows, &cut.columns].into_iter().enumerate() {
            let last = sides[at].values - 1;
            // No screen has more cells than there are values.
            let by = by[at].clamp(-(last.min(1 << 60) as isize) - 1, last.min(1 << 60) as isize + 1);
            if by == 0 {
                continue;
            }
            let (first, shown) = (ends[0], ends.len() - 1);
            let size = ((ends[shown] - first) / shown as u64).max(1);
            let target = cell[at] as isize + by;
            if let Some(&begin) = usize::try_from(target).ok().and_then(|to| ends[..shown].get(to)) {
                self.cursor[at] = begin;
                self.origin[at] = first;
            } else if target < 0 {
                self.cursor[at] = first.saturating_sub(size.saturating_mul(target.unsigned_abs() as u64));
                self.origin[at] = self.cursor[at];
            } else {
                let over = size.saturating_mul((target - shown as isize + 1) as u64);
                self.cursor[at] = ends[shown - 1].saturating_add(over).min(last);
                self.origin[at] = first.saturating_add(over).min(last);
            }
        }
    }

    /// Puts the cursor on a cell.
    pub fn click(&mut self, sides: [Side; 2], [line, column]: [usize; 2]) {
        let cut = self.cut(sides);
        let [lines, columns] = cut.size();
        if line < lines && column < columns {
            self.origin = [cut.rows[0], cut.columns[0]];
            self.cursor = [cut.rows[line], cut.columns[column]];
        }
    }
}
