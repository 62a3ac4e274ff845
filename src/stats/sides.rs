//! Sides: norms of rows and columns, and a map of the largest magnitudes.

use super::block::Value;
use super::summary::{Map, Sides};

/// Cells of the map from the first row or column to the last.
const MAP_CELLS: u64 = 256;

/// What was seen of rows and columns.
pub(super) struct SidesState {
    row_count: u64,
    /// The sum of the squares of the row that is being read.
    row: f64,
    rows: Vec<f64>,
    columns: Vec<f64>,
    map: Map,
    /// The largest magnitude in each column of the rows that share a row of cells.
    band: Vec<f32>,
    /// That row of cells.
    band_at: Option<usize>,
}

impl SidesState {
    pub(super) fn new(rows: u64, columns: u64) -> Self {
        let [map_rows, map_columns] = [rows, columns].map(|count| count.min(MAP_CELLS) as usize);
        Self {
            row_count: rows,
            row: 0.0,
            rows: Vec::new(),
            columns: vec![0.0; columns as usize],
            map: Map { rows: map_rows, columns: map_columns, cells: vec![0.0; map_rows * map_columns] },
            band: vec![0.0; columns as usize],
            band_at: None,
        }
    }

    /// Takes neighboring values of one row, the first of which is that of number `start`.
    pub(super) fn take<V: Value>(&mut self, start: u64, part: &[V]) {
        let columns = self.columns.len() as u64;
        let (row, column) = (start / columns, (start % columns) as usize);
        let band = (u128::from(row) * self.map.rows as u128 / u128::from(self.row_count)) as usize;
        if self.band_at != Some(band) {
            self.lower_band();
            self.band_at = Some(band);
        }
        self.row += V::add_squares(part, &mut self.columns[column..column + part.len()]);
        V::raise(part, &mut self.band[column..column + part.len()]);
    }

    /// Marks the cell of a value that is not finite.
    pub(super) fn mark(&mut self, at: u64) {
        let columns = self.columns.len() as u64;
        // There are at most as many rows and columns as norms are kept of: this stays far below 64 bits.
        let cell = |at: u64, cells: usize, of: u64| (at * cells as u64 / of) as usize;
        let line = cell(at / columns, self.map.rows, self.row_count);
        let column = cell(at % columns, self.map.columns, columns);
        self.map.cells[line * self.map.columns + column] = f32::INFINITY;
    }

    pub(super) fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.row).sqrt());
    }

    /// Puts the largest magnitudes of the band into its row of cells.
    pub(super) fn lower_band(&mut self) {
        let Some(at) = self.band_at.take() else { return };
        let (wide, count) = (self.map.columns, self.band.len());
        for (column, most) in self.band.iter_mut().enumerate() {
            let cell = &mut self.map.cells[at * wide + column * wide / count];
            *cell = cell.max(std::mem::take(most));
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.rows.extend(&other.rows);
        self.columns.iter_mut().zip(&other.columns).for_each(|(sum, other)| *sum += other);
        self.map.cells.iter_mut().zip(&other.map.cells).for_each(|(most, other)| *most = most.max(*other));
    }

    pub(super) fn into_sides(self) -> Sides {
        Sides { rows: self.rows, columns: self.columns.into_iter().map(f64::sqrt).collect(), map: self.map }
    }
}
