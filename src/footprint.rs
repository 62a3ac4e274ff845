//! Footprint: the memory that a checkpoint takes to load, to generate with and to train.
//!
//! | part        | how it is known                                                                          |
//! |-------------|------------------------------------------------------------------------------------------|
//! | weights     | exact: bytes of the headers, or the byte rule of the format over the layers' true shapes  |
//! | KV cache    | exact rule of the attention, with the numbers of the config or of the tensors             |
//! | adapter     | exact: `r * (in + out)` a target, or the tensors of an adapter                            |
//! | gradients   | exact: 4 bytes a value that is trained (2 where weights are trained in 16 bit)            |
//! | optimizer   | exact, but for 8-bit states (their blocks)                                               |
//! | activations | measured coefficients times tokens, hidden size, layers                                  |
//! | logits      | guess: 11 bytes a token and word                                                         |
//! | workspace   | guess: CUDA context, the largest layer dequantized                                       |
//!
//! Pure: it takes an opened checkpoint (`Anatomy::of`) and free bytes as numbers, reads no file and no device. What
//! cannot be known from the files is left out, and said: a task of which a part is missing has a least need only.
//! Sources: bitsandbytes `functional.py` (quant states, 8-bit optimizers), transformers `cache_utils.py` and the
//! models' configs, PEFT `prepare_model_for_kbit_training`, torch `AdamW`; activations measured with saved-tensor
//! hooks over transformers' Llama in bf16.

pub mod activations;
pub mod anatomy;
pub mod architecture;
pub mod kv_cache;
mod numbers;
pub mod role;
mod sliding;
mod state;
pub mod tasks;
pub mod training;
pub mod weights;
pub mod words;

pub use anatomy::Anatomy;
pub use training::{Optimizer, Targets, Trainable};

/// Likely need: what is computed, and a tenth for what the allocator keeps.
pub const LIKELY_PERCENT: u64 = 110;
/// Need at most: what is computed, and a quarter.
pub const MAX_PERCENT: u64 = 125;

/// Context that is shown first, unless the model's limit is lower.
pub const CONTEXT_FIRST: u64 = 8192;
/// Tokens a sequence that may be asked for.
pub const CONTEXT_MAX: u64 = 1 << 32;
/// Sequences at once that may be asked for.
pub const BATCH_MAX: u64 = 1 << 20;
/// Rank that may be asked for.
pub const RANK_MAX: u64 = 1 << 16;

/// What may be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tokens a sequence, 1 to `CONTEXT_MAX`.
    pub context: u64,
    /// Sequences at once, 1 to `BATCH_MAX`.
    pub batch: u64,
    /// Rank of a LoRA adapter, 1 to `RANK_MAX`.
    pub rank: u64,
    /// What updates the weights that are trained.
    pub optimizer: Optimizer,
    /// True if activations are computed again in the backward pass.
    pub checkpointing: bool,
    /// Which layers a LoRA adapter is put on.
    pub targets: Targets,
    /// Element type of the KV cache.
    pub cache: CacheDtype,
    /// True if bitsandbytes quantizes its absmax again.
    pub double_quant: bool,
    /// True if what is not quantized becomes F32 before QLoRA (`prepare_model_for_kbit_training`).
    pub kbit_prep: bool,
}

impl Settings {
    /// Returns what is shown first of a model with this limit of tokens.
    #[must_use]
    pub fn first(limit: Option<u64>) -> Self {
        Self {
            context: limit.filter(|&limit| limit > 0).map_or(CONTEXT_FIRST, |limit| limit.min(CONTEXT_FIRST)),
            batch: 1,
            rank: 16,
            optimizer: Optimizer::AdamW,
            checkpointing: true,
            targets: Targets::All,
            cache: CacheDtype::Bits16,
            double_quant: false,
            kbit_prep: true,
        }
    }

    /// Returns tokens at once, `context * batch`.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.context.saturating_mul(self.batch)
    }
}

/// Element type of a KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheDtype {
    /// F16 or BF16: what engines do unless told otherwise.
    Bits16,
    /// An 8-bit float.
    Fp8,
    /// F32.
    F32,
}

impl CacheDtype {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bits16, Self::Fp8, Self::F32];

    /// Returns its name in options and on screen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bits16 => "f16",
            Self::Fp8 => "fp8",
            Self::F32 => "f32",
        }
    }

    /// Returns bytes a value.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bits16 => 2,
            Self::Fp8 => 1,
            Self::F32 => 4,
        }
    }
}

/// How a figure is known, and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// From headers and byte rules: to the byte, but for what allocators round up.
    Exact,
    /// By measured coefficients, off by at most this percentage where they were measured.
    Formula(u8),
    /// By guess, off by about this percentage.
    Guess(u8),
}

impl Known {
    /// Returns it in words: `exact`, `formula ± 15%`, `by guess ± 40%`.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Exact => "exact".into(),
            Self::Formula(percent) => format!("formula ± {percent}%"),
            Self::Guess(percent) => format!("by guess ± {percent}%"),
        }
    }

    /// Returns the word that `--json` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Formula(_) => "formula",
            Self::Guess(_) => "guess",
        }
    }

    /// Returns how far the figure may be off, in percent.
    #[must_use]
    pub fn percent(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Formula(percent) | Self::Guess(percent) => percent,
        }
    }
}

/// What memory is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// The model's weights.
    Weights,
    /// Keys and values of the tokens so far.
    KvCache,
    /// The adapter's weights.
    Adapter,
    /// Gradients of what is trained.
    Gradients,
    /// States of the optimizer.
    Optimizer,
    /// What the forward pass keeps for the backward pass.
    Activations,
    /// Scores of the words, and what the loss makes of them.
    Logits,
    /// CUDA context and temporary tensors.
    Workspace,
}

impl PartKind {
    /// All of them, in the order of bars and lists.
    pub const ALL: [Self; 8] = [
        Self::Weights,
        Self::KvCache,
        Self::Adapter,
        Self::Gradients,
        Self::Optimizer,
        Self::Activations,
        Self::Logits,
        Self::Workspace,
    ];

    /// Returns its letter in bars.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Weights => 'W',
            Self::KvCache => 'k',
            Self::Adapter => 'a',
            Self::Gradients => 'g',
            Self::Optimizer => 'o',
            Self::Activations => 'A',
            Self::Logits => 'l',
            Self::Workspace => 'b',
        }
    }

    /// Returns its name in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::KvCache => "KV cache",
            other => other.name(),
        }
    }

    /// Returns the key that `--json` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::KvCache => "kv_cache",
            Self::Adapter => "adapter",
            Self::Gradients => "gradients",
            Self::Optimizer => "optimizer",
            Self::Activations => "activations",
            Self::Logits => "logits",
            Self::Workspace => "workspace",
        }
    }
}

/// One part of what a task needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is for.
    pub kind: PartKind,
    /// Bytes.
    pub bytes: u64,
    /// How they are known.
    pub known: Known,
    /// What they are made of, in words.
    pub words: String,
}

/// Something that is done with a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Load it as it is stored, and generate.
    Inference,
    /// The same with all weights in 16 bit.
    Inference16,
    /// Train a LoRA adapter on 4-bit weights.
    Qlora,
    /// Train a LoRA adapter on 16-bit weights.
    Lora,
    /// Train all weights: F32, computed in 16 bit.
    Full,
    /// Train all weights in 16 bit.
    Full16,
}

impl TaskKind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Inference, Self::Inference16, Self::Qlora, Self::Lora, Self::Full, Self::Full16];

    /// Returns the key that `--json` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Inference16 => "inference_16bit",
            Self::Qlora => "qlora",
            Self::Lora => "lora",
            Self::Full => "full",
            Self::Full16 => "full_16bit",
        }
    }
}

/// What a task needs, by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What is done.
    pub kind: TaskKind,
    /// The same in words: `qlora on bnb-nf4`.
    pub name: String,
    /// The parts that could be computed.
    pub parts: Vec<Part>,
    /// The parts that could not, each with its reason. Not empty: the sums are least needs.
    pub left_out: Vec<String>,
}

impl Task {
    /// Returns the sum of the parts: the least that is needed.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| part.bytes.saturating_add(sum))
    }

    /// Returns what is likely needed, `LIKELY_PERCENT` of the sum.
    #[must_use]
    pub fn likely(&self) -> u64 {
        percent_of(self.least(), LIKELY_PERCENT)
    }

    /// Returns what is needed at most, `MAX_PERCENT` of the sum.
    #[must_use]
    pub fn most(&self) -> u64 {
        percent_of(self.least(), MAX_PERCENT)
    }

    /// Returns true if no part is left out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.left_out.is_empty()
    }

    /// Returns the bytes of a part, if the task has it.
    #[must_use]
    pub fn part(&self, kind: PartKind) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == kind)
    }

    /// Returns whether the likely need fits into `free` bytes.
    #[must_use]
    pub fn verdict(&self, free: u64) -> Verdict {
        match self.likely().checked_sub(free) {
            Some(over) if over > 0 => Verdict::Over(over),
            _ if !self.is_whole() => Verdict::Unknown,
            _ => Verdict::Fits,
        }
    }
}

fn percent_of(bytes: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// Whether a task fits into free memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its likely need is free.
    Fits,
    /// Its likely need is over what is free, by these bytes.
    Over(u64),
    /// What could be computed fits, but a part is not known.
    Unknown,
}

/// What the tasks need, for one checkpoint and one choice of settings.
#[derive(Clone, Debug)]
pub struct Footprint {
    /// The tasks, in the order of `TaskKind::ALL`; as 16-bit only where that is another thing than as stored.
    pub tasks: Vec<Task>,
    /// What cannot be known from the files, one line each.
    pub unknown: Vec<String>,
}

impl Footprint {
    /// Returns what the tasks need. `adapter` is what an attached adapter trains, in the place of a rank.
    #[must_use]
    pub fn of(anatomy: &Anatomy, settings: &Settings, adapter: Option<&Trainable>) -> Self {
        tasks::footprint(anatomy, settings, adapter)
    }

    /// Returns the task of a kind.
    #[must_use]
    pub fn task(&self, kind: TaskKind) -> Option<&Task> {
        self.tasks.iter().find(|task| task.kind == kind)
    }
}

#[cfg(test)]
mod figures_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
