//! What a GPU's kernels need to decode, change and encode rows: the same numbers that the decoders and encoders hold.
//!
//! A decoder that has a kernel (`kernels/*.cu`) says so by a `Kernel`: its name, the arrays that all rows share, and
//! numbers. A weight that adapters change is a `Program`: a kernel, then steps over its values in f32.
//!
//! | kernel's name   | entries                                | given                                                |
//! |-----------------|----------------------------------------|------------------------------------------------------|
//! | of a decoder    | `NAME_f32`, `NAME_f16`, `NAME_bf16`    | the bytes that `DecodeRows::codes` names for the rows |
//! | of an encoder   | `NAME`                                 | f32 values of whole rows, and room for each strand   |

use std::ops::Range;

use crate::tensor::Dtype;

/// The arrays that a kernel may have at most (`Layer.table` in `kernels/values.cuh`).
pub const TABLES: usize = 6;
/// The numbers that a kernel may have at most (`Layer.number`).
pub const NUMBERS: usize = 10;
/// The strands that an encoder's kernel may fill at most (`Strands.strand` in `kernels/encode.cuh`).
pub const STRANDS: usize = 6;

/// What all rows of a layer share, as a kernel is given it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Name of its entries, without the dtype's ending.
    pub name: &'static str,
    /// Arrays, little-endian, in the order of `Layer.table`; at most `TABLES`.
    pub tables: Vec<Vec<u8>>,
    /// Numbers, in the order of `Layer.number`; at most `NUMBERS`.
    pub numbers: Vec<u64>,
}

impl Kernel {
    /// Returns a kernel with neither arrays nor numbers.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Adds an array of f32.
    #[must_use]
    pub fn floats(mut self, values: &[f32]) -> Self {
        self.tables.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        self
    }

    /// Adds an array of u32.
    #[must_use]
    pub fn words(mut self, values: &[u32]) -> Self {
        self.tables.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        self
    }

    /// Adds an array of f64.
    #[must_use]
    pub fn doubles(mut self, values: impl IntoIterator<Item = f64>) -> Self {
        self.tables.push(values.into_iter().flat_map(f64::to_le_bytes).collect());
        self
    }

    /// Adds an array of bytes.
    #[must_use]
    pub fn bytes(mut self, values: &[u8]) -> Self {
        self.tables.push(values.to_vec());
        self
    }

    /// Adds numbers.
    #[must_use]
    pub fn numbers(mut self, values: impl IntoIterator<Item = u64>) -> Self {
        self.numbers.extend(values);
        self
    }

    /// Returns the edit of `kernels/merge.cu` that makes of columns as rows what this one makes of rows: of those that
    /// look at each value alone. `None` for the others: norms and rotations are of rows.
    fn turned(mut self) -> Option<Self> {
        match (self.name, self.tables.as_mut_slice(), self.numbers.as_mut_slice()) {
            ("edit_plus", ..) => {}
            ("edit_scale", _, [by_rows, ..]) => *by_rows ^= 1,
            // Each factor has its rank as the length of its rows, or as their number.
            ("edit_hadamard", [left, right, other_left, other_right], [rank, other_rank, ..]) => {
                for (left, right, rank) in [(left, right, *rank), (other_left, other_right, *other_rank)] {
                    let columns = (right.len() / 4).checked_div(rank as usize)?;
                    (*left, *right) = (turned_words(right, columns), turned_words(left, rank as usize));
                }
            }
            ("edit_kronecker", [first, second], [across, high, wide, ..]) => {
                let down = (first.len() as u64 / 4).checked_div(*across)?;
                *first = turned_words(first, *across as usize);
                *second = turned_words(second, *wide as usize);
                (*across, *high, *wide) = (down, *wide, *high);
            }
            _ => return None,
        }
        Some(self)
    }

    /// Returns the same edit of a weight whose rows stand in another order, `row` of it first in this one's; `None` for one
    /// that goes by the numbers of rows.
    fn ordered(mut self, row: &dyn Fn(u64) -> u64) -> Option<Self> {
        let reorder = |words: &mut Vec<u8>, len: u64| *words = rows_of(words, 4 * len as usize, row);
        match (self.name, self.tables.as_mut_slice(), self.numbers.as_slice()) {
            ("edit_plus" | "edit_turned", ..) | ("edit_scale", _, [0, ..]) => {}
            ("edit_scale" | "edit_normed", [of_rows, ..], _) => reorder(of_rows, 1),
            ("edit_hadamard", [left, _, other_left, _], &[rank, other_rank, ..]) => {
                reorder(left, rank);
                reorder(other_left, other_rank);
            }
            _ => return None,
        }
        Some(self)
    }
}

/// Returns rows of so many values in another order: of each its place in the one that they have.
fn rows_of<T: Copy>(values: &[T], len: usize, row: &dyn Fn(u64) -> u64) -> Vec<T> {
    let count = values.len().checked_div(len).unwrap_or(0) as u64;
    (0..count).flat_map(|at| values.iter().skip(row(at) as usize * len).take(len)).copied().collect()
}

/// Returns a matrix of words of 32 bits the other way round; `columns`: the length of its rows.
fn turned_words(words: &[u8], columns: usize) -> Vec<u8> {
    columns_of(words.as_chunks::<4>().0, columns).concat()
}

/// Returns the number of a dtype in `kernels/values.cuh`, if kernels read and write it.
#[must_use]
pub fn dtype_number(dtype: Dtype) -> Option<u32> {
    match dtype {
        Dtype::F32 => Some(0),
        Dtype::F16 => Some(1),
        Dtype::BF16 => Some(2),
        _ => None,
    }
}

/// How a GPU makes the values of any rows of a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The decoder.
    pub decode: Kernel,
    /// How many rows it has, and the length of one, where they are the weight's columns: they are turned before anything is
    /// done to them. Then `DecodeRows::columns` says which codes each needs.
    pub turned: Option<[u64; 2]>,
    /// What is done to the values, one after the other.
    pub steps: Vec<Step>,
}

impl From<Kernel> for Program {
    fn from(decode: Kernel) -> Self {
        Self { decode, turned: None, steps: Vec::new() }
    }
}

/// What is done to values of whole rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Each is rounded to a dtype.
    Round(Dtype),
    /// `W + s (L R)`, each sum a chain of fused multiply-adds over the rank, ascending, from 0; the delta is rounded
    /// to `rounded` before it is added.
    LowRank {
        /// `L`, `[rows, rank]`, of all rows of the weight.
        left: Vec<f32>,
        /// `R`, `[rank, columns]`.
        right: Vec<f32>,
        /// The rank.
        rank: usize,
        /// `s`.
        scale: f32,
        /// What the delta is rounded to.
        rounded: Option<Dtype>,
    },
    /// A kernel of `kernels/merge.cu` changes the values in place, each as its name says there.
    Edit {
        /// The kernel: `edit_NAME`.
        kernel: Kernel,
        /// The rows that it changes, counted from the first of them; `None` for all.
        rows: Option<Range<u64>>,
    },
}

impl From<Kernel> for Step {
    fn from(kernel: Kernel) -> Self {
        Self::Edit { kernel, rows: None }
    }
}

impl Step {
    /// Returns the same step for a weight whose columns have become its rows; `None` for one that is only known of rows.
    #[must_use]
    pub fn turned(self) -> Option<Self> {
        match self {
            Self::Round(_) => Some(self),
            // Each product has its factors the other way round, and a sum its terms in the same order.
            Self::LowRank { left, right, rank, scale, rounded } => {
                let columns = right.len().checked_div(rank)?;
                let [left, right] = [columns_of(&right, columns), columns_of(&left, rank)];
                Some(Self::LowRank { left, right, rank, scale, rounded })
            }
            Self::Edit { kernel, rows: None } => kernel.turned().map(Self::from),
            // The rows would be columns.
            Self::Edit { rows: Some(_), .. } => None,
        }
    }

    /// Returns the same step for a weight whose rows stand in another order; `row`: which of this one's rows each is. `None`
    /// for one that goes by the numbers of rows.
    #[must_use]
    pub fn ordered(self, row: &dyn Fn(u64) -> u64) -> Option<Self> {
        match self {
            Self::Round(_) => Some(self),
            Self::LowRank { left, right, rank, scale, rounded } => {
                Some(Self::LowRank { left: rows_of(&left, rank, row), right, rank, scale, rounded })
            }
            Self::Edit { kernel, rows: None } => kernel.ordered(row).map(Self::from),
            Self::Edit { rows: Some(_), .. } => None,
        }
    }

    /// Returns the same step for some rows of a weight, of which this one's first row is the first; `None` for one that
    /// is only known of all rows.
    #[must_use]
    pub fn within(self, within: &Range<u64>) -> Option<Self> {
        match self {
            Self::Round(_) => None,
            Self::LowRank { left, right, rank, scale, rounded } => {
                let delta = dtype_number(rounded.unwrap_or(Dtype::F32))?;
                let kernel = Kernel::new("edit_low_rank").floats(&left).floats(&right);
                let numbers = [rank as u64, u64::from(scale.to_bits()), u64::from(delta)];
                Some(Self::Edit { kernel: kernel.numbers(numbers), rows: Some(within.clone()) })
            }
            Self::Edit { kernel, rows } => {
                let rows = rows.unwrap_or(0..within.end.saturating_sub(within.start));
                let [start, end] =
                    [rows.start, rows.end].map(|row| within.start.saturating_add(row).min(within.end));
                Some(Self::Edit { kernel, rows: Some(start..end) })
            }
        }
    }
}

/// Returns the columns of a matrix, one behind the other.
fn columns_of<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns)).copied().collect()
}
