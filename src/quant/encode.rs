//! Encoding: a layer's values to the tensors of its format.
//!
//! An encoder is given rows, some at a time and in any order, and returns what each of its strands gets of
//! them: the codes of these rows, their scales. When all rows were given the joined strands become the tensors,
//! which may need all of them at once: absmax that are quantized themselves around their mean.
//!
//! Formats whose scales hang on the whole layer say so: then the largest magnitude of all values is found first,
//! in a pass of its own.

use super::decode::DecodeRows;
use super::kernel::Kernel;
use crate::tensor::Dtype;

/// Encodes the rows of one layer.
pub trait Encode: Send + Sync {
    /// Returns how many rows belong together: a layer may be cut at multiples of this many, and what is encoded
    /// of one cut depends on no other.
    fn rows_apart(&self) -> u64;

    /// Returns true if rows cannot be encoded before the largest magnitude of all values is known.
    fn wants_largest(&self) -> bool {
        false
    }

    /// Encodes neighboring rows of finite values. Returns what each strand gets of them.
    ///
    /// # Errors
    /// A value is beyond the format's range; in words.
    fn rows(&self, values: &[f32], at: Around) -> Result<Vec<Vec<u8>>, String>;

    /// Returns how many bytes of the first tensor `rows_apart` rows are, if their first strand is these bytes and
    /// `finish` hands that strand on as it gets it. Then the first tensor is written piece by piece and never held,
    /// and `finish` gets an empty strand for it.
    fn piece_bytes(&self) -> Option<u64> {
        None
    }

    /// Returns false for a tensor of which only the most bytes that it may have are known before it is made: a row
    /// of bytes, planned with that many.
    fn is_exact(&self, _tensor: usize) -> bool {
        true
    }

    /// Returns the values and the bytes of a block of the first tensor, if a block whose values are those that are stored
    /// keeps its stored bytes. Then `rows` takes any blocks, and the first strand is the codes as they are stored.
    fn kept_block(&self) -> Option<[usize; 2]> {
        None
    }

    /// Makes the tensors, in the order of `Encoding::tensors`, of the strands of all rows.
    fn finish(&self, strands: Vec<Vec<u8>>, largest: f32) -> Vec<Vec<u8>>;

    /// Returns how a GPU encodes rows to the same strands, of a layer of this largest magnitude; `None` if no kernel does.
    /// Values that are not finite, and whatever `rows` refuses, the kernel counts: then the processor is asked.
    fn kernel(&self, _largest: f32) -> Option<Kernel> {
        None
    }

    /// Returns the decoder of the codes that the layer is stored with, as numbers, where they have a say in those that are
    /// made. The kernel is given those of its rows in front of its arrays, in f32, decoded of the bytes of which its values
    /// are.
    fn held_codes(&self) -> Option<&dyn DecodeRows> {
        None
    }

    /// Returns the bytes of each strand of so many rows, as the kernel fills them: whole multiples of `rows_apart`, or
    /// fewer at the layer's end. At most `kernel::STRANDS` strands; none without a kernel.
    fn strand_bytes(&self, _rows: u64) -> Vec<u64> {
        Vec::new()
    }
}

/// Where rows that are encoded stand in their layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Around {
    /// The first of the rows.
    pub first_row: u64,
    /// The largest magnitude of the layer's values, and of the layers that share it; 0 if the encoder does not
    /// want it.
    pub largest: f32,
}

/// How a layer is encoded.
pub struct Encoding {
    /// The tensors that are made. Those of the layer that are not here stay as they are.
    pub tensors: Vec<Encoded>,
    /// The encoder.
    pub encoder: Box<dyn Encode>,
}

/// A tensor of an encoded layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Where it goes.
    pub place: Place,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its bytes.
    pub bytes: u64,
}

/// Where a tensor of an encoded layer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It takes the place of this stored tensor.
    Of(u32),
    /// It is new: its name relative to the layer's prefix, as in `Signature`.
    New(&'static str),
}

impl Encoded {
    /// Returns a tensor that keeps dtype and shape of the part whose place it takes.
    #[must_use]
    pub fn like(part: &super::Part<'_>) -> Self {
        Self {
            place: Place::Of(part.tensor),
            dtype: part.dtype,
            shape: part.shape.to_vec(),
            bytes: part.bytes,
        }
    }

    /// Returns a new tensor of the layer, with the bytes that dtype and shape need.
    ///
    /// # Errors
    /// The shape overflows.
    pub fn new(suffix: &'static str, dtype: Dtype, shape: &[u64]) -> Result<Self, String> {
        let bytes = crate::tensor::elements(shape).and_then(|count| dtype.bytes_of(count));
        let bytes = bytes.ok_or_else(|| format!("{suffix}: its shape {shape:?} overflows"))?;
        Ok(Self { place: Place::New(suffix), dtype, shape: shape.to_vec(), bytes })
    }
}
