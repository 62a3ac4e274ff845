//! MXFP4 of gpt-oss: stacks of experts, 4-bit floats in blocks of 32 that share a power of two.
//!
//! | tensor             | dtype | shape                        | holds                              |
//! |--------------------|-------|------------------------------|------------------------------------|
//! | `<name>_blocks`    | U8    | `[experts, out, in / 32, 16]`| two E2M1 codes a byte, low first   |
//! | `<name>_scales`    | U8    | `[experts, out, in / 32]`    | E8M0 exponents, bias 127           |
//! | `<name>_bias`      | BF16  | `[experts, out]`             | plain                              |
//!
//! OpenAI's own files write `mlp1_weight.blocks` and `.scales`, with a separate `mlp1_bias`. The dense
//! parameter of Hugging Face is the transpose, `[experts, in, out]`, and that is the shape given here.
//! Source: transformers, `integrations/mxfp4.py`; openai/gpt-oss, `torch/weights.py`.

mod decode;
mod encode;
mod target;

pub use self::target::TO_MXFP4;
use super::decode::Decoding;
use super::draft::Draft;
use super::encode::Encoding;
use super::scale_values::evidence;
use super::{Evidence, FormatId, LayerSpec, Part, Parts, QuantFormat, Recognized, Signature};
use crate::tensor::Dtype;
use crate::units;

/// Weights that share a scale. Source: OCP Microscaling formats, MXFP4.
const BLOCK: u64 = 32;
/// Bytes of a block's codes.
const BLOCK_BYTES: u64 = 16;

/// MXFP4 of gpt-oss.
pub struct Mxfp4;

impl QuantFormat for Mxfp4 {
    fn name(&self) -> &'static str {
        "mxfp4"
    }

    fn signature(&self) -> Signature {
        Signature { anchors: &["*_blocks", "blocks"], parts: &["*_scales", "*_bias", "scales"] }
    }

    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized> {
        let blocks = find(parts, ["*_blocks", "blocks"])?;
        if blocks.dtype != Dtype::U8 || blocks.shape.len() != 4 {
            return None;
        }
        let is_openai = blocks.suffix == "blocks";
        let mut draft = Draft::new(parts, LayerSpec::new(FormatId::find("mxfp4")?));
        draft.spec.variant = "gpt-oss".into();
        draft.spec.millibits = 4000;
        draft.spec.group_size = Some(BLOCK);
        draft.spec.dtype = Some(Dtype::BF16);
        let (experts, outputs) = (blocks.shape[0], blocks.shape[1]);
        draft.shape(&[experts, blocks.shape[2].saturating_mul(BLOCK), outputs]);
        if blocks.shape[3] != BLOCK_BYTES {
            let text = format!("blocks of {} bytes, 32 codes take {BLOCK_BYTES}", blocks.shape[3]);
            draft.misfit(blocks.suffix, text);
        }
        if let Some(scales) = find(parts, ["*_scales", "scales"]) {
            if scales.shape != &blocks.shape[..3] || !is_exponent(scales.dtype) {
                let (has, needs) = (units::shape(scales.shape), units::shape(&blocks.shape[..3]));
                let text = format!("scales are {} {has}, the blocks need U8 {needs}", scales.dtype.name());
                draft.misfit(scales.suffix, text);
            } else {
                draft.finite(scales.suffix, Dtype::F8E8M0);
            }
        } else {
            draft.lacks(if is_openai { "scales" } else { "*_scales" });
        }
        draft.bias("*_bias", &[experts, outputs]);
        // OpenAI's own folder describes itself without a quantization block.
        if !is_openai || parts.config.method().is_some() {
            draft.method(|method| method == "mxfp4", "MXFP4 of gpt-oss");
        }
        Some(draft.finish())
    }

    fn label(&self, _layer: &LayerSpec) -> String {
        "MXFP4".into()
    }

    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence> {
        let mut lines = Vec::new();
        if let Some(block) = parts.config.block(&["mxfp4"]) {
            lines.push(Evidence::new(block.file.clone(), "quant_method mxfp4", Some(true)));
        }
        if let Some(blocks) = find(parts, ["*_blocks", "blocks"]) {
            let count = blocks.shape.get(2).copied().unwrap_or(0);
            let inputs = layer.shape.get(1).copied().unwrap_or(0);
            let fits = blocks.shape.last() == Some(&BLOCK_BYTES);
            let text = format!("{count} blocks × 16 bytes × 2 codes = {inputs} inputs");
            lines.push(Evidence::new("shapes", text, Some(fits)));
            let text = "stored [experts, out, in]; the dense parameter is its transpose";
            lines.push(Evidence::new("shapes", text, None));
        }
        if let Some(scales) = find(parts, ["*_scales", "scales"]) {
            lines.push(evidence(parts, scales, Dtype::F8E8M0, "powers of two"));
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
        encode::encode(parts, layer)
    }
}

fn find<'a, 'p>(parts: &'p Parts<'a>, names: [&str; 2]) -> Option<&'p Part<'a>> {
    names.iter().find_map(|name| parts.get(name))
}

fn is_exponent(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::F8E8M0)
}

#[cfg(test)]
mod tests;
