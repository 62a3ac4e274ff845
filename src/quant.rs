//! Quantization formats: what tensors of a checkpoint act as one layer, and in which format.
//!
//! One file a format in `quant/`, one row in `FORMATS`. A format sees the tensors under one prefix (a
//! `Parts`) and says what layer they are, from dtypes and shapes first: tensors decide, a config only
//! disambiguates, and a disagreement is a fault that becomes a `Problem`. Formats do no I/O: the few
//! side bytes they may look at (a quant state's JSON, zero points, scales) come through `SideData`, which
//! answers `Pending` while only headers have been read.
//!
//! The signatures are those of the decision table in the format specification; `dense` and `unknown`
//! are the last rows.

mod affine;
pub mod awq;
pub mod bnb4;
pub mod bnb8;
pub mod change;
mod claims;
pub mod codebook;
pub mod compressed;
mod config;
pub mod decode;
pub mod dense;
mod draft;
pub mod encode;
pub mod exl;
pub mod fp8;
pub mod ggml;
pub mod gptq;
mod grain;
#[cfg(test)]
mod hostile_tests;
pub mod hqq;
pub mod in_memory;
pub mod int8;
pub mod kernel;
pub mod largest;
mod marlin;
pub mod mlx;
pub mod modelopt;
pub mod mxfp4;
pub mod noise;
mod pack;
mod pattern;
pub mod quanto;
pub mod quark;
mod qweight;
mod regroup;
mod scale_values;
mod scaled;
mod search;
pub mod side;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
mod tiled;
mod tiles;
pub mod torchao;
pub mod trial;
pub mod unknown;

use std::cell::OnceCell;

pub use self::config::{ConfigShapes, QuantBlock, QuantConfig};
use self::decode::Decoding;
use self::encode::Encoding;
use crate::problem::ProblemKind;
use crate::tensor::Dtype;

/// A quantization format: one row of `FORMATS`. Identified by its address in the table, never by an
/// enum matched in many places.
pub trait QuantFormat: Sync {
    /// Returns the name that `--json` uses: `gptq`.
    fn name(&self) -> &'static str;

    /// Returns the tensor names, relative to a layer's prefix, that belong to this format.
    fn signature(&self) -> Signature;

    /// Returns the layer that these parts are, or `None` if they are not of this format. Parts that are
    /// of this format but incomplete or contradictory give a layer with `broken` set, and faults.
    fn recognize(&self, parts: &Parts<'_>) -> Option<Recognized>;

    /// Returns the short word of a row: `GPTQ4`, `NF4`, `FP8`, `BF16`.
    fn label(&self, layer: &LayerSpec) -> String;

    /// Returns why we think so: the evidence, one line each.
    fn explain(&self, parts: &Parts<'_>, layer: &LayerSpec) -> Vec<Evidence>;

    /// Returns how the layer is decoded. Side tensors are read here, whole.
    ///
    /// # Errors
    /// The format or this variant of it cannot be decoded, or the parts do not allow it; in words, without
    /// the layer's name.
    fn decode(&self, _parts: &Parts<'_>, layer: &LayerSpec) -> Result<Decoding, String> {
        Err(format!("{} cannot be decoded yet", layer.label()))
    }

    /// Returns true if layers of this format can be written.
    fn is_writable(&self) -> bool {
        false
    }

    /// Returns how other values of the layer are encoded as it is: with its block sizes and kinds of scales.
    ///
    /// # Errors
    /// The format cannot be written, or the parts do not allow it; in words, without the layer's name.
    fn encode(&self, _parts: &Parts<'_>, layer: &LayerSpec) -> Result<Encoding, String> {
        Err(format!("{} cannot be written yet, only decoded: --to dense", layer.label()))
    }
}

/// The formats, in the order in which they are tried.
pub static FORMATS: &[&dyn QuantFormat] = &[
    &bnb4::NF4,
    &bnb4::FP4,
    &bnb8::Int8,
    &gptq::Gptq,
    &awq::Awq,
    &hqq::Hqq,
    &torchao::Torchao,
    &quanto::Quanto,
    &exl::Exl2,
    &exl::Exl3,
    &codebook::Aqlm,
    &codebook::Vptq,
    &codebook::Spqr,
    &codebook::Higgs,
    &quark::Quark,
    &int8::Eetq,
    &int8::BitNet,
    &mlx::Mlx,
    &compressed::CompressedTensors,
    &modelopt::Modelopt,
    &fp8::Fp8,
    &mxfp4::Mxfp4,
    &ggml::Ggml,
    &dense::Dense,
    &unknown::Unknown,
];

/// Returns true if some loader knows a quantization method of this name (lower case).
#[must_use]
pub fn is_known_method(method: &str) -> bool {
    claims::METHODS.contains(&method)
}

/// A row of `FORMATS`, by index: small enough to keep for each of a million layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FormatId(u8);

impl FormatId {
    /// The last row: `unknown`.
    pub const LAST: Self = Self((FORMATS.len() - 1) as u8);

    /// Returns the id of the format with this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        FORMATS.iter().position(|format| format.name() == name).map(|index| Self(index as u8))
    }

    /// Returns the format.
    #[must_use]
    pub fn get(self) -> &'static dyn QuantFormat {
        FORMATS[usize::from(self.0)]
    }
}

/// The tensor names of a format, relative to the layer's prefix and with dots inside
/// (`weight.absmax`). A leading `*` continues the prefix's last component: `*_blocks` is
/// `gate_up_proj_blocks` of layer `gate_up_proj`, and `*` alone is the bare tensor `gate_up_proj`.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Names that show by themselves that a layer of this format may be here.
    pub anchors: &'static [&'static str],
    /// Names that belong to the layer only where an anchor stands beside them (`scales`, `zero`, `bias`).
    pub parts: &'static [&'static str],
}

/// One tensor of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its name relative to the layer's prefix, as in `Signature`.
    pub suffix: &'a str,
    /// Element type as stored.
    pub dtype: Dtype,
    /// Shape as stored.
    pub shape: &'a [u64],
    /// Bytes in the file.
    pub bytes: u64,
    /// Index of the tensor in the checkpoint.
    pub tensor: u32,
}

/// A layer's full name, which is spelled when a format asks for it: what a format finds in headers without
/// asking holds for every layer of the same parts.
pub struct Module<'a> {
    spell: &'a dyn Fn() -> String,
    name: OnceCell<String>,
}

impl<'a> Module<'a> {
    /// Returns a name that `spell` spells.
    #[must_use]
    pub fn new(spell: &'a dyn Fn() -> String) -> Self {
        Self { spell, name: OnceCell::new() }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.get_or_init(self.spell)
    }

    /// Returns true if the name has been asked for.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.name.get().is_some()
    }
}

/// The tensors under one prefix, with what is known around them.
pub struct Parts<'a> {
    /// The prefix.
    pub module: &'a Module<'a>,
    /// The tensors, in natural order.
    pub list: &'a [Part<'a>],
    /// The checkpoint's quantization config blocks.
    pub config: &'a QuantConfig,
    /// Bytes of side tensors.
    pub data: &'a dyn SideData,
}

impl<'a> Parts<'a> {
    /// Returns the part with this suffix.
    #[must_use]
    pub fn get(&self, suffix: &str) -> Option<&Part<'a>> {
        self.list.iter().find(|part| part.suffix == suffix)
    }

    /// Returns true if there is a part with this suffix.
    #[must_use]
    pub fn has(&self, suffix: &str) -> bool {
        self.get(suffix).is_some()
    }

    /// Returns at most `max` bytes of a part from its start.
    #[must_use]
    pub fn read(&self, part: &Part<'_>, max: u64) -> Side {
        self.data.read(part.tensor, 0, part.bytes.min(max))
    }
}

/// Where formats get bytes of side tensors.
pub trait SideData {
    /// Returns `count` bytes from byte `offset` of a tensor. The implementation bounds what is read.
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side;
}

/// Bytes of a side tensor, or why there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// Only headers have been read so far: set `LayerSpec::pending` and go by shapes.
    Pending,
    /// The bytes.
    Bytes(Vec<u8>),
    /// The bytes cannot be had (outside the file, a compressed entry, over a bound), and why.
    Unreadable(String),
}

/// `SideData` while only headers have been read.
pub struct HeadersOnly;

impl SideData for HeadersOnly {
    fn read(&self, _tensor: u32, _offset: u64, _count: u64) -> Side {
        Side::Pending
    }
}

/// What a layer is. Alike layers share one: it holds no name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LayerSpec {
    /// The format.
    pub format: FormatId,
    /// Variant by the schema's table: `v1`, `gemm`, `nested`, `q4_k`; empty where there is none.
    pub variant: String,
    /// True shape: `[out, in]` for linears, `[experts, in, out]` for gpt-oss experts, as stored otherwise.
    /// Empty and `shape_known` false when the files do not tell it.
    pub shape: Vec<u64>,
    /// False if the shape is not known (a missing quant state).
    pub shape_known: bool,
    /// Bits of a code (4 for nf4 and `Q4_K`, 8 for fp8, 16 for BF16); thousandths, for formats with a mean.
    pub millibits: u32,
    /// Group size along inputs, or block size; `None` for one scale a channel or tensor.
    pub group_size: Option<u64>,
    /// Symmetric, where the format knows the difference.
    pub symmetric: Option<bool>,
    /// Act-order, where the format knows it.
    pub act_order: Option<bool>,
    /// Element type of a dense layer's weight, or the result dtype that the format records.
    pub dtype: Option<Dtype>,
    /// True if a bias belongs to the layer.
    pub bias: bool,
    /// Weights as the model has them: `out * in`, and the bias.
    pub parameters: u64,
    /// What is missing or contradictory, in words: `missing scales`. Not empty: the layer is broken.
    pub broken: Vec<String>,
    /// True if side data were wanted and not read yet: some fields are provisional.
    pub pending: bool,
}

impl LayerSpec {
    /// Returns a spec of `format` with nothing else known.
    #[must_use]
    pub fn new(format: FormatId) -> Self {
        Self {
            format,
            variant: String::new(),
            shape: Vec::new(),
            shape_known: true,
            millibits: 0,
            group_size: None,
            symmetric: None,
            act_order: None,
            dtype: None,
            bias: false,
            parameters: 0,
            broken: Vec::new(),
            pending: false,
        }
    }

    /// Sets the shape, and the parameters that follow from it (saturating on overflow).
    #[must_use]
    pub fn with_shape(mut self, shape: &[u64]) -> Self {
        self.parameters = crate::tensor::elements(shape).unwrap_or(u64::MAX);
        self.shape = shape.to_vec();
        self
    }

    /// Returns bits a code as a number.
    #[must_use]
    pub fn bits(&self) -> f64 {
        f64::from(self.millibits) / 1000.0
    }

    /// Returns true if the layer is packed or scaled: anything but plain dense.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        self.format.get().name() != "dense"
    }

    /// Returns the short word of a row: `GPTQ4`.
    #[must_use]
    pub fn label(&self) -> String {
        self.format.get().label(self)
    }
}

/// What a format made of parts.
#[derive(Clone, Debug)]
pub struct Recognized {
    /// The layer.
    pub spec: LayerSpec,
    /// What is wrong with it; alike faults of many layers become one `Problem` with the count.
    pub faults: Vec<Fault>,
}

impl From<LayerSpec> for Recognized {
    fn from(spec: LayerSpec) -> Self {
        Self { spec, faults: Vec::new() }
    }
}

/// Something wrong with one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub kind: &'static ProblemKind,
    /// One line without the layer's name: `scales: 3 of 4096 are NaN`. Alike for alike layers, so that
    /// they can be counted.
    pub detail: String,
    /// Suffix of the tensor at fault.
    pub part: Option<String>,
    /// The config file at fault, where it is not a tensor.
    pub file: Option<String>,
}

impl Fault {
    /// Returns a fault of the whole layer.
    #[must_use]
    pub fn new(kind: &'static ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), part: None, file: None }
    }

    /// Returns the fault with the tensor at fault named.
    #[must_use]
    pub fn part(mut self, suffix: &str) -> Self {
        self.part = Some(suffix.to_owned());
        self
    }

    /// Returns the fault with the config file at fault named.
    #[must_use]
    pub fn file(mut self, file: &str) -> Self {
        self.file = Some(file.to_owned());
        self
    }
}

/// One line of "why we think so".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where it was seen: `config.json`, `shapes`, `qzeros`.
    pub source: String,
    /// What was seen, with numbers: `192 words × 8 codes = 1536 inputs`.
    pub text: String,
    /// Whether it agrees with the layer; `None` for plain information.
    pub agrees: Option<bool>,
}

impl Evidence {
    /// Returns a line of evidence.
    #[must_use]
    pub fn new(source: impl Into<String>, text: impl Into<String>, agrees: Option<bool>) -> Self {
        Self { source: source.into(), text: text.into(), agrees }
    }
}
