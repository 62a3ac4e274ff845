//! Adapters: what a PEFT folder says it is, and what its tensors are.
//!
//! The kind is read twice: from `adapter_config.json` (`peft_type`) and from the keys alone; a disagreement
//! is a problem. Keys are taken apart by their last components only: aligning them with a base and
//! repairing them is another matter.
//!
//! | key                                              | module        | part             |
//! |--------------------------------------------------|---------------|------------------|
//! | `P.lora_A.weight`, `P.lora_A.<name>.weight`      | `P`           | `lora_A [r, in]` |
//! | `P.lora_B.weight`                                | `P`           | `lora_B [out, r]`|
//! | `P.lora_embedding_A`, `P.lora_embedding_B`       | `P`           | `[r, vocab]`, `[dim, r]` |
//! | `P.lora_magnitude_vector[.weight]`               | `P`           | DoRA magnitudes  |
//! | anything else                                    | saved tensor  |                  |
//! Source: PEFT 0.21, `utils/save_and_load.py`; the field table by versions in `LoraConfig`'s history.

pub mod delta;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::checkpoint::{Checkpoint, CheckpointKind};
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

/// Key components that tell the kind of an adapter, with the kind. Longer before shorter.
const MARKS: [(&str, &str); 24] = [
    ("lora_E", "ADALORA"),
    ("lora_A", "LORA"),
    ("lora_B", "LORA"),
    ("lora_embedding_A", "LORA"),
    ("lora_embedding_B", "LORA"),
    ("lora_magnitude_vector", "LORA"),
    ("hada_w1_a", "LOHA"),
    ("lokr_w1", "LOKR"),
    ("lokr_w1_a", "LOKR"),
    ("ia3_l", "IA3"),
    ("oft_R", "OFT"),
    ("oft_r", "OFT"),
    ("boft_R", "BOFT"),
    ("vera_lambda_b", "VERA"),
    ("fourierft_spectrum", "FOURIERFT"),
    ("hra_u", "HRA"),
    ("vblora_logits_A", "VBLORA"),
    ("randlora_lambda", "RANDLORA"),
    ("shira_weight", "SHIRA"),
    ("c3a_kernel", "C3A"),
    ("miss_block", "MISS"),
    ("prompt_embeddings", "PROMPT_TUNING"),
    ("trainable_tokens_delta", "TRAINABLE_TOKENS"),
    ("lora_down", "kohya"),
];

/// Newest LoRA field seen and the PEFT version that brought it: a config without `peft_version` is at
/// least that new.
const FIELD_VERSIONS: [(&str, &str); 18] = [
    ("kasa_config", "0.21"),
    ("monteclora_config", "0.21"),
    ("velora_config", "0.20"),
    ("lora_ga_config", "0.19"),
    ("use_bdlora", "0.19"),
    ("alora_invocation_tokens", "0.18"),
    ("ensure_weight_tying", "0.18"),
    ("target_parameters", "0.17"),
    ("use_qalora", "0.16"),
    ("trainable_token_indices", "0.15"),
    ("exclude_modules", "0.14"),
    ("lora_bias", "0.14"),
    ("layer_replication", "0.10"),
    ("use_dora", "0.9"),
    ("use_rslora", "0.8"),
    ("loftq_config", "0.7"),
    ("rank_pattern", "0.6"),
    ("layers_to_transform", "0.4"),
];

impl Adapter {
    /// Reads the adapter facts of an opened checkpoint, or `None` if it is no adapter.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        if checkpoint.kind != CheckpointKind::Adapter {
            return None;
        }
        let mut adapter = Self::default();
        adapter.read_config(checkpoint);
        adapter.read_keys(checkpoint);
        adapter.compare(checkpoint);
        Some(adapter)
    }

    /// Returns the kind to show: the config's, else the keys'.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.declared.as_deref().or(self.by_keys).unwrap_or("unknown kind")
    }

    fn problem(&mut self, kind: &'static crate::problem::ProblemKind, message: String) {
        self.problems.push(Problem::new(kind, message).file("adapter_config.json"));
    }

    fn read_config(&mut self, checkpoint: &Checkpoint) {
        let configs = &checkpoint.files.configs;
        let Some(config) = configs.get("adapter_config.json") else {
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
        self.alpha = config.get("lora_alpha").or_else(|| config.get("alpha")).and_then(Value::as_f64);
        self.base = text("base_model_name_or_path");
        let newest = FIELD_VERSIONS.iter().find(|(field, _)| config.get(*field).is_some());
        self.peft_version = text("peft_version")
            .or_else(|| newest.map(|(field, version)| format!("≥ {version}, by {field}")));
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

    fn read_keys(&mut self, checkpoint: &Checkpoint) {
        let files = &checkpoint.files;
        let mut modules: BTreeMap<usize, Module> = BTreeMap::new();
        let mut order: rustc_hash::FxHashMap<String, usize> = rustc_hash::FxHashMap::default();
        for tensor in 0..files.tensors.len() as u32 {
            let name = files.tensor_name(tensor);
            let Some((module, mark)) = split_key(&name) else {
                self.saved.push(tensor);
                continue;
            };
            if self.by_keys.is_none() || mark.1 != "LORA" {
                self.by_keys = Some(mark.1);
            }
            let count = order.len();
            let at = *order.entry(module.to_owned()).or_insert(count);
            let entry = modules.entry(at).or_insert_with(|| Module {
                name: module.to_owned(),
                delta: None,
                rank: None,
                tensors: Vec::new(),
                missing: Vec::new(),
            });
            entry.tensors.push(tensor);
        }
        self.modules = modules.into_values().collect();
        for module in &mut self.modules {
            complete(checkpoint, module);
        }
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

/// Splits a key at the component that tells its kind: the module before it, and the mark.
fn split_key(name: &str) -> Option<(&str, (&'static str, &'static str))> {
    let mut end = name.len();
    // The mark is the last, next-to-last or third-last component (`lora_A.default.weight`).
    for _ in 0..3 {
        let start = name[..end].rfind('.').map_or(0, |dot| dot + 1);
        if let Some(mark) = MARKS.iter().find(|(mark, _)| *mark == &name[start..end]) {
            return Some((name[..start.saturating_sub(1)].as_ref(), *mark));
        }
        end = start.checked_sub(1)?;
    }
    None
}

/// Fills in what the two halves of a LoRA pair tell.
fn complete(checkpoint: &Checkpoint, module: &mut Module) {
    let files = &checkpoint.files;
    let half = |marks: [&str; 2]| {
        module.tensors.iter().find_map(|&tensor| {
            let name = files.tensor_name(tensor);
            let rest = name.strip_prefix(module.name.as_str())?;
            let mut parts = rest.split('.').filter(|part| !part.is_empty());
            let mark = parts.next()?;
            // `lora_B.bias` belongs to the pair and is not its half.
            (marks.contains(&mark) && rest.rsplit('.').next() != Some("bias"))
                .then(|| files.shape(&files.tensors[tensor as usize]).to_vec())
        })
    };
    let (a, b) = (half(["lora_A", "lora_embedding_A"]), half(["lora_B", "lora_embedding_B"]));
    if a.is_none() && b.is_none() {
        return;
    }
    module.rank = a.as_ref().and_then(|a| a.first().copied());
    if a.is_none() {
        module.missing.push("lora_A");
    }
    if b.is_none() {
        module.missing.push("lora_B");
    }
    if let (Some(a), Some(b)) = (a, b)
        && a.len() == 2
        && b.len() == 2
    {
        module.delta = Some([b[0], a[1]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_split_at_their_mark() {
        for (key, module, kind) in [
            ("base_model.model.q_proj.lora_A.weight", "base_model.model.q_proj", "LORA"),
            ("base_model.model.q_proj.lora_A.default.weight", "base_model.model.q_proj", "LORA"),
            ("x.embed_tokens.lora_embedding_B", "x.embed_tokens", "LORA"),
            ("x.k_proj.ia3_l", "x.k_proj", "IA3"),
            ("prompt_embeddings", "", "PROMPT_TUNING"),
        ] {
            let (found, mark) = split_key(key).unwrap();
            assert_eq!((found, mark.1), (module, kind), "{key}");
        }
        assert!(split_key("base_model.model.lm_head.weight").is_none());
    }
}
