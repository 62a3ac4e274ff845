//! Summary: the figures of all values of a layer or tensor.

use super::counts::Counts;
use super::histogram::Histogram;
use crate::tensor::Dtype;

/// The quantiles that are given, as shares.
pub const QUANTILES: [f64; 5] = [0.01, 0.25, 0.5, 0.75, 0.99];
/// Values of the largest magnitude that are kept with their places.
pub const OUTLIERS: usize = 8;

/// A value and its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extreme {
    /// The value.
    pub value: f64,
    /// How many values stand before it.
    pub at: u64,
}

/// The figures of the values of a layer or tensor. All but the counts of NaN and infinities are of the finite ones.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The shape of the values.
    pub shape: Vec<u64>,
    /// The dtype of the values.
    pub dtype: Dtype,
    /// How many were looked at: all of them when it is done.
    pub count: u64,
    /// How many are NaN.
    pub nan: u64,
    /// How many are infinite.
    pub infinite: u64,
    /// How many are zero, of either sign.
    pub zeros: u64,
    /// The least, where it comes first; `None` if there is no finite value.
    pub min: Option<Extreme>,
    /// The largest, where it comes first.
    pub max: Option<Extreme>,
    /// The mean, in f64.
    pub mean: Option<f64>,
    /// The population standard deviation, in f64.
    pub std: Option<f64>,
    /// `QUANTILES`, as numpy's `quantile` interpolates; empty if there is no finite value.
    pub quantiles: Vec<f64>,
    /// True if the quantiles are exact; else each is at most 1/128 of itself away (1/16 for doubles).
    pub is_exact: bool,
    /// The values of the largest magnitude, descending; of equal ones those that come first.
    pub outliers: Vec<Extreme>,
    /// Rows without a value that is not zero; `None` where rows are too long to be looked at whole.
    pub rows_zero: Option<u64>,
    /// Rows that were looked at.
    pub rows: u64,
    /// How often each value occurs.
    pub counts: Counts,
    /// Values by bins from the least to the largest; `None` until it is exact.
    pub histogram: Option<Histogram>,
    /// What was seen of rows and columns, if asked for and done.
    pub sides: Option<Sides>,
}

/// Rows or columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// Rows.
    #[default]
    Rows,
    /// Columns.
    Columns,
}

impl Axis {
    /// Both, rows first.
    pub const BOTH: [Self; 2] = [Self::Rows, Self::Columns];

    /// Returns what they are called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Columns => "columns",
        }
    }

    /// Returns what one of them is called.
    #[must_use]
    pub fn one(self) -> &'static str {
        match self {
            Self::Rows => "row",
            Self::Columns => "column",
        }
    }
}

/// What was seen of rows and columns.
#[derive(Clone, Debug)]
pub struct Sides {
    /// The Euclidean norm of each row.
    pub rows: Vec<f64>,
    /// The Euclidean norm of each column.
    pub columns: Vec<f64>,
    /// The largest magnitudes.
    pub map: Map,
}

/// The largest magnitude in each of the cells into which rows and columns are cut: infinite where a value is NaN or
/// infinite, so that a cell shows it whatever else it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Cells from the first row to the last.
    pub rows: usize,
    /// Cells from the first column to the last.
    pub columns: usize,
    /// Row by row.
    pub cells: Vec<f32>,
}

impl Sides {
    /// Returns the Euclidean norm of each row or column.
    #[must_use]
    pub fn norms(&self, axis: Axis) -> &[f64] {
        match axis {
            Axis::Rows => &self.rows,
            Axis::Columns => &self.columns,
        }
    }
}

impl Summary {
    /// Returns how many are finite.
    #[must_use]
    pub fn finite(&self) -> u64 {
        self.count - self.nan - self.infinite
    }

    /// Returns it without how often each value occurs and without the map: they take more than all else together.
    #[must_use]
    pub fn without_counts(mut self) -> Self {
        self.counts = self.counts.nothing();
        if let Some(sides) = &mut self.sides {
            sides.map = Map { rows: 0, columns: 0, cells: Vec::new() };
        }
        self
    }

    /// Returns row and column of a place.
    #[must_use]
    pub fn place(&self, at: u64) -> [u64; 2] {
        let row = self.shape.last().copied().unwrap_or(1).max(1);
        [at / row, at % row]
    }
}
