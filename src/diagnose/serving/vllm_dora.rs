//! E002 vllm-dora: vLLM does not serve DoRA.

use super::engines;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "E002", name: "vllm-dora", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "use_dora true in the config.",
    why: "DoRA rescales the rows of the base's weight, and vLLM only adds products of two factors to a layer's output.",
    messages: &[
        message("vLLM does not yet support DoRA.", "vLLM since 0.6"),
        message("DoRA adapter loading is not implemented yet.", "vLLM, versions that read its config"),
        message("{key}.lora_magnitude_vector is unsupported LoRA weight", "vLLM before 0.6"),
    ],
    outside: "",
    remedy: "Merge the adapter into its base and serve the result as a model of its own.",
    sources: "vLLM 0.33 `lora/peft_helper.py`, `lora/lora_model.py`",
    look,
    fixes: engines::merge,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    engines::lora(view).filter(|_| view.flag("use_dora"))?;
    let count = view.facts.modules.len();
    let title =
        format!("use_dora is true ({}), and vLLM serves no DoRA.", crate::units::plural(count, "module"));
    let seen = Seen::config(engines::CONFIG, "use_dora", "true");
    Some(Finding::new(rule, title).about(view.about).seen(seen))
}
