//! C012 model-type-unknown: a type of model that transformers does not know, as far as we know.

use super::config_of;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "C012", name: "model-type-unknown", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A model_type that is not among those of transformers 5.23, in a config without auto_map.",
    why: "The architecture is newer than the transformers that loads it, or the name has a typing error. \
          Older versions than 5.23 know fewer types: upgrading helps where the name is right.",
    messages: &[message(
        "The checkpoint you are trying to load has model type `{any}` but Transformers does not recognize \
         this architecture.",
        "transformers since 4.39",
    )],
    outside: "The installed transformers may be older than the model: `transformers_version` in config.json \
              says which wrote it.",
    remedy: "Upgrade transformers, or correct model_type.",
    sources: "transformers 5.23, CONFIG_MAPPING_NAMES",
    look,
    ..Rule::new(&KIND)
};

/// The types of transformers 5.23, one a line, ascending.
static KNOWN: &str = include_str!("model_types.txt");

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(config) = config_of(subject) else { return Vec::new() };
    let Some(kind) = config.get("model_type").and_then(|kind| kind.as_str()) else { return Vec::new() };
    if KNOWN.lines().any(|known| known == kind) || config.contains_key("auto_map") {
        return Vec::new();
    }
    let like = KNOWN.lines().find(|known| is_nearly(known, kind));
    let like = like.map_or(String::new(), |known| format!("; {known} is nearly the same"));
    let title = format!(
        "model_type {} is not among the {} types of transformers 5.23{like}.",
        escape(kind),
        KNOWN.lines().count()
    );
    vec![Finding::new(rule, title).fill("any", kind).seen(Seen::config("config.json", "model_type", kind))]
}

/// Returns true if two names differ in case, in `-` and `_`, or in one character.
fn is_nearly(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', '.', ' '], "");
    let (a, b) = (plain(a), plain(b));
    if a == b {
        return true;
    }
    let start = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let rest = a.len().min(b.len()) - start;
    let end = a.bytes().rev().zip(b.bytes().rev()).take_while(|(x, y)| x == y).count().min(rest);
    a.len().max(b.len()) - start - end <= 1 && b.len() > 3
}
