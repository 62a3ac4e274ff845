//! MXFP4 of gpt-oss as something to write: stacks of experts packed, all else plain.
//!
//! Source: transformers 5.23, `integrations/mxfp4.py`, `utils/quantization_config.py` (`Mxfp4Config`); the config of
//! openai/gpt-oss-20b.

use serde_json::{Value, json};

use super::encode::{Turned, fresh};
use super::{BLOCK, BLOCK_BYTES};
use crate::quant::LayerSpec;
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::target::{Candidate, Model, Row, Scope, Target};
use crate::tensor::Dtype;

/// Writes gpt-oss's MXFP4.
pub static TO_MXFP4: Row = Row {
    name: "mxfp4",
    about: "gpt-oss: stacks of experts as 4-bit floats, a power of two for 32; linear layers: \
            --to compressed-tensors --scheme mxfp4",
    options: &[],
    make: |_| Ok(Box::new(ToMxfp4)),
};

/// How experts are written.
#[derive(Debug)]
struct ToMxfp4;

impl Target for ToMxfp4 {
    fn format(&self) -> &'static str {
        "mxfp4"
    }

    fn label(&self) -> String {
        "MXFP4 experts".into()
    }

    fn method(&self) -> String {
        "by the OCP Microscaling rule: scales round down; the kernels of the Hub may round them up".into()
    }

    fn scope(&self) -> Scope {
        Scope::Experts
    }

    fn is_made(&self, layer: &LayerSpec) -> bool {
        layer.format.get().name() == "mxfp4" && layer.broken.is_empty()
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let &[experts, inputs, outputs] = layer.shape else {
            return Err(format!("its shape {:?} is no stack of experts", layer.shape));
        };
        if experts == 0 || inputs == 0 || outputs == 0 {
            return Err("it has no values".into());
        }
        let inner = fresh([outputs, inputs])?;
        let blocks = inputs / BLOCK;
        let tensors = vec![
            Encoded::new("*_blocks", Dtype::U8, &[experts, outputs, blocks, BLOCK_BYTES])?,
            Encoded::new("*_scales", Dtype::U8, &[experts, outputs, blocks])?,
        ];
        Ok(Encoding { tensors, encoder: Box::new(Turned { inner, inputs, outputs }) })
    }

    fn block(&self, model: &Model<'_>) -> Value {
        json!({
            "modules_to_not_convert": patterns(&model.plain_with_head()),
            "quant_method": "mxfp4",
        })
    }
}

/// Returns patterns of layers that stay plain: one for all blocks of the model, attention as a whole, and the
/// embeddings that the published configs name too.
fn patterns(names: &[String]) -> Vec<String> {
    const ATTENTION: &str = "self_attn";
    const EMBEDDINGS: &str = "model.embed_tokens";
    let mut patterns: Vec<String> = Vec::new();
    for name in names {
        let mut parts: Vec<&str> = Vec::new();
        for part in name.split('.') {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            parts.push(if is_number { "*" } else { part });
            if part == ATTENTION {
                break;
            }
        }
        patterns.push(parts.join("."));
    }
    patterns.push(EMBEDDINGS.to_owned());
    patterns.sort();
    patterns.dedup();
    patterns
}
