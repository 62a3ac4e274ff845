//! ggml's block types as something to write: a GGUF with other tensors and the same metadata.

use serde_json::Value;

use super::encode;
use super::mixture::{Mix, Mixture};
use crate::quant::LayerSpec;
use crate::quant::encode::Encoding;
use crate::quant::target::{Candidate, Model, Row, Scope, Target};

/// Makes the row of a type.
macro_rules! rows {
    ($($row:ident, $name:literal, $label:literal, $type:literal, $mix:ident, $file_type:literal, $about:literal;)*) => {
        $(
            #[doc = concat!("Writes ", $label, ".")]
            pub static $row: Row = Row {
                name: $name,
                about: $about,
                options: &[],
                make: |_wishes| {
                    Ok(Box::new(ToGgml(Mixture {
                        name: $label,
                        base: $type,
                        mix: Mix::$mix,
                        file_type: $file_type,
                    })))
                },
            };
        )*
    };
}

rows! {
    TO_Q8_0, "q8_0", "Q8_0", "Q8_0", Plain, 7, "GGUF of a GGUF: 8 bits, a scale for 32 values";
    TO_Q6_K, "q6_k", "Q6_K", "Q6_K", Plain, 18, "GGUF of a GGUF: 6 bits, 16 scales for 256 values";
    TO_Q5_K, "q5_k", "Q5_K", "Q5_K", Plain, 16, "GGUF of a GGUF: 5 bits, 8 scales and minima for 256 values";
    TO_Q5_K_M, "q5_k_m", "Q5_K_M", "Q5_K", Medium, 17, "GGUF of a GGUF: llama-quantize's mixture of Q5_K with some Q6_K";
    TO_Q5_K_S, "q5_k_s", "Q5_K_S", "Q5_K", Small, 16, "GGUF of a GGUF: llama-quantize's mixture of Q5_K";
    TO_Q4_K, "q4_k", "Q4_K", "Q4_K", Plain, 14, "GGUF of a GGUF: 4 bits, 8 scales and minima for 256 values";
    TO_Q4_K_M, "q4_k_m", "Q4_K_M", "Q4_K", Medium, 15, "GGUF of a GGUF: llama-quantize's mixture of Q4_K with some Q6_K";
    TO_Q4_K_S, "q4_k_s", "Q4_K_S", "Q4_K", Small, 14, "GGUF of a GGUF: llama-quantize's mixture of Q4_K with few Q5_K";
    TO_Q3_K, "q3_k", "Q3_K", "Q3_K", Plain, 11, "GGUF of a GGUF: 3 bits, 16 scales for 256 values";
    TO_Q3_K_L, "q3_k_l", "Q3_K_L", "Q3_K", Large, 13, "GGUF of a GGUF: llama-quantize's mixture of Q3_K with many Q5_K";
    TO_Q3_K_M, "q3_k_m", "Q3_K_M", "Q3_K", Medium, 12, "GGUF of a GGUF: llama-quantize's mixture of Q3_K with some Q4_K";
    TO_Q3_K_S, "q3_k_s", "Q3_K_S", "Q3_K", Small, 11, "GGUF of a GGUF: llama-quantize's mixture of Q3_K";
    TO_Q2_K, "q2_k", "Q2_K", "Q2_K", Plain, 10, "GGUF of a GGUF: 2 bits, 16 scales and minima for 256 values";
    TO_Q5_1, "q5_1", "Q5_1", "Q5_1", Plain, 9, "GGUF of a GGUF: 5 bits, a scale and a minimum for 32 values";
    TO_Q5_0, "q5_0", "Q5_0", "Q5_0", Plain, 8, "GGUF of a GGUF: 5 bits, a scale for 32 values";
    TO_Q4_1, "q4_1", "Q4_1", "Q4_1", Plain, 3, "GGUF of a GGUF: 4 bits, a scale and a minimum for 32 values";
    TO_Q4_0, "q4_0", "Q4_0", "Q4_0", Plain, 2, "GGUF of a GGUF: 4 bits, a scale for 32 values";
    TO_IQ4_XS, "iq4_xs", "IQ4_XS", "IQ4_XS", Plain, 30, "GGUF of a GGUF: 4 bits of a curved table, 8 scales for 256 values";
    TO_IQ4_NL, "iq4_nl", "IQ4_NL", "IQ4_NL", Plain, 25, "GGUF of a GGUF: 4 bits of a curved table, a scale for 32 values";
    TO_TQ2_0, "tq2_0", "TQ2_0", "TQ2_0", Plain, 37, "GGUF of a GGUF: ternary in 2 bits, for models trained so";
    TO_TQ1_0, "tq1_0", "TQ1_0", "TQ1_0", Plain, 36, "GGUF of a GGUF: ternary in 1.7 bits, for models trained so";
    TO_MXFP4, "mxfp4", "MXFP4", "MXFP4", Plain, 38, "GGUF of a GGUF: 4-bit floats, a power of two for 32 values";
    TO_F32, "gguf-f32", "F32", "F32", Plain, 0, "GGUF of a GGUF: plain values in 32 bits";
    TO_F16, "gguf-f16", "F16", "F16", Plain, 1, "GGUF of a GGUF: plain values in 16 bits";
    TO_BF16, "gguf-bf16", "BF16", "BF16", Plain, 32, "GGUF of a GGUF: plain values in 16 bits, with the range of 32";
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
        layer.format.get().name() == self.format() && layer.variant.eq_ignore_ascii_case(self.0.base)
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let kind = encode::kind(self.0.base).ok_or_else(|| format!("{} cannot be written", self.0.base))?;
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
