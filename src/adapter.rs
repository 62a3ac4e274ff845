//! Adapters: what a folder says it is, and what its tensors are.
//!
//! The kind is read twice: from `adapter_config.json` (`peft_type`) and from the keys alone; a disagreement
//! is a problem. `keys.rs` takes keys apart, `group.rs` puts them together by module, `align.rs` holds an adapter
//! against a base.
//! Source: PEFT 0.21, `utils/save_and_load.py`; the field table by versions in `LoraConfig`'s history.

pub mod align;
pub mod base;
pub mod board;
pub mod config;
pub mod delta;
pub mod dims;
pub mod gguf_base;
pub mod group;
pub mod held;
pub mod identity;
pub mod keys;
pub mod names;
pub mod open;
pub mod repair;
pub mod targets;
pub mod values;

use serde_json::Value;

use self::group::{Group, Groups};
use crate::checkpoint::files::Files;
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::container::Value as Metadata;
use crate::name::escape;
use crate::problem::{Problem, kind};
use crate::units;

/// What an adapter is.
#[derive(Clone, Debug, Default)]
pub struct Adapter {
    /// `peft_type` of the config, upper case.
    pub declared: Option<String>,
    /// The kind that the keys alone show.
    pub by_keys: Option<&'static str>,
    /// Default rank.
    pub rank: Option<u64>,
    /// Default alpha.
    pub alpha: Option<f64>,
    /// `alpha / r`, or `alpha / sqrt r` for rsLoRA.
    pub scaling: Option<f64>,
    /// Variations in use: `rsLoRA`, `DoRA`, `lora_bias`, `rank_pattern` …
    pub variations: Vec<&'static str>,
    /// `target_modules` in words: the list, or the regular expression.
    pub targets: Vec<String>,
    /// `base_model_name_or_path`.
    pub base: Option<String>,
    /// `peft_version`, or the lower bound that the config's fields give.
    pub peft_version: Option<String>,
    /// Modules with adapter tensors, in natural order.
    pub modules: Vec<Module>,
    /// Tensors that belong to no pair: saved modules, biases, embeddings.
    pub saved: Vec<u32>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One module that the adapter changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Full key prefix (unescaped).
    pub name: String,
    /// Shape of the delta `[out, in]`, from both halves; `None` if one is missing.
    pub delta: Option<[u64; 2]>,
    /// Rank by the tensors.
    pub rank: Option<u64>,
    /// Its tensors.
    pub tensors: Vec<u32>,
    /// Names of missing halves: `lora_B`.
    pub missing: Vec<&'static str>,
}

impl Adapter {
    /// Reads the adapter facts of an opened checkpoint, or `None` if it is no adapter.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        (checkpoint.kind == CheckpointKind::Adapter).then(|| Self::read(checkpoint))
    }

    /// Reads the adapter facts of a checkpoint that is said to be an adapter, whatever its files are called.
    #[must_use]
    pub fn read(checkpoint: &Checkpoint) -> Self {
        let mut adapter = Self::default();
        adapter.read_config(checkpoint);
        adapter.read_keys(checkpoint);
        adapter.compare(checkpoint);
        adapter
    }

    /// Returns the kind to show: the config's, else the keys'.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.declared.as_deref().or(self.by_keys).unwrap_or("unknown kind")
    }

    /// Returns it in a few words: `LoRA r16 α32`.
    #[must_use]
    pub fn headline(&self) -> String {
        let rank = self.rank.filter(|&rank| rank > 0);
        let rank = rank.map_or_else(String::new, |rank| format!(" r{rank}"));
        let alpha = self.alpha.map_or_else(String::new, |alpha| format!(" α{alpha}"));
        let kind = match self.kind() {
            "LORA" if self.variations.contains(&"DoRA") => "DoRA",
            "LORA" if self.variations.contains(&"rsLoRA") => "rsLoRA",
            "LORA" => "LoRA",
            "ADALORA" => "AdaLoRA",
            "LOHA" => "LoHa",
            "LOKR" => "LoKr",
            "VERA" => "VeRA",
            kind => kind,
        };
        format!("{}{rank}{alpha}", escape(kind))
    }

    fn problem(&mut self, kind: &'static crate::problem::ProblemKind, message: String) {
        self.problems.push(Problem::new(kind, message).file("adapter_config.json"));
    }

    fn read_config(&mut self, checkpoint: &Checkpoint) {
        let configs = &checkpoint.files.configs;
        let Some(config) = configs.get("adapter_config.json") else {
            self.read_metadata(checkpoint);
            // A damaged file has its own problem; GGUF adapters carry their facts in metadata.
            if !configs.has("adapter_config.json") && checkpoint.files.container.name() != "gguf" {
                self.problem(
                    &kind::ADAPTER_CONFIG,
                    "adapter_config.json is not here: PEFT cannot load this adapter".into(),
                );
            }
            return;
        };
        let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
        let filled =
            |key: &str| config.get(key).is_some_and(|v| v.as_object().is_some_and(|o| !o.is_empty()));
        self.declared = text("peft_type").map(|t| t.to_ascii_uppercase());
        if self.declared.is_none() {
            self.problem(
                &kind::ADAPTER_CONFIG,
                "adapter_config.json: no peft_type; PEFT stops with KeyError: 'peft_type'".into(),
            );
        }
        self.rank = config.get("r").and_then(Value::as_u64);
        if let Some(odd) = config.get("r").filter(|v| !v.is_null() && v.as_u64().is_none()) {
            self.problem(&kind::CONFIG_VALUE, format!("adapter_config.json: r is {odd}, not a whole number"));
        }
        let has_alpha = ["LORA", "ADALORA", "LOHA", "LOKR"].contains(&self.kind());
        self.alpha = match config.get("lora_alpha").or_else(|| config.get("alpha")) {
            Some(alpha) => alpha.as_f64(),
            None => has_alpha.then_some(config::ALPHA),
        };
        self.base = text("base_model_name_or_path");
        self.peft_version = text("peft_version").or_else(|| config::dated(config));
        self.targets = match config.get("target_modules") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(pattern)) => vec![pattern.clone()],
            _ => Vec::new(),
        };
        self.targets.sort();
        let named = [
            ("use_rslora", "rsLoRA"),
            ("use_dora", "DoRA"),
            ("lora_bias", "lora_bias"),
            ("fan_in_fan_out", "fan_in_fan_out"),
        ];
        self.variations.extend(named.iter().filter(|(key, _)| flag(key)).map(|(_, word)| *word));
        let patterned = [("rank_pattern", "rank_pattern"), ("alpha_pattern", "alpha_pattern")];
        self.variations.extend(patterned.iter().filter(|(key, _)| filled(key)).map(|(_, word)| *word));
        if config.get("target_parameters").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            self.variations.push("target_parameters");
        }
        self.scaling =
            self.rank.filter(|&r| r > 0).zip(self.alpha).map(|(r, alpha)| {
                if flag("use_rslora") { alpha / (r as f64).sqrt() } else { alpha / r as f64 }
            });
    }

    /// Reads what a GGUF adapter says of itself: `adapter.type`, `adapter.lora.alpha`.
    fn read_metadata(&mut self, checkpoint: &Checkpoint) {
        let files = &checkpoint.files;
        let kind = files.metadata("adapter.type").and_then(|value| value.as_str());
        self.declared = kind.map(str::to_ascii_uppercase);
        self.alpha = match files.metadata("adapter.lora.alpha") {
            Some(Metadata::Float(alpha)) => Some(*alpha),
            Some(Metadata::Int(alpha)) => Some(*alpha as f64),
            _ => None,
        };
    }

    fn read_keys(&mut self, checkpoint: &Checkpoint) {
        let files = &checkpoint.files;
        let groups = Groups::of(files, None, None);
        self.by_keys = group::kind_of(&groups);
        for group in &groups.modules {
            self.saved.extend(group.saved.iter().map(|(_, tensor, _)| *tensor));
            if group.kind.is_some() {
                self.modules.push(Module::of(files, group));
            }
        }
        if self.modules.is_empty() && !groups.shared.is_empty() {
            self.saved.extend(groups.shared.iter().map(|(_, tensor)| *tensor));
        }
        self.saved.extend(&groups.others);
        self.saved.sort_unstable();
    }

    fn compare(&mut self, checkpoint: &Checkpoint) {
        let files = &checkpoint.files;
        let declared = self.declared.clone().unwrap_or_default();
        if let Some(by_keys) = self.by_keys
            && !declared.is_empty()
            && declared != by_keys
            && !same_keys(&declared, by_keys)
        {
            self.problem(
                &kind::ADAPTER_KIND,
                format!("adapter_config.json: peft_type {}, the keys are of {by_keys}", escape(&declared)),
            );
        }
        let empty = files.tensors.iter().filter(|t| t.bytes == 0).count();
        let file = files.shards.first().map(|s| s.name.clone()).unwrap_or_default();
        let unreadable = files.shards.iter().any(|s| s.unreadable);
        if files.tensors.is_empty() && !unreadable {
            self.problems.push(
                Problem::new(
                    &kind::ADAPTER_WEIGHTS,
                    format!("{file}: no tensor; this adapter would change nothing"),
                )
                .file(file),
            );
        } else if empty > 0 {
            let message = format!(
                "{file}: {} of {} tensors have no values (left by a partitioned save)",
                empty,
                files.tensors.len()
            );
            self.problems.push(Problem::new(&kind::ADAPTER_WEIGHTS, message).file(file));
        }
        self.half_pairs(checkpoint);
        self.ranks();
    }

    fn half_pairs(&mut self, checkpoint: &Checkpoint) {
        let halves: Vec<&Module> = self.modules.iter().filter(|m| !m.missing.is_empty()).collect();
        let Some(first) = halves.first() else { return };
        let file = checkpoint.files.shards.first().map(|s| s.name.clone()).unwrap_or_default();
        let more =
            if halves.len() > 1 { format!("; {} modules in all", halves.len()) } else { String::new() };
        let message = format!("{}: no {}, half a pair{more}", escape(&first.name), first.missing.join(", "));
        let problem = Problem::new(&kind::ADAPTER_HALF_PAIR, message).file(file).tensor(first.name.clone());
        self.problems.push(problem);
    }

    fn ranks(&mut self) {
        let Some(said) = self.rank.filter(|_| self.by_keys == Some("LORA")) else { return };
        if self.variations.contains(&"rank_pattern") {
            return;
        }
        // Adapters of stacked experts hold the ranks of all experts in one tensor.
        let is_stacked = self.variations.contains(&"target_parameters");
        let fits = |rank: u64| rank == said || (is_stacked && said > 0 && rank.is_multiple_of(said));
        let odd: Vec<&Module> = self.modules.iter().filter(|m| m.rank.is_some_and(|r| !fits(r))).collect();
        let Some(first) = odd.first() else { return };
        let message = format!(
            "adapter_config.json: r {said}, the tensors of {} have {} ({})",
            escape(&first.name),
            first.rank.unwrap_or(0),
            units::plural(odd.len(), "module"),
        );
        self.problem(&kind::ADAPTER_RANK, message);
    }
}

/// Returns a checkpoint's problems and its adapter's, errors first.
#[must_use]
pub fn problems_of(checkpoint: &Checkpoint, adapter: Option<&Adapter>) -> Vec<Problem> {
    let mut problems = checkpoint.problems.clone();
    problems.extend(adapter.into_iter().flat_map(|a| a.problems.clone()));
    problems.sort_by_key(|p| (p.kind.severity, p.kind.code));
    problems
}

/// Returns true for kinds that share their keys.
fn same_keys(declared: &str, by_keys: &str) -> bool {
    const PROMPTS: [&str; 6] =
        ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "CPT", "MULTITASK_PROMPT_TUNING", "CARTRIDGE"];
    let lora_like = ["LORA", "ADALORA", "XLORA"];
    (PROMPTS.contains(&declared) && by_keys == "PROMPT_TUNING")
        || (lora_like.contains(&declared) && by_keys == "TRAINABLE_TOKENS")
        || (declared == "XLORA" && by_keys == "LORA")
        || (declared == "BONE" && by_keys == "MISS")
}

/// Returns the first few of a list of names, and how many more there are.
pub(crate) fn list(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "))
}

impl Module {
    fn of(files: &Files, group: &Group) -> Self {
        let shape = |tensor: u32| files.shape(&files.tensors[tensor as usize]);
        let turned: Vec<(&'static str, Vec<u64>)> = group
            .parts
            .iter()
            .map(|&(mark, tensor)| {
                let mut shape = shape(tensor).to_vec();
                if mark.role == keys::Role::Transposed && shape.len() == 2 {
                    shape.reverse();
                }
                (mark.part, shape)
            })
            .collect();
        let shapes = dims::Shapes(turned.iter().map(|(part, shape)| (*part, shape.as_slice())).collect());
        let kind = group.kind.unwrap_or("");
        let dims = dims::of(kind, &shapes).unwrap_or_default();
        Self {
            name: group.name.clone(),
            delta: dims.out.zip(dims.inputs).map(|(out, inputs)| [out, inputs]),
            rank: dims.rank,
            tensors: group.parts.iter().map(|(_, tensor)| *tensor).collect(),
            missing: dims::missing(kind, &|part| group.part(part).is_some()),
        }
    }
}
