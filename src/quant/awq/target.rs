//! AWQ as something to write: `gemm`, rounded to the nearest, as AutoAWQ stores it.
//!
//! What AWQ is named after, a search for factors of the inputs on data, is not done: `method` says so. Scales are F16,
//! and so is what stays plain, as its kernels compute in F16 alone. Groups have to divide the inputs.
//! Sources: AutoAWQ 0.2.9 (`quantize/quantizer.py`, `modules/linear/gemm.py`, `models/_config.py`), transformers
//! 5.23 (`AwqConfig`), vLLM (`quantization/awq.py`).

use serde_json::{Value, json};

use super::Kind;
use super::files::Layout;
use super::grid::Grids;
use crate::quant::LayerSpec;
use crate::quant::affine::Groups;
use crate::quant::encode::{Encoded, Encoding};
use crate::quant::qweight::packer::{Packer, Spans};
use crate::quant::target::{Candidate, GroupSize, Model, Row, Scope, Search, Target, Wishes, group_word};
use crate::tensor::Dtype;

/// Writes AWQ.
pub(in crate::quant) static TO_AWQ: Row = Row {
    name: "awq",
    about: "AWQ's files (gemm), 4 bits with zero points in groups of 128: rounded to the nearest, not calibrated",
    options: &["--bits", "--group-size", "--asym", "--search"],
    make,
};

fn make(wishes: &Wishes) -> Result<Box<dyn Target>, String> {
    if let Some(bits) = wishes.bits.filter(|&bits| bits != 4) {
        return Err(format!("--bits {bits}: awq has only 4"));
    }
    let group = wishes.group_size.unwrap_or(GroupSize::Of(128)).columns()?;
    Ok(Box::new(ToAwq { group, search: wishes.search }))
}

/// How layers are written.
#[derive(Clone, Debug)]
struct ToAwq {
    /// Columns that share a scale; `None` for all of a row.
    group: Option<u64>,
    search: Search,
}

impl Target for ToAwq {
    fn format(&self) -> &'static str {
        "awq"
    }

    fn label(&self) -> String {
        format!("AWQ4 {}", group_word(self.group))
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
            && layer.variant == Kind::Gemm.name()
            && layer.group_size == self.group
            && layer.dtype == Some(Dtype::F16)
    }

    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String> {
        let [outputs, inputs] = layer.matrix()?;
        if outputs == 0 || !outputs.is_multiple_of(8) {
            return Err(format!("{outputs} outputs: 8 share a word"));
        }
        let size = self.group.unwrap_or(inputs);
        if inputs == 0 || !inputs.is_multiple_of(size) {
            return Err(format!("{inputs} inputs are no whole number of groups of {size}"));
        }
        let groups = inputs / size;
        let tensors = vec![
            Encoded::new("qweight", Dtype::I32, &[inputs, outputs / 8])?,
            Encoded::new("qzeros", Dtype::I32, &[groups, outputs / 8])?,
            Encoded::new("scales", Dtype::F16, &[groups, outputs])?,
        ];
        let (inputs, outputs, groups) = (inputs as usize, outputs as usize, groups as usize);
        let packer = Packer {
            coding: Grids::new(Dtype::F16, false),
            files: Layout { kind: Kind::Gemm, inputs, outputs, wide: groups, dtype: Dtype::F16 },
            search: self.search,
            inputs,
            spans: Spans::new(&Groups::Runs(size as usize), inputs, groups),
            stored: None,
            constant: Vec::new(),
        };
        Ok(Encoding { tensors, encoder: Box::new(packer) })
    }

    fn without_search(&self) -> Option<Box<dyn Target>> {
        (self.search != Search::None).then(|| Box::new(Self { search: Search::None, ..self.clone() }) as _)
    }

    fn block(&self, model: &Model<'_>) -> Value {
        let plain = if model.plain.is_empty() { Value::Null } else { json!(short(model)) };
        json!({
            "quant_method": "awq",
            "bits": 4,
            "group_size": self.said(),
            "zero_point": true,
            "version": "gemm",
            "modules_to_not_convert": plain,
        })
    }

    fn files(&self, _block: &Value) -> Vec<(&'static str, Value)> {
        let old = json!({"zero_point": true, "q_group_size": self.said(), "w_bit": 4, "version": "GEMM"});
        vec![("quant_config.json", old)]
    }
}

impl ToAwq {
    fn said(&self) -> Value {
        self.group.map_or_else(|| json!(-1), |size| json!(size))
    }
}

/// Returns what stays plain: a part of the model that has nothing packed by its own name, `visual`, other layers by
/// theirs. Loaders look for these names in those of modules.
fn short(model: &Model<'_>) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for name in model.plain {
        let is_apart = |end: usize| {
            let part = &name[..=end];
            !model.packed.iter().any(|packed| packed.starts_with(part))
        };
        let ends = name.match_indices('.').map(|(end, _)| end);
        let short = ends.into_iter().find(|&end| is_apart(end)).map_or(name.as_str(), |end| &name[..end]);
        // A layer that was kept in a block is named itself: a block has no name of its own.
        let short = if short.bytes().any(|byte| byte.is_ascii_digit()) { name } else { short };
        if list.last().is_none_or(|last| last != short) && !list.iter().any(|listed| listed == short) {
            list.push(short.to_owned());
        }
    }
    list
}
