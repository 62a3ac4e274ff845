//! Blocks: what is seen of some neighboring values, in loops that are compiled for the vectors of each processor.

use multiversion::multiversion;

use crate::tensor::Dtype;

/// A float in which values are looked at: f32 holds those of 32-bit floats and of all dtypes of 16 bits and fewer, f64 the
/// others as numpy's `astype(float64)` gives them.
pub(super) trait Value: Copy + PartialOrd + Default + Send + Sync {
    /// Returns it as f64.
    fn wide(self) -> f64;
    /// Returns its bits, with the highest at bit 63.
    fn bits(self) -> u64;
    /// Returns its magnitude.
    fn magnitude(self) -> Self;
    /// Reads elements of a dtype; false if it has none, or the sizes differ.
    fn read(dtype: Dtype, bytes: &[u8], out: &mut [Self]) -> bool;
    /// Returns what is seen of values.
    fn look(values: &[Self]) -> Look<Self>;
    /// Adds the squares to `columns`, one each, and returns their sum.
    fn add_squares(values: &[Self], columns: &mut [f64]) -> f64;
    /// Returns the sums of the differences from `origin`, and of their squares.
    fn moments(values: &[Self], origin: f64) -> [f64; 2];
    /// Returns how many are zero.
    fn zeros(values: &[Self]) -> u64;
    /// Raises each of `most` to the magnitude of the value at its place.
    fn raise(values: &[Self], most: &mut [f32]);
}

/// What is seen of finite values. If some are not finite, only that says something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look<V> {
    pub(super) min: V,
    pub(super) max: V,
    /// The largest magnitude.
    pub(super) most: V,
    pub(super) is_finite: bool,
}

/// Sums that run beside each other: their order is fixed, and so is the last bit of what comes of it.
const LANES: usize = 16;

macro_rules! loops {
    ($name:ident, $value:ty, $bits:ty, $exponent:expr) => {
        mod $name {
            use super::{LANES, Look, multiversion};

            #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
            pub(super) fn look(values: &[$value]) -> Look<$value> {
                let magnitude = <$bits>::MAX >> 1;
                let (mut min, mut max) = ([<$value>::INFINITY; LANES], [<$value>::NEG_INFINITY; LANES]);
                let mut most: [$bits; LANES] = [0; LANES];
                let (whole, rest) = values.as_chunks::<LANES>();
                for values in whole {
                    for lane in 0..LANES {
                        let value = values[lane];
                        min[lane] = if value < min[lane] { value } else { min[lane] };
                        max[lane] = if value > max[lane] { value } else { max[lane] };
                        most[lane] = most[lane].max(value.to_bits() & magnitude);
                    }
                }
                for &value in rest {
                    min[0] = if value < min[0] { value } else { min[0] };
                    max[0] = if value > max[0] { value } else { max[0] };
                    most[0] = most[0].max(value.to_bits() & magnitude);
                }
                let most = most.iter().fold(0, |most, &other| most.max(other));
                Look {
                    min: min.iter().fold(<$value>::INFINITY, |a, &b| a.min(b)),
                    max: max.iter().fold(<$value>::NEG_INFINITY, |a, &b| a.max(b)),
                    most: <$value>::from_bits(most),
                    is_finite: most < $exponent,
                }
            }

            #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
            pub(super) fn add_squares(values: &[$value], columns: &mut [f64]) -> f64 {
                let mut sums = [0f64; LANES];
                let (whole, rest) = values.as_chunks::<LANES>();
                let (columns, columns_rest) = columns.as_chunks_mut::<LANES>();
                for (values, columns) in whole.iter().zip(columns) {
                    for lane in 0..LANES {
                        let value = f64::from(values[lane]);
                        columns[lane] += value * value;
                        sums[lane] += value * value;
                    }
                }
                for (&value, column) in rest.iter().zip(columns_rest) {
                    let value = f64::from(value);
                    *column += value * value;
                    sums[0] += value * value;
                }
                sums.iter().sum()
            }

            #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
            pub(super) fn moments(values: &[$value], origin: f64) -> [f64; 2] {
                let (mut sums, mut squares) = ([0f64; LANES], [0f64; LANES]);
                let (whole, rest) = values.as_chunks::<LANES>();
                for values in whole {
                    for lane in 0..LANES {
                        let far = f64::from(values[lane]) - origin;
                        sums[lane] += far;
                        squares[lane] += far * far;
                    }
                }
                for &value in rest {
                    let far = f64::from(value) - origin;
                    sums[0] += far;
                    squares[0] += far * far;
                }
                [sums.iter().sum(), squares.iter().sum()]
            }

            #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
            pub(super) fn zeros(values: &[$value]) -> u32 {
                values.iter().map(|value| u32::from(*value == 0.0)).sum()
            }

            #[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
            pub(super) fn raise(values: &[$value], most: &mut [f32]) {
                for (value, most) in values.iter().zip(most) {
                    // A double beyond all floats is still finite: infinite is what marks a cell.
                    let magnitude = (value.abs() as f32).min(f32::MAX);
                    *most = if magnitude > *most { magnitude } else { *most };
                }
            }
        }
    };
}

loops!(single, f32, u32, 0x7f80_0000);
loops!(double, f64, u64, 0x7ff0_0000_0000_0000);

macro_rules! value {
    ($value:ty, $loops:ident, $shift:expr, $read:expr) => {
        impl Value for $value {
            fn wide(self) -> f64 {
                f64::from(self)
            }

            fn bits(self) -> u64 {
                u64::from(self.to_bits()) << $shift
            }

            fn magnitude(self) -> Self {
                self.abs()
            }

            fn read(dtype: Dtype, bytes: &[u8], out: &mut [Self]) -> bool {
                $read(dtype, bytes, out)
            }

            fn look(values: &[Self]) -> Look<Self> {
                $loops::look(values)
            }

            fn add_squares(values: &[Self], columns: &mut [f64]) -> f64 {
                $loops::add_squares(values, columns)
            }

            fn moments(values: &[Self], origin: f64) -> [f64; 2] {
                $loops::moments(values, origin)
            }

            fn zeros(values: &[Self]) -> u64 {
                u64::from($loops::zeros(values))
            }

            fn raise(values: &[Self], most: &mut [f32]) {
                $loops::raise(values, most);
            }
        }
    };
}

value!(f32, single, 32, crate::tensor::values::to_f32);
value!(f64, double, 0, to_f64);

/// Reads elements of all plain dtypes.
fn to_f64(dtype: Dtype, bytes: &[u8], out: &mut [f64]) -> bool {
    if dtype.bytes_of(out.len() as u64) != Some(bytes.len() as u64) {
        return false;
    }
    macro_rules! each {
        ($of:expr) => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = $of(*bytes);
            }
        };
    }
    match dtype {
        Dtype::F64 => each!(f64::from_le_bytes),
        Dtype::I32 => each!(|bytes| f64::from(i32::from_le_bytes(bytes))),
        Dtype::U32 => each!(|bytes| f64::from(u32::from_le_bytes(bytes))),
        Dtype::I64 => each!(|bytes| i64::from_le_bytes(bytes) as f64),
        Dtype::U64 => each!(|bytes| u64::from_le_bytes(bytes) as f64),
        _ => {
            let mut narrow = vec![0f32; out.len()];
            let is_read = crate::tensor::values::to_f32(dtype, bytes, &mut narrow);
            out.iter_mut().zip(narrow).for_each(|(out, value)| *out = f64::from(value));
            return is_read;
        }
    }
    true
}
