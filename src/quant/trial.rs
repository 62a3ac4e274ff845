//! Trial: what an encoder made, decoded again without any file, as it will be read.
//!
//! The tensors go through the same recognition and decoding as those of a file, with the config that would be
//! written: so a trial shows what a loader will get.

use super::decode::Decoding;
use super::encode::{Encoding, Place};
use super::target::{Model, Target};
use super::{FormatId, Module, Part, Parts, QuantBlock, QuantConfig, Side, SideData};
use crate::tensor::Dtype;

/// Tensors in memory.
struct Made<'a>(&'a [Vec<u8>]);

impl SideData for Made<'_> {
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side {
        let bytes = self.0.get(tensor as usize).and_then(|bytes| {
            let from = usize::try_from(offset).ok()?;
            bytes.get(from..from.checked_add(usize::try_from(count).ok()?)?)
        });
        bytes.map_or_else(|| Side::Unreadable("beyond its end".into()), |bytes| Side::Bytes(bytes.to_vec()))
    }
}

/// Returns how the tensors that `encoding` made of a layer are decoded; the codes are one of them, by its number.
/// `dtype`: that of the values.
///
/// # Errors
/// They are not what the target says they are; in words.
pub fn decoding(
    target: &dyn Target,
    (layer, dtype): (&str, Dtype),
    encoding: &Encoding,
    tensors: &[Vec<u8>],
) -> Result<Decoding, String> {
    let packed = [layer.to_owned()];
    let model = Model { packed: &packed, plain: &[], kept: &[], also: &[], config: None, dtype };
    let value = target.block(&model);
    let method = value.get("quant_method").and_then(serde_json::Value::as_str).map(str::to_owned);
    let block = QuantBlock { file: "config.json".into(), key: "quantization_config".into(), method, value };
    let config = QuantConfig { blocks: vec![block], of_model: true, ..QuantConfig::default() };
    let part = |(number, encoded): (u32, &'_ super::encode::Encoded)| {
        let suffix = match encoded.place {
            Place::New(suffix) => suffix,
            Place::Of(_) => return None,
        };
        Some((suffix, number))
    };
    let named: Option<Vec<(&str, u32)>> = (0u32..).zip(&encoding.tensors).map(part).collect();
    let named = named.ok_or("it is packed on what it has")?;
    // Of some tensors only the most bytes were known before they were made: rows of bytes.
    let made = |tensor: u32| tensors.get(tensor as usize).map_or(0, |bytes| bytes.len() as u64);
    let shapes: Vec<Vec<u64>> = named
        .iter()
        .map(|&(_, tensor)| {
            let is_exact = encoding.encoder.is_exact(tensor as usize);
            if is_exact { encoding.tensors[tensor as usize].shape.clone() } else { vec![made(tensor)] }
        })
        .collect();
    let list: Vec<Part<'_>> = named
        .iter()
        .zip(&shapes)
        .map(|(&(suffix, tensor), shape)| {
            let dtype = encoding.tensors[tensor as usize].dtype;
            Part { suffix, dtype, shape, bytes: made(tensor), tensor }
        })
        .collect();
    let spell = || layer.to_owned();
    let parts = Parts { module: &Module::new(&spell), list: &list, config: &config, data: &Made(tensors) };
    let format = FormatId::find(target.format()).ok_or("its format is not known")?.get();
    let found =
        format.recognize(&parts).ok_or_else(|| format!("it is not recognized as {}", target.format()))?;
    if !found.spec.broken.is_empty() {
        return Err(found.spec.broken.join(", "));
    }
    format.decode(&parts, &found.spec)
}
