//! int8 as something to write: what `save_pretrained` would have stored.
//!
//! Source: transformers 5.23, `integrations/bitsandbytes.py`, `utils/quantization_config.py` (`BitsAndBytesConfig`);
//! bitsandbytes 0.50, `nn/modules.py` (`Linear8bitLt._save_to_state_dict`).

use serde_json::Value;

use super::encode::Rows;
use crate::quant::LayerSpec;
use crate::quant::bnb4::{Block, block, left_out};
use crate::quant::encode::{Around, Encode, Encoded, Encoding};
use crate::quant::kernel::Kernel;
use crate::quant::target::{Candidate, LeftOut, Model, Row, Scope, Target};
use crate::tensor::{Dtype, elements};

/// Writes int8.
pub static TO_INT8: Row = Row {
    name: "bnb-int8",
    about: "bitsandbytes 8-bit (LLM.int8()): a scale a row",
    options: &[],
    make: |_| Ok(Box::new(ToInt8)),
};

/// How layers are written.
#[derive(Debug)]
struct ToInt8;

impl Target for ToInt8 {
    fn format(&self) -> &'static str {
        "bnb-int8"
    }

    fn label(&self) -> String {
        "INT8".into()
    }

    fn scope(&self) -> Scope {
        Scope::Linears
    }

    fn left_out(&self, layer: &str, config: Option<&Value>) -> Option<LeftOut> {
        left_out(layer, config)
    }

    fn is_made(&self, layer: &LayerSpec) -> bool {
        layer.format.get().name() == self.format() && layer.variant == "row"
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let [rows, columns] = layer.matrix()?;
        if !matches!(layer.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32) {
            return Err(format!("it is {}, bitsandbytes packs F16, BF16 and F32", layer.dtype));
        }
        elements(layer.shape).filter(|&count| count > 0).ok_or("it has no values")?;
        let tensors = vec![
            Encoded::new("weight", Dtype::I8, &[rows, columns])?,
            Encoded::new("SCB", Dtype::F32, &[rows])?,
            Encoded::new("weight_format", Dtype::U8, &[])?,
        ];
        Ok(Encoding { tensors, encoder: Box::new(Whole(Rows::new(columns))) })
    }

    fn block(&self, model: &Model<'_>) -> Value {
        block(&Block { bits: 8, table: "fp4", is_nested: false, compute: "float32" }, model)
    }
}

/// A layer with the word for its order of codes too.
struct Whole(Rows);

/// `weight_format` of codes in rows.
const IN_ROWS: u8 = 0;

impl Encode for Whole {
    fn rows_apart(&self) -> u64 {
        self.0.rows_apart()
    }

    fn rows(&self, values: &[f32], at: Around) -> Result<Vec<Vec<u8>>, String> {
        self.0.rows(values, at)
    }

    fn piece_bytes(&self) -> Option<u64> {
        self.0.piece_bytes()
    }

    fn finish(&self, strands: Vec<Vec<u8>>, largest: f32) -> Vec<Vec<u8>> {
        let mut tensors = self.0.finish(strands, largest);
        tensors.push(vec![IN_ROWS]);
        tensors
    }

    fn kernel(&self, largest: f32) -> Option<Kernel> {
        self.0.kernel(largest)
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        self.0.strand_bytes(rows)
    }
}
