//! Alignment: every module of an adapter held against the layers of a base, and back.
//!
//! Pure data. Names and shapes come from headers; values (all zero, NaN, kohya's `alpha`) are read through
//! `SideData`, in pieces. Shapes of the base are the logical ones, so that a quantized layer compares like a
//! dense one. What a merge needs of a module is here: its base layers with rows and experts, its tensors by
//! part, rank, alpha and scaling.
//!
//! Source of the rules: PEFT 0.21, `utils/save_and_load.py`, `tuners/tuners_utils.py`.

mod build;
mod check;
mod compare;
mod experts;
mod fused;
mod missing;

pub(crate) use self::build::EMBEDDINGS;
mod naming;
mod scale;

use std::ops::Range;

use super::Adapter;
pub use super::values::Seen;
use crate::checkpoint::Checkpoint;
use crate::problem::Problem;
use crate::quant::SideData;

/// An adapter held against a base.
#[derive(Clone, Debug, Default)]
pub struct Alignment {
    /// The method that the keys show, else the config's: `LORA`.
    pub kind: String,
    /// One entry a module of the adapter, in natural order.
    pub modules: Vec<Aligned>,
    /// Tensors that all modules share (`vera_A`, `vblora_vector_bank`): part and tensor of the adapter.
    pub shared: Vec<Part>,
    /// Tensors of the adapter that current PEFT would not use.
    pub unused: Vec<u32>,
    /// Base layers that the config targets and the adapter has nothing for; and targets that name no layer.
    pub untouched: Vec<String>,
    /// What is wrong or odd, beside the modules' states.
    pub problems: Vec<Problem>,
}

/// One module of an adapter, held against a base.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub struct Aligned {
    /// Path of the module as its keys spell it (unescaped).
    pub name: String,
    /// Path of the module in the base; as far as is known if there is none.
    pub path: String,
    /// Index into `base.layers` of its first place.
    pub layer: Option<u32>,
    /// Where its delta goes. Empty if that is not known; a whole layer has one place.
    pub places: Vec<Place>,
    /// Whether it fits.
    pub state: State,
    /// Whether current PEFT would apply it with the keys as they stand.
    pub is_applied: bool,
    /// PEFT type of its parts: `LORA`, `IA3` …; `SAVED` for tensors that replace the module's own.
    pub method: &'static str,
    /// Its tensors.
    pub parts: Vec<Part>,
    /// Shape of its delta as a layer's weight `[out, in]` (an embedding's `[vocab, dim]`), of one expert for
    /// stacked experts.
    pub delta: Option<[u64; 2]>,
    /// Shape of the base layer, as `LayerSpec::shape`.
    pub base_shape: Option<Vec<u64>>,
    /// Rank by the tensors; of one expert for stacked experts.
    pub rank: Option<u64>,
    /// Alpha that the config gives this module.
    pub alpha: Option<f64>,
    /// What the product of the factors is multiplied by; 1 for methods without.
    pub scaling: Option<f64>,
    /// True if the base stores the weight `[in, out]` (`Conv1D`, `fan_in_fan_out`, stacked gpt-oss experts): the
    /// delta is added transposed.
    pub is_transposed: bool,
    /// True if the base layer's weight is also the head (or the embeddings), by `tie_word_embeddings`.
    pub is_tied: bool,
    /// Experts whose factors are stacked in its tensors: expert slowest in the rows of `lora_A`, fastest in the
    /// columns of `lora_B`. 1 for all other modules.
    pub experts: u64,
    /// Rows that `trainable_tokens_delta` replaces.
    pub tokens: Vec<u64>,
    /// A factor of its delta is all zero: it changes nothing.
    pub zero_delta: bool,
    /// Some of its values are NaN.
    pub has_nan: bool,
    /// Some of its values are infinite.
    pub has_infinity: bool,
    /// Why the state, in one sentence.
    pub evidence: String,
    /// What a repair could do.
    pub repair: Repair,
}

/// One tensor of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What PEFT calls it: `lora_A`, `lora_B.bias`, `ia3_l`; `weight` and `bias` for saved tensors.
    pub part: &'static str,
    /// Index into the adapter's tensors.
    pub tensor: u32,
    /// The key that PEFT looks for, where it is not the tensor's own.
    pub rename: Option<String>,
    /// True if it is stored transposed to how PEFT has it (mlx-lm).
    pub is_transposed: bool,
    /// The order in which PEFT has its rows, where it is another (torchtune).
    pub order: Option<Order>,
    /// True if PEFT has it as a vector, and here it has two dimensions (LyCORIS).
    pub is_flat: bool,
    /// True if a delta is gone when this part is all zero.
    pub(crate) is_factor: bool,
}

/// Rows that are paired in another way: the rotary embedding of torchtune (and of Meta's own models) turns neighbors,
/// rows `2 i` and `2 i + 1` of a head, that of transformers rows `i` and `i + d / 2`.
///
/// Source: transformers `convert_llama_weights_to_hf.py` (`permute`), which torchtune's exporter undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Heads that the rows are divided among.
    pub heads: u64,
}

impl Order {
    /// Returns the shape with the rows split as transformers orders them, `[heads, 2, d / 2, …]`, and `d / 2`; `None`
    /// if the rows cannot be split so. Row `(h, p, i)` of the result is row `h d + 2 i + p` of the tensor.
    #[must_use]
    pub fn split(self, shape: &[u64]) -> Option<(Vec<u64>, u64)> {
        let (&rows, behind) = shape.split_first()?;
        let half = rows.checked_div(self.heads.checked_mul(2)?)?;
        let is_whole = half > 0 && half.checked_mul(2)?.checked_mul(self.heads)? == rows;
        is_whole.then(|| ([&[self.heads, 2, half], behind].concat(), half))
    }
}

/// Rows of a base layer that a module's delta goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into `base.layers`.
    pub layer: u32,
    /// Which of the stacked experts of the module's factors.
    pub expert: Option<u64>,
    /// Which expert of a base layer that holds them all (`[experts, …]`).
    pub slab: Option<u64>,
    /// Rows of the delta `[out, in]` that go there.
    pub delta_rows: Range<u64>,
    /// Rows of the layer (of its slab, as `[out, in]`) that they are added to.
    pub layer_rows: Range<u64>,
}

/// Whether a module fits its base layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Half a pair, or another part that its method or config wants is not there.
    Incomplete,
    /// The base has no such layer.
    Missing,
    /// The layer has another shape.
    Shape,
    /// The layer has another shape, by the padding of a quantized base.
    Padded,
    /// The base holds it as a part of a fused tensor, or the other way round: PEFT cannot address it.
    Fused,
    /// A `base_layer` segment that should not be there.
    Wrapped,
    /// It aligns after a known change of its keys.
    Renamed,
    /// Keys and shapes fit, and the config's targets leave it out: PEFT drops it silently.
    Dropped,
    /// Tensors that replace the module's own: `modules_to_save`, embeddings, tokens, biases.
    Saved,
    /// It fits.
    Aligned,
}

impl State {
    /// Returns the word that `--json` and the board use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Missing => "missing",
            Self::Shape => "shape",
            Self::Padded => "padded",
            Self::Fused => "fused",
            Self::Wrapped => "wrapped",
            Self::Renamed => "renamed",
            Self::Dropped => "dropped",
            Self::Saved => "saved",
            Self::Aligned => "aligned",
        }
    }
}

/// What a repair could do for a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Its keys are right.
    Nothing,
    /// Its keys get other names (`Part::rename`).
    Rename,
    /// The config has to be corrected.
    Config,
    /// Nothing, and why.
    No(String),
}

/// How to hold an adapter against a base.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// A prefix of the adapter's keys that is none of a module's path.
    pub strip_prefix: Option<&'a str>,
    /// Which adapter is meant, where the keys of a file have the names of several.
    pub name: Option<&'a str>,
    /// Values of the adapter; `HeadersOnly` leaves them unread.
    pub values: &'a dyn SideData,
}

impl Alignment {
    /// Holds an adapter against a base. `facts` are `Adapter::read` of the same adapter.
    #[must_use]
    pub fn of(base: &Checkpoint, adapter: &Checkpoint, facts: &Adapter, asked: &Asked<'_>) -> Self {
        build::align(base, adapter, facts, asked)
    }

    /// Returns how many modules current PEFT would apply with the keys as they stand.
    #[must_use]
    pub fn aligned(&self) -> usize {
        self.modules.iter().filter(|module| module.is_applied).count()
    }

    /// Returns how many modules a repair could put right (or right for older PEFT).
    #[must_use]
    pub fn repairable(&self) -> usize {
        self.modules.iter().filter(|m| matches!(m.repair, Repair::Rename | Repair::Config)).count()
    }

    /// Returns how many modules change nothing because a factor is all zero.
    #[must_use]
    pub fn zero_deltas(&self) -> usize {
        self.modules.iter().filter(|module| module.zero_delta).count()
    }
}

impl Aligned {
    /// Returns the tensor of a part.
    #[must_use]
    pub fn part(&self, part: &str) -> Option<u32> {
        self.parts.iter().find(|found| found.part == part).map(|found| found.tensor)
    }

    /// Returns true if its keys have to change.
    #[must_use]
    pub fn is_renamed(&self) -> bool {
        self.parts.iter().any(|part| part.rename.is_some())
    }
}
