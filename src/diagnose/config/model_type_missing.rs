//! C011 model-type-missing: `config.json` does not say which architecture it describes.

use serde_json::Value;

use super::config_of;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "C011", name: "model-type-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A config.json without model_type and without auto_map.",
    why: "AutoConfig chooses the architecture by model_type. The config is that of another program, or the \
          key was lost in an edit.",
    messages: &[message(
        "Unrecognized model in {any}. Should have a `model_type` key in its config.json",
        "transformers",
    )],
    remedy: "Set model_type to that of the base (`llama`, `qwen2` …). If the weights are of another program, \
             convert them.",
    sources: "transformers 5.23 source",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Names of architectures whose type follows without doubt.
const TYPES: [(&str, &str); 8] = [
    ("LlamaForCausalLM", "llama"),
    ("MistralForCausalLM", "mistral"),
    ("MixtralForCausalLM", "mixtral"),
    ("Qwen2ForCausalLM", "qwen2"),
    ("Qwen3ForCausalLM", "qwen3"),
    ("Phi3ForCausalLM", "phi3"),
    ("GemmaForCausalLM", "gemma"),
    ("Gemma2ForCausalLM", "gemma2"),
];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(config) = config_of(subject) else { return Vec::new() };
    let is_of_transformers = subject.files().container.name() != "gguf" && !subject.has_file("params.json");
    if config.get("model_type").is_some_and(Value::is_string)
        || config.contains_key("auto_map")
        || !is_of_transformers
    {
        return Vec::new();
    }
    let has = subject
        .files()
        .configs
        .architecture()
        .map_or("no architecture".into(), |name| escape(name).into_owned());
    let title = format!("config.json has {} keys, {has}, and no model_type.", config.len());
    vec![Finding::new(rule, title).seen(Seen::config("config.json", "model_type", "absent"))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let architecture = subject.files().configs.architecture();
    let known = TYPES.iter().find(|(name, _)| Some(*name) == architecture);
    known.map_or_else(
        || vec![Fix::advice(finding.rule.remedy)],
        |(_, kind)| {
            vec![super::set_config(format!("set model_type to {kind}"), "model_type", (*kind).into())]
        },
    )
}
