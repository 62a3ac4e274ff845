//! Deltas that are the product of two thin matrices.

use std::ops::Range;

use super::product::scaled;
use super::{Edit, Factors, add};
use crate::quant::kernel::{Kernel, Step};
use crate::tensor::Dtype;

/// `W + s (L R)`.
#[derive(Clone, Debug)]
pub struct LowRank {
    factors: Factors,
    scale: f32,
    /// The dtype to which the delta is rounded before it is added.
    rounded: Option<Dtype>,
}

impl LowRank {
    /// Returns the delta of two factors.
    #[must_use]
    pub fn new(factors: Factors, scale: f32, rounded: Option<Dtype>) -> Self {
        Self { factors, scale, rounded }
    }

    fn deltas(&self, rows: Range<u64>, out: &mut [f32]) {
        self.factors.rows(rows, out);
        for value in out {
            *value *= self.scale;
        }
    }

    fn exact_delta(&self, row: u64, column: usize) -> f64 {
        self.factors.exact(row, column) * f64::from(self.scale)
    }
}

impl Edit for LowRank {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        let mut deltas = vec![0.0; values.len()];
        self.deltas(rows, &mut deltas);
        add(values, &deltas, self.rounded);
    }

    fn steps(&self) -> Option<Vec<Step>> {
        let [left, right] = self.factors.both().map(<[f32]>::to_vec);
        let (rank, scale, rounded) = (self.factors.rank(), self.scale, self.rounded);
        Some(vec![Step::LowRank { left, right, rank, scale, rounded }])
    }

    fn product(&self) -> Option<(f32, &Factors)> {
        Some((self.scale, &self.factors))
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        for (row, values) in rows.zip(values.chunks_mut(self.factors.columns())) {
            for (column, value) in values.iter_mut().enumerate() {
                *value += self.exact_delta(row, column);
            }
        }
    }
}

/// `m / ‖V‖ · V` with `V = W + Δ`.
pub struct Dora {
    delta: LowRank,
    /// What rows, or columns, are multiplied by.
    factors: Along,
}

/// Which norms are taken.
enum Along {
    /// Of each row, with the magnitudes.
    Rows(Vec<f32>),
    /// Of each column, as factors: the norms need all rows.
    Columns(Vec<f32>),
}

impl Dora {
    /// Returns the edit with a magnitude a row.
    ///
    /// # Errors
    /// There are more or fewer magnitudes than rows.
    pub fn by_rows(delta: LowRank, magnitudes: Vec<f32>, rows: u64) -> Result<Self, String> {
        if magnitudes.len() as u64 != rows {
            return Err(format!("{} magnitudes for {rows} rows", magnitudes.len()));
        }
        Ok(Self { delta, factors: Along::Rows(magnitudes) })
    }

    /// Returns the edit with a magnitude a column. `base` gives the weight's rows, some at a time.
    ///
    /// # Errors
    /// There are more or fewer magnitudes than columns, or the rows cannot be read.
    pub fn by_columns<E>(
        delta: LowRank,
        magnitudes: &[f32],
        rows: u64,
        mut base: impl FnMut(Range<u64>, &mut [f32]) -> Result<(), E>,
    ) -> Result<Result<Self, String>, E> {
        /// Rows at a time.
        const ROWS: u64 = 64;
        let columns = delta.factors.columns();
        if magnitudes.len() != columns {
            return Ok(Err(format!("{} magnitudes for {columns} columns", magnitudes.len())));
        }
        let mut squares = vec![0f64; columns];
        for start in (0..rows).step_by(ROWS as usize) {
            let rows = start..rows.min(start + ROWS);
            let mut values = vec![0.0; (rows.end - rows.start) as usize * columns];
            base(rows.clone(), &mut values)?;
            delta.apply(rows, &mut values);
            for values in values.chunks_exact(columns) {
                for (sum, &value) in squares.iter_mut().zip(values) {
                    *sum += f64::from(value) * f64::from(value);
                }
            }
        }
        let factor = |(&m, &sum): (&f32, &f64)| m / sum.sqrt() as f32;
        let factors = magnitudes.iter().zip(&squares).map(factor).collect();
        Ok(Ok(Self { delta, factors: Along::Columns(factors) }))
    }
}

impl Edit for Dora {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        self.delta.apply(rows.clone(), values);
        let columns = self.delta.factors.columns();
        for (row, values) in rows.zip(values.chunks_mut(columns)) {
            match &self.factors {
                Along::Rows(magnitudes) => {
                    let squares: f64 = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                    let factor = magnitudes[row as usize] / squares.sqrt() as f32;
                    for value in values {
                        *value *= factor;
                    }
                }
                Along::Columns(factors) => {
                    for (value, factor) in values.iter_mut().zip(factors) {
                        *value *= factor;
                    }
                }
            }
        }
    }

    fn steps(&self) -> Option<Vec<Step>> {
        let mut steps = self.delta.steps()?;
        steps.push(match &self.factors {
            Along::Rows(magnitudes) => Kernel::new("edit_normed").floats(magnitudes).into(),
            Along::Columns(factors) => scaled(factors, false),
        });
        Some(steps)
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        self.delta.exact(rows.clone(), values);
        let columns = self.delta.factors.columns();
        for (row, values) in rows.zip(values.chunks_mut(columns)) {
            match &self.factors {
                Along::Rows(magnitudes) => {
                    let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
                    let factor = f64::from(magnitudes[row as usize]) / norm;
                    for value in values {
                        *value *= factor;
                    }
                }
                Along::Columns(factors) => {
                    for (value, &factor) in values.iter_mut().zip(factors) {
                        *value *= f64::from(factor);
                    }
                }
            }
        }
    }
}
