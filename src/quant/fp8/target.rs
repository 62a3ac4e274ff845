//! fp8 as something to write: E4M3 with a scale for a block, as DeepSeek and Qwen publish it.
//!
//! | tensor             | dtype                      | shape                                    |
//! |--------------------|----------------------------|------------------------------------------|
//! | `weight`           | `F8_E4M3`                  | `[out, in]`                              |
//! | `weight_scale_inv` | F32; `F8_E8M0` for `ue8m0` | `[out / 128, in / 128]`, rounded up      |
//!
//! Source: transformers 5.23, `integrations/finegrained_fp8.py` (`Fp8Quantize`), `utils/quantization_config.py`
//! (`FineGrainedFP8Config`).

use serde_json::{Value, json};

use super::DEFAULT_BLOCK;
use super::rules::{Kept, Scaling};
use crate::quant::LayerSpec;
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::target::{Candidate, Model, Row, Scope, Search, Target, Wishes};
use crate::quant::tiled::{Fresh, Layout, Made, Packed};
use crate::quant::tiles::{Code, Tiling};
use crate::tensor::Dtype;

/// Writes fp8 in blocks.
pub static TO_FP8: Row = Row {
    name: "fp8",
    about: "8-bit floats, a scale for 128 × 128 values: DeepSeek and Qwen; --scheme ue8m0 for powers of two",
    options: &["--block-size", "--scheme"],
    make: |wishes| Ok(Box::new(ToFp8::of(wishes)?)),
};

/// The scheme whose scales are powers of two.
const POWERS: &str = "ue8m0";

/// How layers are written.
#[derive(Debug)]
struct ToFp8 {
    block: [u64; 2],
    is_power: bool,
}

impl ToFp8 {
    fn of(wishes: &Wishes) -> Result<Self, String> {
        let is_power = match wishes.scheme.as_deref() {
            None => false,
            Some(POWERS) => true,
            Some(other) => {
                let other = crate::name::escape(other);
                return Err(format!(
                    "--scheme {other}: fp8 has only {POWERS}, scales that are powers of two"
                ));
            }
        };
        let block = match wishes.block_size {
            None => DEFAULT_BLOCK,
            Some(0) => return Err("--block-size 0: blocks have values".into()),
            Some(size) => [size, size],
        };
        Ok(Self { block, is_power })
    }
}

impl Target for ToFp8 {
    fn format(&self) -> &'static str {
        "fp8"
    }

    fn label(&self) -> String {
        let powers = if self.is_power { " ue8m0" } else { "" };
        format!("FP8 b{}{powers}", self.block[1])
    }

    fn method(&self) -> String {
        Search::None.method().into()
    }

    fn scope(&self) -> Scope {
        Scope::Linears
    }

    fn is_made(&self, layer: &LayerSpec) -> bool {
        // Whether scales are powers of two is not told by what is known of a layer.
        layer.format.get().name() == "fp8"
            && layer.variant == "block"
            && layer.group_size == Some(self.block[1])
            && !self.is_power
            && layer.broken.is_empty()
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let shape @ [rows, columns] = layer.matrix()?;
        let [high, wide] = self.block;
        let scales = if self.is_power { Dtype::F8E8M0 } else { Dtype::F32 };
        let tensors = vec![
            Encoded::new("weight", Dtype::F8E4M3, &shape)?,
            Encoded::new("weight_scale_inv", scales, &[rows.div_ceil(high), columns.div_ceil(wide)])?,
        ];
        let tiling = Tiling::new(layer.shape, self.block)?;
        let layout = Layout { tiling, packed: Packed::Bytes, scales, has_zeros: false, wants_largest: false };
        let kept = if self.is_power { Kept::Power } else { Kept::of_blocks(shape, self.block) };
        let rule = Scaling { kept, code: Code::E4M3, dtype: scales, is_whole: false };
        let finish = Box::new(|made: Made, _| vec![made.codes, made.scales]);
        Ok(Encoding { tensors, encoder: Box::new(Fresh { layout, coder: rule.coder(), rule, finish }) })
    }

    fn block(&self, model: &Model<'_>) -> Value {
        let mut block = json!({
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "modules_to_not_convert": model.plain_with_head(),
            "quant_method": "fp8",
        });
        if self.is_power {
            block["scale_fmt"] = json!(POWERS);
        }
        block["weight_block_size"] = json!(self.block);
        block
    }
}
