//! Encoding: a layer's values to the tensors of its format.
//!
//! An encoder is given rows, some at a time and in any order, and returns what each of its strands gets of
//! them: the codes of these rows, their scales. When all rows were given the joined strands become the tensors,
//! which may need all of them at once: absmax that are quantized themselves around their mean.

use crate::tensor::Dtype;

/// Encodes the rows of one layer.
pub trait Encode: Send + Sync {
    /// Returns how many rows belong together: a layer may be cut at multiples of this many, and what is encoded
    /// of one cut depends on no other.
    fn rows_apart(&self) -> u64;

    /// Encodes neighboring rows of finite values. Returns what each strand gets of them.
    ///
    /// # Errors
    /// A value is beyond the format's range; in words.
    fn rows(&self, values: &[f32]) -> Result<Vec<Vec<u8>>, String>;

    /// Makes the tensors, in the order of `Encoding::tensors`, of the strands of all rows.
    fn finish(&self, strands: Vec<Vec<u8>>) -> Vec<Vec<u8>>;
}

/// How a layer is encoded on what it has: its block sizes, its kind of scales.
pub struct Encoding {
    /// The tensors that get other bytes. Those of the layer that are not here stay as they are.
    pub tensors: Vec<Encoded>,
    /// The encoder.
    pub encoder: Box<dyn Encode>,
}

/// A tensor of an encoded layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The stored tensor whose place it takes.
    pub tensor: u32,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its bytes.
    pub bytes: u64,
}

impl Encoded {
    /// Returns a tensor that keeps dtype and shape of the part whose place it takes.
    #[must_use]
    pub fn like(part: &super::Part<'_>) -> Self {
        Self { tensor: part.tensor, dtype: part.dtype, shape: part.shape.to_vec(), bytes: part.bytes }
    }
}
