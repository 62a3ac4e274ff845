//! nf4 and fp4 as something to write: what `save_pretrained` would have stored.
//!
//! Source: transformers 5.23, `integrations/bitsandbytes.py`, `utils/quantization_config.py` (`BitsAndBytesConfig`);
//! bitsandbytes 0.50, `functional.py` (`QuantState.as_dict`, `create_dynamic_map`).

use serde_json::{Map, Value, json};

use super::encode::{Nested, Rows};
use super::left::left_out;
use super::python::python_json;
use super::{BLOCKS, Table};
use crate::quant::LayerSpec;
use crate::quant::encode::{Around, Encode, Encoded, Encoding};
use crate::quant::kernel::Kernel;
use crate::quant::target::{Candidate, LeftOut, Model, Row, Scope, Target, Wishes};
use crate::tensor::{Dtype, elements};

/// Writes nf4.
pub static TO_NF4: Row = Row {
    name: "bnb-nf4",
    about: "bitsandbytes 4-bit, what QLoRA trains on: quantiles of the normal distribution, an absmax for 64 values",
    options: &OPTIONS,
    make: |wishes| make(Table::Nf4, wishes),
};
/// Writes fp4.
pub static TO_FP4: Row = Row {
    name: "bnb-fp4",
    about: "bitsandbytes 4-bit floating point, an absmax for 64 values",
    options: &OPTIONS,
    make: |wishes| make(Table::Fp4, wishes),
};

const OPTIONS: [&str; 3] = ["--block-size", "--double-quant", "--compute-dtype"];
/// Values that share an absmax if nothing else is asked for: what transformers writes.
const BLOCK: u64 = 64;
/// Absmax that share an absmax of their own.
const NESTED_BLOCK: u64 = 256;

fn make(table: Table, wishes: &Wishes) -> Result<Box<dyn Target>, String> {
    let block = wishes.block_size.unwrap_or(BLOCK);
    if !BLOCKS.contains(&block) {
        return Err(format!("--block-size {block}: bitsandbytes has {BLOCKS:?}"));
    }
    let compute = wishes.compute_dtype.map(crate::quant::target::Compute::dtype);
    Ok(Box::new(ToBnb4 { table, block, is_nested: wishes.double_quant, compute }))
}

/// How layers are written.
#[derive(Debug)]
struct ToBnb4 {
    table: Table,
    block: u64,
    is_nested: bool,
    compute: Option<Dtype>,
}

impl Target for ToBnb4 {
    fn format(&self) -> &'static str {
        self.table.format()
    }

    fn label(&self) -> String {
        let mut label = self.table.word().to_ascii_uppercase();
        if self.block != BLOCK {
            label = format!("{label} b{}", self.block);
        }
        if self.is_nested { format!("{label} double") } else { label }
    }

    fn scope(&self) -> Scope {
        Scope::Linears
    }

    fn left_out(&self, layer: &str, config: Option<&Value>) -> Option<LeftOut> {
        left_out(layer, config)
    }

    fn is_made(&self, layer: &LayerSpec) -> bool {
        let variant = if self.is_nested { "nested" } else { "plain" };
        layer.format.get().name() == self.format()
            && layer.group_size == Some(self.block)
            && layer.variant == variant
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let [rows, columns] = layer.matrix()?;
        let word = dtype_word(layer.dtype)
            .ok_or_else(|| format!("it is {}, bitsandbytes packs F16, BF16 and F32", layer.dtype))?;
        let count = elements(layer.shape).filter(|&count| count > 0).ok_or("it has no values")?;
        let blocks = count.div_ceil(self.block);
        let mut state = Map::new();
        state.insert("quant_type".into(), json!(self.table.word()));
        state.insert("blocksize".into(), json!(self.block));
        state.insert("dtype".into(), json!(word));
        state.insert("shape".into(), json!([rows, columns]));
        let absmax = if self.is_nested { Dtype::U8 } else { Dtype::F32 };
        let mut tensors = vec![
            Encoded::new("weight", Dtype::U8, &[count.div_ceil(2), 1])?,
            Encoded::new("weight.absmax", absmax, &[blocks])?,
        ];
        let mut nested = None;
        if self.is_nested {
            state.insert("nested_blocksize".into(), json!(NESTED_BLOCK));
            state.insert("nested_dtype".into(), json!("float32"));
            state.insert("nested_offset".into(), json!(0));
            let new = Nested::new(dynamic_map(), NESTED_BLOCK, state.clone());
            tensors.push(Encoded::new("weight.nested_absmax", Dtype::F32, &[blocks.div_ceil(NESTED_BLOCK)])?);
            tensors.push(Encoded::new(self.state_name(), Dtype::U8, &[new.state_bytes()])?);
            tensors.push(Encoded::new("weight.nested_quant_map", Dtype::F32, &[256])?);
            nested = Some(new);
        } else {
            let bytes = python_json(&Value::Object(state.clone())).len() as u64;
            tensors.push(Encoded::new(self.state_name(), Dtype::U8, &[bytes])?);
        }
        tensors.push(Encoded::new("weight.quant_map", Dtype::F32, &[16])?);
        let inner = Rows::new(self.table, self.block, columns, nested);
        inner.check()?;
        let state = python_json(&Value::Object(state)).into_bytes();
        let encoder = Whole { inner, table: self.table, state: (!self.is_nested).then_some(state) };
        Ok(Encoding { tensors, encoder: Box::new(encoder) })
    }

    fn block(&self, model: &Model<'_>) -> Value {
        let compute = dtype_word(self.compute.unwrap_or(model.dtype)).unwrap_or("float32");
        block(&Block { bits: 4, table: self.table.word(), is_nested: self.is_nested, compute }, model)
    }
}

/// What a config's block says of layers.
pub(in crate::quant) struct Block {
    /// Bits of a code, 4 or 8.
    pub(in crate::quant) bits: u32,
    /// The table of codes; of 8 bits it means nothing.
    pub(in crate::quant) table: &'static str,
    /// True if the absmax are quantized too.
    pub(in crate::quant) is_nested: bool,
    /// The dtype that loaders compute in.
    pub(in crate::quant) compute: &'static str,
}

/// Returns `quantization_config`, with all that `BitsAndBytesConfig` writes, in its order.
pub(in crate::quant) fn block(block: &Block, model: &Model<'_>) -> Value {
    let is = |bits: u32| block.bits == bits;
    // A list replaces the loader's own default, which leaves the heads as they are.
    // Of other models that default is their last layer, whatever it is.
    let is_default = model.kept.is_empty() && model.also.is_empty() && model.is_of_words();
    let skipped = if is_default { Value::Null } else { json!(skipped(model)) };
    json!({
        "_load_in_4bit": is(4),
        "_load_in_8bit": is(8),
        "bnb_4bit_compute_dtype": block.compute,
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": block.table,
        "bnb_4bit_use_double_quant": block.is_nested,
        "llm_int8_enable_fp32_cpu_offload": false,
        "llm_int8_has_fp16_weight": false,
        "llm_int8_skip_modules": skipped,
        "llm_int8_threshold": 6.0,
        "load_in_4bit": is(4),
        "load_in_8bit": is(8),
        "quant_method": "bitsandbytes",
    })
}

impl ToBnb4 {
    fn state_name(&self) -> &'static str {
        match self.table {
            Table::Nf4 => "weight.quant_state.bitsandbytes__nf4",
            Table::Fp4 => "weight.quant_state.bitsandbytes__fp4",
        }
    }
}

/// Returns the layers that loaders are told to leave plain. A head that is tied is none of the file's, and they would
/// pack it. They match what full names end with: of a decoder beside a tower, which older files name otherwise than
/// the classes, the end is given too, if it is no other layer's.
fn skipped<'a>(model: &Model<'a>) -> Vec<&'a str> {
    const HEAD: &str = "lm_head";
    let is_packed = |end: &str| model.packed.iter().any(|name| name.ends_with(end));
    let mut names: Vec<&str> = model.plain.iter().map(String::as_str).collect();
    if model.config.is_some_and(|config| config.get("text_config").is_some()) {
        let end = |name: &&'a str| {
            let name = name.strip_prefix("language_model.").unwrap_or(name);
            name.strip_prefix("model.").filter(|end| end.starts_with("layers.") && !is_packed(end))
        };
        let ends: Vec<&str> = names.iter().filter_map(end).collect();
        names.extend(ends);
    }
    if !names.contains(&HEAD) && !is_packed(HEAD) {
        names.push(HEAD);
    }
    names
}

/// Returns how quant states and configs spell a dtype.
fn dtype_word(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::BF16 => Some("bfloat16"),
        Dtype::F16 => Some("float16"),
        Dtype::F32 => Some("float32"),
        _ => None,
    }
}

/// A layer with all its tensors, the constant ones too.
struct Whole {
    inner: Rows,
    table: Table,
    /// The quant state, if it is known before absmax are.
    state: Option<Vec<u8>>,
}

impl Encode for Whole {
    fn rows_apart(&self) -> u64 {
        self.inner.rows_apart()
    }

    fn rows(&self, values: &[f32], at: Around) -> Result<Vec<Vec<u8>>, String> {
        self.inner.rows(values, at)
    }

    fn piece_bytes(&self) -> Option<u64> {
        self.inner.piece_bytes()
    }

    fn is_exact(&self, tensor: usize) -> bool {
        self.inner.is_exact(tensor)
    }

    fn finish(&self, strands: Vec<Vec<u8>>, largest: f32) -> Vec<Vec<u8>> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut tensors = self.inner.finish(strands, largest);
        match &self.state {
            Some(state) => tensors.push(state.clone()),
            None => tensors.push(bytes(&dynamic_map())),
        }
        // Adding zero makes of fp4's negative zero the positive one that the library stores.
        tensors.push(bytes(&self.table.values().map(|value| value + 0.0)));
        tensors
    }

    fn kernel(&self, largest: f32) -> Option<Kernel> {
        self.inner.kernel(largest)
    }

    fn strand_bytes(&self, rows: u64) -> Vec<u64> {
        self.inner.strand_bytes(rows)
    }
}

/// Returns the table of nested absmax: sign, a decade of seven, and more steps the larger the decade.
fn dynamic_map() -> Vec<f32> {
    let mut map = vec![0.0, 1.0];
    for decade in 0..7i32 {
        let steps = 1u32 << decade;
        let means = means(steps);
        let scale = 10f64.powi(decade - 6) as f32;
        map.extend(means.iter().flat_map(|mean| [scale * mean, -(scale * mean)]));
    }
    map.sort_by(f32::total_cmp);
    map
}

/// Returns the means of neighbors among the bounds of `steps` equal steps from 0.1 to 1, as `torch.linspace` gives them:
/// each from the nearer end.
fn means(steps: u32) -> Vec<f32> {
    let (start, end) = (0.1f32, 1.0f32);
    let step = (end - start) / steps as f32;
    let count = steps + 1;
    let bound = |at: u32| {
        if at < count / 2 {
            step.mul_add(at as f32, start)
        } else {
            (-step).mul_add((count - 1 - at) as f32, end)
        }
    };
    (0..steps).map(|at| f32::midpoint(bound(at), bound(at + 1))).collect()
}
