//! Layers built from literals, for the tests of the formats: names, dtypes, shapes, bytes, config blocks,
//! and no file.
//!
//! ```text
//! let layer = Literal::new("model.q_proj").part("scales", Dtype::F16, &[4, 128], f16s(&[0.5; 512]))
//!     .block(Some("gptq"), json!({"bits": 4}));
//! let found = layer.recognize(&Gptq);                   // with bytes, as after examining
//! let first = layer.headers_only().recognize(&Gptq);    // as on opening
//! ```

use std::ops::Range;

use serde_json::Value;

use super::decode::Decoding;
use super::{
    Evidence, HeadersOnly, Module, Part, Parts, QuantBlock, QuantConfig, QuantFormat, Recognized, Side,
    SideData,
};
use crate::tensor::values::round;
use crate::tensor::{Dtype, elements};

mod laws;

/// A layer written out in a test.
#[derive(Default)]
pub(crate) struct Literal {
    module: String,
    parts: Vec<Tensor>,
    config: QuantConfig,
    headers_only: bool,
}

struct Tensor {
    suffix: String,
    dtype: Dtype,
    shape: Vec<u64>,
    data: Option<Vec<u8>>,
}

impl Literal {
    /// Returns a layer of this name without any tensor.
    pub(crate) fn new(module: &str) -> Self {
        Self { module: module.into(), ..Self::default() }
    }

    /// Adds a tensor whose bytes can be read.
    pub(crate) fn part(mut self, suffix: &str, dtype: Dtype, shape: &[u64], data: Vec<u8>) -> Self {
        self.parts.push(Tensor { suffix: suffix.into(), dtype, shape: shape.into(), data: Some(data) });
        self
    }

    /// Adds a tensor whose bytes cannot be had: its shape alone counts.
    pub(crate) fn shape(mut self, suffix: &str, dtype: Dtype, shape: &[u64]) -> Self {
        self.parts.push(Tensor { suffix: suffix.into(), dtype, shape: shape.into(), data: None });
        self
    }

    /// Removes a tensor.
    pub(crate) fn without(mut self, suffix: &str) -> Self {
        self.parts.retain(|tensor| tensor.suffix != suffix);
        self
    }

    /// Adds a block of `config.json`, with the method that it means.
    pub(crate) fn block(self, method: Option<&str>, value: Value) -> Self {
        self.block_of("config.json", "quantization_config", method, value)
    }

    /// Adds a block of another file.
    pub(crate) fn block_of(mut self, file: &str, key: &str, method: Option<&str>, value: Value) -> Self {
        let method = method.map(str::to_owned);
        self.config.blocks.push(QuantBlock { file: file.into(), key: key.into(), method, value });
        self
    }

    /// Adds a shape that the architecture gives.
    pub(crate) fn config_shape(mut self, label: &'static str, shape: &[u64]) -> Self {
        self.config.shapes.0.push((label, shape.into(), "config.json"));
        self
    }

    /// Answers `Pending` to every read.
    pub(crate) fn headers_only(mut self) -> Self {
        self.headers_only = true;
        self
    }

    /// Calls `f` with the parts as a format sees them.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Parts<'_>) -> R) -> R {
        let list: Vec<Part<'_>> = self
            .parts
            .iter()
            .enumerate()
            .map(|(index, tensor)| Part {
                suffix: &tensor.suffix,
                dtype: tensor.dtype,
                shape: &tensor.shape,
                bytes: tensor.data.as_ref().map_or_else(
                    || elements(&tensor.shape).and_then(|n| tensor.dtype.bytes_of(n)).unwrap_or(0),
                    |data| data.len() as u64,
                ),
                tensor: index as u32,
            })
            .collect();
        let data: &dyn SideData = if self.headers_only { &HeadersOnly } else { self };
        let spell = || self.module.clone();
        f(&Parts { module: &Module::new(&spell), list: &list, config: &self.config, data })
    }

    /// Returns what a format makes of the layer.
    pub(crate) fn recognize(&self, format: &dyn QuantFormat) -> Option<Recognized> {
        self.with(|parts| format.recognize(parts))
    }

    /// Returns all values of the layer as a format decodes them, rounded once to the result's dtype, with
    /// that dtype. Rows come in blocks of one, three and all, which must agree.
    pub(crate) fn decode(&self, format: &dyn QuantFormat) -> Result<(Vec<f32>, Option<Dtype>), String> {
        self.with(|parts| {
            let spec = format.recognize(parts).ok_or("not of this format")?.spec;
            let decoding = format.decode(parts, &spec)?;
            let by = |block: u64| {
                let mut values = Vec::new();
                let mut start = 0;
                while start < decoding.row_count() {
                    let rows = start..(start + block).min(decoding.row_count());
                    let range = decoding.rows.codes(rows.clone());
                    let Side::Bytes(codes) = self.read(decoding.codes, range.start, range.end - range.start)
                    else {
                        return Err("the codes are not given".to_owned());
                    };
                    let at = values.len();
                    values.resize(at + ((rows.end - rows.start) * decoding.row_len()) as usize, f32::NAN);
                    decoding.rows.decode(rows.clone(), &codes, &mut values[at..]);
                    start = rows.end;
                }
                let dtype = decoding.dtype.unwrap_or(Dtype::F32);
                Ok(values.into_iter().map(|value| round(dtype, value)).collect::<Vec<f32>>())
            };
            self.check_codes(&decoding);
            let whole = by(decoding.row_count())?;
            for block in [1, 3] {
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
                assert_eq!(bits(&by(block)?), bits(&whole), "{block} rows at a time");
            }
            Ok((whole, decoding.dtype))
        })
    }

    /// Returns the evidence that a format gives for what it made of the layer.
    pub(crate) fn explain(&self, format: &dyn QuantFormat) -> Vec<Evidence> {
        self.with(|parts| {
            let found = format.recognize(parts);
            found.map_or_else(Vec::new, |found| format.explain(parts, &found.spec))
        })
    }

    /// Returns the shape and the values that a format decodes, read in one go and row by row, which must
    /// agree.
    pub(crate) fn shape_and_values(&self, format: &dyn QuantFormat) -> Result<(Vec<u64>, Vec<f32>), String> {
        self.with(|parts| {
            let spec = format.recognize(parts).ok_or("not recognized")?.spec;
            let decoding = format.decode(parts, &spec)?;
            let rows = |rows: std::ops::Range<u64>| {
                let range = decoding.rows.codes(rows.clone());
                let Side::Bytes(codes) = self.read(decoding.codes, range.start, range.end - range.start)
                else {
                    return Err("codes not read".to_owned());
                };
                let mut out = vec![f32::NAN; ((rows.end - rows.start) * decoding.row_len()) as usize];
                decoding.rows.decode(rows, &codes, &mut out);
                Ok(out)
            };
            self.check_codes(&decoding);
            let whole = rows(0..decoding.row_count())?;
            let mut each = Vec::new();
            for row in 0..decoding.row_count() {
                each.extend(rows(row..row + 1)?);
            }
            assert!(whole.iter().zip(&each).all(|(a, b)| a.to_bits() == b.to_bits()), "{whole:?} {each:?}");
            Ok((decoding.shape, whole))
        })
    }
}

impl Literal {
    /// Holds the laws of codes: see `laws`.
    fn check_codes(&self, decoding: &Decoding) {
        let Side::Bytes(bytes) = self.read(decoding.codes, 0, u64::MAX) else { return };
        let is_ternary = |part: &Tensor| matches!(part.dtype, Dtype::Ggml(kind) if kind.name() == "TQ1_0");
        laws::check(decoding, &bytes, self.parts.iter().any(is_ternary));
    }
}

impl SideData for Literal {
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side {
        let Some(data) = self.parts.get(tensor as usize).and_then(|t| t.data.as_ref()) else {
            return Side::Unreadable("not given in this test".into());
        };
        let begin = (offset as usize).min(data.len());
        let end = begin.saturating_add(count as usize).min(data.len());
        Side::Bytes(data[begin..end].to_vec())
    }
}

/// Returns the codes of the faults, in order.
pub(crate) fn codes(found: &Recognized) -> Vec<&'static str> {
    found.faults.iter().map(|fault| fault.kind.code).collect()
}

/// Returns little-endian words.
pub(crate) fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Returns little-endian halves.
pub(crate) fn f16s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()
}

/// Returns little-endian singles.
pub(crate) fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Decodes rows of a layer, as recognized from the same bytes.
pub(crate) fn decode(
    layer: &Literal,
    format: &dyn QuantFormat,
    rows: Range<u64>,
) -> Result<Vec<f32>, String> {
    layer.with(|parts| {
        let found = format.recognize(parts).ok_or("not of this format")?;
        let decoding = format.decode(parts, &found.spec)?;
        assert_eq!(decoding.shape, found.spec.shape);
        let range = decoding.rows.codes(rows.clone());
        let Side::Bytes(codes) = parts.data.read(decoding.codes, range.start, range.end - range.start) else {
            return Err("codes not read".into());
        };
        assert_eq!(codes.len() as u64, range.end - range.start);
        layer.check_codes(&decoding);
        let mut out = vec![f32::NAN; ((rows.end - rows.start) * decoding.row_len()) as usize];
        decoding.rows.decode(rows, &codes, &mut out);
        Ok(out)
    })
}

/// Returns little-endian brain floats.
pub(crate) fn bf16s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect()
}

/// Packs codes of `bits` bits one after another, low bits first.
pub(crate) fn packed(codes: &[u8], bits: usize) -> Vec<u8> {
    let mut bytes = vec![0; (codes.len() * bits).div_ceil(8)];
    for (at, code) in codes.iter().enumerate() {
        for bit in 0..bits {
            let place = at * bits + bit;
            bytes[place / 8] |= (code >> bit & 1) << (place % 8);
        }
    }
    bytes
}

/// Returns `count` codes under `limit`, in no order.
pub(crate) fn some_codes(count: usize, limit: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) as usize % limit) as u8
    };
    (0..count).map(next).collect()
}

/// Returns `count` values of a dtype about `size` large, of both signs.
pub(crate) fn some_values(count: usize, size: f32, dtype: Dtype) -> Vec<f32> {
    let value = |code: u8| round(dtype, (f32::from(code) - 127.3) / 128.0 * size);
    some_codes(count, 256).into_iter().map(value).collect()
}

/// Returns the bytes of values of F16, BF16 or F32.
pub(crate) fn bytes_as(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    match dtype {
        Dtype::F16 => f16s(values),
        Dtype::BF16 => bf16s(values),
        _ => f32s(values),
    }
}

/// Returns the FNV-1a hash of the values' bits as f32: what a reference library's result was hashed with.
pub(crate) fn fnv(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
