//! C014 rope-keys-missing: the scaling of the rotary positions lacks a number that its kind needs.

use serde_json::{Map, Value};

use super::config_of;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "C014", name: "rope-keys-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "rope_scaling or rope_parameters of a known kind without the keys of that kind, or that is no \
                object.",
    why: "Each kind of rotary scaling needs its numbers: linear and dynamic a factor, llama3 two frequencies \
          and the length it was trained with. transformers refuses the config where one is missing.",
    messages: &[
        message(
            "Missing required keys in `rope_scaling` for 'rope_type'='{any}': {any}",
            "transformers 4.43 to 4.57",
        ),
        message(
            "Missing required keys in `rope_parameters` for 'rope_type'='{any}': {any}",
            "transformers 5",
        ),
        message(
            "`rope_scaling` must be a dictionary with two fields, `type` and `factor`, got {any}",
            "transformers before 4.43",
        ),
        message(
            "`rope_scaling`'s type field must be one of ['linear', 'dynamic'], got {any}",
            "transformers before 4.43",
        ),
    ],
    outside: "transformers before 4.43 knows linear and dynamic alone and refuses right configs of newer \
              models.",
    remedy: "Copy rope_scaling (or rope_parameters) from the config of the base.",
    sources: "llama3#299, LlamaFactory#4962; measured with transformers 4.37, 4.46, 5.23",
    look,
    ..Rule::new(&KIND)
};

/// Keys that a kind needs. Source: transformers 5.23, `modeling_rope_utils.py`; for yarn the original length
/// has a default.
const NEEDED: [(&str, &[&str]); 5] = [
    ("linear", &["factor"]),
    ("dynamic", &["factor"]),
    ("yarn", &["factor"]),
    ("longrope", &["short_factor", "long_factor"]),
    ("llama3", &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]),
];

/// Returns the object that describes the rotary positions and the key it stands under.
pub(super) fn described(config: &Map<String, Value>) -> Option<(&'static str, &Value)> {
    let filled = |key| config.get(key).filter(|value| !value.is_null()).map(|value| (key, value));
    filled("rope_parameters").or_else(|| filled("rope_scaling"))
}

/// Returns the kind of scaling.
pub(super) fn kind_of(object: &Value) -> Option<&str> {
    object.get("rope_type").or_else(|| object.get("type")).and_then(Value::as_str)
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((key, value)) = config_of(subject).and_then(described) else { return Vec::new() };
    if !value.is_object() {
        let title =
            format!("{key} is no object: {}.", escape(&crate::name::cut_middle(&value.to_string(), 60)));
        return vec![Finding::new(rule, title).seen(Seen::config("config.json", key, value.to_string()))];
    }
    let Some((kind, needed)) =
        kind_of(value).and_then(|kind| NEEDED.iter().find(|(known, _)| *known == kind))
    else {
        return Vec::new();
    };
    let top =
        |name: &str| config_of(subject).is_some_and(|config| config.get(name).is_some_and(Value::is_number));
    let is_there = |name: &str| {
        value.get(name).is_some_and(|value| !value.is_null())
            || (name.starts_with("original_max") && top(name))
    };
    let missing: Vec<&str> = needed.iter().copied().filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let title = format!(
        "{key} of kind {kind} lacks {} of {} keys: {}.",
        missing.len(),
        needed.len(),
        missing.join(", ")
    );
    vec![Finding::new(rule, title).seen(Seen::config("config.json", key, value.to_string()))]
}
