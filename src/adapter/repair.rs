//! Repair: what has to change so that plain PEFT loads an adapter completely. Pure data: nothing is written here.
//!
//! Keys get the names that PEFT looks for; the config is corrected from the tensors (`peft_type`, `r`, targets), and
//! loses fields that PEFT, or the version asked for, does not know. What cannot be put right is named, and then nothing
//! is to be written: an adapter that loads halfway is the fault that this is against.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::align::{Aligned, Alignment, State};
use super::config::{FIELD_VERSIONS, NEWEST_TYPES, TYPES, is_default, is_type, version_of};
use super::keys::{Key, Tensor};
use super::names::PREFIX;
use super::targets::{Targets, ends_with};
use super::{Adapter, align::Repair as Possible};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::Configs;
use crate::checkpoint::files::{Files, Place, Shard};
use crate::checkpoint::layers::Layers;
use crate::container::{Header, View};
use crate::name::escape;
use crate::problem::kind;

/// What a repair does.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// Tensors of the result: tensor, its key now, the key it gets.
    pub keys: Vec<Rekeyed>,
    /// The config of the result.
    pub config: Value,
    /// What changes in the config, in words.
    pub changes: Vec<String>,
    /// What is left out, in words.
    pub left_out: Vec<String>,
    /// What stands in the way, in words. Not empty: nothing may be written.
    pub refused: Vec<String>,
}

/// A tensor of the result.
#[derive(Clone, Debug)]
pub struct Rekeyed {
    /// Index into the adapter's tensors.
    pub tensor: u32,
    /// Its key.
    pub from: String,
    /// The key it gets.
    pub to: String,
    /// True if the result has it transposed.
    pub is_transposed: bool,
}

impl Rekeyed {
    /// Returns true if it gets another key, or is transposed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.from != self.to || self.is_transposed
    }
}

impl Repair {
    /// Plans the repair of an adapter. `version` is the oldest PEFT that is to load it: `0.11`.
    #[must_use]
    pub fn plan(
        base: &Checkpoint,
        adapter: &Checkpoint,
        facts: &Adapter,
        alignment: &Alignment,
        version: Option<&str>,
    ) -> Self {
        let mut repair = Self::default();
        repair.refuse(adapter, facts, alignment);
        repair.rekey(adapter, alignment);
        let config = adapter.files.configs.get("adapter_config.json").and_then(Value::as_object);
        let mut fields =
            Fields { config: config.cloned().unwrap_or_default(), changes: Vec::new(), refused: Vec::new() };
        fields.correct(base, facts, alignment);
        fields.downgrade(version);
        repair.config = Value::Object(fields.config);
        repair.changes = fields.changes;
        repair.refused.extend(fields.refused);
        repair
    }

    /// Returns true if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.renames() == 0
    }

    /// Returns how many keys change.
    #[must_use]
    pub fn renames(&self) -> usize {
        self.keys.iter().filter(|key| key.is_changed()).count()
    }

    /// Returns what it does in a few words each: how many keys and fields change, and what is left out.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let keys =
            (self.renames(), "key renamed, its values as they are", "keys renamed, their values as they are");
        let fields = (self.changes.len(), "field of the config corrected", "fields of the config corrected");
        let counted = [keys, fields].into_iter().filter(|(count, ..)| *count > 0);
        let counted =
            counted.map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }));
        counted.chain(self.left_out.iter().map(|what| format!("without {what}"))).collect()
    }

    /// Returns the adapter with its tensors under their new keys, and transposed where PEFT has them so: the same
    /// bytes of the same files, seen otherwise.
    #[must_use]
    pub fn result(&self, adapter: &Checkpoint) -> Checkpoint {
        let files = &adapter.files;
        let mut headers: Vec<Header> = files.shards.iter().map(|_| Header::default()).collect();
        for key in &self.keys {
            let record = &files.tensors[key.tensor as usize];
            let mut shape = files.shape(record).to_vec();
            let mut view = files.views.get(&key.tensor).cloned();
            if key.is_transposed && shape.len() == 2 {
                let range = (record.begin, record.begin.saturating_add(record.bytes));
                let seen = view.get_or_insert_with(|| View {
                    strides: vec![shape[1], 1],
                    storage: range,
                    compressed_entry: None,
                });
                seen.strides.reverse();
                shape.reverse();
            }
            let Some(header) = headers.get_mut(usize::from(record.shard)) else { continue };
            header.push(
                &key.to,
                record.dtype,
                &shape,
                record.begin,
                record.begin.saturating_add(record.bytes),
            );
            if let Some(view) = view {
                header.views.insert(header.entries().len() as u32 - 1, view);
            }
        }
        let place = Place {
            path: files.path.clone(),
            folder: files.folder.clone(),
            title: files.title.clone(),
            container: files.container,
            index: None,
            others: files.others.clone(),
        };
        let shard = |shard: &Shard| Shard {
            name: shard.name.clone(),
            path: shard.path.clone(),
            bytes: shard.bytes,
            tensors: shard.tensors,
            metadata: Vec::new(),
            unreadable: shard.unreadable,
        };
        let shards = files.shards.iter().map(shard).collect();
        Checkpoint {
            files: Arc::new(Files::assemble(place, shards, headers, Configs::default())),
            layers: Layers::default(),
            problems: Vec::new(),
            kind: adapter.kind,
            examined: true,
            index_unchecked: false,
        }
    }

    fn refuse(&mut self, adapter: &Checkpoint, facts: &Adapter, alignment: &Alignment) {
        for problem in adapter.problems.iter().filter(|problem| problem.is_error()) {
            self.refused.push(problem.message.clone());
        }
        let weights = facts.problems.iter().find(|problem| problem.kind == &kind::ADAPTER_WEIGHTS);
        self.refused.extend(weights.map(|problem| problem.message.clone()));
        if alignment.modules.is_empty() && weights.is_none() {
            self.refused.push("no module of an adapter is here".into());
        }
        let hopeless = |module: &&Aligned| matches!(module.repair, Possible::No(_)) || module.has_nan;
        for module in alignment.modules.iter().filter(hopeless) {
            let why = if module.has_nan { "NaN values" } else { &module.evidence };
            self.refused.push(format!("{} ({}): {why}", escape(&module.name), module.state.name()));
        }
        let configs = &adapter.files.configs;
        if configs.get("adapter_config.json").and_then(Value::as_object).is_none()
            && !alignment.modules.is_empty()
        {
            let known =
                alignment.modules.iter().all(|module| module.alpha.is_some() || module.method == "SAVED");
            if !known {
                self.refused.push("adapter_config.json is not here: alpha is not known".into());
            }
        }
    }

    fn rekey(&mut self, adapter: &Checkpoint, alignment: &Alignment) {
        let files = &adapter.files;
        let mut unused: BTreeSet<u32> = alignment.unused.iter().copied().collect();
        let used = alignment.modules.iter().flat_map(|module| &module.parts).chain(&alignment.shared);
        let mut alphas = 0;
        for part in used {
            unused.remove(&part.tensor);
            if part.part == "alpha" {
                alphas += 1;
                continue;
            }
            let from = files.tensor_name(part.tensor);
            let to = part.rename.clone().unwrap_or_else(|| from.clone());
            self.keys.push(Rekeyed { tensor: part.tensor, from, to, is_transposed: part.is_transposed });
        }
        if alphas > 0 {
            self.left_out.push(format!("{alphas} alpha tensors: the config has them"));
        }
        // What PEFT does not use stays as it is, but for the base's own weights.
        let is_dump = unused.iter().any(|&tensor| files.tensor_name(tensor).contains(".base_layer.weight"));
        let mut copies = 0;
        for tensor in unused {
            let from = files.tensor_name(tensor);
            let is_saved = matches!(Key::parse(&from).tensor, Tensor::Saved(_));
            if is_dump && is_saved || from.contains(".original_module.") {
                copies += 1;
            } else {
                self.keys.push(Rekeyed { tensor, to: from.clone(), from, is_transposed: false });
            }
        }
        if copies > 0 {
            self.left_out.push(format!("{copies} copies of the base's own tensors"));
        }
        self.keys.sort_by_key(|key| key.tensor);
    }
}

/// The config while it is corrected.
struct Fields {
    config: Map<String, Value>,
    changes: Vec<String>,
    refused: Vec<String>,
}

impl Fields {
    fn set(&mut self, key: &str, value: Value, why: &str) {
        if self.config.get(key) == Some(&value) {
            return;
        }
        let before = self.config.get(key).map_or_else(|| "nothing".to_owned(), short);
        self.changes.push(format!("{key}: {before} becomes {}, {why}", short(&value)));
        self.config.insert(key.to_owned(), value);
    }

    fn remove(&mut self, key: &str, why: &str) {
        if let Some(value) = self.config.shift_remove(key) {
            self.changes.push(format!("{key}: {} goes, {why}", short(&value)));
        }
    }

    fn correct(&mut self, base: &Checkpoint, facts: &Adapter, alignment: &Alignment) {
        let kind = alignment.kind.as_str();
        let declared = facts.declared.as_deref();
        let is_other = declared != Some(kind);
        if is_other && is_type(kind) {
            self.set("peft_type", json!(kind), "by the keys");
            if kind == "LORA" {
                let foreign: Vec<String> =
                    self.config.keys().filter(|key| version_of(key).is_none()).cloned().collect();
                for key in foreign {
                    self.remove(&key, "no field of LORA");
                }
            }
        }
        if kind != "LORA" {
            return;
        }
        self.ranks(facts, alignment);
        self.alphas(alignment);
        self.targets(base, alignment, is_other);
        self.saved(alignment);
        let unknown: Vec<String> =
            self.config.keys().filter(|key| version_of(key).is_none()).cloned().collect();
        for key in unknown {
            self.remove(&key, "no version of PEFT knows it");
        }
    }

    /// `r` and `rank_pattern` by the tensors.
    fn ranks(&mut self, facts: &Adapter, alignment: &Alignment) {
        let lora: Vec<&Aligned> =
            alignment.modules.iter().filter(|m| m.method == "LORA" && m.rank.is_some()).collect();
        let targets = Targets::read(&Value::Object(self.config.clone()));
        let own = |module: &Aligned| own_path(module).to_owned();
        let said = |module: &Aligned| targets.rank(&own(module)).or(facts.rank);
        if lora.iter().all(|module| module.rank == said(module)) {
            return;
        }
        let mut counts: Vec<(u64, usize)> = Vec::new();
        for rank in lora.iter().filter_map(|module| module.rank) {
            match counts.iter_mut().find(|(known, _)| *known == rank) {
                Some(count) => count.1 += 1,
                None => counts.push((rank, 1)),
            }
        }
        let Some(&(common, _)) = counts.iter().max_by_key(|(rank, count)| (*count, *rank)) else { return };
        if facts.rank != Some(common) {
            self.set("r", json!(common), "by the tensors");
        }
        let mut pattern = Map::new();
        for module in &lora {
            if module.rank != Some(common) {
                pattern.insert(regex::escape(&own(module)), json!(module.rank));
            }
        }
        if self.config.get("rank_pattern").and_then(Value::as_object).is_some_and(|p| !p.is_empty())
            || !pattern.is_empty()
        {
            self.set("rank_pattern", Value::Object(pattern), "by the tensors");
        }
    }

    /// `lora_alpha` and `alpha_pattern` where the config has none of LoRA's.
    fn alphas(&mut self, alignment: &Alignment) {
        /// PEFT's own default.
        const ALPHA: f64 = 8.0;
        let is_told = self.config.get("lora_alpha").is_some_and(Value::is_number);
        if is_told && !alignment.modules.iter().any(|module| module.part("alpha").is_some()) {
            return;
        }
        let scaled = |module: &Aligned| Some(module.scaling? * module.rank? as f64);
        let alphas: Vec<(&Aligned, f64)> = alignment
            .modules
            .iter()
            .filter(|m| m.method == "LORA")
            .filter_map(|m| Some((m, m.alpha.or_else(|| scaled(m))?)))
            .collect();
        let Some(&(_, first)) = alphas.first() else {
            self.set("lora_alpha", json!(ALPHA as u64), "PEFT's default: no alpha is written anywhere");
            return;
        };
        self.set("lora_alpha", number(first), "by the adapter's own scale");
        let other: Map<String, Value> = alphas
            .iter()
            .filter(|(_, alpha)| *alpha != first)
            .map(|(module, alpha)| (regex::escape(own_path(module)), number(*alpha)))
            .collect();
        if !other.is_empty() {
            self.set("alpha_pattern", Value::Object(other), "by the adapter's own scales");
        }
    }

    /// `target_modules` and what restricts them, where they leave out modules that are here.
    fn targets(&mut self, base: &Checkpoint, alignment: &Alignment, is_other: bool) {
        let adapted: Vec<&Aligned> =
            alignment.modules.iter().filter(|m| m.method == "LORA" && m.layer.is_some()).collect();
        if adapted.is_empty() {
            return;
        }
        let raises = alignment.problems.iter().any(|problem| problem.kind == &kind::ADAPTER_TARGETS);
        let drops = adapted.iter().any(|module| module.state == State::Dropped);
        let targets = Targets::read(&Value::Object(self.config.clone()));
        let leaves = |module: &&&Aligned| {
            !targets.names(own_path(module)) && module.experts == 1 && module.is_renamed()
        };
        // Foreign configs say nothing of targets.
        let unsaid = is_other && targets.is_open();
        if !(raises || drops || unsaid || (!targets.is_open() && adapted.iter().any(|m| leaves(&m)))) {
            return;
        }
        let plain: Vec<&Aligned> = adapted.iter().filter(|module| module.experts == 1).copied().collect();
        let here: BTreeSet<&str> = plain.iter().map(|module| own_path(module)).collect();
        let labels: BTreeSet<&str> =
            here.iter().map(|path| path.rsplit('.').next().unwrap_or(path)).collect();
        let names: Vec<String> =
            (0..base.layers.len() as u32).map(|layer| base.layers.name(&base.files.names, layer)).collect();
        // Ends of names where they name just what is here, else full names.
        let names_more = names
            .iter()
            .any(|name| labels.iter().any(|label| ends_with(name, label)) && !here.contains(name.as_str()));
        let list: Vec<&str> =
            if names_more { here.into_iter().collect() } else { labels.into_iter().collect() };
        if !plain.is_empty() {
            self.set("target_modules", json!(list), "by the keys");
        }
        for key in ["layers_to_transform", "layers_pattern", "exclude_modules"] {
            if self.config.get(key).is_some_and(|value| !value.is_null()) {
                self.set(key, Value::Null, "target_modules says it all");
            }
        }
        let lost: Vec<&String> =
            targets.parameters.iter().filter(|p| alignment.untouched.contains(p)).collect();
        if !lost.is_empty() {
            let kept: Vec<&String> = targets.parameters.iter().filter(|p| !lost.contains(p)).collect();
            let value = if kept.is_empty() { Value::Null } else { json!(kept) };
            self.set("target_parameters", value, "the base has no such parameters");
        }
    }

    /// `modules_to_save` without those that are not here.
    fn saved(&mut self, alignment: &Alignment) {
        let absent: Vec<&str> = alignment
            .modules
            .iter()
            .filter(|module| module.method == "SAVED" && module.parts.is_empty())
            .map(|module| module.name.as_str())
            .collect();
        if absent.is_empty() {
            return;
        }
        let list = self.config.get("modules_to_save").and_then(Value::as_array);
        let kept: Vec<Value> = list
            .into_iter()
            .flatten()
            .filter(|name| !name.as_str().is_some_and(|name| absent.contains(&name)))
            .cloned()
            .collect();
        let value = if kept.is_empty() { Value::Null } else { Value::Array(kept) };
        self.set("modules_to_save", value, "the others have no tensor here");
    }

    /// Leaves out fields that a version of PEFT does not know.
    fn downgrade(&mut self, version: Option<&str>) {
        let Some(version) = version else { return };
        let Some(asked) = parse(version) else {
            self.refused.push(format!("--peft-version {}: not a version such as 0.11", escape(version)));
            return;
        };
        let kind = self.config.get("peft_type").and_then(Value::as_str).unwrap_or("").to_owned();
        let since = TYPES.iter().find(|(known, _)| *known == kind).map(|(_, version)| *version);
        let since = since.or(NEWEST_TYPES.contains(&kind.as_str()).then_some("0.21"));
        if since.and_then(parse).is_some_and(|since| since > asked) {
            self.refused.push(format!(
                "peft_type {}: PEFT has it since {}",
                escape(&kind),
                since.unwrap_or("")
            ));
        }
        for (field, since) in FIELD_VERSIONS {
            let is_newer = parse(since).is_some_and(|since| since > asked);
            let Some(value) = self.config.get(field).filter(|_| is_newer) else { continue };
            if is_default(field, value) {
                self.remove(field, &format!("PEFT has it since {since}, and it has its default"));
            } else {
                self.refused.push(format!(
                    "{field} is {}: PEFT has it since {since}, without it the adapter means something else",
                    short(value)
                ));
            }
        }
    }
}

/// Returns the path of a module in the wrapped model: by its key after the repair.
fn own_path(module: &Aligned) -> &str {
    let key =
        module.parts.iter().find_map(|part| part.rename.as_deref()).and_then(|key| key.strip_prefix(PREFIX));
    // The renamed key's path is the base's.
    if key.is_some() { &module.path } else { module.name.strip_prefix(PREFIX).unwrap_or(&module.name) }
}

/// Returns a number as JSON, whole where it is.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 120;
    let text = value.to_string();
    let shown: String = text.chars().take(CHARS_MAX).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{more}", escape(&shown))
}

/// Returns `0.11` or `0.11.1` as numbers.
fn parse(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((major, minor))
}
