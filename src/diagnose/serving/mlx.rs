//! E014 mlx-incompatible-tensors: an adapter under mlx-lm's file name with PEFT's keys or config.

use super::engines;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "E014", name: "mlx-incompatible-tensors", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load],
    is_silent: true,
    looks_for: "adapters.safetensors, mlx-lm's file name, with keys lora_A and lora_B, or a config without \
                lora_parameters.",
    why: "mlx-lm names its factors lora_a [in, r] and lora_b [r, out] and takes a scale, not alpha. PEFT's factors under \
          its file name have other keys and are transposed: versions up to 0.31 drop them silently, later ones stop.",
    messages: &[
        message("Adapter at {file} contains incompatible tensors", "mlx-lm since 0.32"),
        message(
            "'types.SimpleNamespace' object has no attribute 'num_layers'",
            "mlx-lm, with PEFT's adapter_config.json",
        ),
        message(
            "'types.SimpleNamespace' object has no attribute 'lora_parameters'",
            "mlx-lm, with PEFT's adapter_config.json",
        ),
    ],
    outside: "A PEFT adapter that was given to mlx-lm under its own name: its files are right for PEFT.",
    remedy: "Merge the adapter and convert the merged model with mlx_lm.convert. By hand: transpose both factors, name them \
             lora_a and lora_b without base_model.model., and set scale to alpha / r.",
    sources: "mlx-lm#1725, mlx-lm#1727; mlx-lm `tuner/utils.py` (load_adapters), `tuner/lora.py`",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    const FILE: &str = "adapters.safetensors";
    view.checkpoint.files.shards.iter().find(|shard| shard.name == FILE)?;
    let foreign = engines::tensors(view, |key| key.contains(".lora_A") || key.contains(".lora_B"));
    if let Some(&first) = foreign.first() {
        let key = view.checkpoint.files.tensor_name(first);
        let title = format!(
            "{FILE} is mlx-lm's file, and {} have PEFT's keys, such as {}.",
            units::plural(foreign.len(), "tensor"),
            engines::shown(&key)
        );
        return Some(engines::finding(rule, view, &foreign, title));
    }
    let config = view.checkpoint.files.configs.get(engines::CONFIG)?;
    let lacks = ["num_layers", "lora_parameters"].into_iter().find(|key| config.get(*key).is_none())?;
    // An adapter of whole weights has no factors.
    if config.get("fine_tune_type").and_then(|kind| kind.as_str()) == Some("full") {
        return None;
    }
    let title =
        format!("{FILE} is mlx-lm's file, and {} has no {lacks}, which mlx-lm reads.", engines::CONFIG);
    Some(Finding::new(rule, title).about(view.about).seen(Seen::config(engines::CONFIG, lacks, "not there")))
}
