//! Deltas by products of elements, rows that are replaced, and stacks of experts.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Edit, Factors, add};
use crate::quant::kernel::{Kernel, Step, dtype_number};
use crate::tensor::Dtype;

/// `LoHa`: `W + s ((L₁ R₁) ∘ (L₂ R₂))`.
pub struct Hadamard {
    first: Factors,
    second: Factors,
    scale: f32,
    rounded: Option<Dtype>,
}

impl Hadamard {
    /// Returns the edit of two products of the same size.
    ///
    /// # Errors
    /// They are not.
    pub fn new(first: Factors, second: Factors, scale: f32, rounded: Option<Dtype>) -> Result<Self, String> {
        if first.columns() != second.columns() {
            return Err(format!("products of {} and {} columns", first.columns(), second.columns()));
        }
        Ok(Self { first, second, scale, rounded })
    }
}

impl Edit for Hadamard {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        let (mut deltas, mut others) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        self.first.rows(rows.clone(), &mut deltas);
        self.second.rows(rows, &mut others);
        for (delta, other) in deltas.iter_mut().zip(&others) {
            *delta = *delta * other * self.scale;
        }
        add(values, &deltas, self.rounded);
    }

    fn steps(&self) -> Option<Vec<Step>> {
        let ([left, right], [other_left, other_right]) = (self.first.both(), self.second.both());
        let kernel = Kernel::new("edit_hadamard").floats(left).floats(right);
        let ranks = [self.first.rank(), self.second.rank()].map(|rank| rank as u64);
        let kernel = kernel.floats(other_left).floats(other_right).numbers(ranks);
        Some(vec![kernel.numbers(scale_and_dtype(self.scale, self.rounded)?).into()])
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        for (row, values) in rows.zip(values.chunks_mut(self.first.columns())) {
            for (column, value) in values.iter_mut().enumerate() {
                let product = self.first.exact(row, column) * self.second.exact(row, column);
                *value += product * f64::from(self.scale);
            }
        }
    }
}

/// Returns how kernels are told what a delta is multiplied by and rounded to.
fn scale_and_dtype(scale: f32, rounded: Option<Dtype>) -> Option<[u64; 2]> {
    Some([scale.to_bits(), dtype_number(rounded.unwrap_or(Dtype::F32))?].map(u64::from))
}

/// `LoKr`: `W + s kron(w1, w2)`, where `kron[i, j] = w1[i / a, j / b] · w2[i % a, j % b]` for `w2` `[a, b]`.
pub struct Kronecker {
    first: Vec<f32>,
    second: Vec<f32>,
    /// Columns of the first.
    wide: usize,
    /// Rows and columns of the second.
    block: [usize; 2],
    scale: f32,
    rounded: Option<Dtype>,
}

impl Kronecker {
    /// Returns the edit of `w1` `[rows / a, columns / b]` and `w2` `[a, b]`.
    ///
    /// # Errors
    /// Their sizes do not make up `[rows, columns]`.
    pub fn new(
        (first, [high, wide]): (Vec<f32>, [u64; 2]),
        (second, block): (Vec<f32>, [u64; 2]),
        [rows, columns]: [u64; 2],
        scale: f32,
        rounded: Option<Dtype>,
    ) -> Result<Self, String> {
        let fits = high.checked_mul(block[0]) == Some(rows)
            && wide.checked_mul(block[1]) == Some(columns)
            && high.checked_mul(wide) == Some(first.len() as u64)
            && block[0].checked_mul(block[1]) == Some(second.len() as u64);
        if !fits {
            let [a, b] = block;
            return Err(format!("{high} × {wide} times {a} × {b} is not {rows} × {columns}"));
        }
        let block = block.map(|n| n as usize);
        Ok(Self { first, second, wide: wide as usize, block, scale, rounded })
    }

    fn pair(&self, row: usize, column: usize) -> (f32, f32) {
        let [a, b] = self.block;
        let first = self.first[row / a * self.wide + column / b];
        (first, self.second[row % a * b + column % b])
    }
}

impl Edit for Kronecker {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        let columns = self.wide * self.block[1];
        let mut deltas = vec![0.0; columns];
        for (row, values) in rows.zip(values.chunks_mut(columns)) {
            for (column, delta) in deltas.iter_mut().enumerate() {
                let (first, second) = self.pair(row as usize, column);
                *delta = first * second * self.scale;
            }
            add(values, &deltas, self.rounded);
        }
    }

    fn steps(&self) -> Option<Vec<Step>> {
        let [high, wide] = self.block.map(|size| size as u64);
        let rows = (self.first.len() / self.wide.max(1)).checked_mul(self.block[0])?;
        // The kernel counts rows and columns in 32 bits.
        [rows, self.wide.checked_mul(self.block[1])?]
            .into_iter()
            .try_for_each(|n| u32::try_from(n).map(|_| ()))
            .ok()?;
        let kernel = Kernel::new("edit_kronecker").floats(&self.first).floats(&self.second);
        let kernel = kernel.numbers([self.wide as u64, high, wide]);
        Some(vec![kernel.numbers(scale_and_dtype(self.scale, self.rounded)?).into()])
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        for (row, values) in rows.zip(values.chunks_mut(self.wide * self.block[1])) {
            for (column, value) in values.iter_mut().enumerate() {
                let (first, second) = self.pair(row as usize, column);
                *value += f64::from(first) * f64::from(second) * f64::from(self.scale);
            }
        }
    }
}

/// IA3: `W · l`, a factor a row or a column.
pub struct Scale {
    factors: Vec<f32>,
    by_rows: bool,
    columns: usize,
}

impl Scale {
    /// Returns the edit of a `[rows, columns]` weight.
    ///
    /// # Errors
    /// There are more or fewer factors than rows, or columns.
    pub fn new(factors: Vec<f32>, by_rows: bool, [rows, columns]: [u64; 2]) -> Result<Self, String> {
        let (needed, what) = if by_rows { (rows, "rows") } else { (columns, "columns") };
        if factors.len() as u64 != needed {
            return Err(format!("{} factors for {needed} {what}", factors.len()));
        }
        Ok(Self { factors, by_rows, columns: (columns as usize).max(1) })
    }

    fn factor(&self, row: u64, column: usize) -> f32 {
        self.factors[if self.by_rows { row as usize } else { column }]
    }
}

impl Edit for Scale {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        for (row, values) in rows.zip(values.chunks_mut(self.columns)) {
            for (column, value) in values.iter_mut().enumerate() {
                *value *= self.factor(row, column);
            }
        }
    }

    fn steps(&self) -> Option<Vec<Step>> {
        Some(vec![scaled(&self.factors, self.by_rows)])
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        for (row, values) in rows.zip(values.chunks_mut(self.columns)) {
            for (column, value) in values.iter_mut().enumerate() {
                *value *= f64::from(self.factor(row, column));
            }
        }
    }
}

/// Returns the step that multiplies each row, or column, by a factor.
pub(super) fn scaled(factors: &[f32], by_rows: bool) -> Step {
    Kernel::new("edit_scale").floats(factors).numbers([u64::from(by_rows)]).into()
}

/// Rows that are replaced: those of trained tokens.
pub struct Rows {
    /// Where the values of a row begin.
    starts: BTreeMap<u64, usize>,
    values: Vec<f32>,
    columns: usize,
}

impl Rows {
    /// Returns the edit that sets rows `indices`, whose values follow each other.
    ///
    /// # Errors
    /// The values are not so many rows, an index is named twice, or there is no such row.
    pub fn new(indices: &[u64], rows: Vec<f32>, [count, columns]: [u64; 2]) -> Result<Self, String> {
        let columns = columns as usize;
        if indices.len().checked_mul(columns) != Some(rows.len()) {
            return Err(format!("{} values for {} rows of {columns}", rows.len(), indices.len()));
        }
        let mut starts = BTreeMap::new();
        for (at, &index) in indices.iter().enumerate() {
            if index >= count {
                return Err(format!("row {index} of {count}"));
            }
            if starts.insert(index, at * columns).is_some() {
                return Err(format!("row {index} is named twice"));
            }
        }
        Ok(Self { starts, values: rows, columns: columns.max(1) })
    }

    fn each(&self, rows: Range<u64>, mut set: impl FnMut(usize, &[f32])) {
        for (&row, &from) in self.starts.range(rows.clone()) {
            set((row - rows.start) as usize * self.columns, &self.values[from..from + self.columns]);
        }
    }
}

impl Edit for Rows {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        self.each(rows, |at, row| values[at..at + row.len()].copy_from_slice(row));
    }

    fn steps(&self) -> Option<Vec<Step>> {
        // In the order of their values.
        let mut rows: Vec<(usize, u64)> = self.starts.iter().map(|(&row, &start)| (start, row)).collect();
        rows.sort_unstable();
        let rows: Vec<u8> = rows.iter().flat_map(|(_, row)| row.to_le_bytes()).collect();
        let kernel = Kernel::new("edit_rows").bytes(&rows).floats(&self.values);
        Some(vec![kernel.numbers([self.starts.len() as u64]).into()])
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        self.each(rows, |at, row| {
            for (value, &row) in values[at..].iter_mut().zip(row) {
                *value = f64::from(row);
            }
        });
    }
}

/// Edits of the matrices of a stack, one an expert.
pub struct Stack {
    edits: Vec<Box<dyn Edit>>,
    /// Rows of a matrix, and values of a row.
    rows: u64,
    columns: usize,
}

impl Stack {
    /// Returns the edit of a stack of matrices of `[rows, columns]`.
    #[must_use]
    pub fn new(edits: Vec<Box<dyn Edit>>, [rows, columns]: [u64; 2]) -> Self {
        Self { edits, rows: rows.max(1), columns: (columns as usize).max(1) }
    }

    /// Calls `edit` for the rows of each matrix, counted within it, and where their values lie.
    fn each(&self, rows: Range<u64>, mut edit: impl FnMut(&dyn Edit, Range<u64>, Range<usize>)) {
        let mut start = rows.start;
        while start < rows.end {
            let (matrix, first) = (start / self.rows, start % self.rows);
            let count = (self.rows - first).min(rows.end - start);
            if let Some(inner) = self.edits.get(matrix as usize) {
                let at = (start - rows.start) as usize * self.columns;
                edit(&**inner, first..first + count, at..at + count as usize * self.columns);
            }
            start += count;
        }
    }
}

impl Edit for Stack {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        self.each(rows, |edit, rows, at| edit.apply(rows, &mut values[at]));
    }

    fn steps(&self) -> Option<Vec<Step>> {
        let mut all = Vec::new();
        for (matrix, edit) in (0u64..).zip(&self.edits) {
            let start = matrix.checked_mul(self.rows)?;
            let rows = start..start.checked_add(self.rows)?;
            all.extend(within(&**edit, &rows)?);
        }
        Some(all)
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        self.each(rows, |edit, rows, at| edit.exact(rows, &mut values[at]));
    }
}

/// Returns the steps of an edit whose first row is the first of these rows.
fn within(edit: &dyn Edit, rows: &Range<u64>) -> Option<Vec<Step>> {
    edit.steps()?.into_iter().map(|step| step.within(rows)).collect()
}

/// An edit of some rows of a weight, counted from the first of them.
pub struct Within {
    edit: Box<dyn Edit>,
    rows: Range<u64>,
    columns: usize,
}

impl Within {
    /// Returns the edit of `rows` of a weight with so many columns.
    #[must_use]
    pub fn new(edit: Box<dyn Edit>, rows: Range<u64>, columns: u64) -> Self {
        Self { edit, rows, columns: columns as usize }
    }

    /// Returns which rows change, counted from the first that may, and where their values lie.
    fn part(&self, rows: &Range<u64>) -> Option<(Range<u64>, Range<usize>)> {
        let (start, end) = (rows.start.max(self.rows.start), rows.end.min(self.rows.end));
        let at = |row: u64| (row - rows.start) as usize * self.columns;
        (start < end).then(|| (start - self.rows.start..end - self.rows.start, at(start)..at(end)))
    }
}

impl Edit for Within {
    fn apply(&self, rows: Range<u64>, values: &mut [f32]) {
        if let Some((rows, at)) = self.part(&rows) {
            self.edit.apply(rows, &mut values[at]);
        }
    }

    fn steps(&self) -> Option<Vec<Step>> {
        within(&*self.edit, &self.rows)
    }

    fn exact(&self, rows: Range<u64>, values: &mut [f64]) {
        if let Some((rows, at)) = self.part(&rows) {
            self.edit.exact(rows, &mut values[at]);
        }
    }
}
