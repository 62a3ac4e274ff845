//! E003 vllm-unsupported-field: other variations of LoRA that vLLM refuses by their field.

use super::engines;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "E003", name: "vllm-unsupported-field", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "bias other than none, lora_bias, alora_invocation_tokens, layer_replication, use_bdlora, use_qalora, or an \
                init_lora_weights that changes the base.",
    why: "vLLM adds a product of two factors to a layer's output and nothing else. What these fields ask for would be left \
          out, so recent versions refuse the adapter; older ones served it wrongly.",
    messages: &[
        message("vLLM does not support LoRA bias (lora_bias).", "vLLM since about 0.30"),
        message("vLLM does not support Activated LoRA (aLoRA).", "vLLM since about 0.30"),
        message("vLLM does not support layer_replication.", "vLLM since about 0.30"),
        message("vLLM does not support block-diagonal LoRA (BD-LoRA).", "vLLM since about 0.30"),
        message("vLLM does not support QALoRA.", "vLLM since about 0.30"),
        message("vLLM does not support init_lora_weights={any}.", "vLLM since about 0.30"),
        message("Adapter bias is not supported.", "vLLM since 0.10"),
        message("Adapter bias cannot be used without bias_enabled.", "vLLM 0.6 to 0.10"),
    ],
    outside: "",
    remedy: "Merge the adapter into its base, or convert it to a plain LoRA with PEFT, and serve that.",
    sources: "vLLM 0.33 `lora/peft_helper.py`",
    look,
    fixes: engines::merge,
    ..Rule::new(&KIND)
};

/// Fields that are refused when they are set.
const REFUSED: [&str; 5] =
    ["lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora"];
/// Initial values that leave the base as it is. Source: vLLM 0.33, `_init_is_supported`.
const HARMLESS: [&str; 5] = ["gaussian", "eva", "orthogonal", "mica", "lora_ga"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn refused(view: &AdapterView<'_>) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = REFUSED.into_iter().filter(|key| engines::is_set(view, key)).collect();
    if view.config("bias").and_then(|bias| bias.as_str()).is_some_and(|bias| bias != "none") {
        found.push("bias");
    }
    let init = view.config("init_lora_weights").and_then(|init| init.as_str());
    if init.is_some_and(|init| !HARMLESS.contains(&init.to_ascii_lowercase().as_str())) {
        found.push("init_lora_weights");
    }
    found
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    engines::lora(view)?;
    let refused = refused(view);
    let first = refused.first()?;
    let value = |key: &str| view.config(key).map(engines::short).unwrap_or_default();
    let more = match refused.len() {
        1 => String::new(),
        count => format!(" (and {} more)", crate::units::plural(count - 1, "field")),
    };
    let title = format!("vLLM refuses this adapter by its config: {first} is {}{more}.", value(first));
    let finding = Finding::new(rule, title).about(view.about);
    Some(
        refused
            .iter()
            .fold(finding, |finding, key| finding.seen(Seen::config(engines::CONFIG, *key, value(key)))),
    )
}
