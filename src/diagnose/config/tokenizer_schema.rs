//! C019 tokenizer-of-version-5: the tokenizer's config is written as only transformers 5 reads it.

use serde_json::{Value, json};

use super::set;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "C019", name: "tokenizer-of-version-5", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora, Purpose::Vllm],
    looks_for: "tokenizer_config.json with the class TokenizersBackend, or with extra_special_tokens as a \
                list.",
    why: "transformers 5 saves tokenizers in a new form. Version 4, and engines that run with it, do not \
          know the class, and take extra_special_tokens for an object.",
    messages: &[
        message(
            "Tokenizer class TokenizersBackend does not exist or is not currently imported.",
            "transformers 4",
        ),
        message(
            "AttributeError: 'list' object has no attribute 'keys'",
            "transformers 4, in tokenization_utils_base.py",
        ),
    ],
    outside: "With transformers 5 the tokenizer loads as it is.",
    remedy: "Copy tokenizer_config.json from the base if no token was added, or write it in the old form, \
             which version 5 reads too.",
    sources: "Automodel#2653; transformers 5.23 source, tokenization_utils_base.py",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const FILE: &str = "tokenizer_config.json";
const BACKEND: &str = "TokenizersBackend";

/// Returns true if the class is new, and the list of tokens if it is one.
fn new_form<'a>(subject: &Subject<'a>) -> Option<(bool, Option<&'a Value>)> {
    let config = subject.json(FILE)?;
    let is_backend = config.get("tokenizer_class").and_then(Value::as_str) == Some(BACKEND);
    let list = config.get("extra_special_tokens").filter(|value| value.is_array());
    (is_backend || list.is_some()).then_some((is_backend, list))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((is_backend, list)) = new_form(subject) else { return Vec::new() };
    let mut words = Vec::new();
    let mut places = Vec::new();
    if is_backend {
        words.push(format!("class {BACKEND}"));
        places.push(Seen::config(FILE, "tokenizer_class", BACKEND));
    }
    if let Some(list) = list.and_then(Value::as_array) {
        let value = format!("a list of {}", list.len());
        words.push(format!("extra_special_tokens {value}"));
        places.push(Seen::config(FILE, "extra_special_tokens", value));
    }
    let title = format!("{FILE} is of transformers 5: {}.", words.join(", "));
    vec![places.into_iter().fold(Finding::new(rule, title), Finding::seen)]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let Some((is_backend, list)) = new_form(subject) else { return Vec::new() };
    let mut edits = Vec::new();
    if is_backend {
        edits.push(set(FILE, "tokenizer_class", Some(json!("PreTrainedTokenizerFast"))));
    }
    if let Some(list) = list {
        edits.push(set(FILE, "extra_special_tokens", None));
        edits.push(set(FILE, "additional_special_tokens", Some(list.clone())));
    }
    vec![
        Fix::new("write tokenizer_config.json in the form that versions 4 and 5 read", Act::Edit(edits)),
        Fix::advice("copy tokenizer_config.json from the base if the training added no token"),
    ]
}
