//! The quant state: JSON in a U8 tensor, about 170 bytes, read by keys and not by order.
//!
//! `{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [out, in]}`, and when the absmax
//! are quantized themselves `"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.05`.

use serde_json::Value;

use super::state_part;
use crate::quant::{Parts, Side};
use crate::tensor::Dtype;

/// Bytes of a quant state; real ones have less than 200.
const STATE_BYTES_MAX: u64 = 64 << 10;
/// Dimensions of the shape; weights have two, experts three.
const DIMENSIONS_MAX: usize = 8;

/// What reading the quant state gave.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StateRead {
    /// Only headers have been read.
    Pending,
    /// There is none.
    Missing,
    /// Its bytes cannot be had, and why.
    Unreadable(String),
    /// It is not what it should be, and why.
    Damaged(String),
    /// What it says.
    State(State),
}

/// What a quant state says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) quant_type: Option<String>,
    pub(super) block: Option<u64>,
    /// Dtype that the weight had and that dequantizing gives.
    pub(super) dtype: Option<Dtype>,
    pub(super) shape: Option<Vec<u64>>,
    pub(super) nested_block: Option<u64>,
    pub(super) nested_offset: Option<f64>,
}

impl State {
    /// Reads the quant state of a layer.
    pub(super) fn read(parts: &Parts<'_>) -> StateRead {
        let Some(part) = state_part(parts) else { return StateRead::Missing };
        if part.bytes > STATE_BYTES_MAX {
            return StateRead::Damaged(format!("{} bytes, real ones have less than 200", part.bytes));
        }
        match parts.read(part, STATE_BYTES_MAX) {
            Side::Pending => StateRead::Pending,
            Side::Unreadable(why) => StateRead::Unreadable(why),
            Side::Bytes(bytes) => Self::parse(&bytes),
        }
    }

    fn parse(bytes: &[u8]) -> StateRead {
        let value: Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) => return StateRead::Damaged(format!("not JSON: {error}")),
        };
        if !value.is_object() {
            return StateRead::Damaged("not a JSON object".into());
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let shape = value.get("shape").and_then(Value::as_array).filter(|dims| dims.len() <= DIMENSIONS_MAX);
        StateRead::State(Self {
            quant_type: text("quant_type").map(str::to_owned),
            block: number("blocksize"),
            dtype: text("dtype").and_then(dtype_of),
            shape: shape.and_then(|dims| dims.iter().map(Value::as_u64).collect()),
            nested_block: number("nested_blocksize"),
            nested_offset: value.get("nested_offset").and_then(Value::as_f64),
        })
    }
}

fn dtype_of(word: &str) -> Option<Dtype> {
    match word.trim_start_matches("torch.") {
        "float16" => Some(Dtype::F16),
        "bfloat16" => Some(Dtype::BF16),
        "float32" => Some(Dtype::F32),
        _ => None,
    }
}
