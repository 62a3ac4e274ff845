//! The config of a repaired adapter: corrected from the tensors, without what PEFT does not know.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::adapter::Adapter;
use crate::adapter::align::{Aligned, Alignment, State};
use crate::adapter::config::{FIELD_VERSIONS, NEWEST_TYPES, TYPES, is_default, is_type, version_of};
use crate::adapter::names::PREFIX;
use crate::adapter::targets::{Targets, ends_with};
use crate::checkpoint::Checkpoint;
use crate::name::escape;
use crate::problem::kind;

/// The config while it is corrected.
pub(super) struct Fields {
    pub(super) config: Map<String, Value>,
    pub(super) changes: Vec<String>,
    pub(super) refused: Vec<String>,
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

    pub(super) fn correct(&mut self, base: &Checkpoint, facts: &Adapter, alignment: &Alignment) {
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
    pub(super) fn downgrade(&mut self, version: Option<&str>) {
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
