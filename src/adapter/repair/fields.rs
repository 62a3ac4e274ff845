//! Fields: the config of a repaired adapter, corrected from the tensors.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Asks, Keep, Wishes};
use crate::adapter::Adapter;
use crate::adapter::align::{Aligned, Alignment, State};
use crate::adapter::config::{
    ALPHA, FIELD_VERSIONS, NEWEST_TYPES, TYPES, is_default, is_type, parse, version_of,
};
use crate::adapter::names::PREFIX;
use crate::adapter::targets::{Targets, ends_with};
use crate::checkpoint::Checkpoint;
use crate::name::escape;
use crate::problem::kind;

/// The rank that the config gives a module.
type Said<'a> = &'a dyn Fn(&Aligned) -> Option<u64>;

/// The config while it is corrected.
pub(super) struct Fields {
    pub(super) config: Map<String, Value>,
    pub(super) changes: Vec<String>,
    pub(super) refused: Vec<String>,
    pub(super) asks: Asks,
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

    /// Returns a config corrected.
    pub(super) fn corrected(
        config: Option<&Map<String, Value>>,
        (base, facts, alignment): (&Checkpoint, &Adapter, &Alignment),
        wishes: &Wishes,
    ) -> Self {
        let config = config.cloned().unwrap_or_default();
        let mut fields = Self { config, changes: Vec::new(), refused: Vec::new(), asks: Asks::default() };
        fields.correct(base, facts, alignment, wishes);
        fields.downgrade(wishes.version.as_deref());
        fields
    }

    fn correct(&mut self, base: &Checkpoint, facts: &Adapter, alignment: &Alignment, wishes: &Wishes) {
        let kind = alignment.kind.as_str();
        let is_other = facts.declared.as_deref() != Some(kind);
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
        match kind {
            "LORA" => {}
            // What PEFT itself wrote is right as it is.
            "LOHA" if alignment.modules.iter().any(Aligned::is_renamed) => {}
            "LOKR" if is_other && alignment.modules.iter().any(|m| m.method == "LOKR") => {
                self.refused.push(
                    "LoKr of LyCORIS: PEFT makes the shapes of its factors from r and decompose_factor, and which of those give these shapes is not worked out here".into(),
                );
                return;
            }
            _ => return,
        }
        self.ranks(facts, alignment, wishes.keep);
        self.alphas((kind, is_other), alignment, wishes.alpha);
        self.targets(base, alignment, is_other);
        if kind != "LORA" {
            return;
        }
        self.magnitudes(alignment);
        self.saved(alignment);
        let unknown: Vec<String> =
            self.config.keys().filter(|key| version_of(key).is_none()).cloned().collect();
        for key in unknown {
            self.remove(&key, "no version of PEFT knows it");
        }
    }

    /// `use_dora` where magnitudes are here that others wrote.
    fn magnitudes(&mut self, alignment: &Alignment) {
        let lora: Vec<&Aligned> = alignment.modules.iter().filter(|m| m.method == "LORA").collect();
        let with = lora.iter().filter(|m| m.part("lora_magnitude_vector").is_some()).count();
        if with == 0 || self.config.get("use_dora") == Some(&Value::Bool(true)) {
            return;
        }
        if with < lora.len() {
            self.refused.push(format!(
                "{with} of {} modules have magnitudes: PEFT's use_dora is for all or none",
                lora.len()
            ));
        }
        self.set("use_dora", json!(true), "by the magnitudes");
    }

    /// `r` and `rank_pattern` by the tensors.
    fn ranks(&mut self, facts: &Adapter, alignment: &Alignment, keep: Option<Keep>) {
        let adapted: Vec<&Aligned> =
            alignment.modules.iter().filter(|m| is_ranked(m) && m.rank.is_some()).collect();
        let targets = Targets::read(&Value::Object(self.config.clone()));
        let said = |module: &Aligned| targets.rank(own_path(module)).or(facts.rank);
        if adapted.iter().all(|module| module.rank == said(module)) {
            return;
        }
        let mut counts: Vec<(u64, usize)> = Vec::new();
        for rank in adapted.iter().filter_map(|module| module.rank) {
            match counts.iter_mut().find(|(known, _)| *known == rank) {
                Some(count) => count.1 += 1,
                None => counts.push((rank, 1)),
            }
        }
        let Some(&(common, _)) = counts.iter().max_by_key(|(rank, count)| (*count, *rank)) else { return };
        self.scales(facts, &adapted, (&said, keep));
        if facts.rank != Some(common) {
            self.set("r", json!(common), "by the tensors");
        }
        let mut pattern = Map::new();
        for module in &adapted {
            if module.rank != Some(common) {
                pattern.insert(regex::escape(own_path(module)), json!(module.rank));
            }
        }
        if self.config.get("rank_pattern").and_then(Value::as_object).is_some_and(|p| !p.is_empty())
            || !pattern.is_empty()
        {
            self.set("rank_pattern", Value::Object(pattern), "by the tensors");
        }
    }

    /// Alpha where the config gives another rank than the tensors have: it belongs to one of the two, and files do not
    /// tell to which.
    fn scales(&mut self, facts: &Adapter, adapted: &[&Aligned], (said, keep): (Said<'_>, Option<Keep>)) {
        let is_root = facts.variations.contains(&"rsLoRA");
        let per = |rank: u64| if is_root { (rank as f64).sqrt() } else { rank as f64 };
        // Alpha that keeps the scale.
        let kept = |module: &Aligned| -> Option<f64> {
            let (said, rank) = (said(module).filter(|&said| said > 0)?, module.rank?);
            Some(module.alpha? * per(rank) / per(said))
        };
        let odd: Vec<(&&Aligned, f64)> = adapted
            .iter()
            .filter(|module| said(module).is_some() && module.rank != said(module))
            .filter_map(|module| Some((module, kept(module)?)))
            .collect();
        let Some(((first, alpha), (before, rank))) =
            odd.first().and_then(|(m, alpha)| Some(((*m, *alpha), (said(m)?, m.rank?))))
        else {
            return;
        };
        self.asks.keep = true;
        match keep {
            Some(Keep::Alpha) => {}
            Some(Keep::Scale) => {
                self.set("lora_alpha", number(alpha), "so that the scale stays");
                let pattern: Map<String, Value> = adapted
                    .iter()
                    .filter_map(|module| Some((module, kept(module)?)))
                    .filter(|(_, own)| *own != alpha)
                    .map(|(module, own)| (regex::escape(own_path(module)), number(own)))
                    .collect();
                let has = self.config.get("alpha_pattern").and_then(Value::as_object);
                if !pattern.is_empty() || has.is_some_and(|pattern| !pattern.is_empty()) {
                    self.set("alpha_pattern", Value::Object(pattern), "so that the scales stay");
                }
            }
            None => {
                let now = first.alpha.unwrap_or(0.0);
                self.refused.push(format!(
                    "the config's rank is {before}, the tensors of {} have {rank}, and alpha {} belongs to one of the \
                     two: --keep alpha makes the scale {}, --keep scale leaves it at {} with alpha {}",
                    first.name,
                    number(now),
                    number(now / per(rank)),
                    number(now / per(before)),
                    number(alpha),
                ));
            }
        }
    }

    /// `lora_alpha` and `alpha_pattern` where the config has none of PEFT's. `wished` is alpha where nothing tells it.
    fn alphas(&mut self, (kind, is_other): (&str, bool), alignment: &Alignment, wished: Option<f64>) {
        let field = if kind == "LORA" { "lora_alpha" } else { "alpha" };
        let is_told = self.config.get(field).is_some_and(Value::is_number);
        let modules = || alignment.modules.iter().filter(|module| is_ranked(module));
        if is_told && !modules().any(|module| module.part("alpha").is_some()) || modules().next().is_none() {
            return;
        }
        let scaled = |module: &Aligned| Some(module.scaling? * module.rank? as f64);
        let alphas: Vec<(&Aligned, f64)> =
            modules().filter_map(|module| Some((module, module.alpha.or_else(|| scaled(module))?))).collect();
        let Some(&(_, first)) = alphas.first() else {
            self.asks.alpha = true;
            match wished {
                Some(alpha) => self.set(field, number(alpha), "as asked"),
                None => self.refused.push(
                    "alpha is not known: neither a config nor the tensors give it; --alpha says it".into(),
                ),
            }
            return;
        };
        if alphas.len() < modules().count() {
            self.refused.push("alpha is not known of all modules".into());
        }
        let is_default = alphas.iter().all(|(_, alpha)| *alpha == ALPHA);
        if is_default && !is_other && self.config.get(field).is_none() {
            return;
        }
        self.set(field, number(first), "by the adapter's own scale");
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
            alignment.modules.iter().filter(|m| is_ranked(m) && m.layer.is_some()).collect();
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

/// Returns true if a module's method has a rank and an alpha in the config.
fn is_ranked(module: &Aligned) -> bool {
    matches!(module.method, "LORA" | "LOHA")
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
