//! Layers that are encoded again as they are stored: on their own scales and on new ones, byte for byte as the processor
//! does it.

use ckpt::adapter::delta::Rows;
use ckpt::engine::Device as _;
use ckpt::engine::cuda::Cuda;
use ckpt::quant::decode::Decoding;
use ckpt::quant::encode::Around;
use ckpt::quant::in_memory::InMemory;
use ckpt::tensor::{Dtype, values};

use super::encode::{largest, on_device, rows_on_device, weight};
use super::merge::Edited;
use super::samples::cards;

/// What becomes of a layer's values before they are encoded again.
#[derive(Clone, Copy, Debug)]
enum Changed {
    /// Nothing.
    Not,
    /// By less than a step of most grids.
    Little,
    /// Beyond the ranges of the stored scales.
    Grown,
    /// Far within them.
    Shrunken,
    /// They are others, of the kinds from this one on.
    Others(usize),
}

const CHANGED: [Changed; 6] = [
    Changed::Not,
    Changed::Little,
    Changed::Grown,
    Changed::Shrunken,
    Changed::Others(0),
    Changed::Others(7),
];

impl Changed {
    fn of(self, values: &[f32], shape: [u64; 2], dtype: Dtype) -> Vec<f32> {
        let finite = |value: f32| if value.is_finite() { value } else { 0.5 };
        let each = |change: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
            values.iter().enumerate().map(|(at, &value)| change(at, finite(value))).collect()
        };
        let mut changed = match self {
            Self::Not => each(&|_, value| value),
            Self::Little => each(&|at, value| value + ((at * 37 % 64) as f32 / 64.0 - 0.5) * 0.003),
            Self::Grown => each(&|_, value| value * 3.0),
            Self::Shrunken => each(&|_, value| value * 0.1),
            Self::Others(first) => weight(shape, Dtype::F32, first),
        };
        values::round_all(dtype, &mut changed);
        changed.into_iter().map(finite).collect()
    }
}

/// How a layer is decoded, with all its values replaced by others: what is made of them comes of its own codes.
fn replaced(layer: &InMemory<'_>, format: &str, values: &[f32]) -> Decoding {
    let mut decoding = layer.decoding("layer", format).unwrap();
    let shape = [decoding.row_count(), decoding.row_len()];
    let all: Vec<u64> = (0..shape[0]).collect();
    let edit = Box::new(Rows::new(&all, values.to_vec(), shape).unwrap());
    decoding.rows = Box::new(Edited { base: decoding.rows, edit });
    decoding
}

/// Encodes a layer again on both devices, of values that are changed in every way; returns false if the format does not
/// write it.
pub(crate) fn check(what: &str, layer: &InMemory<'_>, format: &str) -> bool {
    let Ok(encoding) = layer.encoding("layer", format) else { return false };
    let decoding = layer.decoding("layer", format).unwrap();
    let (encoder, shape) = (&*encoding.encoder, [decoding.row_count(), decoding.row_len()]);
    let mut decoded = vec![0.0; (shape[0] * shape[1]) as usize];
    let codes = decoding.rows.codes(0..shape[0]);
    let codes = &layer.bytes(decoding.codes)[codes.start as usize..codes.end as usize];
    decoding.rows.decode(0..shape[0], codes, &mut decoded);
    let cuda = Cuda::open(&cards(1), 1).unwrap();
    let dtype = decoding.dtype.unwrap_or(Dtype::BF16);
    assert!(encoder.kernel(1.0).is_some(), "{what}: no kernel encodes it again");
    for (changed, ranges) in CHANGED.into_iter().zip([1, 3].into_iter().cycle()) {
        let values = changed.of(&decoded, shape, dtype);
        let largest = if encoder.wants_largest() { largest(&values) } else { 0.0 };
        let should = encoder.rows(&values, Around { first_row: 0, largest });
        let is = if encoder.held_codes().is_some() {
            let decoding = replaced(layer, format, &values);
            let codes = layer.bytes(decoding.codes);
            rows_on_device(&cuda, encoder, (&decoding, codes), (largest, ranges))
        } else {
            on_device(&cuda, encoder, (shape, Dtype::F32, &values), (largest, ranges))
        };
        let what = format!("{what}: {changed:?} in {ranges}");
        let Ok(should) = should else {
            assert_eq!(is, None, "{what}: the processor refuses it");
            continue;
        };
        let Some(is) = is else {
            // New scales cannot hold it: what the processor makes then is shorter. Or slots are too small here.
            let [codes, anew] = [0, 2].map(|at| should.get(at).map_or(0, Vec::len));
            let notes = cuda.notes();
            let is_large = notes.iter().any(|note| note.contains("are more than a slot holds"));
            assert!(anew < codes || is_large, "{what}: {notes:?}");
            continue;
        };
        assert_eq!(is.len(), should.len(), "{what}");
        for (strand, (is, should)) in is.iter().zip(&should).enumerate() {
            let differ = is.iter().zip(should).position(|(is, should)| is != should);
            assert_eq!((differ, is.len()), (None, should.len()), "{what}: strand {strand}");
        }
    }
    true
}
