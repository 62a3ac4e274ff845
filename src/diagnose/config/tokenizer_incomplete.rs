//! C017 tokenizer-incomplete: the tokenizer's config is here and its vocabulary is not.

use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "C017", name: "tokenizer-incomplete", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Vllm],
    looks_for: "tokenizer_config.json without tokenizer.json, tokenizer.model, vocab.json, or code of its \
                own beside it.",
    why: "A merge or a download took the small files and not the vocabulary. The weights load, and the \
          tokenizer does not.",
    messages: &[
        message("Can't load tokenizer for '{any}'", "transformers"),
        message("Couldn't instantiate the backend tokenizer from one of", "transformers"),
        message(
            "TypeError: expected str, bytes or os.PathLike object, not NoneType",
            "transformers 4, slow tokenizers",
        ),
    ],
    outside: "`Couldn't instantiate the backend tokenizer` also comes where sentencepiece or tiktoken is not \
              installed.",
    remedy: "Copy tokenizer.json or tokenizer.model from the base, unless the training added tokens: then \
             from the run.",
    sources: "transformers source",
    look,
    ..Rule::new(&KIND)
};

/// Files that hold a vocabulary, by how their names begin or end.
const NAMES: [&str; 10] = [
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "tekken.json",
    "vocab.bpe",
];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    const FILE: &str = "tokenizer_config.json";
    let (Some(_), Some(config)) = (subject.model(), subject.json(FILE)) else { return Vec::new() };
    let is_vocabulary = |name: &str| {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        NAMES.contains(&name)
            || ["tiktoken", "model"].contains(&extension)
            || name.starts_with("tokenization_")
    };
    let has = subject.files().others.iter().any(|(name, _)| is_vocabulary(name));
    let class = config
        .get("tokenizer_class")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("a class it does not name");
    let is_other = config.get("auto_map").is_some() || class.starts_with("Byt5") || class.starts_with("ByT5");
    if has || is_other || class.starts_with("Canine") {
        return Vec::new();
    }
    let title =
        format!("{FILE} is here for {}, and no file with its vocabulary.", crate::name::escape(class));
    vec![Finding::new(rule, title).seen(Seen::config(FILE, "tokenizer_class", class))]
}
