//! A030 adapter-fused-half: only the gate or only the up projection of experts, which transformers 5 fuses.

use super::views;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "A030", name: "adapter-fused-half", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    milder: &[crate::diagnose::rule::Purpose::Merge],
    looks_for: "A base with experts of their own that transformers 5 fuses, and target_modules with one of gate_proj and \
                up_proj (w1 and w3 of Mixtral).",
    why: "transformers 5 holds gate and up of all experts in one gate_up_proj. PEFT since 0.19 turns adapters of the old \
          layout into the new one, and stops where only one of the two halves has an adapter.",
    messages: &[message(
        "Cannot convert PEFT target(s) {any} without also targeting {any} because they are fused into {any}.",
        "PEFT since 0.19 with transformers 5",
    )],
    outside: "With transformers 4 the experts stay apart, and the adapter loads.",
    remedy: "Merge it here, where experts stay apart, or load it with transformers 4.",
    sources: "PEFT 0.21 and transformers 5.23 `_convert_peft_config_moe`, `_MODEL_TO_CONVERSION_PATTERN`",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Model types whose experts transformers 5 fuses in the manner of Qwen2-MoE. Source: transformers 5.23,
/// `conversion_mapping.py`; PEFT 0.21 adds mixtral, and leaves `qwen2_moe` itself out.
const LIKE_QWEN2: [&str; 20] = [
    "qwen3_moe",
    "qwen3_next",
    "qwen3_omni_moe",
    "qwen3_omni_moe_thinker",
    "qwen3_omni_moe_text",
    "afmoe",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "dots1",
    "ernie4_5_moe",
    "glm4_moe",
    "glm4_moe_lite",
    "glm4v_moe",
    "longcat_flash",
    "solar_open",
    "hunyuan_v1_moe",
    "flex_olmo",
    "olmoe",
    "exaone_moe",
];
const LIKE_MIXTRAL: [&str; 3] = ["mixtral", "minimax", "minimax_m2"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let base = &view.held?.base;
    let model_type = base.files.configs.get("config.json")?.get("model_type")?.as_str()?;
    let halves = if LIKE_QWEN2.contains(&model_type) {
        ["gate_proj", "up_proj"]
    } else if LIKE_MIXTRAL.contains(&model_type) {
        ["w1", "w3"]
    } else {
        return None;
    };
    let list = view.config("target_modules")?.as_array()?;
    let names = |half: &str| {
        list.iter()
            .filter_map(serde_json::Value::as_str)
            .any(|target| crate::adapter::targets::ends_with(target, half))
    };
    let (here, lacking) = match halves.map(names) {
        [true, false] => (halves[0], halves[1]),
        [false, true] => (halves[1], halves[0]),
        _ => return None,
    };
    let title = format!(
        "target_modules has {here} and not {lacking}: {model_type} holds both in one gate_up_proj since transformers 5, \
         and PEFT does not convert half of it."
    );
    let value = view.config("target_modules").map(views::short).unwrap_or_default();
    Some(
        Finding::new(rule, title)
            .about(view.about)
            .seen(Seen::config(views::CONFIG, "target_modules", value))
            .seen(Seen::config("config.json", "model_type", model_type)),
    )
}

/// The merge: here experts stay apart.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let applied = views::of(subject, finding.about)
        .and_then(|view| Some(view.alignment()?.modules.iter().all(|module| module.is_applied)));
    let merge = Fix::new("merge it: the base keeps its experts apart, and so does the merge", Act::Merge);
    let merge = (applied == Some(true)).then_some(merge);
    merge.into_iter().chain([Fix::advice(finding.rule.remedy)]).collect()
}
