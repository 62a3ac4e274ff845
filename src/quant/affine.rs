//! Affine codes: `(code - zero) * scale` with scales and zero points by output and group of inputs.
//!
//! The difference of whole numbers is exact in f32, and so is its product with a scale of 16 bits: a caller
//! that rounds once has the result of a reference that computes in the scales' dtype.

use super::Part;
use super::decode::Beside;
use super::decode::formula::Formula;
use super::decode::grid::Grid;
use super::kernel::Kernel;
use crate::tensor::Dtype;

/// What is subtracted from codes, or added to products.
pub(super) enum Zeros {
    /// One zero point for all codes.
    One(f32),
    /// A zero point a scale, in their order.
    Each(Vec<f32>),
    /// A term a scale, in their order, that is added to `code * scale`.
    Added(Vec<f32>),
}

/// The group of each input.
#[derive(Debug)]
pub(super) enum Groups {
    /// Groups of so many inputs follow each other.
    Runs(usize),
    /// The group of each input (act-order).
    Strewn(Vec<u32>),
}

/// How many outputs share a row of scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sharing {
    /// Outputs of one matrix; a stack of experts repeats them.
    pub(super) outputs: usize,
    /// Outputs that share a row of scales, the last few of a matrix fewer.
    pub(super) high: usize,
}

/// Scales and zero points of a layer, a row of scales for each output or block of outputs.
pub(super) struct Affine {
    scales: Vec<f32>,
    zeros: Zeros,
    /// Scales of a row.
    width: usize,
    groups: Groups,
    sharing: Sharing,
    /// Rows of scales that outputs have, and scales of a row that inputs have: what is beyond them fills up words.
    used: [usize; 2],
}

impl Affine {
    /// Returns the scales `[rows of scales, width]` of `shape` (all outputs, inputs), one row of scales
    /// an output.
    pub(super) fn new(
        scales: Vec<f32>,
        zeros: Zeros,
        width: usize,
        groups: Groups,
        [outputs, inputs]: [u64; 2],
    ) -> Result<Self, String> {
        let sharing = Sharing { outputs: outputs as usize, high: 1 };
        Self::shared(scales, zeros, width, groups, sharing, [outputs, inputs])
    }

    /// Returns the scales of which several outputs share a row.
    pub(super) fn shared(
        scales: Vec<f32>,
        zeros: Zeros,
        width: usize,
        groups: Groups,
        sharing: Sharing,
        [outputs, inputs]: [u64; 2],
    ) -> Result<Self, String> {
        let mut affine = Self { scales, zeros, width, groups, sharing, used: [0; 2] };
        let rows = (outputs as usize).checked_sub(1).map_or(0, |last| affine.row_of(last) + 1);
        let needed = rows.checked_mul(width);
        if needed.is_none_or(|needed| needed > affine.scales.len()) {
            let has = affine.scales.len();
            return Err(format!("{has} scales, {outputs} outputs need {rows} rows of {width}"));
        }
        let zeros = match &affine.zeros {
            Zeros::One(_) => affine.scales.len(),
            Zeros::Each(zeros) | Zeros::Added(zeros) => zeros.len(),
        };
        if zeros != affine.scales.len() {
            return Err(format!("{zeros} zero points for {} scales", affine.scales.len()));
        }
        let last = match &affine.groups {
            Groups::Runs(0) => return Err("groups of 0 inputs".into()),
            Groups::Runs(size) => (inputs as usize).checked_sub(1).map(|last| last / size),
            Groups::Strewn(list) if list.len() as u64 != inputs => {
                return Err(format!("the groups of {} inputs, the weight has {inputs}", list.len()));
            }
            Groups::Strewn(list) => list.iter().max().map(|&last| last as usize),
        };
        if let Some(last) = last.filter(|&last| last >= width) {
            return Err(format!("inputs of group {last}, there are {width} groups"));
        }
        affine.used = [rows, last.map_or(0, |last| last + 1)];
        Ok(affine)
    }

    /// Returns a kernel with these scales, zero points and groups (`Affine` in `kernels/affine.cuh`), and the format's
    /// own numbers behind them; `None` if the shape (all outputs, inputs) is beyond its 32 bits.
    pub(super) fn kernel(
        &self,
        name: &'static str,
        [outputs, inputs]: [usize; 2],
        own: impl IntoIterator<Item = u64>,
    ) -> Option<Kernel> {
        let below = |n: usize| i32::try_from(n).ok().filter(|&n| n > 0).map(|n| u64::from(n.cast_unsigned()));
        below(outputs)?;
        let (inputs, width) = (below(inputs)?, below(self.width)?);
        let pair = |low: u64, high: u64| low | high << 32;
        let (kind, zeros) = match &self.zeros {
            Zeros::One(zero) => (0, std::slice::from_ref(zero)),
            Zeros::Each(zeros) => (1, zeros.as_slice()),
            Zeros::Added(zeros) => (2, zeros.as_slice()),
        };
        let ([size, shift, factor], list) = match &self.groups {
            Groups::Runs(size) => (division(inputs.min(*size as u64)), [0].as_slice()),
            Groups::Strewn(list) => ([0; 3], list.as_slice()),
        };
        // More outputs than a matrix has share no more than it.
        let of_matrix = below(self.sharing.outputs.max(1).min(outputs))?;
        let high = match self.sharing.high.max(1) as u64 {
            1 => 1,
            _ if self.row_of(outputs - 1) == 0 => 0,
            high => high.min(of_matrix),
        };
        let numbers = [inputs, width, pair(size, shift), pair(kind, factor), pair(of_matrix, high)];
        let kernel = Kernel::new(name).floats(&self.scales).floats(zeros).words(list);
        Some(kernel.numbers(numbers).numbers(own))
    }

    /// Returns what stands beside the codes, without what fills up words. One zero point for all codes is the
    /// format's own.
    pub(super) fn beside(&self, which: Beside) -> Option<Vec<f32>> {
        let all = match (which, &self.zeros) {
            (Beside::Scales, _) => &self.scales,
            (Beside::ZeroPoints, Zeros::Each(list)) | (Beside::Terms, Zeros::Added(list)) => list,
            _ => return None,
        };
        let [rows, columns] = self.used;
        let rows = all.chunks(self.width.max(1)).take(rows);
        Some(rows.flat_map(|row| row.iter().take(columns)).copied().collect())
    }

    fn row_of(&self, output: usize) -> usize {
        let Sharing { outputs, high } = self.sharing;
        if high == 1 {
            return output;
        }
        let (outputs, high) = (outputs.max(1), high.max(1));
        output / outputs * outputs.div_ceil(high) + output % outputs / high
    }

    /// Turns the codes of one output, from input `first` on, into weights.
    pub(super) fn apply(&self, output: usize, first: usize, values: &mut [f32]) {
        let from = self.row_of(output) * self.width;
        let row = from..from + self.width;
        let scales = &self.scales[row.clone()];
        match &self.zeros {
            Zeros::One(zero) => {
                self.each(first, values, |v, group| (v - zero) * scales[group]);
            }
            Zeros::Each(zeros) => {
                let zeros = &zeros[row];
                self.each(first, values, |v, group| (v - zeros[group]) * scales[group]);
            }
            Zeros::Added(zeros) => {
                let zeros = &zeros[row];
                self.each(first, values, |v, group| v * scales[group] + zeros[group]);
            }
        }
    }

    /// Returns them as a grid over `[rows, columns]`, each value rounded to a dtype; `None` where groups are strewn or all
    /// codes have a zero point that is not 0.
    pub(super) fn grid(&self, [rows, columns]: [u64; 2], rounded: Dtype) -> Option<Grid<'_>> {
        let Groups::Runs(run) = self.groups else { return None };
        let (formula, offsets) = match &self.zeros {
            Zeros::One(zero) if zero.to_bits() == 0 => (Formula::Product(rounded), [].as_slice()),
            Zeros::One(_) => return None,
            Zeros::Each(zeros) => {
                (Formula::Centered { difference: Dtype::F32, product: rounded }, zeros.as_slice())
            }
            Zeros::Added(terms) => (Formula::Sum { product: Dtype::F32, sum: rounded }, terms.as_slice()),
        };
        let Sharing { outputs, high } = self.sharing;
        let (outputs, matrix) = match high {
            1 => (u64::MAX, 0),
            high => (outputs.max(1) as u64, outputs.max(1).div_ceil(high.max(1)) * self.width),
        };
        Some(Grid {
            rows,
            columns,
            outputs,
            block: [high.max(1) as u64, run as u64],
            width: self.width,
            matrix,
            scales: &self.scales,
            offsets,
            by_column: &[],
            formula,
        })
    }

    fn each(&self, first: usize, values: &mut [f32], weight: impl Fn(f32, usize) -> f32) {
        match &self.groups {
            Groups::Runs(size) => {
                let (mut group, mut left) = (first / size, size - first % size);
                let mut rest = values;
                while !rest.is_empty() {
                    let (run, behind) = rest.split_at_mut(left.min(rest.len()));
                    for value in run {
                        *value = weight(*value, group);
                    }
                    (rest, group, left) = (behind, group + 1, *size);
                }
            }
            Groups::Strewn(list) => {
                for (value, &group) in values.iter_mut().zip(&list[first..]) {
                    *value = weight(*value, group as usize);
                }
            }
        }
    }
}

/// Returns a divisor above 0, a shift and a factor by which every number below 2^31 is divided:
/// `number * factor >> shift`. The factor is the quotient of `2^shift`, rounded up; what that adds to a result is less
/// than `2^31 / 2^shift`, which is at most one part in `by`.
fn division(by: u64) -> [u64; 3] {
    let shift = 31 + u64::from(by.next_power_of_two().ilog2());
    [by, shift, (1u64 << shift).div_ceil(by)]
}

/// Returns the groups of a list: runs of `size` where it is that order.
pub(super) fn in_order(list: Vec<u32>, size: usize) -> Groups {
    let is_runs = size > 0 && list.iter().enumerate().all(|(input, &group)| group as usize == input / size);
    if is_runs { Groups::Runs(size) } else { Groups::Strewn(list) }
}

/// Returns `[columns, rows]` of `[rows, columns]`.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    if rows * columns == values.len() && columns > 0 {
        for (row, line) in values.chunks_exact(columns).enumerate() {
            for (column, &value) in line.iter().enumerate() {
                out[column * rows + row] = value;
            }
        }
    }
    out
}

/// Returns the dtype of scales, in which products are rounded.
///
/// # Errors
/// It is none that weights are written in.
pub(super) fn rounded_to(scales: &Part<'_>) -> Result<Dtype, String> {
    match scales.dtype {
        Dtype::F16 | Dtype::BF16 | Dtype::F32 => Ok(scales.dtype),
        other => Err(format!("{} is {other}, not F16, BF16 or F32", scales.suffix)),
    }
}

#[cfg(test)]
mod tests;
