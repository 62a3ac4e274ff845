//! C013 heads-do-not-divide: the hidden size is no multiple of the heads, or the heads none of the key-value
//! heads.

use super::config_of;
use crate::checkpoint::config::ONE_RULE;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "C013", name: "heads-do-not-divide", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "hidden_size, num_attention_heads, num_key_value_heads and head_dim of Llama, Mistral, Qwen2 \
                and Qwen3.",
    why: "Without head_dim a head has hidden_size / num_attention_heads values, and each key-value head \
          serves the same number of query heads. Numbers that leave a remainder are of an edited config, and \
          the model cannot be built or run.",
    messages: &[
        message(
            "hidden_size must be divisible by num_heads (got `hidden_size`: {n} and `num_heads`: {n}).",
            "transformers 4",
        ),
        message(
            "The hidden size ({n}) is not a multiple of the number of attention heads ({n}).",
            "transformers",
        ),
        message(
            "StrictDataclassClassValidationError: Class validation error for validator \
             'validate_architecture'",
            "transformers 5",
        ),
        message(
            "Total number of attention heads ({n}) must be divisible by tensor parallel size ({n}).",
            "vLLM",
        ),
    ],
    outside: "vLLM's message about the tensor parallel size is about the number of GPUs, and the files are \
              fine.",
    remedy: "Take the numbers from the config of the base; compare them with the shapes of q_proj and k_proj.",
    sources: "measured with transformers 4.37 and 5.23",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (Some(_), configs) = (config_of(subject), &subject.files().configs) else { return Vec::new() };
    let number = |key| configs.model_int(key).filter(|&number| number > 0);
    if !configs.architecture().is_some_and(|name| ONE_RULE.contains(&name)) {
        return Vec::new();
    }
    let (Some(hidden), Some(heads)) = (number("hidden_size"), number("num_attention_heads")) else {
        return Vec::new();
    };
    let groups = number("num_key_value_heads").unwrap_or(heads);
    let (key, title) = if number("head_dim").is_none() && hidden % heads != 0 {
        let rest = hidden % heads;
        (
            "hidden_size",
            format!("hidden_size {hidden} is no multiple of num_attention_heads {heads} (rest {rest})."),
        )
    } else if heads % groups != 0 {
        let rest = heads % groups;
        let key = "num_key_value_heads";
        (key, format!("num_attention_heads {heads} is no multiple of {key} {groups} (rest {rest})."))
    } else {
        return Vec::new();
    };
    let value = number(key).map_or_else(String::new, |number| number.to_string());
    let heads = Seen::config("config.json", "num_attention_heads", heads.to_string());
    vec![Finding::new(rule, title).seen(Seen::config("config.json", key, value)).seen(heads)]
}
