//! Compare: the whole adapter against the config and the base, in both directions.

use rustc_hash::{FxHashMap, FxHashSet};

use super::build::{Context, EMBEDDINGS};
use super::{Aligned, Alignment, Repair, State};
use crate::adapter::config::version_of;
use crate::adapter::group::Groups;
use crate::adapter::names::PREFIX;
use crate::adapter::targets::{Names, ends, ends_with};
use crate::name::escape;
use crate::problem::{Problem, ProblemKind, kind};
use crate::units;

/// Methods whose modules `target_modules` does not name one by one.
const UNTARGETED: [&str; 6] =
    ["SAVED", "TRAINABLE_TOKENS", "ADAPTION_PROMPT", "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "UNILORA"];

impl Context<'_> {
    /// Compares both directions, and adds what is wrong or odd.
    pub(super) fn compare(&self, groups: &Groups, alignment: &mut Alignment) {
        self.collisions(alignment);
        self.target(alignment);
        self.several(groups, alignment);
        self.odd_values(alignment);
        self.vocabulary(alignment);
        self.fields(alignment);
        if !alignment.unused.is_empty() {
            let first = self.adapter.files.tensor_name(alignment.unused[0]);
            let count = units::plural(alignment.unused.len(), "key");
            let what = if self.is_dump { "copies of the base and other keys that" } else { "that" };
            self.say(
                alignment,
                &kind::ADAPTER_UNUSED,
                &format!("{count} {what} PEFT does not use, such as {}", escape(&first)),
            );
        }
    }

    fn say(&self, alignment: &mut Alignment, kind: &'static ProblemKind, message: &str) {
        let file = self.adapter.files.shards.first().map(|shard| shard.name.clone()).unwrap_or_default();
        alignment.problems.push(Problem::new(kind, format!("{}: {message}", escape(&file))).file(file));
    }

    fn say_of_config(alignment: &mut Alignment, kind: &'static ProblemKind, message: &str) {
        let file = "adapter_config.json";
        alignment.problems.push(Problem::new(kind, format!("{file}: {message}")).file(file));
    }

    /// Two keys that would get one name cannot be repaired.
    fn collisions(&self, alignment: &mut Alignment) {
        let mut owners: FxHashMap<String, usize> = FxHashMap::default();
        let mut collided = FxHashSet::default();
        for (at, module) in alignment.modules.iter().enumerate() {
            for part in &module.parts {
                let key = part.rename.clone().unwrap_or_else(|| self.adapter.files.tensor_name(part.tensor));
                if let Some(other) = owners.insert(key, at) {
                    collided.extend([at, other]);
                }
            }
        }
        for (at, module) in alignment.modules.iter_mut().enumerate() {
            if collided.contains(&at) && module.is_renamed() {
                module.repair =
                    Repair::No("another key of the adapter has the name that it would get".into());
            }
        }
    }

    /// Returns true if the config's targets count: it is of the keys' method, and says which.
    fn has_targets(&self, alignment: &Alignment) -> bool {
        let declared = self.facts.declared.as_deref();
        !self.targets.is_open()
            && declared.is_some_and(|declared| declared == alignment.kind || declared == "XLORA")
    }

    /// Holds the modules against the targets, and the targets against the base.
    fn target(&self, alignment: &mut Alignment) {
        // One vector for all of them has no module of its own.
        let is_one = alignment.modules.iter().any(|module| module.method == "UNILORA");
        if !self.has_targets(alignment) || is_one {
            return;
        }
        let base = self.base;
        let names: Vec<String> = (0..base.layers.len() as u32).map(|layer| self.names.name(layer)).collect();
        let touched: FxHashSet<u32> =
            alignment.modules.iter().flat_map(|m| m.places.iter().map(|p| p.layer).chain(m.layer)).collect();
        let entries = self.targets.modules.list();
        // What the files keep under another name, a tied head among them, is named by the module that found it.
        let is_met = |entry: &String| {
            let of_layers = alignment.modules.iter().filter(|module| module.layer.is_some());
            of_layers.flat_map(|module| [&module.name, &module.path]).any(|name| ends_with(name, entry))
        };
        let mut fruitless = fruitless(entries, &names);
        fruitless.retain(|entry| !is_met(entry));
        let touches_experts = touched.iter().any(|&layer| names[layer as usize].contains(".experts."));
        let is_norm = alignment.kind == "LN_TUNING";
        let mut untouched: Vec<String> = Vec::new();
        let mut named = 0usize;
        for (layer, name) in names.iter().enumerate() {
            if !self.targets.names(name) {
                continue;
            }
            named += 1;
            let spec = base.layers.spec(layer as u32);
            let label = name.rsplit('.').next().unwrap_or("");
            let by_all = matches!(self.targets.modules, Names::AllLinear) && EMBEDDINGS.contains(&label);
            let is_target = spec.shape.len() == 1 && is_norm || spec.shape.len() > 1 && !by_all;
            let is_expert = name.contains(".experts.") && !touches_experts;
            if is_target && !is_expert && !touched.contains(&(layer as u32)) {
                untouched.push(name.clone());
            }
        }
        let is_raised = fruitless.len() == entries.len() && !entries.is_empty() && named == 0;
        // A pattern inside a list names nothing, and nobody meant that: the keys tell what was meant.
        let keys_tell = is_raised && self.targets.modules.has_pattern_inside();
        for module in &mut alignment.modules {
            if !keys_tell && !self.is_targeted(module) {
                drop_module(module, &mut alignment.unused);
            }
        }
        let list = |names: &[String]| escape(&super::super::list(names)).into_owned();
        if is_raised {
            let what = if keys_tell { "a pattern inside a list is compared as it is; " } else { "" };
            let message = format!(
                "target_modules {}: {what}no module of the base has such a name, PEFT stops with a ValueError",
                list(entries)
            );
            Self::say_of_config(alignment, &kind::ADAPTER_TARGETS, &message);
        } else if !fruitless.is_empty() {
            let message = format!("target_modules: no module of the base is named {}", list(&fruitless));
            Self::say_of_config(alignment, &kind::ADAPTER_UNTOUCHED, &message);
        }
        if !untouched.is_empty() && !alignment.modules.is_empty() {
            let message = format!(
                "{} of the base targeted, and nothing here for them: {}",
                units::plural(untouched.len(), "layer"),
                list(&untouched)
            );
            self.say(alignment, &kind::ADAPTER_UNTOUCHED, &message);
        }
        self.parameters(alignment, &names);
        alignment.untouched.extend(fruitless);
        alignment.untouched.extend(untouched);
    }

    /// Target parameters that the base has not.
    fn parameters(&self, alignment: &mut Alignment, names: &[String]) {
        let of_experts = |target: &String| {
            let (holder, parameter) = target.rsplit_once('.').unwrap_or(("", target));
            let is_stacked = ["gate_up_proj", "down_proj"].contains(&parameter);
            is_stacked
                && (holder.is_empty() || holder.ends_with("experts"))
                && names.iter().any(|name| name.contains(".experts."))
        };
        let lost: Vec<String> = self
            .targets
            .parameters
            .iter()
            .filter(|target| {
                // A layer has the name of its weight without the end.
                let layer = target.strip_suffix(".weight").unwrap_or(target);
                !names.iter().any(|name| ends_with(name, layer)) && !of_experts(target)
            })
            .cloned()
            .collect();
        if lost.is_empty() {
            return;
        }
        let message = format!("target_parameters: the base has no {}", escape(&super::super::list(&lost)));
        let all =
            lost.len() == self.targets.parameters.len() && matches!(self.targets.modules, Names::Unsaid);
        Self::say_of_config(
            alignment,
            if all { &kind::ADAPTER_TARGETS } else { &kind::ADAPTER_UNTOUCHED },
            &message,
        );
        alignment.untouched.extend(lost);
    }

    fn is_targeted(&self, module: &Aligned) -> bool {
        if UNTARGETED.contains(&module.method) {
            return true;
        }
        let own = module.name.strip_prefix(PREFIX).unwrap_or(&module.name);
        let own = own.trim_end_matches(".base_layer");
        // What stands inside a module that is wrapped as a whole comes with it.
        let own = own.split_once(".base_layer.").map_or(own, |(holder, _)| holder);
        if module.experts > 1 || module.path.contains(".experts.") {
            return self.targets.names_parameter(&module.path)
                || self
                    .targets
                    .parameters
                    .iter()
                    .any(|p| own.ends_with(p.rsplit_once('.').map_or("", |(holder, _)| holder)))
                || self.targets.names(own)
                || self.targets.names(&module.path);
        }
        // A router of experts is no linear layer: PEFT wraps its weight as a parameter.
        let is_parameter = self.targets.names_parameter(&format!("{own}.weight"));
        is_parameter || self.targets.names(own) || self.targets.names(&module.path)
    }

    fn several(&self, groups: &Groups, alignment: &mut Alignment) {
        if !groups.names.is_empty() {
            let names = groups
                .names
                .iter()
                .take(4)
                .map(|name| escape(name).into_owned())
                .collect::<Vec<_>>()
                .join(", ");
            self.say(
                alignment,
                &kind::ADAPTER_KEYS,
                &format!("keys of other adapters in the same file: {names}; --adapter-name decides"),
            );
        }
        let hits =
            alignment.modules.iter().filter(|m| m.layer.is_some() || m.state == State::Aligned).count();
        if hits == 0 && !alignment.modules.is_empty() {
            self.say(alignment, &kind::ADAPTER_KEYS, "no module of the adapter has a layer in this base");
        }
    }

    fn odd_values(&self, alignment: &mut Alignment) {
        let nan: Vec<&Aligned> = alignment.modules.iter().filter(|module| module.has_nan).collect();
        if let Some(first) = nan.first() {
            let message = format!(
                "{} with NaN values, such as {}",
                units::plural(nan.len(), "module"),
                escape(&first.name)
            );
            self.say(alignment, &kind::NAN_VALUES, &message);
        }
        let infinite: Vec<&Aligned> = alignment.modules.iter().filter(|m| m.has_infinity).collect();
        if let Some(first) = infinite.first() {
            let message = format!(
                "{} with infinite values, such as {}",
                units::plural(infinite.len(), "module"),
                escape(&first.name)
            );
            self.say(alignment, &kind::INF_VALUES, &message);
        }
        let zero = alignment.zero_deltas();
        if zero > 0 {
            let of = units::plural(alignment.modules.len(), "module");
            self.say(
                alignment,
                &kind::ADAPTER_ZERO,
                &format!("{zero} of {of} change nothing: a factor is all zero (untrained, or lost)"),
            );
        }
    }

    /// Another number of rows in embeddings or head than the base has.
    fn vocabulary(&self, alignment: &mut Alignment) {
        let files = &self.adapter.files;
        let odd = alignment.modules.iter().find_map(|module| {
            let base = *module.base_shape.as_ref().filter(|shape| shape.len() == 2)?.first()?;
            let label = module.path.rsplit('.').next().unwrap_or("");
            let weight = module.part("weight").filter(|_| EMBEDDINGS.contains(&label))?;
            let rows = *files.shape(&files.tensors[weight as usize]).first()?;
            (rows != base).then(|| (module.name.clone(), rows, base))
        });
        if let Some((name, rows, base)) = odd {
            let message = format!(
                "vocabulary of {rows} in {}, the base has {base}: resize the base's embeddings before loading (PEFT from 0.13 stops with a size mismatch)",
                escape(&name)
            );
            self.say(alignment, &kind::ADAPTER_VOCABULARY, &message);
        }
    }

    /// Fields that no version of PEFT has, and fields that could not be read.
    fn fields(&self, alignment: &mut Alignment) {
        for odd in &self.targets.odd {
            Self::say_of_config(alignment, &kind::ADAPTER_FIELD, &escape(odd));
        }
        let is_lora = self.facts.declared.as_deref() == Some("LORA");
        let Some(config) = self.config.and_then(serde_json::Value::as_object).filter(|_| is_lora) else {
            return;
        };
        let unknown: Vec<String> = config.keys().filter(|key| version_of(key).is_none()).cloned().collect();
        if !unknown.is_empty() {
            let message = format!(
                "{} that no PEFT knows: {}; before 0.14 it stops with a TypeError",
                units::plural(unknown.len(), "field"),
                escape(&super::super::list(&unknown))
            );
            Self::say_of_config(alignment, &kind::ADAPTER_FIELD, &message);
        }
    }
}

/// Returns the entries of a list that name nothing of the base.
fn fruitless(entries: &[String], names: &[String]) -> Vec<String> {
    /// Entries of which even the inner parts of names are compared.
    const COMPARED_MAX: usize = 64;
    let wanted: FxHashSet<&str> = entries.iter().map(String::as_str).collect();
    let met: FxHashSet<&str> =
        names.iter().flat_map(|name| ends(name)).filter(|end| wanted.contains(end)).collect();
    let lost: Vec<String> = entries.iter().filter(|entry| !met.contains(entry.as_str())).cloned().collect();
    let is_inside = |entry: &str| names.iter().any(|name| within(name, entry));
    lost.into_iter()
        .enumerate()
        .filter(|(at, entry)| *at >= COMPARED_MAX || !is_inside(entry))
        .map(|(_, entry)| entry)
        .collect()
}

/// Returns true if a part of the path, not its end, is named so.
fn within(name: &str, entry: &str) -> bool {
    name.match_indices(entry).any(|(at, _)| {
        let is_start = at == 0 || name.as_bytes()[at - 1] == b'.';
        is_start && name.as_bytes().get(at + entry.len()) == Some(&b'.')
    })
}

/// Marks a module that the config leaves out.
fn drop_module(module: &mut Aligned, unused: &mut Vec<u32>) {
    if module.state == State::Aligned || module.is_applied {
        module.state = State::Dropped;
        module.evidence = format!("{}; the config does not name it: PEFT drops it silently", module.evidence);
    }
    if matches!(module.repair, Repair::Nothing) {
        module.repair = Repair::Config;
    }
    module.is_applied = false;
    unused.extend(module.parts.iter().map(|part| part.tensor));
}
