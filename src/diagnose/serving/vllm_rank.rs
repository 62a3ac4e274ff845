//! E004 vllm-rank-over-limit: the rank is above what vLLM is started with.

use serde_json::Value;

use super::engines;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "E004", name: "vllm-rank-over-limit", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "A rank, in r or rank_pattern, above 16; above 512 no setting helps.",
    why: "vLLM reserves memory for factors of one rank when it starts: 16, unless --max-lora-rank says another. An adapter \
          with a higher rank is refused when it is loaded.",
    messages: &[message("LoRA rank {n} is greater than max_lora_rank {n}.", "vLLM, all versions")],
    outside: "The --max-lora-rank that the server was started with.",
    remedy: "Start vLLM with --max-lora-rank set to one of 1, 8, 16, 32, 64, 128, 256, 320, 512, the next one that is not \
             below the rank; above 512, merge the adapter.",
    sources: "vLLM 0.33 `config/lora.py`, `lora/peft_helper.py`",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// What --max-lora-rank may be. Source: vLLM 0.33.
const ALLOWED: [u64; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];
/// What it is unless it is said.
const DEFAULT: u64 = 16;

/// Returns the highest rank, by config and tensors.
fn rank(view: &AdapterView<'_>) -> Option<u64> {
    engines::lora(view)?;
    let pattern = view.config("rank_pattern").and_then(Value::as_object);
    let patterned = pattern.into_iter().flat_map(|pattern| pattern.values().filter_map(Value::as_u64));
    patterned.chain(view.facts.rank).max()
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let rank = rank(view).filter(|&rank| rank > DEFAULT)?;
    let (title, severity) = match ALLOWED.iter().find(|&&allowed| allowed >= rank) {
        Some(limit) => (
            format!(
                "The rank is {rank}, and vLLM takes {DEFAULT} unless it is started with --max-lora-rank {limit}."
            ),
            Severity::Warning,
        ),
        None => (format!("The rank is {rank}, and vLLM takes 512 at most."), Severity::Error),
    };
    let seen = Seen::config(engines::CONFIG, "r", view.config("r").map(engines::short).unwrap_or_default());
    Some(
        Finding::new(rule, title).about(view.about).severity(severity).fill("n", rank.to_string()).seen(seen),
    )
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    if finding.is_error() {
        return engines::merge(subject, finding);
    }
    vec![Fix::advice(finding.rule.remedy)]
}
