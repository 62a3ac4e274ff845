//! Targets: formats as something to write, with the options that a user may choose.
//!
//! One row of `TARGETS` a name of `--to`; the format's own folder has the target. A target says of one layer by its
//! shape alone what tensors it becomes and how, of a model which layers its loaders expect to stay plain, and
//! what the config must say for them. It does no I/O and knows no plan.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LayerSpec;
use super::encode::Encoding;
use crate::tensor::Dtype;

/// What a user may ask of a format that is written; what is `None` is left to the format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wishes {
    /// Bits of a code.
    pub bits: Option<u32>,
    /// Columns that share a scale.
    pub group_size: Option<GroupSize>,
    /// Zero points beside scales.
    pub asymmetric: bool,
    /// Which files of GPTQ: how zero points are stored.
    pub gptq: Option<GptqFiles>,
    /// Scheme of compressed-tensors.
    pub scheme: Option<String>,
    /// Values that share an absmax.
    pub block_size: Option<u64>,
    /// Quantize the absmax themselves.
    pub double_quant: bool,
    /// The dtype that loaders compute in.
    pub compute_dtype: Option<Compute>,
    /// How scales are chosen.
    pub search: Search,
}

/// Columns that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupSize {
    /// So many neighbors.
    Of(u32),
    /// A whole row.
    Row,
}

impl GroupSize {
    /// Returns the columns that share a scale; `None` for all of a row.
    ///
    /// # Errors
    /// It is 0.
    pub fn columns(self) -> Result<Option<u64>, String> {
        match self {
            Self::Of(0) => Err("--group-size 0: no columns share a scale".into()),
            Self::Of(size) => Ok(Some(size.into())),
            Self::Row => Ok(None),
        }
    }
}

/// Returns what a label says of the columns that share a scale: `g128`, `row`.
#[must_use]
pub fn group_word(columns: Option<u64>) -> String {
    columns.map_or_else(|| "row".to_owned(), |columns| format!("g{columns}"))
}

/// How GPTQ's files store zero points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GptqFiles {
    /// Less one: what most loaders read.
    V1,
    /// As they are.
    V2,
}

/// The dtype that loaders compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
}

impl Compute {
    /// Returns the dtype.
    #[must_use]
    pub fn dtype(self) -> Dtype {
        match self {
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }
}

/// How the scales of a group are chosen, from its weights alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Search {
    /// By its smallest and largest value: round-to-nearest.
    #[default]
    None,
    /// Those with the least sum of squared errors among shrunken ranges.
    Mse,
    /// By half-quadratic splitting, as HQQ does: robust against outliers.
    Hqq,
}

impl Search {
    /// Returns how codes and scales are chosen, for a format whose own quantizers look at data.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::None => "round-to-nearest, without calibration",
            Self::Mse => "round-to-nearest, scales searched by squared error (no calibration)",
            Self::Hqq => "round-to-nearest, scales searched by half-quadratic splitting (no calibration)",
        }
    }
}

/// Layers that a target's loaders expect to be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every linear layer but heads.
    Linears,
    /// Linear layers in the blocks of the language model.
    Decoder,
    /// Stacks of experts.
    Experts,
    /// Every matrix.
    Matrices,
}

/// A layer that might be encoded.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Shape of its values: `[out, in]`, `[experts, in, out]` for a stack.
    pub shape: &'a [u64],
    /// Dtype of its values.
    pub dtype: Dtype,
}

impl Candidate<'_> {
    /// Returns rows and columns of a matrix.
    ///
    /// # Errors
    /// It is no matrix.
    pub fn matrix(&self) -> Result<[u64; 2], String> {
        let matrix = <[u64; 2]>::try_from(self.shape).ok();
        matrix.ok_or_else(|| format!("its shape {:?} is no matrix", self.shape))
    }
}

/// What became of a model's layers, for its config.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Names of the layers that are packed now.
    pub packed: &'a [String],
    /// Names of the linear layers that stay plain, with those that always do.
    pub plain: &'a [String],
    /// Those among them that stay plain against the default of the format's loaders.
    pub kept: &'a [String],
    /// Those among the packed that are packed against it.
    pub also: &'a [String],
    /// The config of the input.
    pub config: Option<&'a Value>,
    /// The dtype of most plain tensors.
    pub dtype: Dtype,
}

/// Why a layer stays plain that the scope of a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Why, in words.
    pub why: &'static str,
    /// True if the loaders leave it plain by default.
    pub is_default: bool,
}

impl Model<'_> {
    /// Returns true if the model ends in a head of words by the name of its class, or its class is not known.
    #[must_use]
    pub fn is_of_words(&self) -> bool {
        const ENDS: [&str; 4] = ["ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ForMaskedLM"];
        let class = self.config.and_then(|config| config.get("architectures")?.get(0)?.as_str());
        class.is_none_or(|class| ENDS.iter().any(|end| class.ends_with(end)))
    }

    /// Returns the names of the linear layers that stay plain, with a head that is tied to the embeddings: loaders make
    /// a layer of it, though no file has it.
    #[must_use]
    pub fn plain_with_head(&self) -> Vec<String> {
        const HEAD: &str = "lm_head";
        let tied = |config: &Value| config.get("tie_word_embeddings").and_then(Value::as_bool);
        let said = self.config.and_then(|config| tied(config).or_else(|| tied(config.get("text_config")?)));
        let mut names = self.plain.to_vec();
        let is_head = |name: &String| name.rsplit('.').next() == Some(HEAD);
        if said.unwrap_or(true) && !names.iter().chain(self.packed).any(is_head) {
            names.push(HEAD.to_owned());
        }
        names
    }
}

/// A format to write, with its options settled.
pub trait Target: Send + Sync + fmt::Debug {
    /// Returns the name of the format that its layers are recognized as: `gptq`.
    fn format(&self) -> &'static str;

    /// Returns the short word of a row, with what tells it from others: `GPTQ4 g128`.
    fn label(&self) -> String;

    /// Returns how codes and scales are chosen, in words for plan, card and result: `round-to-nearest, without
    /// calibration`. Empty where the format's own library does nothing else.
    fn method(&self) -> String {
        String::new()
    }

    /// Returns which layers its loaders expect to be packed.
    fn scope(&self) -> Scope;

    /// Returns why a layer of its scope stays plain all the same; `config`: that of the model.
    fn left_out(&self, _layer: &str, _config: Option<&Value>) -> Option<LeftOut> {
        None
    }

    /// Returns the dtype that plain tensors have to be in beside it; `None` if any will do.
    fn plain_dtype(&self) -> Option<Dtype> {
        None
    }

    /// Returns true if a stored layer is already what this target makes.
    fn is_made(&self, layer: &LayerSpec) -> bool;

    /// Returns true if the layers `gate` and `up`, or `q`, `k` and `v`, of a block share the largest magnitude by which
    /// they are encoded.
    fn shares_largest(&self) -> bool {
        false
    }

    /// Returns what tensors become, if a GGUF is written: of a GGUF, with its metadata.
    fn gguf(&self) -> Option<super::ggml::mixture::Mixture> {
        None
    }

    /// Returns how a layer is encoded, its tensors in the order in which they are written.
    ///
    /// # Errors
    /// The format cannot hold a layer of this shape; why, in words: it stays plain.
    fn encoding(&self, layer: &Candidate<'_>) -> Result<Encoding, String>;

    /// Returns the target without its search for better scales, if it has one.
    fn without_search(&self) -> Option<Box<dyn Target>> {
        None
    }

    /// Returns `quantization_config`.
    fn block(&self, model: &Model<'_>) -> Value;

    /// Returns further files that loaders read, beside the config with this block.
    fn files(&self, _block: &Value) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
}

/// A name of `--to`.
pub struct Row {
    /// The name.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The wishes that it knows, by their names on the command line.
    pub options: &'static [&'static str],
    /// Settles the options.
    pub make: fn(&Wishes) -> Result<Box<dyn Target>, String>,
}

/// What can be written.
pub static TARGETS: &[&Row] = &[
    &super::bnb4::TO_NF4,
    &super::bnb4::TO_FP4,
    &super::bnb8::TO_INT8,
    &super::gptq::TO_GPTQ,
    &super::awq::TO_AWQ,
    &super::compressed::TO_COMPRESSED,
    &super::compressed::TO_NVFP4,
    &super::fp8::TO_FP8,
    &super::mxfp4::TO_MXFP4,
    &super::ggml::target::TO_Q8_0,
    &super::ggml::target::TO_Q6_K,
    &super::ggml::target::TO_Q5_K,
    &super::ggml::target::TO_Q5_K_M,
    &super::ggml::target::TO_Q5_K_S,
    &super::ggml::target::TO_Q4_K,
    &super::ggml::target::TO_Q4_K_M,
    &super::ggml::target::TO_Q4_K_S,
    &super::ggml::target::TO_Q3_K,
    &super::ggml::target::TO_Q3_K_L,
    &super::ggml::target::TO_Q3_K_M,
    &super::ggml::target::TO_Q3_K_S,
    &super::ggml::target::TO_Q2_K,
    &super::ggml::target::TO_Q5_1,
    &super::ggml::target::TO_Q5_0,
    &super::ggml::target::TO_Q4_1,
    &super::ggml::target::TO_Q4_0,
    &super::ggml::target::TO_IQ4_XS,
    &super::ggml::target::TO_IQ4_NL,
    &super::ggml::target::TO_TQ2_0,
    &super::ggml::target::TO_TQ1_0,
    &super::ggml::target::TO_MXFP4,
    &super::ggml::target::TO_F32,
    &super::ggml::target::TO_F16,
    &super::ggml::target::TO_BF16,
];

/// A name of `--to` with wishes: what is asked, as plans save it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aim {
    /// The name.
    pub name: String,
    /// The wishes.
    #[serde(default)]
    pub wishes: Wishes,
}

impl Aim {
    /// Returns a format without wishes.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), wishes: Wishes::default() }
    }

    /// Returns the target; where two have the name, the one that a GGUF is made of, or the other: `mxfp4`.
    ///
    /// # Errors
    /// There is no such name, or a wish is not for it or cannot be granted; in words.
    pub fn target(&self, is_gguf: bool) -> Result<Box<dyn Target>, String> {
        let named = || TARGETS.iter().filter(|row| row.name == self.name);
        let is_for = |row: &&&Row| {
            (row.make)(&Wishes::default()).is_ok_and(|target| target.gguf().is_some() == is_gguf)
        };
        let row = named().find(is_for).or_else(|| named().next()).ok_or_else(|| {
            let names: Vec<&str> = TARGETS.iter().map(|row| row.name).collect();
            format!(
                "--to {}: not a format that can be written; there are dense, {}",
                self.name,
                names.join(", ")
            )
        })?;
        if let Some((option, _)) =
            self.wishes.named().into_iter().find(|(option, _)| !row.options.contains(option))
        {
            return Err(if row.options.is_empty() {
                format!("{option}: {} has no options", row.name)
            } else {
                format!("{option}: {} has only {}", row.name, row.options.join(", "))
            });
        }
        (row.make)(&self.wishes)
    }

    /// Returns what is said of it on the command line: `--to gptq --bits 4 --group-size 128`.
    #[must_use]
    pub fn flags(&self) -> String {
        let mut words = format!("--to {}", self.name);
        for (option, value) in self.wishes.named() {
            words.push(' ');
            words.push_str(option);
            if !value.is_empty() {
                words.push(' ');
                words.push_str(&value);
            }
        }
        words
    }
}

impl Wishes {
    /// Returns the wishes that were made, by their names on the command line, with their values.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let search = match self.search {
            Search::None => None,
            Search::Mse => Some("mse".to_owned()),
            Search::Hqq => Some("hqq".to_owned()),
        };
        let files = self.gptq.map(|files| match files {
            GptqFiles::V1 => "v1".to_owned(),
            GptqFiles::V2 => "v2".to_owned(),
        });
        let group = self.group_size.map(|group| match group {
            GroupSize::Of(size) => size.to_string(),
            GroupSize::Row => "-1".to_owned(),
        });
        let dtype = self.compute_dtype.map(|compute| compute.dtype().name().to_ascii_lowercase());
        let flag = |is_set: bool| is_set.then(String::new);
        let all = [
            ("--bits", self.bits.map(|bits| bits.to_string())),
            ("--group-size", group),
            ("--asym", flag(self.asymmetric)),
            ("--gptq-format", files),
            ("--scheme", self.scheme.clone()),
            ("--block-size", self.block_size.map(|size| size.to_string())),
            ("--double-quant", flag(self.double_quant)),
            ("--compute-dtype", dtype),
            ("--search", search),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
