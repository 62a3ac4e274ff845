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

use super::{Evidence, FormatId, LayerSpec, Parts, QuantFormat, Recognized, Signature};
use crate::problem::kind;
use crate::quant::Fault;
use crate::tensor::{Dtype, elements};

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
