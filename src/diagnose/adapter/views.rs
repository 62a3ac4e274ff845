//! Views: what the rules about adapters share: modules put into a finding, and the repair where there is one.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::adapter::align::{Aligned, State};
use crate::adapter::keys::{Key, Tensor};
use crate::adapter::repair::{Keep, Repair, Wishes};
use crate::diagnose::finding::{Act, Finding, Fix, SEEN_MAX, Seen};
use crate::diagnose::rule::{Purpose, Rule};
use crate::diagnose::subject::{About, AdapterView, Subject};
use crate::name::escape;
use crate::plan::edit::Edit;
use crate::problem::ProblemKind;
use crate::units;

/// The file that says what an adapter is.
pub(super) const CONFIG: &str = "adapter_config.json";

/// What most faults of an adapter matter for.
pub(super) const USE: &[Purpose] = &[Purpose::Load, Purpose::Merge, Purpose::Vllm];

/// Returns the adapter that a finding is about.
pub(super) fn of<'a>(subject: &Subject<'a>, about: About) -> Option<AdapterView<'a>> {
    subject.adapters().find(|view| view.about == about)
}

/// Returns true if something of this kind was reported of an adapter.
pub(super) fn has(subject: &Subject<'_>, about: About, kind: &ProblemKind) -> bool {
    subject.problems().any(|(other, problem)| other == about && problem.kind == kind)
}

/// Returns true if an adapter is LoRA, by its config, or by its keys where the config says nothing.
pub(super) fn is_lora(view: &AdapterView<'_>) -> bool {
    view.facts.kind() == "LORA"
}

/// Returns the name of an adapter's weight file.
pub(super) fn weights(view: &AdapterView<'_>) -> Option<String> {
    view.checkpoint.files.shards.first().map(|shard| shard.name.clone())
}

/// Returns its modules in a state.
pub(super) fn in_state<'a>(view: &AdapterView<'a>, state: State) -> Vec<&'a Aligned> {
    let modules = view.alignment().map_or(&[][..], |alignment| &alignment.modules);
    modules.iter().filter(|module| module.state == state).collect()
}

/// Returns how many modules an adapter has.
pub(super) fn total(view: &AdapterView<'_>) -> usize {
    view.alignment().map_or(view.facts.modules.len(), |alignment| alignment.modules.len())
}

/// Returns `2 of 4 modules`.
pub(super) fn share(count: usize, all: usize) -> String {
    format!("{count} of {}", units::plural(all, "module"))
}

/// Returns a module's name without control characters, and short enough for a sentence.
pub(super) fn shown(name: &str) -> String {
    const WIDTH: usize = 90;
    let name = escape(name);
    crate::name::cut_middle(&name, WIDTH).into_owned()
}

/// Returns why a module is in its state, as the end of a sentence.
pub(super) fn evidence(module: &Aligned) -> String {
    const WIDTH: usize = 240;
    let evidence = escape(module.evidence.trim_end_matches('.'));
    crate::name::cut_middle(&evidence, WIDTH).into_owned()
}

/// Returns a value of a config in few characters.
pub(super) fn short(value: &Value) -> String {
    const WIDTH: usize = 60;
    let text = value.to_string();
    let text: Cow<'_, str> = escape(&text);
    crate::name::cut_middle(&text, WIDTH).into_owned()
}

/// Returns a finding about some of an adapter's modules: the first ones are its places.
pub(super) fn finding(
    rule: &'static Rule,
    view: &AdapterView<'_>,
    modules: &[&Aligned],
    title: String,
) -> Finding {
    let mut finding = Finding::new(rule, title).about(view.about);
    let files = &view.checkpoint.files;
    for module in modules.iter().take(SEEN_MAX) {
        let first = module.parts.first().map(|part| files.tensor_name(part.tensor));
        let tensor = first.or_else(|| Some(module.name.clone()));
        let seen = Seen { file: weights(view), key: None, tensor, value: module.evidence.clone() };
        finding = finding.seen(seen);
    }
    more(finding, modules.len())
}

/// Adds how many places are not listed.
pub(super) fn more(finding: Finding, count: usize) -> Finding {
    if count <= SEEN_MAX {
        return finding;
    }
    let rest = units::plural(count - SEEN_MAX, "more module");
    finding.seen(Seen { value: format!("and {rest}"), ..Seen::default() })
}

/// Returns a finding about some of an adapter's tensors: the first ones are its places.
pub(super) fn of_tensors(
    rule: &'static Rule,
    view: &AdapterView<'_>,
    tensors: &[u32],
    title: String,
) -> Finding {
    let files = &view.checkpoint.files;
    let mut finding = Finding::new(rule, title).about(view.about);
    for &tensor in tensors.iter().take(SEEN_MAX) {
        let shape = units::shape(files.shape(&files.tensors[tensor as usize]));
        let name = Some(files.tensor_name(tensor));
        finding = finding.seen(Seen { file: weights(view), key: None, tensor: name, value: shape });
    }
    if tensors.len() > SEEN_MAX {
        let rest = units::plural(tensors.len() - SEEN_MAX, "more tensor");
        finding = finding.seen(Seen { value: format!("and {rest}"), ..Seen::default() });
    }
    finding
}

/// Returns the tensors that are a part of this name: `lora_magnitude_vector`.
pub(super) fn parts(view: &AdapterView<'_>, is_wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let files = &view.checkpoint.files;
    let is_part = |tensor: &u32| match Key::parse(&files.tensor_name(*tensor)).tensor {
        Tensor::Part(mark) => is_wanted(mark.part),
        Tensor::Saved(_) => false,
    };
    (0..files.tensors.len() as u32).filter(is_part).collect()
}

/// Returns the edit that sets a value of `adapter_config.json`, or takes it out.
pub(super) fn set(key: &str, value: Option<Value>) -> Edit {
    Edit::Json { file: CONFIG.into(), path: vec![key.to_owned()], value }
}

/// Returns the repair, where one makes an adapter that PEFT loads completely; else why not, as advice.
pub(super) fn repair(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let remedy = || Fix::advice(finding.rule.remedy);
    let Some(held) = of(subject, finding.about).and_then(|view| view.held) else { return vec![remedy()] };
    let plan = |keep, alpha| {
        let wishes = Wishes { keep, alpha, ..Wishes::default() };
        Repair::plan(&held.base, &held.adapter, &held.facts, &held.alignment, &wishes)
    };
    let repair = plan(None, None);
    if repair.refused.is_empty() {
        let said = repair.said();
        return if said.is_empty() {
            vec![remedy()]
        } else {
            vec![Fix::new(format!("repair the adapter: {}", said.join(", ")), Act::Repair)]
        };
    }
    let keep = repair.asks.keep.then_some(Keep::Alpha);
    let alpha = repair.asks.alpha.then_some(1.0);
    let is_asked = (keep.is_some() || alpha.is_some()) && plan(keep, alpha).refused.is_empty();
    if !is_asked {
        return vec![remedy()];
    }
    let mut asked = Vec::new();
    if keep.is_some() {
        asked.push("--keep alpha or --keep scale");
    }
    if alpha.is_some() {
        asked.push("--alpha with the alpha that it was trained with");
    }
    let how = format!("ckpt align --repair mends it, once you say {}", asked.join(" and "));
    vec![Fix::advice(how)]
}

/// Returns the fix that sets one value of the config.
pub(super) fn setting(summary: impl Into<String>, key: &str, value: Option<Value>) -> Fix {
    Fix::new(summary, Act::Edit(vec![set(key, value)]))
}

/// Returns the fix that makes a flag of the config true or false.
pub(super) fn flag(key: &str, value: bool) -> Fix {
    setting(format!("set {key} to {value} in {CONFIG}, in a new folder"), key, Some(json!(value)))
}

/// Returns how many values of a config could not be read.
pub(super) fn odd_values(view: &AdapterView<'_>) -> usize {
    let config = view.checkpoint.files.configs.get(CONFIG);
    config.map_or(0, |config| crate::adapter::targets::Targets::read(config).odd.len())
}
