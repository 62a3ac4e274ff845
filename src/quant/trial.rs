//! Trial: what an encoder made, decoded again without any file, as it will be read; and encoded again, as what it is.
//!
//! The tensors go through the same recognition and decoding as those of a file, with the config that would be
//! written: so a trial shows what a loader will get.

use super::decode::Decoding;
use super::encode::{Encoding, Place};
use super::in_memory::InMemory;
use super::target::{Model, Target};
use super::{QuantBlock, QuantConfig};
use crate::tensor::Dtype;

/// Returns how the tensors that `encoding` made of a layer are decoded; the codes are one of them, by its number.
/// `dtype`: that of the values.
///
/// # Errors
/// They are not what the target says they are; in words.
pub fn decoding(
    target: &dyn Target,
    named: (&str, Dtype),
    encoding: &Encoding,
    tensors: &[Vec<u8>],
) -> Result<Decoding, String> {
    made(target, named, encoding, tensors)?.decoding(named.0, target.format())
}

/// Returns how further values are encoded as what the tensors are, on their own grid; all is as for `decoding`.
///
/// # Errors
/// As `decoding`, and the format does not write such layers.
pub fn again(
    target: &dyn Target,
    named: (&str, Dtype),
    encoding: &Encoding,
    tensors: &[Vec<u8>],
) -> Result<Encoding, String> {
    made(target, named, encoding, tensors)?.encoding(named.0, target.format())
}

/// Returns the layer with the config that would be written.
fn made<'a>(
    target: &dyn Target,
    (layer, dtype): (&str, Dtype),
    encoding: &Encoding,
    tensors: &'a [Vec<u8>],
) -> Result<InMemory<'a>, String> {
    let packed = [layer.to_owned()];
    let model = Model { packed: &packed, plain: &[], kept: &[], also: &[], config: None, dtype };
    let value = target.block(&model);
    let method = value.get("quant_method").and_then(serde_json::Value::as_str).map(str::to_owned);
    let block = QuantBlock { file: "config.json".into(), key: "quantization_config".into(), method, value };
    let mut made = InMemory::default();
    made.config = QuantConfig { blocks: vec![block], of_model: true, ..QuantConfig::default() };
    for (number, (encoded, bytes)) in encoding.tensors.iter().zip(tensors).enumerate() {
        let Place::New(suffix) = encoded.place else { return Err("it is packed on what it has".into()) };
        // Of some tensors only the most bytes were known before they were made: rows of bytes.
        let is_exact = encoding.encoder.is_exact(number);
        let shape = if is_exact { encoded.shape.clone() } else { vec![bytes.len() as u64] };
        made = made.part(suffix, encoded.dtype, &shape, bytes.as_slice());
    }
    Ok(made)
}
