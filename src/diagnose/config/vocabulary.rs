//! C018 tokens-beyond-embeddings: the tokenizer has tokens that the embeddings have no row for.

use super::{added_tokens, embedding_rows};
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "C018", name: "tokens-beyond-embeddings", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Load, Purpose::Merge],
    is_silent: true,
    looks_for: "Ids of added tokens (tokenizer_config.json, added_tokens.json) against the rows of the \
                embeddings.",
    why: "A token without a row cannot be looked up: on a GPU the run ends in a device-side assert, on a CPU \
          in an index error, the first time that the token appears. Training added tokens, and the \
          embeddings were not resized or not saved.",
    messages: &[
        message("IndexError: index out of range in self", "torch on the CPU"),
        message("Assertion `srcIndex < srcSelectDimSize` failed", "torch on CUDA"),
        message("Token id {n} is out of vocabulary", "vLLM"),
    ],
    outside: "A device-side assert has other causes too: labels beyond the vocabulary, positions beyond the \
              context.",
    remedy: "Resize the embeddings to the tokenizer (`resize_token_embeddings`) and train them, or use the \
             tokenizer of the base.",
    sources: "unsloth#1804 #3444, peft#1035; measured",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((rows, name)) = embedding_rows(subject) else { return Vec::new() };
    let mut beyond: Vec<(u64, String)> =
        added_tokens(subject.files()).into_iter().filter(|(id, _)| *id >= rows).collect();
    beyond.sort();
    beyond.dedup();
    let (Some((first, text)), Some((last, _))) = (beyond.first(), beyond.last()) else { return Vec::new() };
    let title = format!(
        "The tokenizer goes up to id {last}, and the embeddings have {} rows: {} without a row, first {} \
         ({first}).",
        units::exact(rows),
        units::plural(beyond.len(), "token"),
        escape(&crate::name::cut_middle(text, 40)),
    );
    let file = if subject.json("tokenizer_config.json").is_some() {
        "tokenizer_config.json"
    } else {
        "added_tokens.json"
    };
    let seen = Seen::config(file, "added_tokens", format!("highest id {last}"));
    vec![Finding::new(rule, title).seen(seen).seen(Seen::tensors(Some(name), format!("{rows} rows")))]
}
