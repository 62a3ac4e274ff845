//! C015 rope-schema-new: the rotary positions are written as only version 5 reads them.

use serde_json::Value;

use super::rope_keys::kind_of;
use super::{config_of, set};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "C015", name: "rope-schema-new", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "rope_parameters with a rope_theta other than 10000 or with a scaling, and no rope_theta at \
                the top of config.json.",
    why: "transformers 5 moved rope_theta and rope_scaling into rope_parameters. Version 4 and engines built \
          on it do not look there and take 10000 and no scaling: the model loads and its positions are wrong.",
    messages: &[
        message(
            "Unrecognized keys in `rope_scaling` for 'rope_type'='{any}': {any}",
            "transformers 4.43 to 4.57",
        ),
        message(
            "`rope_scaling` must be a dictionary with two fields, `type` and `factor`, got {any}",
            "transformers before 4.43",
        ),
        message("KeyError: 'rope_theta'", "code written for transformers 4"),
        message("object has no attribute 'rope_theta'", "code written for transformers 4, with version 5"),
    ],
    outside: "Nothing is wrong for transformers 5 or later.",
    remedy: "Write rope_theta and rope_scaling at the top as well: version 5 reads both places.",
    sources: "transformers 5.23 source, modeling_rope_utils.py; measured",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// The base that version 4 takes where none is said.
const DEFAULT_THETA: f64 = 10000.0;

/// Returns `rope_parameters` if version 4 misses something in them.
fn missed<'a>(subject: &Subject<'a>) -> Option<&'a Value> {
    let config = config_of(subject)?;
    let parameters = config.get("rope_parameters").filter(|value| value.is_object())?;
    let theta = parameters.get("rope_theta").and_then(Value::as_f64)?;
    let is_scaled = kind_of(parameters).is_some_and(|kind| kind != "default");
    let has = |key: &str| config.get(key).is_some_and(|value| !value.is_null());
    let theta_missed = theta != DEFAULT_THETA && !has("rope_theta");
    let scaling_missed = is_scaled && !has("rope_scaling");
    (theta_missed || scaling_missed).then_some(parameters)
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(parameters) = missed(subject) else { return Vec::new() };
    let theta = parameters.get("rope_theta").map_or_else(String::new, Value::to_string);
    let kind = crate::name::escape(kind_of(parameters).unwrap_or("default")).into_owned();
    let title = format!(
        "rope_theta {theta} and kind {kind} stand in rope_parameters, which transformers 4 does not read."
    );
    vec![Finding::new(rule, title).seen(Seen::config("config.json", "rope_parameters.rope_theta", theta))]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let Some(parameters) = missed(subject) else { return Vec::new() };
    let mut edits = vec![set("config.json", "rope_theta", parameters.get("rope_theta").cloned())];
    if kind_of(parameters).is_some_and(|kind| kind != "default") {
        let mut scaling = parameters.clone();
        if let Some(object) = scaling.as_object_mut() {
            object.remove("rope_theta");
        }
        edits.push(set("config.json", "rope_scaling", Some(scaling)));
    }
    vec![Fix::new("write rope_theta and rope_scaling at the top of config.json as well", Act::Edit(edits))]
}
