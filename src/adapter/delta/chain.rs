//! Chains: products of two thin matrices, each element one chain of fused multiply-adds over the rank.

use std::ops::Range;

use multiversion::multiversion;

/// Two factors: `left` `[rows, rank]` and `right` `[rank, columns]`, row by row.
#[derive(Clone, Debug)]
pub struct Factors {
    left: Vec<f32>,
    right: Vec<f32>,
    rank: usize,
    columns: usize,
}

/// Rows and columns that are computed together, in registers.
const HIGH: usize = 4;
const WIDE: usize = 32;

impl Factors {
    /// Returns the factors of a `[rows, columns]` product.
    ///
    /// # Errors
    /// The numbers of values do not fit each other.
    pub fn new(left: Vec<f32>, right: Vec<f32>, [rows, columns]: [u64; 2]) -> Result<Self, String> {
        let (rows, columns) = (rows as usize, columns as usize);
        let rank = right.len().checked_div(columns).unwrap_or(0);
        if rank == 0
            || rank.checked_mul(columns) != Some(right.len())
            || rows.checked_mul(rank) != Some(left.len())
        {
            return Err(format!(
                "factors of {} and {} values are not those of {rows} × {columns}",
                left.len(),
                right.len()
            ));
        }
        Ok(Self { left, right, rank, columns })
    }

    /// Returns the rank.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the columns of the product.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Writes rows of the product.
    pub(super) fn rows(&self, rows: Range<u64>, out: &mut [f32]) {
        let left = &self.left[rows.start as usize * self.rank..rows.end as usize * self.rank];
        product(left, &self.right, (self.rank, self.columns), out);
    }

    /// Returns both factors: `[rows, rank]` and `[rank, columns]`.
    #[must_use]
    pub fn both(&self) -> [&[f32]; 2] {
        [&self.left, &self.right]
    }

    /// Returns one element in f64.
    pub(super) fn exact(&self, row: u64, column: usize) -> f64 {
        let left = &self.left[row as usize * self.rank..][..self.rank];
        let right = self.right.iter().skip(column).step_by(self.columns);
        left.iter().zip(right).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }
}

/// Writes `left · right`, of which each element is `fma(l[r], r[r], …)` from zero on, `r` ascending.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+fma", "x86_64+avx2+fma"))]
fn product(left: &[f32], right: &[f32], (rank, columns): (usize, usize), out: &mut [f32]) {
    let (mut lefts, mut outs) = (left.chunks_exact(HIGH * rank), out.chunks_exact_mut(HIGH * columns));
    let whole = columns / WIDE * WIDE;
    for (left, out) in lefts.by_ref().zip(outs.by_ref()) {
        for from in (0..whole).step_by(WIDE) {
            let mut sums = [[0f32; WIDE]; HIGH];
            for (r, line) in right.chunks_exact(columns).enumerate() {
                let Some(line) = line[from..].first_chunk::<WIDE>() else { continue };
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = left[row * rank + r];
                    for (sum, value) in sums.iter_mut().zip(line) {
                        *sum = factor.mul_add(*value, *sum);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                out[row * columns + from..][..WIDE].copy_from_slice(sums);
            }
        }
        for (left, out) in left.chunks_exact(rank).zip(out.chunks_exact_mut(columns)) {
            row(left, right, whole, out);
        }
    }
    let rest = lefts.remainder().chunks_exact(rank);
    for (left, out) in rest.zip(outs.into_remainder().chunks_exact_mut(columns)) {
        row(left, right, 0, out);
    }
}

/// Writes one row of a product from column `from` on.
#[inline]
fn row(left: &[f32], right: &[f32], from: usize, out: &mut [f32]) {
    let columns = out.len();
    let out = &mut out[from..];
    out.fill(0.0);
    for (factor, line) in left.iter().zip(right.chunks_exact(columns)) {
        for (sum, value) in out.iter_mut().zip(&line[from..]) {
            *sum = factor.mul_add(*value, *sum);
        }
    }
}
