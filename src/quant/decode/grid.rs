//! Grids: scales over the rows of matrices, as the kernels of `kernels/scaled.cu` and `kernels/planes.cu` are given them.

use super::codes::Codes;
use super::formula::Formula;
use crate::quant::kernel::{Kernel, Program, dtype_number};

/// Scales of blocks over the rows of a weight, whose codes follow each other.
pub(in crate::quant) struct Grid<'a> {
    /// Rows of the weight, those of all matrices.
    pub(in crate::quant) rows: u64,
    /// Values of a row.
    pub(in crate::quant) columns: u64,
    /// Rows of a matrix, after which the grid begins again (or the next one).
    pub(in crate::quant) outputs: u64,
    /// Rows and columns of a block.
    pub(in crate::quant) block: [u64; 2],
    /// Scales of a row of blocks.
    pub(in crate::quant) width: usize,
    /// Scales of a matrix; 0 where all have the same.
    pub(in crate::quant) matrix: usize,
    /// The scales.
    pub(in crate::quant) scales: &'a [f32],
    /// An offset a scale, or none.
    pub(in crate::quant) offsets: &'a [f32],
    /// A factor a column, or none.
    pub(in crate::quant) by_column: &'a [f32],
    /// What becomes of a code.
    pub(in crate::quant) formula: Formula,
}

impl Grid<'_> {
    /// Returns the program for codes that follow each other; `pairs` for nibbles of which two rows share bytes. `None`
    /// for an empty weight and for sizes that no kernel counts.
    pub(in crate::quant) fn program(&self, codes: &Codes, pairs: bool) -> Option<Program> {
        let (name, table) = match (codes.kernel(), pairs, self.formula) {
            // Of the kernels that multiply, one divides too: that of any bytes.
            ((name, _), false, Formula::Quotient | Formula::CenteredQuotient) => match name {
                "scaled_e4m3" | "scaled_int8" | "scaled_bytes" => ("scaled_bytes", codes.table()),
                _ => return None,
            },
            (of_codes, false, _) => of_codes,
            (("scaled_nibbles", table), true, formula) if formula != Formula::Quotient => {
                ("scaled_pairs", table)
            }
            (_, true, _) => return None,
        };
        i32::try_from(self.rows).ok()?;
        let columns = i32::try_from(self.columns).ok().filter(|&columns| columns > 0)?.cast_unsigned();
        let [width, matrix] = [self.width, self.matrix].map(|count| u32::try_from(count).ok());
        u32::try_from(self.scales.len()).ok()?;
        // What is larger than the weight holds all of it.
        let [outputs, high, wide] =
            [self.outputs, self.block[0], self.block[1]].map(|size| size.min(DIVISOR_MAX.into()) as u32);
        let (number, factor) = formula_numbers(self.formula)?;
        let kernel = Kernel::new(name)
            .floats(&table)
            .floats(self.scales)
            .floats(self.offsets)
            .floats(self.by_column)
            .numbers([u64::from(columns), divisor(columns)?, u64::from(outputs), divisor(outputs)?])
            .numbers([divisor(high)?, u64::from(wide), divisor(wide)?])
            .numbers([u64::from(width?) | u64::from(matrix?) << 32])
            .numbers([number | u64::from(codes.bits()) << 24, factor]);
        Some(kernel.into())
    }
}

/// Returns how kernels are told a formula: its number with the dtypes that it rounds to, and its factor.
pub(in crate::quant) fn formula_numbers(formula: Formula) -> Option<(u64, u64)> {
    use crate::tensor::Dtype::F32;
    let (what, inner, outer, factor) = match formula {
        Formula::Product(dtype) => (0, F32, dtype, 0.0),
        Formula::Quotient => (1, F32, F32, 0.0),
        Formula::Sum { product, sum } => (2, product, sum, 0.0),
        Formula::Centered { difference, product } => (3, difference, product, 0.0),
        Formula::CenteredQuotient => (4, F32, F32, 0.0),
        Formula::Twice(factor) => (5, F32, F32, factor),
    };
    let [inner, outer] = [dtype_number(inner)?, dtype_number(outer)?].map(u64::from);
    Some((what | inner << 8 | outer << 16, u64::from(factor.to_bits())))
}

/// The largest divisor: what is divided is less.
const DIVISOR_MAX: u32 = 1 << 31;

/// Returns a divisor of numbers below 2^31 as `quotient` of kernels/rows.cuh takes it: by a product and a shift. `None` for
/// 0 and beyond the largest.
/// Source: Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 1994, figure 4.1.
pub(in crate::quant) fn divisor(divisor: u32) -> Option<u64> {
    let last = divisor.checked_sub(1).filter(|_| divisor <= DIVISOR_MAX)?;
    let bits = u32::BITS - last.leading_zeros();
    let rest = (1u128 << bits) - u128::from(divisor);
    let product = ((rest << 32) / u128::from(divisor) + 1) as u64;
    Some(product & u64::from(u32::MAX) | u64::from(bits) << 32)
}

#[cfg(test)]
mod tests;
