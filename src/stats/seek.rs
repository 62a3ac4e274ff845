//! Seek: the next place at which two sources of one shape differ.
//!
//! Blocks of rows are read one after the other from a place on, round the ends: what lies near is found at once, and each
//! value is read once at most but for those of the first block.

use super::pass::Watch;
use super::region::walk;
use super::source::Source;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::units;

/// Values of a block, where rows are no longer.
const BLOCK_VALUES: u64 = 1 << 16;

/// Where to look from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From {
    /// Row and column; that of this place comes last.
    pub place: [u64; 2],
    /// Forward, row by row; else back.
    pub forward: bool,
}

/// Returns true if two values are not the same: 0 and -0 are, and so are two NaN.
#[must_use]
pub fn differs(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

/// Returns row and column of the next place at which A and B differ; `None` if there is none.
///
/// # Errors
/// Their shapes differ, they cannot be read, or it was cancelled.
pub fn next_difference(
    a: &Source<'_>,
    b: &Source<'_>,
    from: From,
    watch: &dyn Watch,
) -> Result<Option<[u64; 2]>> {
    if a.shape != b.shape {
        let (of_a, of_b) = (units::shape(&a.shape), units::shape(&b.shape));
        return Err(Error::input(format!("{}: {of_a} in A, {of_b} in B", escape(&a.name))));
    }
    let blocks = Blocks::of(a, b);
    let count = blocks.count();
    if count == 0 {
        return Ok(None);
    }
    let [row, column] = [from.place[0].min(a.row_count() - 1), from.place[1].min(a.row_len() - 1)];
    let begin = row / blocks.high * blocks.beside + column / blocks.wide;
    // The block of the begin comes first with what lies beyond it, and last with the rest.
    for step in 0..=count {
        let block = if from.forward { begin + step } else { begin + count - step % count } % count;
        let found = blocks.differences([a, b], block, watch)?;
        let is_beyond =
            |place: &[u64; 2]| if from.forward { *place > [row, column] } else { *place < [row, column] };
        let wanted = found.into_iter().filter(|place| match step {
            0 => is_beyond(place),
            _ if step == count => !is_beyond(place),
            _ => true,
        });
        let next = if from.forward { wanted.min() } else { wanted.max() };
        if next.is_some() {
            return Ok(next);
        }
    }
    Ok(None)
}

/// Rows and columns cut into blocks, in the order of their values.
struct Blocks {
    rows: u64,
    columns: u64,
    /// Rows of a block; 1 where a row has several.
    high: u64,
    /// Columns of a block.
    wide: u64,
    /// Blocks of a row.
    beside: u64,
}

impl Blocks {
    fn of(a: &Source<'_>, b: &Source<'_>) -> Self {
        let (rows, columns) = (a.row_count(), a.row_len());
        // Rows that are decoded together stay so.
        let grain = (a.grain().max(b.grain()) / columns).max(1);
        let is_cut = columns > BLOCK_VALUES && a.decoding.is_none() && b.decoding.is_none();
        let high = if is_cut { 1 } else { (BLOCK_VALUES / columns).next_multiple_of(grain).max(grain) };
        let wide = if is_cut { BLOCK_VALUES } else { columns };
        Self { rows, columns, high, wide, beside: columns.div_ceil(wide) }
    }

    fn count(&self) -> u64 {
        self.rows.div_ceil(self.high) * self.beside
    }

    /// Returns the places of a block at which both differ.
    fn differences(&self, of: [&Source<'_>; 2], block: u64, watch: &dyn Watch) -> Result<Vec<[u64; 2]>> {
        let (top, left) = (block / self.beside * self.high, block % self.beside * self.wide);
        let (bottom, right) = (self.rows.min(top + self.high), self.columns.min(left + self.wide));
        let mut sides = [Vec::new(), Vec::new()];
        for (source, values) in of.into_iter().zip(&mut sides) {
            walk::<f64>(source, top..bottom, &(left..right), watch, &mut |_, line| {
                values.extend_from_slice(line);
            })?;
        }
        let [a, b] = sides;
        let span = right - left;
        let places = (0..).zip(a.iter().zip(&b)).filter(|(_, (a, b))| differs(**a, **b));
        Ok(places.map(|(at, _)| [top + at / span, left + at % span]).collect())
    }
}

#[cfg(test)]
mod tests;
