//! Dense: a plain float or integer tensor, and the bias beside it.
//!
//! | tensor   | dtype         | shape                       |
//! |----------|---------------|-----------------------------|
//! | `weight` | any plain     | `[out, in]`, or any other   |
//! | `bias`   | any plain     | `[out]`                     |
//!
//! Any tensor that no other format claims and that is not packed is dense, under whatever name. Two- and
//! three-dimensional 8-bit and narrower weights are not: without scales they mean nothing (`unknown`),
//! but for a tensor alone under its full name where no config speaks of quantization.

use std::ops::Range;

use super::decode::{DecodeRows, Decoding};
use super::kernel::{Kernel, Program, dtype_number};
use super::{Evidence, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::quant::Fault;
use crate::tensor::{Dtype, elements, values};

/// The dense format.
pub struct Dense;

impl QuantFormat for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["weight", "bias", "*"], parts: &["*_bias"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let is_bias = |suffix: &str| suffix == "bias" || suffix == "*_bias";
        let main = parts.list.iter().find(|part| !is_bias(part.suffix)).or(parts.list.first())?;
        // A table of codes, a mask: what its dtype says.
        let is_bare = parts.list.len() == 1 && main.suffix == "*" && parts.config.method().is_none();
        if !is_bare && parts.list.iter().any(|part| packed(part.dtype, part.shape, part.suffix)) {
            return None;
        }
        if parts.list.iter().any(|part| matches!(part.dtype, Dtype::Ggml(_) | Dtype::Other(_))) {
            return None;
        }
        // Beside the main tensor only a bias can belong to a dense layer.
        if parts.list.iter().any(|part| part.tensor != main.tensor && !is_bias(part.suffix)) {
            return None;
        }
        let mut spec = LayerSpec::new(FormatId::find("dense")?).with_shape(main.shape);
        spec.millibits = main.dtype.bits().map_or(0, |bits| (bits * 1000.0) as u32);
        spec.dtype = Some(main.dtype);
        let mut faults = Vec::new();
        for bias in parts.list.iter().filter(|part| part.tensor != main.tensor) {
            spec.bias = true;
            spec.parameters = spec.parameters.saturating_add(elements(bias.shape).unwrap_or(u64::MAX));
            let outputs = main.shape.first().copied();
            // Conv1D of GPT-2 stores [in, out]: the bias may match either side.
            if bias.suffix == "bias" && bias.shape.len() == 1 && !main.shape.contains(&bias.shape[0]) {
                faults.push(
                    Fault::new(
                        &kind::LAYER_PART_SHAPE,
                        format!(
                            "bias has {} values, weight has {} outputs",
                            bias.shape[0],
                            outputs.unwrap_or(1)
                        ),
                    )
                    .part("bias"),
                );
            }
        }
        Some(Recognized { spec, faults })
    }

    fn label(&self, layer: &LayerSpec) -> String {
        layer.dtype.map_or_else(|| "dense".into(), |dtype| dtype.name().to_owned())
    }

    fn explain(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Vec<Evidence> {
        parts
            .list
            .iter()
            .take(2)
            .map(|part| {
                Evidence::new(
                    "dtype",
                    format!("{} is {}: plain values", part.suffix, part.dtype.name()),
                    None,
                )
            })
            .collect()
    }

    fn decode(&self, parts: &Parts<'_>, _layer: &LayerSpec) -> Result<Decoding, String> {
        let weight = parts.get("weight").ok_or("it has no weight to decode")?;
        let mut decoding = plain(weight.tensor, weight.dtype, weight.shape, weight.bytes)?;
        decoding.kept = parts.get("bias").map(|bias| bias.tensor).into_iter().collect();
        Ok(decoding)
    }
}

/// Returns how the values of one plain tensor are read: exact in f32.
///
/// # Errors
/// Its dtype is wider than f32, or has no values of its own, or its bytes are not those of its shape.
pub fn plain(tensor: u32, dtype: Dtype, shape: &[u64], bytes: u64) -> Result<Decoding, String> {
    if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Err(format!("{dtype} is not read as f32 without loss"));
    }
    let wanted = elements(shape).and_then(|count| dtype.bytes_of(count)).ok_or("its shape overflows")?;
    if wanted != bytes {
        return Err(format!("it has {bytes} bytes, its shape needs {wanted}"));
    }
    let row_len = shape.last().copied().unwrap_or(1);
    let row_bytes = dtype.bytes_of(row_len).ok_or("its shape overflows")?;
    Ok(Decoding {
        codes: tensor,
        suffix: "weight",
        shape: shape.to_vec(),
        dtype: Some(dtype),
        kept: Vec::new(),
        rows: Box::new(Rows { dtype, row_bytes }),
        caution: None,
    })
}

/// Rows of a plain tensor.
struct Rows {
    dtype: Dtype,
    row_bytes: u64,
}

impl DecodeRows for Rows {
    fn codes(&self, rows: Range<u64>) -> Range<u64> {
        rows.start * self.row_bytes..rows.end * self.row_bytes
    }

    fn decode(&self, _rows: Range<u64>, codes: &[u8], out: &mut [f32]) {
        values::to_f32(self.dtype, codes, out);
    }

    fn program(&self) -> Option<Program> {
        Some(Kernel::new("plain").numbers([u64::from(dtype_number(self.dtype)?)]).into())
    }
}

/// Returns true for a tensor that cannot be plain values: a matrix (or stack of them) of 8-bit or
/// narrower elements, or of 16- and 32-bit integers under the name of a weight.
#[must_use]
pub fn packed(dtype: Dtype, shape: &[u64], suffix: &str) -> bool {
    let is_matrix = shape.len() == 2 || shape.len() == 3;
    let is_weight = matches!(suffix, "weight" | "qweight");
    match dtype {
        Dtype::U8 | Dtype::I8 => is_matrix,
        Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32 => is_matrix && is_weight,
        dtype => is_matrix && dtype.is_narrow_float(),
    }
}
