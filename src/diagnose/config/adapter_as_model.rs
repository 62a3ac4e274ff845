//! C010 adapter-not-model: the folder holds an adapter; as a model it does not load.

use crate::checkpoint::CheckpointKind;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "C010", name: "adapter-not-model", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Vllm],
    looks_for: "adapter_config.json and no config.json.",
    why: "An adapter has no model of its own: it is loaded onto its base. A loader that is given this folder \
          as a model looks for config.json and weights of a model and finds neither.",
    messages: &[
        message(
            "Unrecognized model in {any}. Should have a `model_type` key in its config.json",
            "transformers without PEFT",
        ),
        message("does not appear to have a file named config.json", "transformers, vLLM"),
        message(
            "Error no file named model.safetensors, or pytorch_model.bin, found in directory {any}",
            "transformers 5",
        ),
        message("Error no file named pytorch_model.bin, model.safetensors, {any}", "transformers 4"),
    ],
    remedy: "Load the base and the adapter onto it (`PeftModel.from_pretrained`, vLLM's --lora-modules), or \
             merge it into the base.",
    sources: "measured with transformers 4.37 to 5.23",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let configs = &subject.files().configs;
    let is_adapter = subject.checkpoint.kind == CheckpointKind::Adapter && configs.has("adapter_config.json");
    if !is_adapter || configs.has("config.json") {
        return Vec::new();
    }
    let base =
        configs.get("adapter_config.json").and_then(|config| config.get("base_model_name_or_path")?.as_str());
    let base = base.filter(|base| !base.is_empty()).unwrap_or("not named");
    let title = format!("This is an adapter and no model; its base is {}.", escape(base));
    let seen = Seen::config("adapter_config.json", "base_model_name_or_path", base);
    vec![Finding::new(rule, title).seen(seen)]
}
