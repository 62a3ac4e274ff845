//! ggml's block types as something to write: a GGUF with other tensors and the same metadata.

use serde_json::Value;

use super::encode;
use super::mixture::Mixture;
use crate::quant::LayerSpec;
use crate::quant::encode::Encoding;
use crate::quant::target::{Candidate, Model, Row, Scope, Target, Wishes};

/// Makes the row of a type.
macro_rules! rows {
    ($($row:ident, $name:literal, $type:literal, $file_type:literal, $about:literal;)*) => {
        $(
            #[doc = concat!("Writes ", $type, ".")]
            pub static $row: Row = Row {
                name: $name,
                about: $about,
                options: &[],
                make: |wishes| make(Mixture { name: $type, file_type: $file_type }, wishes),
            };
        )*
    };
}

rows! {
    TO_Q8_0, "q8_0", "Q8_0", 7, "GGUF of a GGUF: 8 bits, a scale for 32 values";
    TO_Q6_K, "q6_k", "Q6_K", 18, "GGUF of a GGUF: 6 bits, 16 scales for 256 values";
    TO_Q5_K, "q5_k", "Q5_K", 16, "GGUF of a GGUF: 5 bits, 8 scales and minima for 256 values";
    TO_Q4_K, "q4_k", "Q4_K", 14, "GGUF of a GGUF: 4 bits, 8 scales and minima for 256 values";
    TO_Q3_K, "q3_k", "Q3_K", 11, "GGUF of a GGUF: 3 bits, 16 scales for 256 values";
    TO_Q2_K, "q2_k", "Q2_K", 10, "GGUF of a GGUF: 2 bits, 16 scales and minima for 256 values";
    TO_Q5_1, "q5_1", "Q5_1", 9, "GGUF of a GGUF: 5 bits, a scale and a minimum for 32 values";
    TO_Q5_0, "q5_0", "Q5_0", 8, "GGUF of a GGUF: 5 bits, a scale for 32 values";
    TO_Q4_1, "q4_1", "Q4_1", 3, "GGUF of a GGUF: 4 bits, a scale and a minimum for 32 values";
    TO_Q4_0, "q4_0", "Q4_0", 2, "GGUF of a GGUF: 4 bits, a scale for 32 values";
    TO_IQ4_XS, "iq4_xs", "IQ4_XS", 30, "GGUF of a GGUF: 4 bits of a curved table, 8 scales for 256 values";
    TO_IQ4_NL, "iq4_nl", "IQ4_NL", 25, "GGUF of a GGUF: 4 bits of a curved table, a scale for 32 values";
    TO_TQ2_0, "tq2_0", "TQ2_0", 37, "GGUF of a GGUF: ternary in 2 bits, for models trained so";
    TO_TQ1_0, "tq1_0", "TQ1_0", 36, "GGUF of a GGUF: ternary in 1.7 bits, for models trained so";
    TO_MXFP4, "mxfp4", "MXFP4", 38, "GGUF of a GGUF: 4-bit floats, a power of two for 32 values";
}

fn make(mixture: Mixture, _wishes: &Wishes) -> Result<Box<dyn Target>, String> {
    Ok(Box::new(ToGgml(mixture)))
}

/// How tensors are written.
#[derive(Debug)]
struct ToGgml(Mixture);

impl Target for ToGgml {
    fn format(&self) -> &'static str {
        "ggml"
    }

    fn label(&self) -> String {
        self.0.name.to_owned()
    }

    fn method(&self) -> String {
        "ggml's own rounding and searches, without an importance matrix".into()
    }

    fn scope(&self) -> Scope {
        Scope::Matrices
    }

    fn is_made(&self, layer: &LayerSpec) -> bool {
        layer.format.get().name() == self.format() && layer.variant.eq_ignore_ascii_case(self.0.name)
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let kind = encode::kind(self.0.name).ok_or_else(|| format!("{} cannot be written", self.0.name))?;
        encode::encoding(kind, layer.shape)
    }

    fn block(&self, _model: &Model<'_>) -> Value {
        // A GGUF says in its header what its tensors are.
        Value::Null
    }

    fn gguf(&self) -> Option<Mixture> {
        Some(self.0)
    }
}
