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

use super::decode::Decoding;
use super::draft::Draft;
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
}

fn find<'a, 'p>(parts: &'p Parts<'a>, names: [&str; 2]) -> Option<&'p Part<'a>> {
    names.iter().find_map(|name| parts.get(name))
}

fn is_exponent(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::F8E8M0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::quant::testing::{Literal, codes};

    fn experts(blocks: &'static str, scales: &str) -> Literal {
        Literal::new("model.layers.0.mlp.experts.gate_up_proj")
            .shape(blocks, Dtype::U8, &[4, 192, 4, 16])
            .part(scales, Dtype::U8, &[4, 192, 4], vec![120; 4 * 192 * 4])
    }

    #[test]
    fn experts_have_the_shape_of_the_dense_parameter() {
        let layer = experts("*_blocks", "*_scales").shape("*_bias", Dtype::BF16, &[4, 192]);
        let layer = layer.block(Some("mxfp4"), json!({}));
        let found = layer.recognize(&Mxfp4).unwrap();
        assert_eq!((found.spec.shape.as_slice(), found.spec.millibits), (&[4, 128, 192][..], 4000));
        assert_eq!(found.spec.parameters, 4 * 128 * 192 + 4 * 192);
        assert!(codes(&found).is_empty() && !found.spec.pending);
        assert!(layer.explain(&Mxfp4).iter().any(|l| l.text == "4 blocks × 16 bytes × 2 codes = 128 inputs"));
        assert!(layer.headers_only().recognize(&Mxfp4).unwrap().spec.pending);
        let original = experts("blocks", "scales").recognize(&Mxfp4).unwrap();
        assert_eq!((original.spec.shape.as_slice(), codes(&original).len()), (&[4, 128, 192][..], 0));
    }

    #[test]
    fn faults_are_named() {
        let with = |scales: &[u64]| {
            experts("*_blocks", "*_scales").without("*_scales").shape("*_scales", Dtype::U8, scales)
        };
        let nan = with(&[4, 192, 4]).without("*_scales");
        let cases = [
            (experts("*_blocks", "*_scales"), "Q007", "no config says"),
            (
                with(&[4, 192, 4]).without("*_scales").block(Some("mxfp4"), json!({})),
                "Q020",
                "missing scales",
            ),
            (with(&[4, 192, 3]).block(Some("mxfp4"), json!({})), "Q002", "the blocks need U8 [4, 192, 4]"),
            (with(&[4, 192, 4]).block(Some("gptq"), json!({})), "Q008", "the tensors are MXFP4 of gpt-oss"),
            (
                nan.part("*_scales", Dtype::U8, &[4, 192, 4], [vec![255; 2], vec![120; 3070]].concat())
                    .block(Some("mxfp4"), json!({})),
                "Q004",
                "scales: 2 of 3072 are NaN",
            ),
        ];
        for (layer, code, words) in cases {
            let found = layer.recognize(&Mxfp4).unwrap();
            assert_eq!(codes(&found), [code], "{words}");
            assert!(found.faults[0].detail.contains(words), "{}", found.faults[0].detail);
        }
    }

    #[test]
    fn experts_are_turned_when_decoded() {
        let mut blocks = vec![0; 2 * 3 * 2 * 16];
        // Expert 1, output 2, block 1, inputs 34 and 35.
        blocks[(5 * 2 + 1) * 16 + 1] = 0xa7;
        let mut scales = vec![127; 12];
        scales[11] = 120;
        let layer = |bytes: Vec<u8>| {
            Literal::new("experts.down_proj")
                .part("*_blocks", Dtype::U8, &[2, 3, 2, 16], bytes)
                .part("*_scales", Dtype::U8, &[2, 3, 2], scales.clone())
                .part("*_bias", Dtype::BF16, &[2, 3], vec![0; 12])
        };
        let (shape, values) = layer(blocks.clone()).shape_and_values(&Mxfp4).unwrap();
        assert_eq!(shape, [2, 64, 3]);
        let at = |expert: usize, input: usize, output: usize| values[(expert * 64 + input) * 3 + output];
        assert_eq!((at(1, 34, 2), at(1, 35, 2)), (0.046_875, -0.007_812_5));
        assert_eq!(values.iter().filter(|&&value| value != 0.0).count(), 2);
        layer(blocks.clone()).with(|parts| {
            let spec = Mxfp4.recognize(parts).unwrap().spec;
            let decoding = Mxfp4.decode(parts, &spec).unwrap();
            assert_eq!((decoding.suffix, decoding.kept), ("*", vec![2]));
            assert_eq!(decoding.rows.codes(0..1), 0..96);
            assert_eq!(decoding.rows.codes(63..65), 0..192);
            assert_eq!(decoding.rows.codes(64..65), 96..192);
        });
        let why = layer(vec![0; 191]).shape_and_values(&Mxfp4).unwrap_err();
        assert_eq!(why, "blocks have 191 bytes, not those of [2, 3, 2, 16]");
        let huge = Literal::new("x").part("blocks", Dtype::U8, &[0, 1 << 40, 1 << 40, 16], vec![]);
        let why = huge
            .part("scales", Dtype::U8, &[0, 1 << 40, 1 << 40], vec![])
            .shape_and_values(&Mxfp4)
            .unwrap_err();
        assert!(why.ends_with("too many"), "{why}");
    }
}
