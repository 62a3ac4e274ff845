//! T001 dtype-name-unknown: `config.json` names a dtype that torch does not have.

use super::config_of_tensors::torch_name;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::plan::edit::Edit;
use crate::problem::{ProblemKind, Severity};
use serde_json::Value;

static KIND: ProblemKind =
    ProblemKind { code: "T001", name: "dtype-name-unknown", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Vllm],
    looks_for: "`dtype` and `torch_dtype` of `config.json`, at the top and in nested configs.",
    why: "transformers takes the word as a name in torch and stops where there is none: `float4` and `int4` \
          are no dtypes of torch.",
    messages: &[message("module 'torch' has no attribute '{any}'", "transformers, all versions")],
    outside: "A torch that is older than the code says it of its newer names, and so does any other \
              misspelled name.",
    remedy: "Write the dtype that most weights have.",
    sources: "reproduced on 4.37, 4.46, 4.57, 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Names that configs use and torch has; `auto` is left to the loader.
const NAMES: [&str; 31] = [
    "auto",
    "bfloat16",
    "bool",
    "cfloat",
    "complex64",
    "complex128",
    "double",
    "float",
    "float16",
    "float32",
    "float64",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "half",
    "int",
    "int16",
    "int32",
    "int64",
    "int8",
    "uint8",
    "chalf",
    "complex32",
    "float4_e2m1fn_x2",
    "long",
    "short",
    "uint16",
    "uint32",
    "uint64",
];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let found = odd(subject);
    let Some((path, word)) = found.first() else { return Vec::new() };
    let title = format!("config.json says {} {}, and torch has no such dtype.", path.join("."), escape(word));
    let mut finding = Finding::new(rule, title).fill("any", word.clone());
    for (path, word) in &found {
        finding = finding.seen(Seen::config("config.json", path.join("."), word.clone()));
    }
    vec![finding]
}

/// Returns the places of dtypes that torch does not have, with their words.
fn odd(subject: &Subject<'_>) -> Vec<(Vec<String>, String)> {
    let Some(config) = subject.json("config.json").and_then(Value::as_object) else { return Vec::new() };
    let mut found = Vec::new();
    let mut check = |above: Option<&str>, value: &Value| {
        for key in ["dtype", "torch_dtype"] {
            let Some(word) = value.get(key).and_then(Value::as_str) else { continue };
            if !NAMES.contains(&word.trim_start_matches("torch.")) {
                let path = above.into_iter().chain([key]).map(str::to_owned).collect();
                found.push((path, word.to_owned()));
            }
        }
    };
    for (key, value) in
        config.iter().filter(|(key, _)| key.ends_with("_config") && *key != "quantization_config")
    {
        check(Some(key), value);
    }
    if let Some(config) = subject.json("config.json") {
        check(None, config);
    }
    found.reverse();
    found
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let summary = subject.checkpoint.summary();
    let dense = summary.formats.iter().find(|sum| !sum.is_quantized);
    let specs = subject.checkpoint.layers.specs();
    let dtype =
        dense.and_then(|sum| specs.iter().find(|spec| spec.label() == sum.label)).and_then(|s| s.dtype);
    let word = dtype.filter(|dtype| dtype.is_float()).and_then(torch_name);
    let edit = word.map(|word| {
        let set = |(path, _)| Edit::Json { file: "config.json".into(), path, value: Some(word.into()) };
        let edits = odd(subject).into_iter().map(set).collect();
        Fix::new(format!("write {word} into the config, as most plain weights have it"), Act::Edit(edits))
    });
    edit.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
