//! compressed-tensors: the formats of llm-compressor, told apart by the tensors of a layer.
//!
//! | variant                  | tensors                                                                    |
//! |--------------------------|----------------------------------------------------------------------------|
//! | `pack-quantized`         | `weight_packed` I32 `[out, words]`, `weight_shape` I64 or I32 `[2]`,        |
//! |                          | `weight_scale` `[out, G]`; asymmetric: `weight_zero_point` I32              |
//! |                          | `[words of out, G]` (old: I8 `[out, G]`); act-order: `weight_g_idx` I32     |
//! | `int-quantized`          | `weight` I8 `[out, in]`, `weight_scale`; asymmetric: `weight_zero_point` I8 |
//! | `float-quantized`        | `weight` F8 `[out, in]`, `weight_scale` (tensor, channel, block)            |
//! | `naive-quantized`        | as one of the two above, by the config's word                               |
//! | `nvfp4-pack-quantized`   | `weight_packed` U8 `[out, in / 2]`, `weight_scale` F8 `[out, in / 16]`,     |
//! |                          | `weight_global_scale` F32, which divides                                    |
//! | `mxfp4-pack-quantized`   | `weight_packed` U8 `[out, in / 2]`, `weight_scale` U8 `[out, in / 32]`      |
//! | `mxfp6-pack-quantized`   | `weight_packed` U8 `[out, in * 3 / 4]`, `weight_scale` U8 `[out, in / 32]`  |
//! | `mxfp8-quantized`        | `weight` F8 `[out, in]`, `weight_scale` U8 `[out, in / 32]`                 |
//! | `marlin-24`              | `weight_packed` I32, `scale_packed`, `meta`: named only                     |
//!
//! `weight` with `weight_scale` belongs here only if a config block says compressed-tensors: other
//! writers store the same tensors. Source: compressed-tensors 0.20, `compressors/`.

mod decode;
mod encode;
mod evidence;
mod layer;
mod packing;
mod preset;
mod rules;
mod scheme;
mod target;

use self::layer::Layer;
pub use self::target::{TO_COMPRESSED, TO_NVFP4};
use super::decode::Decoding;
use super::draft::scaled_parts;
use super::encode::Encoding;
use super::fp8::{Family, family};
use super::{Evidence, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::tensor::Dtype;

/// The method's name in configs.
const METHOD: &str = "compressed-tensors";

/// The compressed-tensors format.
pub struct CompressedTensors;

impl QuantFormat for CompressedTensors {
    fn name(&self) -> &'static str {
        "compressed-tensors"
    }

    fn signature(&self) -> Signature {
        Signature {
            anchors: &["weight", "weight_packed", "weight_scale", "weight_shape", "weight_global_scale"],
            parts: scaled_parts!["weight_zero_point", "weight_g_idx", "scale_packed", "meta"],
        }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        Some(Layer::new(parts, Stored::of(parts)?)?.recognize())
    }

    fn label(&self, layer: &LayerSpec) -> String {
        match layer.variant.as_str() {
            "float-quantized" => "FP8".into(),
            "nvfp4-pack-quantized" => "NVFP4".into(),
            "mxfp4-pack-quantized" => "MXFP4".into(),
            "mxfp6-pack-quantized" => "MXFP6".into(),
            "mxfp8-quantized" => "MXFP8".into(),
            _ => format!("CT{}", layer.millibits / 1000),
        }
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        evidence::lines(parts, layer)
    }

    fn decode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        let stored = Stored::of(parts).ok_or("its parts are not compressed-tensors'")?;
        decode::decode(parts, stored, layer)
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn encode(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
        let stored = Stored::of(parts).ok_or("its parts are not compressed-tensors'")?;
        encode::encode(parts, stored, layer)
    }
}

/// How the tensors of a layer hold its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Pack,
    Int,
    Float,
    Nvfp4,
    Mxfp4,
    Mxfp6,
    Mxfp8,
    Marlin24,
    /// The codes are missing, other parts are here.
    Gone,
}

impl Stored {
    fn of(parts: &Parts<'_>) -> Option<Self> {
        if let Some(packed) = parts.get("weight_packed") {
            return match packed.dtype {
                Dtype::I32 | Dtype::U32 if parts.has("scale_packed") || parts.has("meta") => {
                    Some(Self::Marlin24)
                }
                Dtype::I32 | Dtype::U32 => Some(Self::Pack),
                Dtype::U8 | Dtype::I8 | Dtype::F4 => Some(Self::of_packed_bytes(parts, packed.shape)),
                _ => None,
            };
        }
        let says_so = family(parts.config) == Some(Family::Compressed);
        let scale = parts.get("weight_scale");
        if let Some(weight) = parts.get("weight") {
            // Plain I8 with scales is this format's unless some config says otherwise.
            let unclaimed = parts.config.method().is_none() && weight.dtype == Dtype::I8 && scale.is_some();
            let is_matrix = weight.shape.len() == 2 || weight.shape.len() == 3;
            if !is_matrix || !(says_so || unclaimed) {
                return None;
            }
            return match weight.dtype {
                Dtype::I8 => Some(Self::Int),
                dtype if !dtype.is_narrow_float() => None,
                _ if scale.is_some_and(|s| is_exponent(s.dtype)) => Some(Self::Mxfp8),
                _ => Some(Self::Float),
            };
        }
        let is_ours = parts.has("weight_shape") || parts.has("weight_global_scale");
        (is_ours || says_so && scale.is_some()).then_some(Self::Gone)
    }

    /// Tells the byte-packed formats apart: by the scales' dtype, then by codes a scale.
    fn of_packed_bytes(parts: &Parts<'_>, packed: &[u64]) -> Self {
        let scale = parts.get("weight_scale");
        if parts.has("weight_global_scale") || scale.is_none_or(|s| !is_exponent(s.dtype)) {
            return Self::Nvfp4;
        }
        let bytes = packed.last().copied().unwrap_or(0);
        let scales = scale.and_then(|s| s.shape.last()).copied().unwrap_or(0);
        if Some(bytes) == scales.checked_mul(24) { Self::Mxfp6 } else { Self::Mxfp4 }
    }

    fn variant(self) -> &'static str {
        match self {
            Self::Pack | Self::Gone => "pack-quantized",
            Self::Int => "int-quantized",
            Self::Float => "float-quantized",
            Self::Nvfp4 => "nvfp4-pack-quantized",
            Self::Mxfp4 => "mxfp4-pack-quantized",
            Self::Mxfp6 => "mxfp6-pack-quantized",
            Self::Mxfp8 => "mxfp8-quantized",
            Self::Marlin24 => "marlin-24",
        }
    }

    /// Returns true if a config may call it so.
    fn may_be_called(self, format: &str) -> bool {
        format == self.variant()
            || format == "naive-quantized" && matches!(self, Self::Int | Self::Float)
            || matches!(self, Self::Gone)
    }

    /// Returns the bits of a code where the layout fixes them.
    fn bits(self) -> Option<u64> {
        match self {
            Self::Pack | Self::Marlin24 | Self::Gone => None,
            Self::Nvfp4 | Self::Mxfp4 => Some(4),
            Self::Mxfp6 => Some(6),
            Self::Int | Self::Float | Self::Mxfp8 => Some(8),
        }
    }

    /// Returns the inputs that share a scale where the layout fixes them.
    fn block(self) -> Option<u64> {
        match self {
            Self::Nvfp4 => Some(16),
            Self::Mxfp4 | Self::Mxfp6 | Self::Mxfp8 => Some(32),
            _ => None,
        }
    }

    fn is_float(self) -> bool {
        !matches!(self, Self::Pack | Self::Int | Self::Marlin24 | Self::Gone)
    }

    /// Returns the dtype that the scales' bytes mean.
    fn scales_read_as(self, stored: Dtype) -> Dtype {
        match self {
            Self::Mxfp4 | Self::Mxfp6 | Self::Mxfp8 => Dtype::F8E8M0,
            _ => stored,
        }
    }

    /// Returns the part that holds the codes.
    fn codes(self) -> &'static str {
        if matches!(self, Self::Int | Self::Float | Self::Mxfp8) { "weight" } else { "weight_packed" }
    }
}

/// Returns true for bytes that hold exponents only.
fn is_exponent(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::F8E8M0)
}

#[cfg(test)]
mod tests;
