//! E011 gguf-adapter-unexpected-name: tensors that llama.cpp's converter of adapters stops at.

use super::engines;
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "E011", name: "gguf-adapter-unexpected-name", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Merge],
    looks_for: "Tensors of an adapter that are no lora_A, lora_B, base_layer weight or norm.",
    why: "llama.cpp's converter of adapters knows factors, and passes over base_layer weights. It stops at the first \
          other tensor: saved embeddings or head, magnitudes of DoRA, token rows, keys with an adapter's name in them.",
    messages: &[
        message(
            "Unexpected name '{key}': Not a lora_A or lora_B tensor",
            "llama.cpp convert_lora_to_gguf.py",
        ),
        message(
            "Embeddings is present in the adapter. This can be due to new tokens added during fine tuning",
            "llama.cpp convert_lora_to_gguf.py since 2024-10",
        ),
        message("Error: unrecognized tensor {key}", "llama.cpp convert-lora-to-ggml.py, up to 2024"),
        message("Can not map tensor '{key}'", "llama.cpp converters"),
    ],
    outside: "",
    remedy: "Merge the adapter and convert the merged model to GGUF.",
    sources: "llama.cpp#11554, llama.cpp#3319, llama.cpp#3651, llama.cpp#5602, llama.cpp#10551; its converter's source",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

/// Returns true for a key that the converter takes or passes over. Source: `convert_lora_to_gguf.py`, `get_tensors`.
fn is_taken(key: &str) -> bool {
    const TAKEN: [&str; 7] = [
        ".lora_A.weight",
        ".lora_B.weight",
        ".lora_embedding_A",
        ".lora_embedding_B",
        ".base_layer.weight",
        "_layernorm",
        ".norm",
    ];
    TAKEN.iter().any(|part| key.contains(part))
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    engines::lora(view)?;
    let odd = engines::tensors(view, |key| !is_taken(key));
    let first = *odd.first()?;
    let key = view.checkpoint.files.tensor_name(first);
    let title = format!(
        "llama.cpp's converter of adapters stops at {}, such as {}.",
        units::plural(odd.len(), "tensor"),
        engines::shown(&key)
    );
    Some(engines::finding(rule, view, &odd, title).fill("key", key))
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    engines::merge(subject, finding)
}
