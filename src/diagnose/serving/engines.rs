//! Engines: what the rules about vLLM, llama.cpp and mlx-lm share.

use serde_json::Value;

use crate::adapter::keys::{Key, Tensor};
use crate::diagnose::adapter::{base_changed, bias_without_base, layers_replicated};
use crate::diagnose::finding::{Act, Finding, Fix, SEEN_MAX, Seen};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::{About, AdapterView, Subject};
use crate::name::{cut_middle, escape};
use crate::units;

/// The file that says what an adapter is.
pub(super) const CONFIG: &str = "adapter_config.json";

/// Returns the config of a LoRA of PEFT; of other methods and other tools' adapters nothing.
pub(super) fn lora<'a>(view: &AdapterView<'a>) -> Option<&'a Value> {
    let config = view.checkpoint.files.configs.get(CONFIG)?;
    (view.facts.declared.as_deref() == Some("LORA")).then_some(config)
}

/// Returns true if a field is set to something: not null, not false, not empty.
pub(super) fn is_set(view: &AdapterView<'_>, key: &str) -> bool {
    view.config(key).is_some_and(|value| match value {
        Value::Bool(is) => *is,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// Returns a value of a config in few characters.
pub(super) fn short(value: &Value) -> String {
    shown(&value.to_string())
}

/// Returns a text without control characters, and short enough for a sentence.
pub(super) fn shown(text: &str) -> String {
    const WIDTH: usize = 90;
    let text = escape(text);
    cut_middle(&text, WIDTH).into_owned()
}

/// Returns the tensors of an adapter that are wanted, by their names.
pub(super) fn tensors(view: &AdapterView<'_>, is_wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let files = &view.checkpoint.files;
    (0..files.tensors.len() as u32).filter(|&tensor| is_wanted(&files.tensor_name(tensor))).collect()
}

/// Returns the part that a key is of, and the module's path: `lora_A`, and `None` for tensors of the module itself.
pub(super) fn part(key: &str) -> (Option<&'static str>, &str) {
    let parsed = Key::parse(key);
    match parsed.tensor {
        Tensor::Part(mark) => (Some(mark.part), parsed.module),
        Tensor::Saved(_) => (None, parsed.module),
    }
}

/// Returns a finding about some tensors of an adapter.
pub(super) fn finding(
    rule: &'static Rule,
    view: &AdapterView<'_>,
    tensors: &[u32],
    title: String,
) -> Finding {
    let files = &view.checkpoint.files;
    let mut finding = Finding::new(rule, title).about(view.about);
    for &tensor in tensors.iter().take(SEEN_MAX) {
        let record = &files.tensors[tensor as usize];
        let file = Some(files.shards[usize::from(record.shard)].name.clone());
        let value = units::shape(files.shape(record));
        finding = finding.seen(Seen { file, key: None, tensor: Some(files.tensor_name(tensor)), value });
    }
    if tensors.len() > SEEN_MAX {
        let rest = units::plural(tensors.len() - SEEN_MAX, "more tensor");
        finding = finding.seen(Seen { value: format!("and {rest}"), ..Seen::default() });
    }
    finding
}

/// Returns true if a rule says that an adapter cannot be merged as it stands.
fn is_hindered(subject: &Subject<'_>, about: About) -> bool {
    let rules = [&bias_without_base::RULE, &base_changed::RULE, &layers_replicated::RULE];
    rules.iter().any(|rule| (rule.look)(rule, subject).iter().any(|finding| finding.about == about))
}

/// Returns the merge where the adapter is attached and all of it is applied; and the rule's advice.
pub(super) fn merge(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let view = subject.adapters().find(|view| view.about == finding.about);
    let is_whole = view.and_then(|view| view.alignment()).is_some_and(|alignment| {
        let is_applied = alignment.modules.iter().all(|module| module.is_applied);
        !alignment.modules.is_empty() && alignment.unused.is_empty() && is_applied
    });
    let merge = Fix::new("merge it into the base and serve the result", Act::Merge);
    let is_possible = is_whole && !is_hindered(subject, finding.about);
    is_possible.then_some(merge).into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
