//! GPTQ as something to write: rounded to the nearest, as GPTQModel stores it.
//!
//! Nothing is calibrated: what GPTQ does with data, correcting the weights that are not rounded yet, is not done, and
//! `method` says so. Scales are F16, and so is what stays plain: GPTQModel writes scales and biases in F16, and
//! kernels compute in it. Groups of `g` neighbors, the last one of what is left; `g_idx` is `i / g`.
//!
//! Zero points are stored minus one (v1) where they are all the middle, as they are (v2) otherwise. Asymmetric v1 is
//! what GPTQModel 0.9 and later write: one is subtracted from whole words, which a zero point of 0 makes borrow.
//! Its loader undoes that, and wants to read in `meta` that it wrote the file; other loaders do not undo it.
//! Sources: GPTQModel 7 (`quantization/config.py`, `utils/model.py`, `models/loader.py`), transformers 5.23
//! (`GPTQConfig`), optimum (`gptq/quantizer.py`), vLLM (`gptq_utils.py`).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Version;
use super::files::{Layout, One};
use super::grid::Grids;
use crate::quant::LayerSpec;
use crate::quant::affine::Groups;
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::pack::Packing;
use crate::quant::qweight::packer::{Packer, Spans};
use crate::quant::target::{
    Candidate, GptqFiles, GroupSize, Model, Row, Scope, Search, Target, Wishes, group_word,
};
use crate::tensor::Dtype;

/// Writes GPTQ.
pub(in crate::quant) static TO_GPTQ: Row = Row {
    name: "gptq",
    about: "GPTQ's files, 4 bits in groups of 128: rounded to the nearest, not calibrated",
    options: &["--bits", "--group-size", "--asym", "--gptq-format", "--search"],
    make,
};

fn make(wishes: &Wishes) -> Result<Box<dyn Target>, String> {
    let bits = wishes.bits.unwrap_or(4);
    if !matches!(bits, 2 | 3 | 4 | 8) {
        return Err(format!("--bits {bits}: gptq has 2, 3, 4 and 8"));
    }
    let group = wishes.group_size.unwrap_or(GroupSize::Of(128)).columns()?;
    let usual = if wishes.asymmetric { GptqFiles::V2 } else { GptqFiles::V1 };
    let version = match wishes.gptq.unwrap_or(usual) {
        GptqFiles::V1 => Version::V1,
        GptqFiles::V2 => Version::V2,
    };
    Ok(Box::new(ToGptq { bits, group, is_symmetric: !wishes.asymmetric, version, search: wishes.search }))
}

/// How layers are written.
#[derive(Clone, Debug)]
struct ToGptq {
    bits: u32,
    /// Columns that share a scale; `None` for all of a row.
    group: Option<u64>,
    is_symmetric: bool,
    version: Version,
    search: Search,
}

impl Target for ToGptq {
    fn format(&self) -> &'static str {
        "gptq"
    }

    fn label(&self) -> String {
        let group = group_word(self.group);
        let kind = if self.is_symmetric { "" } else { " asym" };
        let default = if self.is_symmetric { Version::V1 } else { Version::V2 };
        let files = if self.version == default { String::new() } else { format!(" {}", self.version.name()) };
        format!("GPTQ{} {group}{kind}{files}", self.bits)
    }

    fn method(&self) -> String {
        self.search.method().to_owned()
    }

    fn scope(&self) -> Scope {
        Scope::Decoder
    }

    fn plain_dtype(&self) -> Option<Dtype> {
        Some(Dtype::F16)
    }

    fn is_made(&self, layer: &LayerSpec) -> bool {
        layer.format.get().name() == self.format()
            && layer.millibits == self.bits * 1000
            && layer.group_size == self.group
            && layer.symmetric == Some(self.is_symmetric)
            && layer.act_order == Some(false)
            && layer.variant == self.version.name()
            && layer.dtype == Some(Dtype::F16)
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let [outputs, inputs] = layer.matrix()?;
        let bits = self.bits;
        for (count, what) in [(inputs, "inputs"), (outputs, "outputs")] {
            let each = if bits == 3 { 32 } else { u64::from(32 / bits) };
            if count == 0 || !count.is_multiple_of(each) {
                return Err(format!("{count} {what} of {bits} bits do not fill words: {each} do"));
            }
        }
        let size = self.group.unwrap_or(inputs).min(inputs);
        let groups = inputs.div_ceil(size);
        if i32::try_from(groups).is_err() {
            return Err(format!("{groups} groups are more than g_idx counts"));
        }
        let row = |count: u64| {
            count.checked_mul(u64::from(bits)).map(|bits| bits / 32).ok_or("its shape overflows")
        };
        let tensors = vec![
            Encoded::new("qweight", Dtype::I32, &[row(inputs)?, outputs])?,
            Encoded::new("qzeros", Dtype::I32, &[groups, row(outputs)?])?,
            Encoded::new("scales", Dtype::F16, &[groups, outputs])?,
            Encoded::new("g_idx", Dtype::I32, &[inputs])?,
        ];
        let runs = Groups::Runs(size as usize);
        let files = Layout {
            bits,
            packing: Packing::Dense,
            inputs: inputs as usize,
            outputs: outputs as usize,
            zero_words: row(outputs)? as usize,
            one: One::of(self.version, bits, true),
            dtype: Dtype::F16,
        };
        let g_idx = (0..inputs).flat_map(|input| ((input / size) as i32).to_le_bytes()).collect();
        let packer = Packer {
            coding: Grids::new(bits, self.is_symmetric, Dtype::F16, 0),
            files,
            search: self.search,
            inputs: inputs as usize,
            spans: Spans::new(&runs, inputs as usize, groups as usize),
            stored: None,
            constant: vec![g_idx],
        };
        Ok(Encoding { tensors, encoder: Box::new(packer) })
    }

    fn without_search(&self) -> Option<Box<dyn Target>> {
        (self.search != Search::None).then(|| Box::new(Self { search: Search::None, ..self.clone() }) as _)
    }

    fn block(&self, model: &Model<'_>) -> Value {
        let mut block = json!({
            "bits": self.bits,
            "group_size": self.group.map_or_else(|| json!(-1), |size| json!(size)),
            "desc_act": false,
            "sym": self.is_symmetric,
            "lm_head": model.packed.iter().any(|name| is_head(name)),
            "quant_method": "gptq",
            "checkpoint_format": if self.version == Version::V1 { "gptq" } else { "gptq_v2" },
            "pack_dtype": "int32",
            "meta": { "quantizer": self.writers(), "method": self.method() },
        });
        if let (false, Some(block)) = (model.kept.is_empty(), block.as_object_mut()) {
            let rules = model.kept.iter().map(|name| (format!("-:^{}$", regex::escape(name)), json!({})));
            block.insert("dynamic".into(), Value::Object(rules.collect::<Map<_, _>>()));
            block.insert("modules_in_block_to_quantize".into(), json!([in_blocks(model)]));
        }
        block
    }

    fn files(&self, block: &Value) -> Vec<(&'static str, Value)> {
        vec![("quantize_config.json", block.clone())]
    }
}

impl ToGptq {
    /// Returns who wrote the files, and by whose rules zero points are stored where its loader asks for that.
    fn writers(&self) -> Vec<&'static str> {
        let own = concat!("ckpt:", env!("CARGO_PKG_VERSION"));
        if self.version == Version::V1 && !self.is_symmetric {
            vec![own, "gptqmodel:0.9.0"]
        } else {
            vec![own]
        }
    }
}

fn is_head(name: &str) -> bool {
    name == "lm_head" || name.ends_with(".lm_head")
}

/// Returns the ends of the names of packed layers by which loaders find them: their name within a block where
/// none of that name is plain, else the whole name.
fn in_blocks(model: &Model<'_>) -> Vec<String> {
    let plain: BTreeSet<&str> = model.kept.iter().map(|name| in_block(name)).collect();
    let named = |name: &String| {
        let within = in_block(name);
        let end = if plain.contains(within) { name } else { within };
        end.to_owned()
    };
    model.packed.iter().map(named).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns the name behind the first number: `self_attn.q_proj` of `model.layers.0.self_attn.q_proj`.
fn in_block(name: &str) -> &str {
    let mut rest = name;
    while let Some((first, behind)) = rest.split_once('.') {
        if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
            return behind;
        }
        rest = behind;
    }
    name
}
