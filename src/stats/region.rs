//! Region: the values of some rows and columns, as numbers or as the largest magnitude in each of some cells.
//!
//! Only what is asked for is read: of plain values the columns of the rows where that is much less, of a layer that is
//! decoded whole rows.

use std::ops::Range;

use super::block::Value;
use super::counts::Keys;
use super::pass::Watch;
use super::source::{Buffers, Source};
use super::summary::Map;
use crate::error::{Error, Result};

/// Values read together.
const CHUNK_VALUES: u64 = 512 << 10;
/// Values that are given as numbers, at most: a screen has room for fewer.
const NUMBERS_MAX: u64 = 1 << 16;

/// Returns the values of rows and columns, row by row.
///
/// # Errors
/// They lie outside of the shape, are too many for a screen, or cannot be read.
pub fn numbers(source: &Source<'_>, rows: Range<u64>, columns: Range<u64>) -> Result<Vec<f64>> {
    struct Always;
    impl Watch for Always {}
    let count =
        (rows.end.saturating_sub(rows.start)).saturating_mul(columns.end.saturating_sub(columns.start));
    if count > NUMBERS_MAX {
        return Err(Error::input(format!("{count} numbers are more than {NUMBERS_MAX}")));
    }
    let mut numbers = Vec::with_capacity(count as usize);
    match Keys::of(source.dtype) {
        Keys::Patterns(_) | Keys::F32 => walk::<f32>(source, rows, &columns, &Always, &mut |_, values| {
            numbers.extend(values.iter().map(|value| value.wide()));
        })?,
        Keys::F64 => walk::<f64>(source, rows, &columns, &Always, &mut |_, values| {
            numbers.extend(values.iter().map(|value| value.wide()));
        })?,
    }
    Ok(numbers)
}

/// Returns the largest magnitude in each cell between the given rows and columns, ascending: the first cell begins at
/// the first of them, the last one ends at the last. One with a value that is NaN or infinite is infinite, as in a scan.
///
/// # Errors
/// They lie outside of the shape, cannot be read, or it was cancelled.
pub fn pooled(source: &Source<'_>, rows: &[u64], columns: &[u64], watch: &dyn Watch) -> Result<Map> {
    match Keys::of(source.dtype) {
        Keys::Patterns(_) | Keys::F32 => pooled_as::<f32>(source, rows, columns, watch),
        Keys::F64 => pooled_as::<f64>(source, rows, columns, watch),
    }
}

fn pooled_as<V: Value>(source: &Source<'_>, rows: &[u64], columns: &[u64], watch: &dyn Watch) -> Result<Map> {
    let (high, wide) = (rows.len().saturating_sub(1), columns.len().saturating_sub(1));
    let mut map = Map { rows: high, columns: wide, cells: vec![0.0; high * wide] };
    let (Some((&top, &bottom)), Some((&left, &right))) =
        (rows.first().zip(rows.last()), columns.first().zip(columns.last()))
    else {
        return Ok(map);
    };
    let is_ascending = |ends: &[u64]| ends.is_sorted_by(|a, b| a < b);
    if !is_ascending(rows) || !is_ascending(columns) {
        return Err(Error::input("the cells of a map are not in order"));
    }
    walk::<V>(source, top..bottom, &(left..right), watch, &mut |row, values| {
        let cell = rows.partition_point(|end| *end <= row).saturating_sub(1);
        let Some(line) = map.cells.get_mut(cell * wide..(cell + 1) * wide) else { return };
        for (most, ends) in line.iter_mut().zip(columns.windows(2)) {
            let [begin, end] = [ends[0] - left, ends[1] - left].map(|at| at as usize);
            for value in &values[begin..end] {
                let magnitude = value.magnitude().wide();
                let cell =
                    if magnitude.is_finite() { (magnitude as f32).min(f32::MAX) } else { f32::INFINITY };
                *most = most.max(cell);
            }
        }
    })?;
    Ok(map)
}

/// Shows the values of the columns of each row, in order.
pub(super) fn walk<V: Value>(
    source: &Source<'_>,
    rows: Range<u64>,
    columns: &Range<u64>,
    watch: &dyn Watch,
    show: &mut dyn FnMut(u64, &[V]),
) -> Result<()> {
    let (count, length) = (source.row_count(), source.row_len());
    if rows.start > rows.end || rows.end > count || columns.start > columns.end || columns.end > length {
        return Err(Error::input(format!("it has {count} rows of {length}: these lie outside")));
    }
    let span = columns.end - columns.start;
    // Much of a row is read for little of it only where rows are decoded whole.
    let is_by_row = source.decoding.is_none() && span < length / 4;
    let grain = if is_by_row { 1 } else { (source.grain() / length).max(1) };
    let at_once = if is_by_row { 1 } else { (CHUNK_VALUES / length).next_multiple_of(grain).max(grain) };
    let (mut buffers, mut values) = (Buffers::default(), Vec::new());
    let mut begin = rows.start / grain * grain;
    while begin < rows.end {
        watch.check()?;
        let end = count.min(begin + at_once).min(rows.end.next_multiple_of(grain));
        let (range, shift, width) = if is_by_row {
            (begin * length + columns.start..begin * length + columns.end, 0, span)
        } else {
            (begin * length..end * length, columns.start, length)
        };
        values.resize((range.end - range.start) as usize, V::default());
        if !V::read(source.dtype, source.read(range, &mut buffers)?, &mut values) {
            return Err(Error::input(format!("{} has no plain values", source.dtype)));
        }
        for (row, line) in (begin..end).zip(values.chunks_exact(width.max(1) as usize)) {
            if rows.contains(&row) {
                show(row, &line[shift as usize..(shift + span) as usize]);
            }
        }
        begin = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
