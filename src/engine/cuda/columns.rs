//! Columns as rows, of what is packed: as many stored rows as there is room for are decoded to f32, and a kernel takes from
//! them what they have of each row of the result; then the next ones.
//!
//! So each piece decodes the whole layer: what is held is a slot, however large the layer is.

use super::driver::{Bytes, Fault};
use super::launch::{Array, Launcher, Span, Uploaded};
use super::layer::{Codes, Recipe};
use super::module;
use crate::quant::decode::DecodeRows;
use crate::tensor::Dtype;

/// The codes that a kernel is given begin at a multiple of so many bytes: it reads vectors.
pub(super) const ALIGNED: u64 = 16;

/// Returns true if there are the kernels that turn rows.
pub(super) fn is_there() -> bool {
    ["turn_f32", "turn_f16", "turn_bf16"].into_iter().all(module::is_there)
}

/// Returns how many stored rows are decoded at a time where so many values have room; `None` if none are, or not so that
/// their codes begin where a kernel reads them.
pub(super) fn at_once(columns: &dyn DecodeRows, [rows, len]: [u64; 2], capacity: u64) -> Option<u64> {
    let most = (capacity / len.max(1)).min(rows);
    let first = columns.codes(0..1).start;
    let is_aligned = |row: u64| (columns.codes(row..row + 1).start - first).is_multiple_of(ALIGNED);
    let begin_well = |&each: &u64| (each..rows).step_by(each as usize).all(is_aligned);
    // Of codes that follow each other so many rows have whole vectors at the latest, those of one bit too.
    let whole = [1, ALIGNED, 8 * ALIGNED].map(|rows| most / rows * rows);
    whole.into_iter().filter(|&each| each > 0).find(begin_well)
}

/// Decodes rows of a weight whose columns are stored, by way of `decoded`.
pub(super) fn decode(
    launcher: Launcher<'_>,
    (recipe, kernel): (&Recipe, &Uploaded),
    (codes, decoded): (Codes<'_>, &Bytes),
    span: Span,
    to: Array<'_>,
) -> Result<(), Fault> {
    let missing = || Fault::said("columns whose decoder is not known: a fault of this program");
    let (columns, [rows, len]) = codes.columns.zip(recipe.program.turned).ok_or_else(missing)?;
    let each = at_once(columns, [rows, len], decoded.len() as u64 / 4).ok_or_else(missing)?;
    let (values, first) = (Array { bytes: decoded, dtype: Dtype::F32 }, columns.codes(0..1).start);
    for start in (0..rows).step_by(each as usize) {
        let count = each.min(rows - start);
        let at = columns.codes(start..start + count).start - first;
        let stored = Span { first: start * len, count: count * len, columns: len };
        launcher.decode_from(kernel, (codes.bytes, at), stored, recipe.decoded, values)?;
        launcher.turn(decoded, [count, len], (span, start), to)?;
    }
    Ok(())
}
