//! C020 stop-token-disagrees: the tokenizer ends a text with a token at which generation does not stop.

use serde_json::Value;

use super::{added_tokens, end_token};
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "C020", name: "stop-token-disagrees", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Vllm],
    is_silent: true,
    looks_for: "The id of eos_token in tokenizer_config.json against eos_token_id of generation_config.json \
                and config.json.",
    why: "Generation stops at eos_token_id, and the chat template ends an answer with the tokenizer's \
          eos_token. Where they differ the model answers and goes on talking. A merge that takes the \
          tokenizer from one model and the configs from another does this.",
    remedy: "Set eos_token_id to the tokenizer's, or keep both in a list in generation_config.json.",
    sources: "unsloth#1804 #3444 #219 #188, peft#1035",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Returns the ids of a value that is a number or a list of them.
fn ids(value: Option<&Value>) -> Vec<u64> {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).collect(),
        Some(one) => one.as_u64().into_iter().collect(),
        None => Vec::new(),
    }
}

/// Returns the tokenizer's end of text with its id, and the ids at which generation stops.
fn stops(subject: &Subject<'_>) -> Option<(String, u64, Vec<u64>)> {
    subject.model()?;
    let files = subject.files();
    let text = end_token(files)?.to_owned();
    let (id, _) = added_tokens(files).into_iter().find(|(_, token)| *token == text)?;
    let of = |file: &str| ids(subject.json(file).and_then(|config| config.get("eos_token_id")));
    let generation = of("generation_config.json");
    // generation_config.json wins where it says something.
    let stops =
        if generation.is_empty() { ids(subject.files().configs.model("eos_token_id")) } else { generation };
    (!stops.is_empty() && !stops.contains(&id)).then_some((text, id, stops))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((text, id, stops)) = stops(subject) else { return Vec::new() };
    let stops: Vec<String> = stops.iter().map(u64::to_string).collect();
    let stops = stops.join(", ");
    let title =
        format!("The tokenizer ends with {} (id {id}), and generation stops at {stops} only.", escape(&text));
    let seen = Seen::config("tokenizer_config.json", "eos_token", text);
    vec![Finding::new(rule, title).seen(seen).seen(Seen::config(
        "generation_config.json",
        "eos_token_id",
        stops,
    ))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    use crate::diagnose::finding::Act;
    let Some((_, id, mut all)) = stops(subject) else { return vec![Fix::advice(finding.rule.remedy)] };
    all.insert(0, id);
    let edit = super::set("generation_config.json", "eos_token_id", Some(all.into()));
    vec![Fix::new(format!("stop at {id} as well: add it to generation_config.json"), Act::Edit(vec![edit]))]
}
