//! Training: what is trained, and what gradients and optimizers keep of it.
//!
//! | optimizer          | bytes a trained value (F32)          | source                                             |
//! |--------------------|--------------------------------------|----------------------------------------------------|
//! | adamw              | 8: two moments                       | torch `optim/adamw.py`                             |
//! | adamw-8bit         | 2, and 8 a block of 256              | bitsandbytes `optim/optimizer.py`                  |
//! | lion, sgd-momentum | 4: one moment                        | bitsandbytes `lion.py`, torch `optim/sgd.py`       |
//! | lion-8bit          | 1, and 4 a block of 256              | bitsandbytes `optim/optimizer.py`                  |
//! | adafactor          | 4 a row and a column                 | transformers `optimization.py`, no first moment    |
//! | sgd                | 0                                    | torch `optim/sgd.py`                               |
//!
//! Paged optimizers take the same bytes; the driver may move them to main memory. Moments have the dtype of what is
//! trained, so half of it where weights are trained in 16 bit; 8-bit states and adafactor's do not change.

use super::activations::Trained;
use super::anatomy::{Anatomy, Linears};
use crate::adapter::held::Held;
use crate::name::escape;
use crate::units;

/// Values that share a scale in 8-bit states.
const STATE_BLOCK: u64 = 256;

/// What updates the weights that are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// Two moments.
    AdamW,
    /// Two moments of 8 bits.
    AdamW8,
    /// Two moments that may be moved to main memory.
    PagedAdamW,
    /// Two moments of 8 bits that may be moved to main memory.
    PagedAdamW8,
    /// Sums of rows and columns.
    Adafactor,
    /// One moment.
    Lion,
    /// One moment of 8 bits.
    Lion8,
    /// One moment.
    SgdMomentum,
    /// Nothing.
    Sgd,
}

impl Optimizer {
    /// All of them, in the order in which they are chosen from.
    pub const ALL: [Self; 9] = [
        Self::AdamW,
        Self::AdamW8,
        Self::PagedAdamW,
        Self::PagedAdamW8,
        Self::Adafactor,
        Self::Lion,
        Self::Lion8,
        Self::SgdMomentum,
        Self::Sgd,
    ];

    /// Returns its name in options and on screen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::AdamW8 => "adamw-8bit",
            Self::PagedAdamW => "paged-adamw",
            Self::PagedAdamW8 => "paged-adamw-8bit",
            Self::Adafactor => "adafactor",
            Self::Lion => "lion",
            Self::Lion8 => "lion-8bit",
            Self::SgdMomentum => "sgd-momentum",
            Self::Sgd => "sgd",
        }
    }

    /// Returns what it keeps, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::AdamW => "two moments",
            Self::AdamW8 => "two moments of 8 bit, blocks of 256",
            Self::PagedAdamW => "two moments; the driver may move them to RAM",
            Self::PagedAdamW8 => "two moments of 8 bit; the driver may move them to RAM",
            Self::Adafactor => "sums of rows and columns, no first moment",
            Self::Lion | Self::SgdMomentum => "one moment",
            Self::Lion8 => "one moment of 8 bit, blocks of 256",
            Self::Sgd => "nothing",
        }
    }

    /// Returns the bytes of its states, for values that are trained in `width` bytes.
    #[must_use]
    pub fn bytes(self, trained: &Trainable, width: u64) -> u64 {
        let values = trained.values;
        let blocks = values.div_ceil(STATE_BLOCK).saturating_mul(4);
        match self {
            Self::AdamW | Self::PagedAdamW => values.saturating_mul(2).saturating_mul(width),
            Self::AdamW8 | Self::PagedAdamW8 => values.saturating_add(blocks).saturating_mul(2),
            Self::Adafactor => trained.factored.saturating_mul(4),
            Self::Lion | Self::SgdMomentum => values.saturating_mul(width),
            Self::Lion8 => values.saturating_add(blocks),
            Self::Sgd => 0,
        }
    }
}

/// Which layers a LoRA adapter is put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// All linear layers of the decoder, routers left out.
    All,
    /// Queries and values.
    QueriesValues,
    /// Those whose names end in one of these.
    Named(Vec<String>),
}

/// Labels of projections of queries and values; fused ones have both.
const QUERIES_VALUES: [&str; 13] = [
    "q_proj",
    "v_proj",
    "attn_q",
    "attn_v",
    "wq",
    "wv",
    "query",
    "value",
    "c_attn",
    "qkv_proj",
    "query_key_value",
    "Wqkv",
    "attn_qkv",
];

impl Targets {
    /// Returns what an option means: `all`, `qv`, or names separated by commas.
    ///
    /// # Errors
    /// A name is empty.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self::All),
            "qv" => return Ok(Self::QueriesValues),
            _ => {}
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err("all, qv, or names of layers separated by commas".into());
        }
        Ok(Self::Named(names))
    }

    /// Returns the option that means it.
    #[must_use]
    pub fn option(&self) -> String {
        match self {
            Self::All => "all".into(),
            Self::QueriesValues => "qv".into(),
            Self::Named(names) => names.join(","),
        }
    }

    fn takes(&self, group: &Linears) -> bool {
        match self {
            Self::All => true,
            Self::QueriesValues => QUERIES_VALUES.contains(&group.label.as_str()),
            Self::Named(names) => names.contains(&group.label),
        }
    }
}

/// What is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trainable {
    /// Values.
    pub values: u64,
    /// Rows and columns of those that are matrices, and the others: what adafactor keeps.
    pub factored: u64,
    /// Rank, 0 if there is none.
    pub rank: u64,
    /// Which formula activations follow.
    pub trained: Trained,
    /// The same in words: `r 16 on 7 modules × 28`.
    pub words: String,
}

impl Trainable {
    /// Returns what a LoRA adapter of this rank trains.
    ///
    /// # Errors
    /// No layer is a target.
    pub fn lora(anatomy: &Anatomy, rank: u64, targets: &Targets) -> Result<Self, String> {
        let mut found = Self::new(rank, Trained::LoraAll);
        let (mut layers, mut labels) = (0u64, Vec::new());
        for group in anatomy.linears.iter().filter(|group| targets.takes(group)) {
            let one = group.shape[0].saturating_add(group.shape[1]);
            found.values = found.values.saturating_add(one.saturating_mul(rank).saturating_mul(group.count));
            let factored = one.saturating_add(rank.saturating_mul(2));
            found.factored = found.factored.saturating_add(factored.saturating_mul(group.count));
            layers = layers.saturating_add(group.count);
            // Groups are in the order of their labels.
            if labels.last() != Some(&group.label.as_str()) {
                labels.push(group.label.as_str());
            }
        }
        if layers == 0 {
            return Err(match targets {
                Targets::All => "no linear layer of a decoder was found".into(),
                _ => format!("no linear layer is named {}", escape(&targets.option())),
            });
        }
        if labels.iter().all(|label| QUERIES_VALUES.contains(label)) {
            found.trained = Trained::LoraQueriesValues;
        }
        let modules = labels.len() as u64;
        found.words = if layers.is_multiple_of(modules) {
            format!(
                "r {rank} on {} × {}",
                units::plural(labels.len(), "module"),
                units::exact(layers / modules)
            )
        } else {
            format!("r {rank} on {} layers of {} names", units::exact(layers), labels.len())
        };
        Ok(found)
    }

    /// Returns what an adapter trains that was held against its base: its own tensors, but for those that are frozen
    /// (`VeRA`'s projections) and those that are no module's.
    #[must_use]
    pub fn of_adapter(held: &Held) -> Self {
        let files = &held.adapter.files;
        let mut found = Self::new(held.rank().unwrap_or(0), Trained::LoraAll);
        for (at, record) in files.tensors.iter().enumerate() {
            let label = files.tensor_name(at as u32);
            let is_frozen = ["vera_A", "vera_B"].iter().any(|name| label.contains(name));
            if is_frozen || !record.dtype.is_float() || held.alignment.unused.contains(&(at as u32)) {
                continue;
            }
            let shape = files.shape(record);
            let values = crate::tensor::elements(shape).unwrap_or(u64::MAX);
            found.values = found.values.saturating_add(values);
            let factored = match shape {
                [rows, columns] => rows.saturating_add(*columns),
                _ => values,
            };
            found.factored = found.factored.saturating_add(factored);
        }
        let modules = &held.alignment.modules;
        let is_qv = |path: &str| QUERIES_VALUES.contains(&path.rsplit('.').next().unwrap_or(path));
        if !modules.is_empty() && modules.iter().all(|module| is_qv(&module.path)) {
            found.trained = Trained::LoraQueriesValues;
        }
        found.words = format!("{} of the attached adapter", units::plural(modules.len(), "module"));
        found
    }

    /// Returns what full training trains.
    #[must_use]
    pub fn all(anatomy: &Anatomy) -> Self {
        let mut found = Self::new(0, Trained::All);
        found.values = anatomy.values();
        for group in &anatomy.linears {
            let one = group.shape[0].saturating_add(group.shape[1]).saturating_mul(group.count);
            found.factored = found.factored.saturating_add(one).saturating_add(group.biases);
        }
        let others = anatomy.others.values().map(|other| other.factored);
        found.factored = others.fold(found.factored, u64::saturating_add);
        found.words = "all weights".into();
        found
    }

    fn new(rank: u64, trained: Trained) -> Self {
        Self { values: 0, factored: 0, rank, trained, words: String::new() }
    }
}
