//! ggml: one tensor in a block type of GGUF files, scales and codes together in each block.
//!
//! | tensor   | dtype          | shape       |
//! |----------|----------------|-------------|
//! | `weight` | a block type   | `[out, in]` |
//! | `bias`   | F32            | `[out]`     |
//!
//! A row is whole blocks. The number in a type's name is its bits a code; what a weight really costs
//! (scales, minima) is in its bytes. NVFP4 tensors may have a `scale` beside them.
//! Source: ggml, `ggml-common.h`.

mod decode;
pub mod encode;
pub mod mixture;
pub mod target;

use super::decode::Decoding;
use super::draft::Draft;
use super::encode::Encoding;
use super::{Evidence, FormatId, LayerSpec, Part, Parts, QuantFormat, Recognized, Signature};
use crate::tensor::{Dtype, GgmlType};

/// The block types of ggml.
pub struct Ggml;

/// The values of the codes of `IQ4_NL` and `IQ4_XS`.
const CURVE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

impl QuantFormat for Ggml {
    fn name(&self) -> &'static str {
        "ggml"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["weight", "*"], parts: &["bias", "scale", "input_scale"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let (part, kind) = block_tensor(parts)?;
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("ggml")?));
        draft.shape(part.shape);
        draft.spec.variant = kind.name().to_ascii_lowercase();
        draft.spec.millibits = nominal_bits(kind) * 1000;
        // I2_S has one scale a tensor: its four-element block is only how codes share a byte.
        draft.spec.group_size = (kind.block_elements() > 4).then(|| u64::from(kind.block_elements()));
        draft.spec.dtype = Some(Dtype::F32);
        let outputs = part.shape.len().checked_sub(2).map_or(1, |at| part.shape[at]);
        draft.bias("bias", &[outputs]);
        Some(draft.finish())
    }

    fn label(&self, layer: &LayerSpec) -> String {
        layer.variant.to_ascii_uppercase()
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        let Some((part, kind)) = block_tensor(parts) else { return Vec::new() };
        let (elements, bytes) = (kind.block_elements(), kind.block_bytes());
        let bits = f64::from(bytes) * 8.0 / f64::from(elements);
        let text = format!("{}: {elements} weights in {bytes} bytes, {bits:.4} bit each", kind.name());
        let mut lines = vec![Evidence::new("tensor type", text, None)];
        if let Some(&inputs) = part.shape.last() {
            let whole = inputs.is_multiple_of(u64::from(elements));
            let text = if whole {
                format!("{inputs} inputs = {} blocks × {elements}", inputs / u64::from(elements))
            } else {
                format!("{inputs} inputs are not whole blocks of {elements}")
            };
            lines.push(Evidence::new("shape", text, Some(whole)));
        }
        lines
    }

    fn decode(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Result<Decoding, String> {
        decode::decode(parts)
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn encode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
        let (part, kind) = block_tensor(parts).ok_or("it has no blocks")?;
        if parts.get("scale").is_some() {
            return Err("a scale stands beside it, which belongs to its own type: --to dense".into());
        }
        encode::as_stored(kind, part).map_err(|why| {
            format!("it is {}, and {why}; --to q4_k makes it a type that can be written", self.label(layer))
        })
    }
}

fn block_tensor<'a, 'p>(parts: &'p Parts<'a>) -> Option<(&'p Part<'a>, GgmlType)> {
    parts.list.iter().find_map(|part| match part.dtype {
        Dtype::Ggml(kind) => Some((part, kind)),
        _ => None,
    })
}

/// Returns the bits of a code by the type's name: the first digit (`IQ2_XXS` 2, `MXFP4` 4).
fn nominal_bits(kind: GgmlType) -> u32 {
    kind.name().chars().find_map(|c| c.to_digit(10)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
