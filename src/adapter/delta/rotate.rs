//! OFT: blocks of the inputs turned by orthogonal matrices.
//!
//! A block's matrix comes from a skew-symmetric `Q`, stored as its upper triangle row by row: the Cayley
//! transform `(I - Q) (I + Q)⁻¹`, or its Neumann series, of which the last power counts once: with five terms
//! `I + 2Q + 2Q² + 2Q³ + Q⁴`. Constrained OFT (`coft`) first shortens each `Q` that is longer than it may be.
//! Source: PEFT 0.21, `tuners/oft/layer.py`.

use std::ops::Range;

use super::Edit;
use crate::quant::kernel::{Kernel, Step};

/// How matrices are made of angles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Oft {
    /// Terms of the Neumann series; `None` for Cayley's transform.
    pub series: Option<u32>,
    /// How long a block's `Q` may be (`coft`'s `eps`), times the root of the number of blocks.
    pub longest: Option<f64>,
}

/// `W Rᵀ`, block by block along the inputs.
pub struct Rotation {
    /// `[blocks, size, size]`; one for all where they share it.
    blocks: Vec<f64>,
    size: usize,
    columns: usize,
}

impl Rotation {
    /// Returns the edit of a weight with so many columns, from the upper triangles of each block.
    ///
    /// # Errors
    /// No block size fits the number of values.
    pub fn new(triangles: &[f32], blocks: u64, columns: u64, oft: Oft) -> Result<Self, String> {
        /// Rows of a block; more is none that anyone trains, and its square is held.
        const SIZE_MAX: usize = 4096;
        let (count, columns) = (blocks as usize, columns as usize);
        let each = triangles.len().checked_div(count).unwrap_or(0);
        // size (size - 1) / 2 = each
        let size = ((1.0 + 8.0 * each as f64).sqrt() as usize).div_ceil(2);
        let fits = size * size.saturating_sub(1) / 2 == each && each * count == triangles.len();
        let covers = count == 1 || count.checked_mul(size) == Some(columns);
        if each == 0 || !fits || size > SIZE_MAX || !covers || !columns.is_multiple_of(size) {
            return Err(format!("{count} blocks of {each} angles are not those of {columns} inputs"));
        }
        let mut all = Vec::with_capacity(count * size * size);
        for triangle in triangles.chunks_exact(each) {
            let mut skew = skew(triangle, size);
            if let Some(eps) = oft.longest {
                shorten(&mut skew, eps / (count as f64).sqrt());
            }
            all.extend(match oft.series {
                Some(terms) => series(&skew, size, terms),
                None => cayley(&skew, size)?,
            });
        }
        Ok(Self { blocks: all, size, columns })
    }

    fn block(&self, block: usize) -> &[f64] {
        let square = self.size * self.size;
        let shared = self.blocks.len() == square;
        &self.blocks[if shared { 0 } else { block * square }..][..square]
    }

    /// Turns one row.
    fn turn(&self, row: &[f64], out: &mut [f64]) {
        let pieces = row.chunks_exact(self.size).zip(out.chunks_exact_mut(self.size));
        for (at, (row, out)) in pieces.enumerate() {
            for (out, line) in out.iter_mut().zip(self.block(at).chunks_exact(self.size)) {
                *out = line.iter().zip(row).map(|(a, b)| a * b).sum();
            }
        }
    }
}

impl Edit for Rotation {
    fn steps(&self) -> Option<Vec<Step>> {
        let (size, square) = (self.size, self.size * self.size);
        // Neighbors in the kernel make neighbors of the result: each block is given turned.
        let turned = self
            .blocks
            .chunks_exact(square)
            .flat_map(|block| (0..square).map(move |at| block[at % size * size + at / size]));
        let shared = u64::from(self.blocks.len() == square);
        Some(vec![Kernel::new("edit_turned").doubles(turned).numbers([size as u64, shared]).into()])
    }

    fn apply(&self, _rows: Range<u64>, values: &mut [f32]) {
        let (mut wide, mut turned) = (vec![0.0; self.columns], vec![0.0; self.columns]);
        for values in values.chunks_mut(self.columns) {
            for (wide, &value) in wide.iter_mut().zip(&*values) {
                *wide = f64::from(value);
            }
            self.turn(&wide, &mut turned);
            for (value, &turned) in values.iter_mut().zip(&turned) {
                *value = turned as f32;
            }
        }
    }

    fn exact(&self, _rows: Range<u64>, values: &mut [f64]) {
        let mut turned = vec![0.0; self.columns];
        for values in values.chunks_mut(self.columns) {
            // Column by column, the other way around.
            turned.fill(0.0);
            for (at, values) in values.chunks_exact(self.size).enumerate() {
                let block = self.block(at);
                for (column, &value) in values.iter().enumerate() {
                    for (row, out) in turned[at * self.size..][..self.size].iter_mut().enumerate() {
                        *out += block[row * self.size + column] * value;
                    }
                }
            }
            values.copy_from_slice(&turned);
        }
    }
}

fn skew(triangle: &[f32], size: usize) -> Vec<f64> {
    let mut skew = vec![0.0; size * size];
    let mut values = triangle.iter().map(|&v| f64::from(v));
    for row in 0..size {
        for column in row + 1..size {
            let value = values.next().unwrap_or(0.0);
            skew[row * size + column] = value;
            skew[column * size + row] = -value;
        }
    }
    skew
}

fn times(a: &[f64], b: &[f64], size: usize) -> Vec<f64> {
    let mut out = vec![0.0; size * size];
    for (out, a) in out.chunks_exact_mut(size).zip(a.chunks_exact(size)) {
        for (&a, b) in a.iter().zip(b.chunks_exact(size)) {
            for (out, &b) in out.iter_mut().zip(b) {
                *out += a * b;
            }
        }
    }
    out
}

fn identity(size: usize) -> Vec<f64> {
    (0..size * size).map(|at| f64::from(u8::from(at / size == at % size))).collect()
}

/// Scales a matrix down to this length, the root of the sum of its squares, if it is longer.
fn shorten(skew: &mut [f64], longest: f64) {
    let length = skew.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > longest {
        for value in skew {
            *value *= longest / length;
        }
    }
}

/// `I + 2Q + 2Q² + … + Qⁿ⁻¹` for `n` terms; for three of them PEFT adds `Q³` as for four.
fn series(skew: &[f64], size: usize, terms: u32) -> Vec<f64> {
    let mut sum = identity(size);
    let last = match terms {
        0 | 1 => return sum,
        // Twice, as the only one.
        2 => 1,
        _ => terms.max(4) - 1,
    };
    let mut power = skew.to_vec();
    for term in 1..=last {
        if term > 1 {
            power = times(&power, skew, size);
        }
        let factor = if term == last && last > 1 { 1.0 } else { 2.0 };
        for (sum, value) in sum.iter_mut().zip(&power) {
            *sum += factor * value;
        }
    }
    sum
}

/// `(I - Q) (I + Q)⁻¹`: `X` of `X (I + Q) = I - Q`. For a skew `Q` both factors commute, and `I + Q` has an inverse.
fn cayley(skew: &[f64], size: usize) -> Result<Vec<f64>, String> {
    let identity = identity(size);
    let mut left: Vec<f64> = identity.iter().zip(skew).map(|(i, q)| i + q).collect();
    let mut right: Vec<f64> = identity.iter().zip(skew).map(|(i, q)| i - q).collect();
    // Gauss and Jordan with the largest pivot: (I + Q) X = I - Q.
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&a, &b| left[a * size + column].abs().total_cmp(&left[b * size + column].abs()))
            .unwrap_or(column);
        let value = left[pivot * size + column];
        if value == 0.0 || !value.is_finite() {
            return Err("its angles are no numbers that turn".into());
        }
        for at in 0..size {
            left.swap(pivot * size + at, column * size + at);
            right.swap(pivot * size + at, column * size + at);
        }
        for at in 0..size {
            left[column * size + at] /= value;
            right[column * size + at] /= value;
        }
        for row in (0..size).filter(|&row| row != column) {
            let factor = left[row * size + column];
            if factor != 0.0 {
                for at in 0..size {
                    left[row * size + at] -= factor * left[column * size + at];
                    right[row * size + at] -= factor * right[column * size + at];
                }
            }
        }
    }
    Ok(right)
}
