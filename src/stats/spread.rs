//! Spread: the norms of rows and columns of what is read in stripes: how squares are spread over them.

use super::block::Value;

/// Columns that norms are kept of, at most: a number each in every stripe.
const COLUMNS_MAX: u64 = 1 << 22;

/// The Euclidean norms of rows and of columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Norms {
    /// Of each row.
    pub rows: Vec<f64>,
    /// Of each column.
    pub columns: Vec<f64>,
}

/// What was seen of the rows and columns of a stripe.
#[derive(Clone, Debug, Default)]
pub(super) struct SpreadState {
    /// The row that `rows` begin with.
    first: u64,
    rows: Vec<f64>,
    columns: Vec<f64>,
}

/// Returns true if values of this shape have rows and columns to be told apart, of which norms are kept.
pub(super) fn has_sides(rows: u64, columns: u64) -> bool {
    rows > 1 && (2..=COLUMNS_MAX).contains(&columns)
}

impl SpreadState {
    /// Returns the state of a stripe of rows of so many values.
    pub(super) fn new(columns: u64) -> Self {
        Self { columns: vec![0.0; columns as usize], ..Self::default() }
    }

    /// Takes neighboring finite values, the first of which is that of number `start`; they come in order.
    pub(super) fn take<V: Value>(&mut self, start: u64, values: &[V]) {
        let wide = self.columns.len() as u64;
        let (mut at, mut left) = (start, values);
        if self.rows.is_empty() {
            self.first = at / wide;
        }
        while !left.is_empty() {
            let (row, column) = ((at / wide - self.first) as usize, (at % wide) as usize);
            let (part, rest) = left.split_at(left.len().min(self.columns.len() - column));
            self.rows.resize(self.rows.len().max(row + 1), 0.0);
            self.rows[row] += V::add_squares(part, &mut self.columns[column..column + part.len()]);
            at += part.len() as u64;
            left = rest;
        }
    }

    /// Adds what was seen of the values behind.
    pub(super) fn add(&mut self, other: &Self) {
        if self.rows.is_empty() {
            self.first = other.first;
        }
        self.columns.iter_mut().zip(&other.columns).for_each(|(sum, other)| *sum += other);
        // The row in which one stripe ends is the one in which the next begins.
        let begin = other.first.saturating_sub(self.first) as usize;
        self.rows.resize(self.rows.len().max(begin + other.rows.len()), 0.0);
        self.rows[begin..].iter_mut().zip(&other.rows).for_each(|(sum, other)| *sum += other);
    }

    pub(super) fn norms(&self) -> Norms {
        let roots = |sums: &[f64]| sums.iter().map(|sum| sum.sqrt()).collect();
        Norms { rows: roots(&self.rows), columns: roots(&self.columns) }
    }
}
